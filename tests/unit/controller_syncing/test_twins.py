"""Two sources of one repository in one process: what left one's path may be in the other's, which is not read yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import GitRepository, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Cache
from image_updater.controller.sources.fetching import LAG, Fetch, Revision, fetch_key
from image_updater.controller.sources.repositories import Sources, _Source
from image_updater.controller.sync.elsewhere import Index
from image_updater.controller.sync.planning import Planning
from image_updater.controller.sync.states import State
from image_updater.git import GitAccess, Tip
from image_updater.settings import Settings
from image_updater.sync.model import Elsewhere

if TYPE_CHECKING:
    from image_updater.controller.sources.fetching import FetchKey

A, B, ONE, TWO = (ObjectKey("apps", name) for name in ("a", "b", "one", "two"))
MOVED = Ref("", "ConfigMap", "apps", "moved")
OLD, NEW, OTHER = "0" * 40, "1" * 40, "2" * 40
LATE = Elsewhere(unsettled=TWO, behind=B)
URL = "https://git.example/fleet"


class World:
    """`one` of source `a` and `two` of source `b`, both of them ours."""

    def __init__(
        self, *, url: str = URL, ref: Any = None, ours: Any = None, spec: Any = None, login: str = "b"
    ) -> None:
        self.now = 1000.0
        self.cache = Cache()
        self.index = Index()
        nothing: Any = None
        context: Any = SimpleNamespace(
            cache=self.cache,
            settings=Settings(),
            environment={},
            dice=lambda: 0.5,
            monotonic=lambda: self.now,
            session=SimpleNamespace(mirrors=None),
            secrets=SimpleNamespace(subscribe=lambda _: None),
        )
        self.sources = Sources(context)
        branch = {"branch": "main"}
        self.fetches = {
            A: self._source("a", URL, ours or branch, "a"),
            B: self._source("b", url, branch if ref is None else ref, login),
        }
        self.states = {
            ONE: self._kustomization("one", "a"),
            TWO: self._kustomization("two", "b", **(spec or {})),
        }
        self.planning = Planning(
            context,
            self.sources,
            nothing,
            states=self.states,
            index=self.index,
            account=lambda _: None,
            planned=lambda _: None,
            noted=lambda: None,
        )
        self.planning.plan = lambda *_: None  # type: ignore[method-assign]
        self.hurried: list[FetchKey] = []
        self.sources._hurry = lambda fetch: self.hurried.append(fetch.key)  # type: ignore[method-assign]
        for key in (A, B):
            self.reads(key, OLD)
            self.plans(key)
        self.index.built(ONE, "local", [])
        self.index.built(TWO, "local", [])
        self.now += 10

    def _observe(self, kind: str, name: str, spec: Any, generation: int = 1) -> Any:
        metadata = {"name": name, "namespace": "apps", "uid": f"{kind} {name}", "generation": generation}
        self.cache.observe(kind, {"metadata": metadata, "spec": spec, "status": {}})
        entry = self.cache.get(kind, ObjectKey("apps", name))
        assert entry is not None
        return entry

    def _source(self, name: str, url: str, ref: Any, login: str) -> Fetch:
        entry = self._observe("GitRepository", name, {"url": url, "ref": ref})
        assert isinstance(entry.value, GitRepository)
        access = GitAccess(identity=login)
        key = fetch_key(url, access, entry.value.ref)
        fetch = self.sources._fetches.get(key)
        if fetch is None:
            fetch = Fetch(key, url, access, entry.value.ref, monotonic=lambda: self.now)
            self.sources._fetches[key] = fetch
        self.sources._sources[entry.key] = _Source(entry=entry, fetch=key)
        return fetch

    def _kustomization(self, name: str, source: str, **spec: Any) -> State:
        entry = self._observe("Kustomization", name, {"sourceRef": {"name": source}, "path": name, **spec})
        return State(key=entry.key, entry=entry, owned=True)

    def reads(self, key: ObjectKey, commit: str) -> None:
        """Git is asked for that source, and answers."""
        fetch, nothing = self.fetches[key], None
        tree: Any = nothing
        fetch.read_at = self.now
        self.now += 1
        fetch._see(Tip(commit=commit, tree=tree, branch="main"))
        fetch.failing_since = None
        self.sources._sources[key].revision = Revision(
            repository=key, commit=commit, branch="main", tree=tree, read_at=fetch.read_at, seen_at=fetch.seen_at
        )

    def plans(self, key: ObjectKey) -> None:
        for state in self.states.values():
            value: Any = state.entry.value
            if value.source_ref == key:
                state.revision = self.sources.revision(key)

    def moves(self) -> None:
        """The giver's source reads the commit first."""
        self.reads(A, NEW)
        self.planning.plan_all(A)
        self.plans(A)

    def asked(self) -> Elsewhere:
        return self.index.ask(ONE, "local")(MOVED)


