"""How long what another shard took is left to it: until Git has been asked, and no newer commit came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Cache
from image_updater.controller.sources.fetching import LAG, Revision
from image_updater.controller.sync.elsewhere import Index
from image_updater.controller.sync.planning import Planning
from image_updater.controller.sync.states import State

SOURCE, OURS, THEIRS = ObjectKey("apps", "fleet"), ObjectKey("apps", "ours"), ObjectKey("apps", "theirs")
MOVED = Ref("", "ConfigMap", "apps", "moved")


class World:
    """`ours` of this shard, and `theirs` of another one."""

    def __init__(self, *, owned: bool = False, deleting: bool = False, branch: str = "main") -> None:
        self.now = 1000.0
        self.read_at = 990.0
        self.branch = branch
        self.hurried = 0
        self.cache = Cache()
        ours, theirs = self._state(OURS, owned=True), self._state(THEIRS, owned=owned, deleting=deleting)
        self.state = ours
        nothing: Any = None
        self.planning = Planning(
            SimpleNamespace(monotonic=lambda: self.now, cache=self.cache),  # type: ignore[arg-type]
            SimpleNamespace(revision=self._revision, hurry=self._hurry),  # type: ignore[arg-type]
            nothing,
            states={OURS: ours, THEIRS: theirs},
            index=Index(),
            account=lambda _: None,
            planned=lambda _: None,
            noted=lambda: None,
        )

    def _state(self, key: ObjectKey, *, owned: bool, deleting: bool = False) -> State:
        metadata = {"name": key.name, "namespace": key.namespace, "uid": key.name, "generation": 1}
        if deleting:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.cache.observe("Kustomization", {"metadata": metadata, "spec": {"sourceRef": {"name": "fleet"}}})
        entry = self.cache.get("Kustomization", key)
        assert entry is not None
        return State(key=key, entry=entry, owned=owned)

    def _revision(self, key: ObjectKey) -> Revision:
        assert key == SOURCE
        tree: Any = None
        return Revision(repository=key, commit="1" * 40, branch=self.branch, tree=tree, read_at=self.read_at)

    def _hurry(self, key: ObjectKey) -> None:
        assert key == SOURCE
        self.hurried += 1

    def yields(self, owner: ObjectKey = THEIRS) -> bool:
        return self.planning.yields(self.state, MOVED, owner)


def test_git_is_asked_and_replicas_get_their_time() -> None:
    world = World()
    assert world.yields()
    assert world.hurried == 1
    world.now, world.read_at = 1001.0, 1000.5  # it was asked since, and says what it said
    assert world.yields()
    assert world.hurried == 1
    world.now = 1000.0 + LAG + 1
    assert world.yields(), "as long as Git has not been asked since then"
    assert world.hurried == 2
    world.read_at = world.now
    assert not world.yields()
    assert world.hurried == 2


def test_a_git_that_does_not_answer_takes_nothing_back() -> None:
    world = World()
    assert world.yields()
    world.now += 10 * LAG
    assert world.yields()
    assert world.hurried == 2


def test_each_time_that_it_is_taken_counts_by_itself() -> None:
    world = World()
    assert world.yields()
    world.now = world.read_at = 1000.0 + 2 * LAG
    assert not world.yields()
    world.state.yielded.clear()  # it was taken back, and is taken again
    assert world.yields()


@pytest.mark.parametrize(
    ("world", "owner"),
    [
        (World(owned=True), THEIRS),
        (World(deleting=True), THEIRS),
        (World(branch=""), THEIRS),
        (World(), ObjectKey("apps", "nobody")),
        (World(), OURS),
    ],
    ids=["of-this-shard", "being-deleted", "a-pinned-commit", "unknown", "itself"],
)
def test_who_is_not_believed(world: World, owner: ObjectKey) -> None:
    assert not world.yields(owner)
    assert not world.hurried
