"""Inventories in pieces: whenever the process is killed, status names a whole one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Entry
from image_updater.controller.sync import inventories
from image_updater.controller.sync.inventories import Inventories
from image_updater.errors import DocumentError
from image_updater.sync.inventory import pieces_of, store
from image_updater.sync.model import Entry as Line

if TYPE_CHECKING:
    from collections.abc import Mapping

ENTRY = Entry(kind="Kustomization", key=ObjectKey("apps", "web"), uid="u1", generation=1, value=None, error=None)


class Server:
    """ConfigMaps and one status; `log` has the writes in their order."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, Any]] = {}
        self.status: dict[str, Any] = {}
        self.log: list[str] = []

    async def get(self, _: object, name: str, namespace: str) -> dict[str, Any] | None:
        assert namespace == "apps"
        return self.maps.get(name)

    async def apply(self, _: object, body: dict[str, Any], **__: object) -> None:
        self.log.append("piece")
        self.maps[body["metadata"]["name"]] = body

    async def delete(self, _: object, name: str, __: str) -> bool:
        self.log.append("delete")
        return self.maps.pop(name, None) is not None

    async def write(self, value: Mapping[str, Any]) -> None:
        self.log.append("status")
        assert all(name in self.maps for name in pieces_of(value)), "status names a piece that is not there"
        self.status = {"inventory": dict(value)}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventories, "store", lambda lines, key: store(lines, key, limit=500))


def lines(number: int) -> tuple[Line, ...]:
    return tuple(Line(ref=Ref("", "ConfigMap", "apps", f"c{n:03}"), version="v1") for n in range(number))


async def test_pieces_come_before_the_status_that_names_them_and_go_after_it() -> None:
    server = Server()
    kept = Inventories(server)  # type: ignore[arg-type]
    for number in (3, 50, 51, 20, 3):
        before = set(server.maps)
        server.log.clear()
        await kept.save(ENTRY, server.status, lines(number), server.write)
        assert server.log == sorted(server.log, key=["piece", "status", "delete"].index)
        assert set(server.maps) == set(pieces_of(server.status["inventory"]))
        assert number == 3 or before != set(server.maps)
        assert await kept.load(ENTRY, server.status) == lines(number)
    assert not server.maps


async def test_pieces_go_with_their_kustomization() -> None:
    server = Server()
    await Inventories(server).save(ENTRY, {}, lines(50), server.write)  # type: ignore[arg-type]
    for body in server.maps.values():
        (owner,) = body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Kustomization", "web", "u1")


async def test_a_part_of_an_inventory_is_none() -> None:
    server = Server()
    kept = Inventories(server)  # type: ignore[arg-type]
    await kept.save(ENTRY, {}, lines(50), server.write)
    name = pieces_of(server.status["inventory"])[0]
    server.maps[name]["data"]["entries"] = "[]"
    with pytest.raises(DocumentError, match="does not hold what status says"):
        await kept.load(ENTRY, server.status)
    del server.maps[name]
    with pytest.raises(DocumentError, match="is not there"):
        await kept.load(ENTRY, server.status)
