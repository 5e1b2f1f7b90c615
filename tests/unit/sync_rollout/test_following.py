"""Following rollouts: what is asked, of whom, how long; on a server in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster.errors import ClusterUnavailable, Forbidden, KindUnknown
from image_updater.cluster.model import Ref, Resource
from image_updater.sync.rollout import following
from image_updater.sync.rollout.evidence import Memory
from image_updater.sync.rollout.following import Following, Slots
from image_updater.sync.rollout.judge import DEADLINE, judge
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from image_updater.sync.rollout.reading import EVENTS, JOBS, PODS, REPLICA_SETS, Readers
from image_updater.sync.rollout.subject import KEEP, LOOK, Wanted
from tests.unit.sync_rollout.bodies import (
    DEPLOYMENT,
    IMAGES,
    NOW,
    OVERDUE,
    REVISIONS,
    STATEFUL_SET,
    at,
    crashing,
    deployment,
    good,
    pod,
    running,
    sick,
    whole,
)
from tests.unit.sync_rollout.test_canaries import CANARY, canary
from tests.unit.sync_rollout.test_kinds import stateful

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from image_updater.cluster.model import Body

DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True)
STATEFUL_SETS = Resource(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", namespaced=True)
CANARIES = Resource(group="flagger.app", version="v1beta1", kind="Canary", plural="canaries", namespaced=True)
SERVED = {(each.group, each.kind): each for each in (DEPLOYMENTS, STATEFUL_SETS, CANARIES, PODS, REPLICA_SETS, JOBS)}
DONE = deployment(status=whole(), progressing="NewReplicaSetAvailable")


class World:
    """Stands for a Cluster as one account."""

    def __init__(self, objects: dict[str, dict[str, Body]] | None = None, *, refuses: tuple[str, ...] = ()) -> None:
        self.objects = objects if objects is not None else {}
        self.refuses = refuses
        self.down: tuple[str, ...] = ()
        """Lists that do not answer now, of events and of all namespaces."""
        self.asked: Counter[str] = Counter()
        """`list pods`, `watch pods labels=…`."""
        self.watching: Counter[str] = Counter()
        self._listeners: list[tuple[str, asyncio.Queue[tuple[str, Body]]]] = []
        self._version = 1

    def put(self, resource: Resource, body: Body) -> None:
        self._version += 1
        body = {**body, "apiVersion": resource.api_version, "kind": resource.kind}
        uid = body["metadata"].get("uid") or f"uid-{body['metadata'].get('name', 'x')}"
        name = body["metadata"].get("name") or uid
        body["metadata"] = {**body["metadata"], "name": name, "uid": uid, "resourceVersion": str(self._version)}
        known = self.objects.setdefault(resource.plural, {})
        kind = "MODIFIED" if name in known else "ADDED"
        known[name] = body
        for plural, queue in self._listeners:
            if plural == resource.plural:
                queue.put_nowait((kind, body))

    def _refuse(self, resource: Resource) -> None:
        if resource.plural in self.refuses:
            raise Forbidden(f"no {resource.plural}")

    # ------------------------------------------------------------------------------------------- as a Cluster

    async def serving(self, group: str, kind: str) -> Resource:
        if (group, kind) not in SERVED:
            raise KindUnknown(f"no {kind}")
        return SERVED[group, kind]

    async def list(self, resource: Resource, namespace: str | None = None, **selectors: Any) -> tuple[list[Body], str]:
        self.asked[f"list {resource.plural}"] += 1
        self._refuse(resource)
        if resource.plural in self.down and (namespace is None or resource is EVENTS):
            raise ClusterUnavailable("no answer")
        return list(self.objects.get(resource.plural, {}).values()), str(self._version)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Body | None:
        self.asked[f"get {resource.plural} {name}"] += 1
        self._refuse(resource)
        return self.objects.get(resource.plural, {}).get(name)

    async def pages(self, resource: Resource, namespace: str | None = None, **fields: Any) -> AsyncIterator[Any]:
        bodies, version = await self.list(resource, namespace)
        yield bodies, version

    async def events(self, resource: Resource, namespace: str | None = None, **fields: Any) -> AsyncIterator[Any]:
        shown = " ".join(f"{name}={fields[name]}" for name in ("labels", "fields") if fields[name])
        self.asked[f"watch {resource.plural} {shown}"] += 1
        queue: asyncio.Queue[tuple[str, Body]] = asyncio.Queue()
        self._listeners.append((resource.plural, queue))
        self.watching[resource.plural] += 1
        try:
            yield "OPENED", {}
            while True:
                yield await queue.get()
        finally:
            self.watching[resource.plural] -= 1
            self._listeners.remove((resource.plural, queue))


class NoScaling:
    def __init__(self, canaries: dict[Ref, Ref] | None = None) -> None:
        self.canaries = canaries or {}

    async def canary(self, ref: Ref, cluster: Any) -> Ref | None:
        return self.canaries.get(ref)


class Rig:
    def __init__(
        self, own: World | None, account: World, *, canaries: Any = None, slots: int = 9, turn: Any = None
    ) -> None:
        self.now = NOW
        self.set_by = timedelta(0)
        """What of that is no time that passed."""
        self.account, self.own = account, own
        self.slots = Slots(slots)
        self.changes = 0
        self.unreadable: list[str] = []
        readers = Readers(
            own=own,  # type: ignore[arg-type]
            account=account,  # type: ignore[arg-type]
            scaling=NoScaling(canaries),  # type: ignore[arg-type]
            sleep=self.sleep,
            dice=lambda: 0.5,
        )
        self.following = Following(
            readers,
            labels="owner=apps",
            slots=self.slots,
            clock=lambda: self.now,
            monotonic=lambda: (self.now - self.set_by - NOW).total_seconds(),
            changed=self._changed,
            unreadable=lambda what, error: self.unreadable.append(what),
            turn=turn,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def sleep(self, seconds: float) -> None:
        if seconds > 1:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def follow(self, *refs: Ref, memory: Memory | None = None, **fields: Any) -> None:
        wanted = Wanted(images=IMAGES, own=frozenset({"web"}), memory=memory or Memory(began=self.now), **fields)
        self.following.follow(dict.fromkeys(refs or (DEPLOYMENT,), wanted))

    def set_clock(self, by: timedelta) -> None:
        self.now += by
        self.set_by += by

    async def go(self, to: datetime | None = None) -> None:
        """Time passes, and everything that can happen has."""
        if to is not None:
            self.now = to
        for subject in self.following._subjects.values():
            if subject.due is not None and subject.due <= self.now:
                self.following._touch(subject)
        for _ in range(60):
            await asyncio.sleep(0)

    def state(self) -> RolloutState:
        found: RolloutState = self.found.state
        return found

    @property
    def found(self) -> Any:
        return self.following.rollouts[DEPLOYMENT]


@asynccontextmanager
async def rigged(
    *bodies: tuple[Resource, Body], refuses: tuple[str, ...] = (), theirs: tuple[str, ...] = (), **fields: Any
) -> AsyncIterator[Rig]:
    """`refuses`: what we may not read; `theirs`: what the account may not."""
    account = World(refuses=theirs)
    own = World(account.objects, refuses=refuses)
    own._listeners = account._listeners
    for resource, body in bodies:
        account.put(resource, body)
    rig = Rig(own, account, **fields)
    try:
        yield rig
    finally:
        await rig.following.close()
        await asyncio.sleep(0)
        assert not +own.watching, own.watching
        assert not +account.watching, account.watching


SETS = tuple((REPLICA_SETS, each) for each in REVISIONS)


async def test_what_is_done_at_once_costs_one_list_and_nothing_stays_open() -> None:
    async with rigged((DEPLOYMENTS, DONE)) as rig:
        assert rig.own is not None
        rig.follow()
        assert rig.state() is RolloutState.PENDING
        await rig.go()
        assert rig.state() is RolloutState.HEALTHY
        assert (rig.following.open, +rig.own.watching, +rig.account.asked) == (frozenset(), Counter(), Counter())
        assert +rig.own.asked == Counter({"list deployments": 1, "watch deployments fields=metadata.name=web": 1})


async def test_the_first_look_waits_for_its_turn() -> None:
    turn = asyncio.Event()
    async with rigged((DEPLOYMENTS, DONE), turn=turn.wait) as rig:
        assert rig.own is not None
        rig.follow()
        await rig.go(NOW + LOOK)
        assert (rig.state(), +rig.own.asked) == (RolloutState.PENDING, Counter())
        turn.set()
        await rig.go()
        assert rig.state() is RolloutState.HEALTHY


async def test_pods_are_looked_at_when_it_takes_longer_and_let_go_when_it_is_over() -> None:
    async with rigged((DEPLOYMENTS, deployment()), (PODS, pod(running())), (PODS, good()), *SETS) as rig:
        assert rig.own is not None
        rig.follow()
        await rig.go()
        assert (rig.found.state, rig.own.watching["pods"]) == (RolloutState.PROGRESSING, 0)
        await rig.go(NOW + LOOK)
        assert rig.own.asked["watch pods labels=app=web"] == 1
        assert rig.found.reason == "container web runs and is not ready"
        assert rig.slots.free == 8
        rig.account.put(DEPLOYMENTS, DONE)
        await rig.go()
        assert (rig.found.state, +rig.own.watching, rig.slots.free) == (RolloutState.HEALTHY, Counter(), 9)
        asked = rig.own.asked.copy()
        await rig.go(at(86_400))
        assert rig.own.asked == asked


async def test_a_crash_loop_is_seen_in_seconds() -> None:
    async with rigged((DEPLOYMENTS, deployment()), (PODS, pod(running())), (PODS, good()), *SETS) as rig:
        rig.follow()
        await rig.go()
        await rig.go(NOW + LOOK)
        rig.account.put(PODS, pod(crashing(2)))
        await rig.go(at(3))
        assert rig.state() is RolloutState.PROGRESSING
        await rig.go(at(33))
        assert (rig.found.state, rig.found.culprit, rig.found.since) == (RolloutState.FAILED, Culprit.TAG, at(33))


async def test_what_an_older_list_shows_is_not_believed_of_a_newer_template() -> None:
    """The watch that is open may still show the revision before as whole."""
    async with rigged((DEPLOYMENTS, deployment())) as rig:
        rig.follow()
        await rig.go()
        rig.account.put(DEPLOYMENTS, DONE)  # of the first template; the second is applied now
        rig.account.objects["deployments"]["web"] = deployment(generation=3) | {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
        }
        rig.account.objects["deployments"]["web"]["metadata"]["resourceVersion"] = "9"
        rig.follow()
        await rig.go()
        assert rig.state() is RolloutState.PENDING
        rig.account.put(
            DEPLOYMENTS, deployment(generation=3, observed=3, status=whole(), progressing="NewReplicaSetAvailable")
        )
        await rig.go()
        assert rig.state() is RolloutState.HEALTHY


async def test_what_we_may_not_read_is_read_as_the_account() -> None:
    refuses = ("deployments", "pods", "replicasets")
    async with rigged((DEPLOYMENTS, OVERDUE), (PODS, pod(running())), (PODS, good()), *SETS, refuses=refuses) as rig:
        rig.follow()
        await rig.go()
        assert (rig.found.culprit, rig.unreadable) == (Culprit.TAG, [])
        assert rig.account.watching["pods"] == 1


async def test_without_anybody_s_rights_the_workload_speaks_for_itself() -> None:
    blind = ("pods", "replicasets")
    async with rigged((DEPLOYMENTS, OVERDUE), (PODS, pod(running())), refuses=blind, theirs=blind) as rig:
        rig.follow()
        await rig.go()
        assert (rig.found.state, rig.found.culprit) == (RolloutState.FAILED, Culprit.UNKNOWN)
        assert set(rig.unreadable) == {"pods"}


async def test_a_workload_that_nobody_may_read_is_said_to_be_so() -> None:
    async with rigged(refuses=("deployments",), theirs=("deployments",)) as rig:
        rig.follow()
        await rig.go()
        assert (rig.found.state, rig.found.reason) == (RolloutState.PENDING, "it cannot be read: no deployments")


async def test_a_failure_is_published_with_its_culprit_not_before() -> None:
    async with rigged((DEPLOYMENTS, OVERDUE), (PODS, pod(running())), (PODS, good()), *SETS) as rig:
        rig.follow()
        seen = []
        for _ in range(60):
            await asyncio.sleep(0)
            seen.append((rig.found.state, rig.found.culprit))
        assert set(seen) == {(RolloutState.PENDING, Culprit.UNKNOWN), (RolloutState.FAILED, Culprit.TAG)}


async def test_its_neighbours_are_asked_once_before_it_is_the_tag_s() -> None:
    others = [sick(f"other-{n}", f"owner-{n}", labels={"app": "other"}, made=-3_600) for n in range(2)]
    for other in others:
        other["status"]["conditions"][2]["lastTransitionTime"] = "2026-11-26T12:00:01Z"
    bodies = [(PODS, each) for each in (pod(crashing(3)), good(), *others)]
    async with rigged((DEPLOYMENTS, deployment()), *bodies, *SETS) as rig:
        assert rig.own is not None
        rig.follow()
        await rig.go()
        await rig.go(NOW + LOOK)
        assert (rig.found.state, rig.found.culprit) == (RolloutState.FAILED, Culprit.ENVIRONMENT)
        lists = rig.own.asked["list pods"]
        rig.account.put(PODS, pod(crashing(4)))
        await rig.go(at(5))
        assert rig.own.asked["list pods"] == lists


async def test_no_tag_is_blamed_while_its_neighbours_cannot_be_asked() -> None:
    async with rigged((DEPLOYMENTS, deployment()), (PODS, pod(crashing(3))), (PODS, good()), *SETS) as rig:
        assert rig.own is not None
        rig.own.down = ("pods",)
        rig.follow()
        await rig.go()
        await rig.go(NOW + LOOK)
        assert rig.state() is RolloutState.PROGRESSING
        rig.own.down = ()
        await rig.go(at(5))
        assert (rig.found.state, rig.found.culprit) == (RolloutState.FAILED, Culprit.TAG)


async def test_what_is_forgotten_while_another_is_looked_at_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    other = Ref("apps", "Deployment", "elsewhere", "other")
    async with rigged((DEPLOYMENTS, deployment())) as rig:
        canary = rig.following._readers.scaling.canary

        async def forgets(ref: Ref, cluster: Any) -> Ref | None:
            rig.following.forget([other])
            return await canary(ref, cluster)

        rig.following._readers.scaling.canary = forgets  # type: ignore[method-assign]
        rig.follow(DEPLOYMENT, other)
        await rig.go()
        assert rig.following.open == {DEPLOYMENT}
        assert not caplog.records


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)], ids=["forth", "back"])
async def test_a_clock_that_is_set_is_no_time_in_which_nothing_moved(by: timedelta) -> None:
    rolling = stateful(updatedReplicas=1, currentRevision="1")
    async with rigged((STATEFUL_SETS, rolling), (PODS, pod(running()))) as rig:
        rig.follow(STATEFUL_SET)
        await rig.go()
        await rig.go(at(5))
        assert rig.following.rollouts[STATEFUL_SET].state is RolloutState.PROGRESSING
        rig.set_clock(by)
        rig.following._wake.set()  # it looks at the clock each half minute
        await rig.go()
        assert rig.following.rollouts[STATEFUL_SET].state is RolloutState.PROGRESSING
        await rig.go(rig.now + DEADLINE - timedelta(seconds=6))
        assert rig.following.rollouts[STATEFUL_SET].state is RolloutState.PROGRESSING
        await rig.go(rig.now + timedelta(seconds=6))
        assert rig.following.rollouts[STATEFUL_SET].state is RolloutState.FAILED


async def test_pods_of_others_whose_labels_match_do_not_count() -> None:
    strange = pod(crashing(5), name="strange", owner="somebody")
    async with rigged(
        (DEPLOYMENTS, deployment()), (PODS, pod(running())), (PODS, strange), (PODS, good()), *SETS
    ) as rig:
        assert rig.own is not None
        rig.follow()
        await rig.go()
        await rig.go(NOW + LOOK)
        assert rig.found.reason == "container web runs and is not ready"
        lists = rig.own.asked["list replicasets"]
        rig.account.put(PODS, strange)
        await rig.go(at(5))
        assert rig.own.asked["list replicasets"] == lists


async def test_only_so_many_have_their_pods_watched() -> None:
    refs = [Ref("apps", "Deployment", "prod", f"web{n}") for n in range(3)]
    bodies = []
    for ref in refs:
        body = deployment()
        body["metadata"] |= {"name": ref.name, "uid": ref.name}
        bodies.append((DEPLOYMENTS, body))
    async with rigged(*bodies, slots=1) as rig:
        assert rig.own is not None
        rig.follow(*refs)
        await rig.go()
        await rig.go(NOW + LOOK)
        assert (rig.own.watching["pods"], rig.slots.free) == (1, 0)
        assert rig.own.asked["watch deployments labels=owner=apps"] == 1
        rig.following.forget(refs)
        await rig.go()
        assert (rig.slots.free, +rig.own.watching, rig.following.rollouts) == (1, Counter(), {})


async def test_the_pods_of_a_failed_one_are_let_go_and_its_verdict_stays() -> None:
    async with rigged((DEPLOYMENTS, OVERDUE), (PODS, pod(running())), (PODS, good()), *SETS) as rig:
        assert rig.own is not None
        rig.follow()
        await rig.go()
        failed = rig.found
        assert rig.own.watching["pods"] == 1
        await rig.go(NOW + KEEP)
        assert (rig.own.watching["pods"], rig.found) == (0, failed)
        rig.account.put(DEPLOYMENTS, OVERDUE)
        await rig.go(at(5_000))
        assert rig.found == failed
        rig.account.put(DEPLOYMENTS, DONE)
        await rig.go(at(6_000))
        assert rig.state() is RolloutState.HEALTHY


async def test_a_canary_is_found_and_believed_when_it_has_moved() -> None:
    known = {DEPLOYMENT: CANARY}
    async with rigged((DEPLOYMENTS, DONE), (CANARIES, canary("Succeeded", "A", "A")), canaries=known) as rig:
        rig.follow()
        await rig.go()
        assert (rig.found.state, rig.found.canary, rig.found.busy) == (RolloutState.PENDING, CANARY, True)
        rig.account.put(CANARIES, canary("Progressing", "B", "A"))
        await rig.go(at(5))
        assert rig.state() is RolloutState.PROGRESSING
        rig.account.put(CANARIES, canary("Succeeded", "B", "B"))
        await rig.go(at(80))
        assert (rig.found.state, rig.following.open) == (RolloutState.HEALTHY, frozenset())


async def test_no_tag_is_blamed_while_nobody_says_what_flagger_has_warned_of() -> None:
    known = {DEPLOYMENT: CANARY}
    async with rigged((DEPLOYMENTS, DONE), (CANARIES, canary("Progressing", "A", "A")), canaries=known) as rig:
        rig.follow()
        await rig.go()
        assert rig.own is not None
        rig.own.down = ("events",)
        rig.account.put(CANARIES, canary("Failed", "B", "A"))
        await rig.go()
        assert not rig.found.failed
        rig.own.down = ()
        await rig.go(at(5))
        assert (rig.found.state, rig.found.culprit) == (RolloutState.FAILED, Culprit.TAG)


@pytest.mark.parametrize(
    ("refuses", "theirs", "culprit"),
    [
        ((), ("events",), Culprit.ENVIRONMENT),
        (("events",), (), Culprit.ENVIRONMENT),
        (("events",), ("events",), Culprit.TAG),
    ],
    ids=["only-we-may", "only-the-account-may", "nobody-may"],
)
async def test_what_flagger_has_warned_of_is_read_by_whoever_may(
    refuses: tuple[str, ...], theirs: tuple[str, ...], culprit: Culprit
) -> None:
    """Metrics that nobody could measure are no fault of the tag."""
    known = {DEPLOYMENT: CANARY}
    begun = (CANARIES, canary("Progressing", "A", "A"))
    async with rigged((DEPLOYMENTS, DONE), begun, canaries=known, refuses=refuses, theirs=theirs) as rig:
        rig.follow()
        await rig.go()
        warned = "Halt advancement no values found for custom metric: up"
        rig.account.put(EVENTS, {"metadata": {"name": "e"}, "message": warned, "lastTimestamp": "2999-01-01T00:00:00Z"})
        rig.account.put(CANARIES, canary("Failed", "B", "A"))
        await rig.go()
        assert (rig.found.state, rig.found.culprit) == (RolloutState.FAILED, culprit)


async def test_after_a_restart_a_canary_that_had_failed_is_still_failed() -> None:
    known = {DEPLOYMENT: CANARY}
    async with rigged((DEPLOYMENTS, DONE), (CANARIES, canary("Failed", "B", "A")), canaries=known) as rig:
        rig.follow()
        await rig.go()
        assert rig.state() is RolloutState.PENDING, "just applied: Flagger has not looked"
    async with rigged((DEPLOYMENTS, DONE), (CANARIES, canary("Failed", "B", "A")), canaries=known) as rig:
        told = Rollout(ref=DEPLOYMENT, state=RolloutState.FAILED, culprit=Culprit.TAG, images=IMAGES, since=at(-600))
        rig.follow(memory=Memory(began=at(-600), told=told))
        await rig.go()
        assert (rig.found.state, rig.found.culprit, rig.found.since) == (RolloutState.FAILED, Culprit.TAG, at(-600))


async def test_a_fault_of_ours_ends_no_following(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = [True]

    def judging(*args: Any, **more: Any) -> Any:
        if faults:
            faults.clear()
            raise KeyError("nobody has thought of it")
        return judge(*args, **more)

    monkeypatch.setattr(following, "judge", judging)
    async with rigged((DEPLOYMENTS, DONE)) as rig:
        rig.follow()
        await rig.go()
        assert rig.state() is RolloutState.PENDING
        assert "unexpected fault while Deployment.apps prod/web" in caplog.text
        await rig.go(at(30))
        assert rig.state() is RolloutState.HEALTHY