def test_what_left_one_is_not_deleted_before_the_other_source_is_read() -> None:
    world = World()
    assert world.asked() == Elsewhere()
    assert world.hurried == []
    world.moves()
    assert world.hurried == [world.fetches[B].key], "at once, before anybody is built"
    assert world.asked() == LATE
    assert world.asked() == LATE
    world.reads(B, NEW)
    world.planning.plan_all(B)
    assert world.asked() == LATE, "it is not planned yet"
    world.plans(B)
    world.index.built(TWO, "local", [MOVED])
    assert world.asked() == Elsewhere(renders=TWO)
    assert len(world.hurried) == 1


def test_what_it_holds_itself_is_nobody_elses_to_hold_up() -> None:
    world = World()
    world.moves()
    world.index.built(ONE, "local", [MOVED])
    assert world.asked() == Elsewhere()


def test_an_answer_that_is_another_commit_is_believed_after_a_minute() -> None:
    world = World()
    world.moves()
    world.reads(B, OLD)  # a replica
    assert world.asked() == LATE
    assert len(world.hurried) == 1
    world.now += LAG
    assert world.asked() == LATE, "it was not asked since"
    assert world.asked() == LATE
    assert len(world.hurried) == 2
    world.reads(B, OTHER)
    assert world.asked() == Elsewhere()


def test_who_cannot_be_fetched_for_a_minute_is_not_waited_for() -> None:
    world = World()
    world.fetches[B].failing_since = world.now
    world.moves()
    assert world.asked() == LATE
    world.now += LAG
    assert world.asked() == Elsewhere()
    world.moves()
    assert world.asked() == Elsewhere(), "nor when the next commit comes"
    assert len(world.hurried) == 1


def test_who_has_no_login_is_not_waited_for_after_a_minute() -> None:
    world = World()
    world.sources._sources[B].fetch = None
    world.moves()
    assert world.asked() == LATE
    world.now += LAG + 1
    assert world.asked() == Elsewhere()
    assert world.hurried == []


def test_who_was_never_read_is_waited_for_and_not_asked_twice() -> None:
    world = World()
    world.sources._sources[B].revision = world.states[TWO].revision = world.fetches[B].tip = None
    world.fetches[B].read_at = float("-inf")
    world.moves()
    assert world.asked() == LATE
    assert world.hurried == []


def test_one_fetch_for_both_is_not_asked_again() -> None:
    world = World(login="a")
    world.moves()
    assert world.fetches[A] is world.fetches[B]
    assert world.hurried == []


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://git.example/another"},
        {"ref": {"branch": "next"}},
        {"ref": {"tag": "v1"}},
        {"ref": {"commit": OLD}},
        {"ours": {"tag": "v1"}},
    ],
    ids=["another-repository", "another-branch", "a-tag", "a-commit", "our-tag"],
)
def test_who_follows_something_else_holds_nothing_up(given: Any) -> None:
    world = World(**given)
    world.moves()
    assert world.asked() == Elsewhere()
    assert world.hurried == []


@pytest.mark.parametrize("given", [{"url": URL + ".git"}, {"ref": {}}], ids=["another-spelling", "the-default-branch"])
def test_what_may_be_the_same_branch_counts(given: Any) -> None:
    world = World(**given)
    world.moves()
    assert world.asked() == LATE


def test_a_suspended_source_holds_nothing_up() -> None:
    world = World()
    world._observe("GitRepository", "b", {"url": URL, "ref": {"branch": "main"}, "suspend": True}, generation=2)
    world.sources._sources[B].fetch = None
    world.moves()
    assert world.asked() == Elsewhere()


@pytest.mark.parametrize(
    "spec",
    [{"suspend": True}, {"targetNamespace": "elsewhere"}, {"kubeConfig": {"secretRef": {"name": "far"}}}],
    ids=["suspended", "another-namespace", "another-cluster"],
)
def test_who_cannot_take_it_holds_nothing_up(spec: Any) -> None:
    world = World(spec=spec)
    world.moves()
    assert world.asked() == Elsewhere()


def test_what_it_may_not_apply_is_not_held_up() -> None:
    world = World()
    world.index.refuse(TWO, frozenset({MOVED}))
    world.moves()
    assert world.asked() == Elsewhere()
