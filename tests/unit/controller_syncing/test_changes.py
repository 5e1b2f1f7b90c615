"""A Kustomization that is edited in the moment in which work on it begins."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.controller.cache import REQUESTED, Cache
from image_updater.controller.sources.fetching import Revision
from image_updater.controller.sync.syncing import KIND, Syncing
from image_updater.errors import RenderError
from image_updater.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.controller.sync.states import State

KEY = ObjectKey("apps", "web")


class World:
    """One Kustomization, in what the watch has shown; attempts and plans are only counted."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.attempts: list[int] = []
        self.planned: list[str] = []
        context: Any = SimpleNamespace(
            cache=self.cache,
            cluster=None,
            settings=Settings(),
            owns=lambda entry: entry.labels.get("shard") != "other",
            monotonic=lambda: 0.0,
            secrets=SimpleNamespace(subscribe=lambda _: None, want=lambda *_: None),
            session=SimpleNamespace(store=SimpleNamespace(cache=lambda _: None)),
            status=SimpleNamespace(current=lambda entry: entry.status),
        )
        sources: Any = SimpleNamespace(subscribe=lambda _: None, revision=self._revision, guess=self._revision)
        self.syncing = Syncing(context, sources, self)  # type: ignore[arg-type]
        self.syncing._attempting = SimpleNamespace(run=self._attempt)  # type: ignore[assignment]

    def _revision(self, key: ObjectKey) -> Revision:
        tree: Any = SimpleNamespace(files=list)
        return Revision(repository=key, commit="1" * 40, branch="main", tree=tree)

    async def plan_all(self, _: Any, specs: Any, *, line: str) -> dict[ObjectKey, Any]:
        self.planned += [each.path for each in specs]
        return {each.key: RenderError("does not build") for each in specs}

    async def _attempt(self, state: State) -> None:
        self.attempts.append(state.entry.generation)

    def shows(self, path: str, generation: int, **metadata: Any) -> None:
        """The watch: whoever follows the objects is told a moment later."""
        known: Mapping[str, Any] = {"name": "web", "namespace": "apps", "uid": "u1", "generation": generation}
        spec = {"sourceRef": {"name": "fleet"}, "path": path}
        self.cache.observe(KIND, {"metadata": {**known, **metadata}, "spec": spec})

    async def told(self) -> None:
        self.syncing._observe(KEY)
        await self.settled()

    async def settled(self) -> None:
        while any(True for _ in self.syncing._planning._tasks):
            await asyncio.sleep(0.001)

    async def works(self) -> None:
        await self.syncing._work(self.syncing._states[KEY])
        await self.settled()

    @property
    def waits(self) -> bool:
        """It is to be worked on."""
        return KEY in self.syncing._agenda


@pytest.fixture
async def world() -> World:
    made = World()
    made.shows("old", 1)
    await made.told()
    made.syncing._agenda.pop()
    made.syncing._states[KEY].dirty = False
    return made


async def test_a_spec_that_changed_is_planned_before_it_is_worked_on(world: World) -> None:
    world.shows("new", 2)
    await world.works()
    assert world.attempts == []
    assert world.planned == ["old", "new"]
    assert world.waits
    await world.told()
    assert world.planned == ["old", "new"], "once"
    await world.works()
    assert world.attempts == [2]


async def test_a_request_is_not_answered_by_work_that_does_not_know_of_it(world: World) -> None:
    world.shows("old", 1, annotations={REQUESTED: "now"})
    await world.works()
    assert world.attempts == []
    assert world.waits
    assert world.syncing._states[KEY].force


async def test_what_went_to_another_shard_is_left_at_once(world: World) -> None:
    world.shows("old", 1, labels={"shard": "other"})
    await world.works()
    assert world.attempts == []
    assert not world.waits


async def test_what_nobody_has_to_act_on_holds_no_work_up(world: World) -> None:
    world.shows("old", 1, labels={"team": "shop"}, finalizers=["image-updater.dev/prune"])
    await world.works()
    assert world.attempts == [1]
    assert world.syncing._states[KEY].entry.finalizers


async def test_an_object_of_the_same_name_begins_anew(world: World) -> None:
    before = world.syncing._states[KEY]
    world.shows("old", 1, uid="u2")
    await world.works()
    assert world.attempts == []
    assert world.waits
    assert world.syncing._states[KEY] is not before
