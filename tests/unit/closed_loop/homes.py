"""One controller and its small cluster, without a scheduler: every step of the loop is asked for, and ends before the
next one begins.

Real are the Selector with its gates, the line, the mirror and the queue on a bare repository on disk, the registry's
protocol, the loop of the controller (closing, pursuing, retreat, proving, quarantines, breakers), status as values.
The cluster is a dict: what is applied is what Git holds, and what becomes of it the images' bytes say.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from image_updater.api.model import LabelSelector, ObjectKey
from image_updater.controller.context import Context
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.closing import Closing
from image_updater.controller.loop.metrics import LoopMetrics
from image_updater.controller.loop.proving import Proving, policy_entry
from image_updater.controller.loop.quarantines import Quarantines
from image_updater.controller.rollouts import Rollouts, to_status
from image_updater.controller.status import StatusWriter
from image_updater.controller.update.saying import Saying
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.branches import Branch
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.observing import Nobody
from image_updater.pipeline.daemon.scheduler import Window
from image_updater.pipeline.daemon.tracking import Tracking
from image_updater.pipeline.report import Mode, UpdateRequest
from image_updater.pipeline.session import Session
from image_updater.pipeline.update import update
from image_updater.settings import Settings
from image_updater.store import Store
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from tests.unit.closed_loop.clusters import SPACE, Circles, Events, FakeCluster, Hooked, Killed, WatchedMirrors, ref_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.report import AutomationReport, UpdateReport
    from image_updater.pipeline.rollback.evidence import Taking
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.pipeline.rollback.reverting import Answer
    from image_updater.registry import RegistryClient
    from image_updater.render import Renderer

AUTOMATION = ObjectKey(SPACE, "all")
KUSTOMIZATION = ObjectKey(SPACE, "apps")
ROUNDS = 25
"""Looks after which a home that is still at work is said to run in circles."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """What the homes of one world share."""

    clock: Callable[[], datetime]
    client: RegistryClient
    renderer: Renderer
    bare: Path
    folder: Path
    digest_of: Callable[[str], str | None]
    """Image reference → the bytes that a kubelet would pull now."""
    is_good: Callable[[str], bool]
    """Do pods of these bytes become ready?"""
    apps: tuple[str, ...]
    image_in: Callable[[str], str]
    """App → its image as the tip has it."""
    is_broken: Callable[[str], bool]
    """App → can nothing run as the tip has configured it?"""
    tip: Callable[[], str]


@dataclass(kw_only=True)
class Pods:
    """One Deployment as it runs."""

    image: str
    digest: str | None
    since: datetime
    broken: bool
    revision: str
    """What was applied when they were made."""
    state: RolloutState = RolloutState.PROGRESSING
    culprit: Culprit = Culprit.UNKNOWN


class Observer(Nobody):
    """What the controller keeps of what was asked, in status; and when nothing may be touched."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def reverted(self, answer: Answer) -> None:
        home = self._home
        entry = home.cluster.cache.get("ImagePolicy", answer.spec.key)
        if entry is not None:
            home.saying.amend(entry, *loopstatus.reverted(answer, home.saying.fields(entry)))

    def forbids(self, placed: Sequence[Placement]) -> str | None:
        return self._home.closing.promoting(placed)

    def handled(self, policy: str) -> datetime | None:
        home = self._home
        entry = home.cluster.cache.get("ImagePolicy", ObjectKey(*policy.split("/")))
        return loopstatus.requested(home.status.current(entry)) if entry is not None else None


