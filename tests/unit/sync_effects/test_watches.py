"""What the watches keep, whom they tell, and what our own writes do not tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from image_updater.api.model import ObjectKey
from image_updater.cluster.errors import Forbidden
from image_updater.cluster.model import Happened, Ref, Resource, WatchEvent
from image_updater.sync import watches as module
from image_updater.sync.model import Applied
from image_updater.sync.watches import Seen, Watches, entry_of, labelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CONFIG_MAPS = Resource(
    group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True, verbs=frozenset({"list", "watch"})
)
SECRETS = Resource(
    group="", version="v1", kind="Secret", plural="secrets", namespaced=True, verbs=frozenset({"list", "watch"})
)
REF = Ref("", "ConfigMap", "apps", "c")
WEB = ObjectKey("apps", "web")


class FakeWatcher:
    """The test says what happens."""

    made: ClassVar[list[FakeWatcher]] = []

    def __init__(self, cluster: object, resource: Resource, **options: Any) -> None:
        self.resource = resource
        self.event: Callable[[WatchEvent], None] = options["on_event"]
        self.state: Callable[[Any], None] = options["on_state"]
        self.options = options
        self.made.append(self)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def says(self, happened: Happened, body: dict[str, Any] | None = None) -> None:
        self.event(WatchEvent(happened, body or {}))


class Told:
    def __init__(self) -> None:
        self.moved: list[tuple[str, str]] = []

    def __call__(self, ref: Ref, owner: ObjectKey) -> None:
        self.moved.append((ref.name, owner.name))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watches(monkeypatch: pytest.MonkeyPatch, told: Told) -> AsyncIterator[Watches]:
    monkeypatch.setattr(module, "Watcher", FakeWatcher)
    FakeWatcher.made.clear()
    made = Watches(None, on_moved=told)  # type: ignore[arg-type]
    yield made
    await made.close()


async def followed(watches: Watches) -> FakeWatcher:
    following = asyncio.create_task(watches.follow([CONFIG_MAPS]))
    await asyncio.sleep(0)
    (watcher,) = FakeWatcher.made
    watcher.says(Happened.SYNCED)
    await following
    return watcher


def body(
    version: int,
    *,
    owner: str | None = "web",
    fields: str = "f:a",
    time: str = "00",
    uid: str = "u1",
    **annotations: str,
) -> dict[str, Any]:
    labels = {"kustomize.image-updater.dev/name": owner, "kustomize.image-updater.dev/namespace": "apps"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "c",
            "namespace": "apps",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": labels if owner else {},
            "annotations": {f"image-updater.dev/{name}": value for name, value in annotations.items()},
            "managedFields": [
                {
                    "manager": "image-updater",
                    "operation": "Apply",
                    "time": f"2026-01-01T00:00:{time}Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {fields: {}},
                },
                {"manager": "other", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {f"f:{version}": {}}},
            ],
        },
    }


async def test_what_is_there_is_known_and_nobody_is_told(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    seen = watches.state(REF)
    assert seen is not None
    assert seen.holds(Applied(digest="d", uid="u1", fields=entry_of(body(5))), WEB)
    assert watches.watched(REF)
    assert watches.count() == 1
    assert watcher.options["metadata_only"]
    assert watcher.options["labels"] == "kustomize.image-updater.dev/name"
    assert told.moved == []


@pytest.mark.parametrize(
    ("later", "tells"),
    [
        (body(6), False),
        (body(6, fields="f:b"), True),
        (body(6, time="01"), True),
        (body(6, owner="other"), True),
        (body(6, uid="u2"), True),
        (body(6, reconcile="disabled"), True),
        (body(6, prune="disabled"), True),
    ],
    ids=["others-fields", "our-fields", "our-time", "owner", "made-anew", "left-alone", "kept"],
)
async def test_only_what_concerns_us_is_told(watches: Watches, told: Told, later: dict[str, Any], tells: bool) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watcher.says(Happened.MODIFIED, later)
    assert told.moved == ([("c", "web")] if tells else [])


async def test_a_deletion_is_told_once(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watcher.says(Happened.DELETED, body(6))
    watcher.says(Happened.DELETED, {"metadata": {"name": "c", "namespace": "apps", "uid": "u1"}})
    assert told.moved == [("c", "web")]
    assert watches.state(REF) is None
    assert watches.watched(REF)


@pytest.mark.parametrize("order", ["answer-first", "event-first", "old-event-late"])
async def test_our_own_write_tells_nobody(watches: Watches, told: Told, order: str) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    ours = body(9, fields="f:b", time="09")
    watches.begin(REF)
    if order == "event-first":
        watcher.says(Happened.MODIFIED, ours)
    watches.end(REF, ours)
    if order == "old-event-late":
        watcher.says(Happened.MODIFIED, body(7, fields="f:stolen"))
    if order != "event-first":
        watcher.says(Happened.MODIFIED, ours)
    watcher.says(Happened.MODIFIED, body(12, fields="f:b", time="09"))
    assert told.moved == []
    assert watches.state(REF) == Seen.of(body(12, fields="f:b", time="09"))


@pytest.mark.parametrize("order", ["before-answer", "after-answer"])
async def test_what_others_do_right_after_our_write_is_told(watches: Watches, told: Told, order: str) -> None:
    watcher = await followed(watches)
    ours = body(9, fields="f:b")
    watches.begin(REF)
    if order == "before-answer":
        watcher.says(Happened.ADDED, ours)
        watcher.says(Happened.MODIFIED, body(10, fields="f:c"))
    watches.end(REF, ours)
    if order == "after-answer":
        watcher.says(Happened.ADDED, ours)
        watcher.says(Happened.MODIFIED, body(10, fields="f:c"))
    assert told.moved == [("c", "web")]


async def test_what_happened_during_a_write_that_failed_is_told(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watches.begin(REF)
    watcher.says(Happened.MODIFIED, body(6, fields="f:c"))
    watches.end(REF)
    assert told.moved == [("c", "web")]


async def test_a_kustomization_is_told_when_another_of_ours_takes_its_object(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watches.begin(REF)
    watches.end(REF, body(9, owner="other"))
    assert told.moved == [("c", "web")]


async def test_what_we_delete_is_told_to_nobody(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watches.begin(REF)
    watches.gone(REF)
    watcher.says(Happened.DELETED, body(6))
    assert told.moved == []


async def test_versions_that_go_back_with_a_restored_store_are_believed(watches: Watches, told: Told) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(500))
    watcher.says(Happened.MODIFIED, body(20, fields="f:old"))
    assert told.moved == [("c", "web")]
    seen = watches.state(REF)
    assert seen is not None
    assert seen.version == 20


async def test_a_kind_that_is_forbidden_is_not_believed_until_it_is_allowed(watches: Watches) -> None:
    following = asyncio.create_task(watches.follow([CONFIG_MAPS]))
    await asyncio.sleep(0)
    (watcher,) = FakeWatcher.made
    watcher.state(Forbidden("no"))
    await following
    assert not watches.watched(REF)
    assert list(watches.trouble()) == [("", "ConfigMap")]
    watcher.state(None)
    watcher.says(Happened.SYNCED)
    assert watches.watched(REF)
    assert not watches.trouble()


async def test_a_state_is_not_believed_while_the_watch_does_not_work(watches: Watches) -> None:
    watcher = await followed(watches)
    watcher.says(Happened.ADDED, body(5))
    watcher.state(Forbidden("not any more"))
    assert watches.state(REF) is None
    assert not watches.watched(REF)


async def test_secrets_are_never_watched(watches: Watches) -> None:
    await watches.follow([SECRETS])
    assert FakeWatcher.made == []
    assert not watches.watched(Ref("", "Secret", "apps", "s"))


async def test_one_watch_a_kind(watches: Watches) -> None:
    await followed(watches)
    await watches.follow([CONFIG_MAPS, CONFIG_MAPS])
    assert len(FakeWatcher.made) == 1


def test_a_long_name_is_the_one_that_labels_hold() -> None:
    key = ObjectKey("apps", "n" * 100)
    assert labelled(key) == labelled(labelled(key))
    assert len(labelled(key).name) <= 63


# ------------------------------------------------------------------------------------------------- some namespaces


async def test_where_only_some_namespaces_may_be_read_only_those_are_watched(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    """Roles in namespaces allow no list of the whole cluster, and none of kinds without a namespace."""
    monkeypatch.setattr(module, "Watcher", FakeWatcher)
    FakeWatcher.made.clear()
    watches = Watches(None, on_moved=told, namespaces=["apps", "web"])  # type: ignore[arg-type]
    kinds = Resource(
        group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, verbs=CONFIG_MAPS.verbs
    )
    following = asyncio.create_task(watches.follow([CONFIG_MAPS, kinds]))
    await asyncio.sleep(0)
    assert [each.options["namespace"] for each in FakeWatcher.made] == ["apps", "web"]
    for each in FakeWatcher.made:
        each.says(Happened.SYNCED)
    await following
    assert watches.watched(REF)
    assert not watches.watched(Ref("", "ConfigMap", "elsewhere", "c"))
    assert not watches.watched(Ref("", "Namespace", "", "apps"))
    FakeWatcher.made[0].says(Happened.ADDED, body(1))
    assert watches.state(REF) is not None
    assert watches.state(Ref("", "ConfigMap", "web", "c")) is None
    await watches.close()
