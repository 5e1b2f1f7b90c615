"""What is known of Kustomizations of other shards: enough to leave theirs to them, and no reason to wait for ever."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Cache
from image_updater.controller.sources.fetching import Revision
from image_updater.controller.sources.repositories import Sources
from image_updater.controller.sync.elsewhere import Index
from image_updater.controller.sync.planning import Planning
from image_updater.controller.sync.states import State, content_of_error
from image_updater.errors import RenderError
from image_updater.settings import Settings
from image_updater.sync.model import Elsewhere

OURS, THEIRS = ObjectKey("a", "a"), ObjectKey("b", "b")
MOVING, OLD = Ref("", "ConfigMap", "b", "moving"), Ref("", "ConfigMap", "b", "old")
BROKEN = RenderError("does not build")
FILE = b"kind: ConfigMap\nmetadata: {name: moving, namespace: b}\n"


class World:
    """Shard `a` looks at a Kustomization of shard `b`; what builds is told by `answer`."""

    def __init__(self, *, url: str = "https://git.example/b", status: Any = None, **spec: Any) -> None:
        self.index = Index()
        self.answer: Any = BROKEN
        self.cache = Cache()
        self._observe("GitRepository", "a", {"url": "https://git.example/a"})
        self._observe("GitRepository", "b", {"url": url})
        self._observe(
            "Kustomization", "b", {"sourceRef": {"name": "fleet"}, "path": "b", **spec}, status=status or {}, name="b"
        )
        context: Any = SimpleNamespace(
            cache=self.cache,
            settings=Settings(selector="shard=a"),
            environment={},
            dice=lambda: 0.5,
            session=SimpleNamespace(mirrors=None),
            secrets=SimpleNamespace(subscribe=lambda _: None),
        )
        self.sources = Sources(context)
        entry = self.cache.get("Kustomization", THEIRS)
        assert entry is not None
        self.state = State(key=THEIRS, entry=entry, owned=False)
        self.planning = Planning(
            context,
            self.sources,
            self,  # type: ignore[arg-type]
            states={THEIRS: self.state},
            index=self.index,
            account=lambda _: None,
            planned=lambda _: None,
            noted=lambda: None,
        )

    def _observe(self, kind: str, namespace: str, spec: Any, *, status: Any = None, name: str = "fleet") -> None:
        metadata = {"name": name, "namespace": namespace, "uid": f"{kind} {namespace}", "generation": 1}
        self.cache.observe(kind, {"metadata": metadata, "spec": spec, "status": status or {}})

    async def plan_all(self, _: Any, specs: Any, *, line: str) -> dict[ObjectKey, Any]:
        return {each.key: self.answer for each in specs}

    def read_ours(self) -> None:
        """Our own source has a revision."""
        key = ObjectKey("a", "fleet")
        tree: Any = SimpleNamespace(files=lambda: ["b/moving.yaml"], read=lambda _: FILE)
        revision = Revision(repository=key, commit="1" * 40, branch="main", tree=tree)
        entry = self.cache.get("GitRepository", key)
        self.sources._sources[key] = SimpleNamespace(entry=entry, revision=revision, error=None)  # type: ignore[assignment]

    async def planned(self) -> None:
        self.planning.plan(ObjectKey("b", "fleet"), [THEIRS])
        await self.settled()

    async def settled(self) -> None:
        while any(True for _ in self.planning._tasks):
            await asyncio.sleep(0.001)

    def says(self, status: Any) -> None:
        """Status, as the watch sees it later."""
        entry = self.cache.get("Kustomization", THEIRS)
        assert entry is not None
        self.cache._entries["Kustomization"][THEIRS] = replace(entry, status=status)
        self.planning.refresh_others()

    def ask(self, ref: Ref) -> Elsewhere:
        return self.index.ask(OURS, "local")(ref)


APPLIED = {
    "lastAppliedContent": "of an older commit",
    "inventory": {"entries": [{"id": "b_theirs__ConfigMap", "v": "v1"}]},
}


async def test_a_source_that_nothing_here_reads_holds_no_prune_up() -> None:
    world = World(status=APPLIED)
    world.read_ours()
    await world.planned()
    assert world.ask(OLD) == Elsewhere()
    assert world.ask(Ref("", "ConfigMap", "b", "theirs")) == Elsewhere(renders=THEIRS)


async def test_the_same_repository_by_another_object_holds_what_its_files_can_be_about() -> None:
    world = World(url="https://git.example/a.git", status=APPLIED)
    world.read_ours()
    world.planning.plan_all(ObjectKey("a", "fleet"))
    assert world.ask(OLD) == Elsewhere(unsettled=THEIRS)  # not looked at yet
    await world.settled()
    assert world.ask(MOVING) == Elsewhere(unsettled=THEIRS)
    assert world.ask(OLD) == Elsewhere()
    # The next commit, which changes nothing there.
    world.planning.plan_all(ObjectKey("a", "fleet"))
    await world.settled()
    assert world.ask(OLD) == Elsewhere()
    world.says({"lastAppliedContent": content_of_error(BROKEN)})
    assert world.ask(MOVING) == Elsewhere()


async def test_who_is_suspended_takes_nothing() -> None:
    world = World(url="https://git.example/a", status=APPLIED, suspend=True)
    world.read_ours()
    await world.planned()
    assert world.ask(MOVING) == Elsewhere()


async def test_an_inventory_in_config_maps_holds_no_prune_up() -> None:
    large = {"inventory": {"configMaps": [{"name": "b-1", "digest": "0"}], "count": 9}}
    world = World(url="https://git.example/a", status={**large, "lastAppliedContent": content_of_error(BROKEN)})
    world.read_ours()
    await world.planned()
    assert world.ask(MOVING) == Elsewhere()


async def test_what_is_seen_to_be_undone_is_looked_at_again() -> None:
    world = World(url="https://git.example/a", status={"lastAppliedContent": content_of_error(BROKEN)})
    world.read_ours()
    await world.planned()
    assert world.ask(MOVING) == Elsewhere()
    world.says(APPLIED)
    assert world.ask(OLD) == Elsewhere(unsettled=THEIRS)
    await world.settled()
    assert (world.ask(OLD), world.ask(MOVING)) == (Elsewhere(), Elsewhere(unsettled=THEIRS))


async def test_no_revision_is_guessed_for_one_of_ours() -> None:
    world = World(url="https://git.example/a", status=APPLIED)
    world.read_ours()
    world.state.owned = True
    await world.planned()
    assert world.state.revision is None
    assert world.state.plan is None


async def test_what_another_shard_waits_to_lose_is_not_what_it_renders() -> None:
    """Both would wait: the giver until the taker has the object, the taker until the giver renders it no more."""
    held = {"entries": [{"id": "b_moving__ConfigMap", "v": "v1"}, {"id": "b_old__ConfigMap", "v": "v1"}]}
    status = {"lastAppliedContent": content_of_error(BROKEN), "inventory": held}
    world = World(url="https://git.example/a", status=status)
    world.read_ours()
    await world.planned()
    assert world.ask(OLD) == Elsewhere()
    assert world.ask(MOVING) == Elsewhere(renders=THEIRS)


async def test_what_is_asked_for_when_a_run_ends_is_not_lost() -> None:
    world = World(url="https://git.example/a", suspend=True)
    world.read_ours()
    asked = []

    async def plan_all(_: Any, specs: Any, *, line: str) -> dict[ObjectKey, Any]:
        asked.append(line)
        if len(asked) == 1:  # in the turn of the loop in which the run is over, before anybody is told of that
            asyncio.get_running_loop().call_soon(world.planning.plan, ObjectKey("b", "fleet"), [THEIRS])
        return {each.key: BROKEN for each in specs}

    world.plan_all = plan_all  # type: ignore[method-assign]
    await world.planned()
    assert len(asked) == 2


async def test_nothing_is_settled_by_an_older_commit_while_a_newer_one_is_planned() -> None:
    world = World(url="https://git.example/a", status={"lastAppliedContent": content_of_error(BROKEN)})
    world.read_ours()
    await world.planned()
    assert world.ask(MOVING) == Elsewhere()
    world.planning.plan_all(ObjectKey("a", "fleet"))
    world.planning.refresh_others()  # another one of ours is looked at meanwhile
    assert world.ask(MOVING) == Elsewhere(unsettled=THEIRS)
    await world.settled()
    assert world.ask(MOVING) == Elsewhere()


async def test_what_the_files_of_an_older_commit_can_be_about_says_nothing_of_a_newer_one() -> None:
    world = World(url="https://git.example/a", status=APPLIED)
    world.read_ours()
    heard = []

    async def plan_all(_: Any, specs: Any, *, line: str) -> dict[ObjectKey, Any]:
        if not heard:  # the next commit comes while this one is planned
            world.planning.plan_all(ObjectKey("a", "fleet"))
        heard.append(world.ask(OLD))
        return {each.key: BROKEN for each in specs}

    world.plan_all = plan_all  # type: ignore[method-assign]
    world.planning.plan_all(ObjectKey("a", "fleet"))
    await world.settled()
    assert heard == [Elsewhere(unsettled=THEIRS)] * 2
    assert world.ask(OLD) == Elsewhere()


async def test_a_look_at_its_status_hides_no_change_of_its_spec() -> None:
    world = World(url="https://git.example/a", status=APPLIED)
    world.read_ours()
    await world.planned()
    before = world.state.entry
    spec = {"sourceRef": {"name": "fleet"}, "path": "other"}
    metadata = {"name": "b", "namespace": "b", "uid": "Kustomization b", "generation": 2}
    world.cache.observe("Kustomization", {"metadata": metadata, "spec": spec, "status": {"observedGeneration": 2}})
    world.planning.refresh_others()  # before whoever follows the objects was told
    assert (world.state.entry.generation, world.state.entry.value) == (1, before.value)
    assert world.state.entry.status == {"observedGeneration": 2}
