"""Ten thousand objects in one Kustomization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.settings import Role
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, config

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

OBJECTS = 10_000


def name(number: int) -> str:
    return f"a-rather-long-name-of-a-config-map-{number:05}"


def files(*, without: Collection[int] = (), changed: Collection[int] = ()) -> dict[str, str | None]:
    """Plain ones: Kustomize itself takes minutes for as many."""
    objects = (config(name(n), x="2" if n in changed else "1") for n in range(OBJECTS) if n not in without)
    return {"apps/all.yaml": "".join(f"---\n{each}" for each in objects)}


def pieces(here: Place) -> set[str]:
    """ConfigMaps that hold the inventory."""
    found = here.plane.list("ConfigMap", here.namespace, "app.kubernetes.io/managed-by=image-updater")
    return {each["metadata"]["name"] for each in found}


def listed(here: Place) -> set[str]:
    return {each["name"] for each in here.status("Kustomization", "apps")["inventory"].get("configMaps", ())}


def test_an_inventory_of_ten_thousand_objects_fits(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path
) -> None:
    here.commit(files())
    apps = here.kustomization(interval="1h")
    del apps["spec"]["targetNamespace"]
    with controller(plane, tmp_path, roles=[Role.SYNC], environment=shop.environment) as replica:
        here.apply(here.source(), apps)
        here.await_applied(timeout=300)
        inventory = here.status("Kustomization", "apps")["inventory"]
        assert inventory["count"] == OBJECTS
        assert len(inventory["configMaps"]) == 2
        assert pieces(here) == listed(here)

        # What is equal is not sent, also not by a process that begins anew.
        for restart, change in [(False, files(changed=[77])), (True, files(changed=[78], without=[5, 6]))]:
            since = plane.mark()
            if restart:
                replica.kill()
                replica.start()
            here.commit(change)
            here.await_applied(timeout=120)
            writes = {
                each.uri.partition("?")[0].rpartition("/")[2]
                for each in replica.account.requests(since)
                if each.verb in ("patch", "delete") and f"/{here.namespace}/configmaps/a-rather" in each.uri
            }
            assert writes == ({name(78), name(77), name(5), name(6)} if restart else {name(77)})
        until(lambda: pieces(here) == listed(here), 30, "no piece is left over")
        assert here.status("Kustomization", "apps")["inventory"]["count"] == OBJECTS - 2
        assert not here.has("ConfigMap", name(5))
