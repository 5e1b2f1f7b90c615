"""A Kustomization that is deleted: its objects go, or it does not wait for them for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.errors import ClusterUnavailable, Forbidden
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Entry
from image_updater.controller.sync.elsewhere import Index
from image_updater.controller.sync.finalizing import FINALIZER
from image_updater.controller.sync.states import State
from image_updater.controller.sync.tearing import HELD, LASTING, PATIENCE, Tearing
from image_updater.errors import SpecError
from image_updater.sync.model import Action, Done, Elsewhere, SyncReport
from image_updater.sync.model import Entry as Line

KEY = ObjectKey("apps", "web")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
WEB = Ref("apps", "Deployment", "apps", "web")
LINE = Line(ref=WEB, version="v1")
GONE = SyncReport(revision="", done=(Done(ref=WEB, action=Action.PRUNED),))
THERE = SyncReport(
    revision="",
    done=(Done(ref=WEB, action=Action.FAILED, error=ClusterUnavailable("down")),),
    inventory=(LINE,),
    errors=(ClusterUnavailable("down"),),
)
OTHER = Line(ref=Ref("", "Service", "apps", "web"), version="v1")
HOLDS = tuple(
    Done(ref=each.ref, action=Action.HELD, reason="Kustomization apps/b may render it") for each in (LINE, OTHER)
)
TAKEN = SyncReport(revision="", done=HOLDS[:1], inventory=(LINE,))
TAKEN_TWO = SyncReport(revision="", done=HOLDS, inventory=(LINE, OTHER))


class World:
    """Everything around: what is asked of it is in `patches`, `told` and `happened`."""

    def __init__(self, *, since: float = 0.0, answer: Any = GONE, namespace_goes: bool = False) -> None:
        self.deleted_at = (NOW - timedelta(seconds=since)).isoformat().replace("+00:00", "Z")
        self.answer = answer
        self.namespace_goes = namespace_goes
        self.may_read_namespaces = True
        self.patches: list[Any] = []
        self.happened: list[Any] = []
        self.told: list[Any] = []
        context: Any = SimpleNamespace(
            cluster=self, clock=lambda: NOW, recorder=SimpleNamespace(event=lambda **told: self.happened.append(told))
        )
        self.index, self.left = Index(), 0
        self.tearing = Tearing(context, self, self, self.index, left=self._leave)  # type: ignore[arg-type]

    def _leave(self) -> None:
        self.left += 1

    # the cluster
    async def get(self, resource: Any, name: str, namespace: str | None = None, **_: Any) -> dict[str, Any]:
        if resource.kind == "Namespace" and not self.may_read_namespaces:
            raise Forbidden("namespaces")
        if resource.kind == "Namespace":
            return {"metadata": {"deletionTimestamp": self.deleted_at} if self.namespace_goes else {}}
        return {"metadata": {"deletionTimestamp": self.deleted_at, "uid": "u1"}}

    async def patch(self, _: Any, __: str, ___: str, patch: Any) -> None:
        self.patches.append(patch["metadata"]["finalizers"])

    # Kustomizing and Clusters
    async def inventory(self, state: State, _: Entry, __: Kustomization) -> tuple[Line, ...]:
        state.inventory = (LINE,)
        return state.inventory

    async def here(self, _: State, __: Entry, ___: None, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        return lines

    async def tell(self, _: State, __: Entry, ready: Any, ___: Any, **____: Any) -> None:
        self.told.append(ready)

    async def open(self, _: Kustomization) -> tuple[None, World]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return None, self

    async def teardown(self, _: Any) -> SyncReport:
        report: SyncReport = self.answer
        return report


def entry(*finalizers: str, **spec: Any) -> Entry:
    value = Kustomization(meta=Meta(key=KEY), source_ref=KEY, path=".", prune=True, **spec)
    return Entry(
        kind="Kustomization",
        key=KEY,
        uid="u1",
        generation=1,
        value=value,
        error=None,
        deleting=True,
        finalizers=finalizers,
        resource_version="7",
    )


async def tear(world: World, given: Entry) -> float | None:
    return (await world.tearing.run(State(key=KEY, entry=given, owned=True), given)).again


async def test_without_our_finalizer_there_is_nothing_to_do() -> None:
    world = World(answer=ClusterUnavailable("never asked"))
    assert await tear(world, entry("other")) is None
    assert (world.patches, world.told) == ([], [])


async def test_the_finalizer_goes_after_the_objects_and_others_stay() -> None:
    world = World()
    assert await tear(world, entry("other", FINALIZER)) is None
    assert world.patches == [["other"]]
    assert world.happened == []


async def test_who_may_not_read_namespaces_says_what_is_wrong_all_the_same() -> None:
    world = World(answer=SpecError("no Secret"), since=1.0, namespace_goes=True)
    world.may_read_namespaces = False
    assert await tear(world, entry(FINALIZER)) == 5.0
    assert [each.message for each in world.told] == ["no Secret"]


@pytest.mark.parametrize(
    ("answer", "since", "namespace_goes", "again", "abandoned"),
    [
        (THERE, 1.0, False, 5.0, None),
        (THERE, LASTING + 1, False, 30.0, None),
        (THERE, PATIENCE + 1, False, None, "1 object stays: down"),
        (ClusterUnavailable("far away"), 1.0, False, 5.0, None),
        (ClusterUnavailable("far away"), PATIENCE + 1, False, None, "1 object stays: far away"),
        (SpecError("no Secret"), 1.0, False, 5.0, None),
        (SpecError("no Secret"), LASTING + 1, False, None, "1 object stays: no Secret"),
        (SpecError("no Secret"), 1.0, True, None, "1 object stays: no Secret"),
        (Forbidden("no right"), 1.0, True, None, "1 object stays: no right"),
        (ClusterUnavailable("far away"), 1.0, True, 5.0, None),
        (TAKEN, 1.0, False, 5.0, None),
        (TAKEN, HELD + 1, False, None, f"1 object stays: {WEB}: Kustomization apps/b may render it"),
        (TAKEN_TWO, HELD + 1, False, None, f"2 objects stay: {WEB}: Kustomization apps/b may render it; and 1 more"),
    ],
    ids=[
        "fails", "fails-longer", "fails-for-ever", "away", "away-for-ever", "no-secret", "no-secret-for-long",
        "namespace-goes", "rights-go", "away-while-namespace-goes", "may-be-anothers", "anothers-for-long", "several",
    ],
)  # fmt: skip
async def test_it_does_not_hang(
    answer: Any, since: float, namespace_goes: bool, again: float | None, abandoned: str | None
) -> None:
    world = World(answer=answer, since=since, namespace_goes=namespace_goes)
    assert await tear(world, entry(FINALIZER)) == again
    assert world.patches == ([] if again is not None else [[]])
    if abandoned is None:
        assert world.happened == []
    else:
        (happened,) = world.happened
        assert (happened["reason"], happened["type"]) == ("PruneAbandoned", "Warning")
        assert happened["message"] == abandoned


async def test_a_suspended_one_is_let_go_and_says_so() -> None:
    world = World(answer=ClusterUnavailable("never asked"))
    assert await tear(world, entry(FINALIZER, suspend=True)) is None
    assert world.patches == [[]]
    assert "it is suspended" in world.happened[0]["message"]


async def test_who_goes_renders_nothing_any_more_and_others_may_take_it_at_once() -> None:
    world = World(answer=TAKEN, since=1.0)
    world.index.built(KEY, "local", [WEB])
    for _ in range(2):
        assert await tear(world, entry(FINALIZER)) == 5.0
    assert world.index.ask(ObjectKey("apps", "b"), "local")(WEB) == Elsewhere()
    assert world.left == 1