@dataclass
class Home:
    """A controller, its cluster and its cache. `begin()` is its start; `end()` leaves nothing but the cluster."""

    name: str
    common: Common
    cluster: FakeCluster
    hooked: Hooked = field(default_factory=Hooked)
    outage: bool = False
    """The registry, a node or the quota: no pod that is new becomes ready."""
    pods: dict[str, Pods] = field(default_factory=dict)
    applied: str = ""
    starts: int = 0
    errors: list[str] = field(default_factory=list)
    """Of the last look."""
    store: Store | None = None

    def begin(self, *, keep: bool = True) -> None:
        common, self.starts = self.common, self.starts + 1
        if self.store is None or not keep:
            if self.store is not None:
                self.store.close()
            self.store = Store.open(None, clock=common.clock)
        self.mirrors = WatchedMirrors(common.folder / f"{self.name}-{self.starts}", common.clock, self.hooked)
        self.events = Events()
        self.again = True
        self.status = StatusWriter(
            self.cluster,  # type: ignore[arg-type]
            self.cluster.cache,
            self.events,  # type: ignore[arg-type]
            clock=common.clock,
        )
        self.session = Session(store=self.store, renderer=common.renderer, mirrors=self.mirrors, facts=None)
        self.settings = Settings(cache=common.folder / self.name, leader_election=False)
        self.context = context = Context(
            cluster=self.cluster,  # type: ignore[arg-type]
            cache=self.cluster.cache,
            status=self.status,
            secrets=lambda _: None,  # type: ignore[arg-type]
            recorder=self.events,  # type: ignore[arg-type]
            settings=self.settings,
            session=self.session,
            metrics=Metrics(),
            owned=LabelSelector(),
            environment={},
            clock=common.clock,
            monotonic=lambda: 0.0,
            dice=random.Random(1).random,
            sleep=self._sleep,
        )
        self.selector = Selector(
            store=self.store,
            secrets=lambda _: None,
            environment={},
            clock=common.clock,
            registry=common.client,
            durable=True,
        )
        self.saying = Saying(self.status)
        self.sleeping = 0
        self.alarm = asyncio.Event()
        self.tracking = Tracking(
            Observer(self), selector=self.selector, clock=common.clock, take_back=self.take_back, sleep=self._sleep
        )
        self.rollouts = Rollouts()
        metrics = LoopMetrics(context.metrics.registry)

        def entry(policy: str) -> Any:
            return policy_entry(context, policy)

        proving = Proving(
            context,
            self.saying,
            self.selector.situations,
            metrics,
            entry=entry,
            automations=lambda _: (),
            note=self._no_note,
        )
        self.closing = Closing(
            context,
            rollouts=self.rollouts,
            saying=self.saying,
            selector=self.selector,
            proving=proving,
            metrics=metrics,
            entry=entry,
            take_back=self.take_back,
            released=self._released,
        )
        # Failures are followed step by step here, not by tasks of their own.
        self.closing._pursuing.run = self._followed  # type: ignore[method-assign,assignment]
        self.quarantines = Quarantines(context, self.saying, self.selector.situations, metrics)
        self.selector.situations.subscribe(self._changed)
        self.adopted: object = None
        self._adopt()
        self.closing.remember()

    async def end(self) -> None:
        """As a kill leaves it: what was not written is lost."""
        await self.tracking.close()
        await self.closing.close()
        await self.status.close(grace=0.0)
        self.mirrors.close()

    async def close(self) -> None:
        await self.end()
        if self.store is not None:
            self.store.close()

    async def _sleep(self, _: float) -> None:
        self.sleeping += 1
        try:
            await self.alarm.wait()
        finally:
            self.sleeping -= 1

    async def _followed(self, _: object) -> None:
        return

    async def _no_note(self, *_: object) -> AutomationReport:
        raise AssertionError("nothing is kept in Git here")

    def _released(self, _: ObjectKey) -> None:
        self.again = True

    def _changed(self, _: frozenset[str]) -> None:
        self.again = True

    # ---------------------------------------------------------------------------------------------- the image half

    @property
    def branch(self) -> Branch:
        objects = self.cluster.cache.objects()
        (repository,), automations = objects.repositories, objects.automations
        return Branch(
            key="main",
            repository=repository,
            branch="main",
            automations=automations,
            window=Window(batch=automations[0].batch),
        )

    def _adopt(self) -> None:
        objects = self.cluster.cache.objects()
        if objects != self.adopted:
            self.adopted = objects
            self.selector.situations.adopt(objects)

    def _request(self, **more: Any) -> UpdateRequest:
        return UpdateRequest(
            objects=self.cluster.cache.objects(),
            settings=self.settings,
            secrets=lambda _: None,
            now=self.common.clock(),
            mode=Mode.PUSH,
            environment={},
            selector=self.selector,
            session=self.session,
            automations=frozenset({AUTOMATION}),
            apart=True,
            busy=self.closing.busy,
            **more,
        )

    async def take_back(self, automation: ObjectKey, taking: Taking) -> AutomationReport:
        report = await update(self._request(rollback=taking))
        part = report.automations[str(automation)]
        if part.commit is not None:
            self.tracking.pushed(self.branch, automation, part.commit)
            self.again = True
        return part

    def _answered(self, outcomes: Mapping[str, Outcome]) -> None:
        self.errors += [f"{name}: {each.error}" for name, each in outcomes.items() if each.error is not None]
        self.tracking.answered(outcomes)

    async def poll(self) -> None:
        """The lists are asked for, the line runs over the branch, and all that follows from that."""
        self.errors = []
        self._adopt()
        self._answered(await self.selector.refresh(self.cluster.cache.objects().policies))
        await self._run()
        await self.calm()

    async def _run(self) -> UpdateReport:
        self.again = False
        report = await update(self._request())
        self.report = report
        self.errors += [each.message for each in report.failures]
        self.tracking.updated(self.branch, report, None)
        self.closing.ran(self.branch, report)
        return report

    async def wake(self) -> None:
        """Time has gone by: what waits for a moment looks whether it has come."""
        alarm, self.alarm = self.alarm, asyncio.Event()
        alarm.set()
        await asyncio.sleep(0)
        self.closing._sweep()
        await self.calm()

    async def calm(self) -> None:
        """Until nothing is under way any more."""
        for _ in range(ROUNDS):
            self._adopt()
            closing = self.closing
            while closing._dirty:
                closing._look(closing._dirty.pop())
            for failure in tuple(closing._failures.values()):
                if not failure.over:
                    await closing._pursuing.step(failure)
            await self.quarantines._reconcile()
            tasks = self.tracking.reverting._tasks
            while len(tuple(tasks)) > self.sleeping:
                await asyncio.sleep(0.0005)
            await self.status.settle()
            self._adopt()
            objects = self.cluster.cache.objects()
            if not self.again and not closing._dirty and objects == self.adopted:
                return
            self._answered(await self.selector.regate(objects.policies))
            await self._run()
        raise Circles(f"{self.name} is still at work after {ROUNDS} looks")

    # ---------------------------------------------------------------------------------------------- the cluster

    def sync(self) -> bool:
        """Apply what Git holds. True: some workload has another template now."""
        common, moved = self.common, False
        self.applied = common.tip()
        for app in common.apps:
            image, broken, known = common.image_in(app), common.is_broken(app), self.pods.get(app)
            if known is None or (known.image, known.broken) != (image, broken):
                digest, now = common.digest_of(image), common.clock()
                self.pods[app] = Pods(image=image, digest=digest, since=now, broken=broken, revision=self.revision)
                moved = True
        return moved

    def judge(self) -> None:
        """The kubelet and the deadlines have come to their end."""
        now = self.common.clock()
        for pods in self.pods.values():
            new = (RolloutState.HEALTHY, Culprit.UNKNOWN)
            if pods.digest is None or (self.outage and pods.state is not RolloutState.HEALTHY):
                new = (RolloutState.FAILED, Culprit.ENVIRONMENT)
            elif pods.broken or not self.common.is_good(pods.digest):
                new = (RolloutState.FAILED, Culprit.TAG)
            if (pods.state, pods.culprit) != new:
                (pods.state, pods.culprit), pods.since = new, now - timedelta(seconds=10)

    def publish(self) -> None:
        """The sync half says what it has seen, to the hub and in status."""
        revision = self.revision
        seen = tuple(
            Rollout(
                ref=ref_of(app),
                state=pods.state,
                culprit=pods.culprit,
                reason="its rollout failed: the pods are not ready" if pods.state is RolloutState.FAILED else "",
                since=pods.since,
                images=(("main", pods.image),),
                failing=("main",) if pods.state is RolloutState.FAILED else (),
            )
            for app, pods in self.pods.items()
        )
        revisions = {ref_of(app): pods.revision for app, pods in self.pods.items()}
        status = {
            "lastAppliedRevision": revision,
            "rollouts": to_status(seen, revisions),
            "rolloutsSettled": "content",
        }
        self.cluster.set_status(
            "Kustomization", "apps", {name: value for name, value in status.items() if value is not None}
        )
        self.rollouts.publish(KUSTOMIZATION, revision, seen, revisions)

    @property
    def revision(self) -> str:
        return f"main@sha1:{self.applied}"

    def breaker(self, app: str) -> str:
        policy = next(each for each in self.cluster.cache.objects().policies if each.key.name == app)
        return self.selector.situations.of(policy).breaker

    async def killed_while(self, work: Callable[[], Any]) -> bool:
        """Do it; True where the process was killed in the middle of it."""
        try:
            await work()
        except (Killed, asyncio.CancelledError):
            return True
        finally:
            self.hooked.before = self.hooked.after = None
            for queue in self.mirrors._queues.values():
                with suppress(Killed, asyncio.CancelledError):
                    await queue.close()
        return False
