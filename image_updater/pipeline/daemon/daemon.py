"""The daemon: polls registries, listens to hints, and runs the line over each branch when something there may change.

It decides nothing. Answers come from the `Selector`, plans and pushes from `pipeline.update`; this module only says
when. All of its state can be lost: after a restart the store and Git say the same again. Its objects come from files
(`image-updater run`) or from a cluster (`image-updater controller`); nothing else differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from image_updater.api.model import Objects
from image_updater.errors import ImageUpdaterError, SpecError, Transient, Waiting
from image_updater.images import parse_name
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.daemon.branches import Branches
from image_updater.pipeline.daemon.following import Following, Group, differing
from image_updater.pipeline.daemon.hearing import Heard
from image_updater.pipeline.daemon.hints import Hints, Taken
from image_updater.pipeline.daemon.observing import Nobody
from image_updater.pipeline.daemon.regating import STEP, Regating
from image_updater.pipeline.daemon.runs import Runs
from image_updater.pipeline.daemon.scheduler import Schedule
from image_updater.pipeline.daemon.tracking import Tracking
from image_updater.pipeline.daemon.watching import Reading
from image_updater.pipeline.tasks import Tasks, pause
from image_updater.pipeline.update import update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.daemon.metrics import Metrics
    from image_updater.pipeline.daemon.observing import Observer
    from image_updater.pipeline.daemon.watching import ObjectSource
    from image_updater.pipeline.keeping import Busy
    from image_updater.pipeline.report import AutomationReport, PullResolver, Secrets, UpdateReport, UpdateRequest
    from image_updater.pipeline.rollback.evidence import Noting, Taking
    from image_updater.pipeline.session import Session
    from image_updater.settings import Settings

log = logging.getLogger("image_updater.run")

SOON = 2.0
"""Seconds until a look at a branch for which nothing is urgent."""


class Daemon:
    """`await run(stop)` until `stop` is set. `hint()` and `request()` may be called at any time from the same event
    loop.
    """

    def __init__(
        self,
        *,
        source: ObjectSource,
        objects: Objects,
        selector: Selector,
        secrets: Secrets,
        settings: Settings,
        environment: Mapping[str, str],
        metrics: Metrics,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        dice: Callable[[], float],
        session: Session | None = None,
        apply: Callable[[UpdateRequest], Awaitable[UpdateReport]] = update,
        observer: Observer | None = None,
        pulls: PullResolver | None = None,
        busy: Busy | None = None,
        step: float = STEP,
    ) -> None:
        """`objects` are those of the start. `pulls` finds the pull secrets that annotated workloads have. `busy` says
        what is being rolled out at a site. `step`: seconds between looks at the wall clock.
        """
        self._source = source
        self.objects = objects
        self._selector = selector
        self._secrets = secrets
        self._settings = settings
        self.metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._observer = Tracking(observer or Nobody(), selector=selector, clock=clock, take_back=self.take_back)
        self._policies: dict[ObjectKey, ImagePolicy] = {}
        self._polls: Schedule[Group] = Schedule(dice)
        self._looks: Schedule[str] = Schedule(dice)
        self._following = Following(selector, self._polls, clock=clock, monotonic=monotonic)
        self._branches = Branches()
        self._hints = Hints()
        self._checking: Counter[str] = Counter()
        """Policies that a hint is checking now."""
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._bad: ImageUpdaterError | None = None
        self._heard = Heard(self._observer)
        self._started = self._stopping = False
        self._runs = Runs(
            branches=self._branches,
            objects=lambda: self.objects,
            selector=selector,
            secrets=secrets,
            settings=settings,
            environment=environment,
            session=session,
            metrics=metrics,
            observer=self._observer,
            tasks=self._tasks,
            looks=self._looks,
            clock=clock,
            monotonic=monotonic,
            apply=apply,
            busy=self._busy,
            follow=self._follow,
            wake=self._wake.set,
            pulls=pulls,
            later=lambda key, until: self._regating.later(key, until),
            rolling=busy,
        )
        self._regating = Regating(
            selector,
            self._following,
            clock=clock,
            tasks=self._tasks,
            wake=self._wake.set,
            heard=self._compare,
            look=self._look_again,
            step=step,
        )
        self.holding = self._runs.holding
        if isinstance(secrets, CurrentSecrets):
            secrets.objects = objects.secrets
        metrics.objects_good.set(1)

    # ------------------------------------------------------------------------------------------------- from outside

    def hint(self, image: str, tag: str | None = None) -> bool:
        """Someone says that `image` got `tag`: check that image now. False: nobody looks at it, or too many wait.

        Only a hint (law 9): it causes one HEAD of one tag for each identity, or one list, never a decision by itself.
        """
        try:
            name = parse_name(image).canonical
        except SpecError:
            name = ""
        if self._stopping or not self._following.has(name):
            self.metrics.hints.labels("unknown").inc()
            return False
        taken = self._hints.put(name, tag)
        if taken is Taken.STARTED:
            self._tasks.start(self._check_hints(name), then=lambda: self._hints.end(name))
        elif taken is Taken.DROPPED:
            self.metrics.hints.labels("dropped").inc()
        return taken is not Taken.DROPPED

    async def check(self, policy: ObjectKey) -> bool:
        """Someone asks for this policy's list now; returns when it was judged. False: it is not followed."""
        group = self._following.group(str(policy))
        if group is None or self._stopping:
            return False
        members = self._following.members(group)
        await self._ask(members, partial(self._selector.hint, parse_name(members[0].image), None, members))
        return True

    async def look(self, automation: ObjectKey) -> bool:
        """Someone asks for a run over this automation's branch; returns at its end. False: it has none.

        The lists of policies that stand only in Git are asked for first: they have no object that could be asked.
        """
        branch = self._branches.of(automation)
        if branch is None or self._stopping:
            return False
        implicit = [policy for policy in map(self._following.spec, branch.implicit) if policy is not None]
        by_image: dict[str, list[ImagePolicy]] = {}
        for policy in implicit:
            if policy.found_by in (None, automation):
                by_image.setdefault(policy.image, []).append(policy)
        await asyncio.gather(
            *(
                self._ask(members, partial(self._selector.hint, parse_name(image), None, members))
                for image, members in by_image.items()
            )
        )
        await self._runs.run_now(branch)
        return True

    async def take_back(self, automation: ObjectKey, taking: Taking) -> AutomationReport:
        """A rollback by this automation: `taking` says what, on the tip that is written on."""
        return await self._runs.take_back(automation, taking)

    async def note(self, automation: ObjectKey, noting: Noting) -> AutomationReport:
        """What this automation keeps in its branch."""
        return await self._runs.note(automation, noting)

    def _look_again(self, key: str) -> None:
        branch = self._branches.by_key.get(key)
        if branch is not None:
            self._runs.dirty(branch, routine=True)

    def released(self, automation: ObjectKey) -> None:
        """What this automation waited for has ended (a canary): look at its branch."""
        branch = self._branches.of(automation)
        if branch is not None and not self._stopping:
            self._runs.dirty(branch)

    def moved(self, repository: ObjectKey) -> None:
        """Somebody saw a new commit in this GitRepository: look at what is written there."""
        for branch in self._branches:
            if branch.repository.key == repository:
                self._runs.dirty(branch, routine=True)

    async def secrets_changed(self, policies: Iterable[ObjectKey], repositories: Iterable[ObjectKey]) -> None:
        """Secrets that these refer to are other ones now: ask again with them."""
        now = self._monotonic()
        again = [self._policies[key] for key in policies if key in self._policies]
        await self._following.renew(again)
        for policy in again:
            group = self._following.group(policy_name(policy))
            if group is not None:
                self._polls.hurry(group, now)
        for key in repositories:
            self.moved(key)
        self._wake.set()

    def health(self) -> tuple[bool, Mapping[str, object]]:
        details: dict[str, object] = {
            "status": "stopping" if self._stopping else "ok",
            "policies": len(self._following),
            "branches": len(self._branches.by_key),
        }
        if self._bad is not None:
            details["status"] = "degraded"
            details["objects"] = f"the last good reading is in use: {self._bad}"
        if self._branches.invalid:
            details["invalid"] = {str(key): str(error) for key, error in self._branches.invalid.items()}
        return True, details

    def ready(self) -> bool:
        """Every policy has an answer, or a reason why there is none, from after the start."""
        answers = self._selector.answers
        return self._started and all(
            (answer := answers.get(name)) is not None and not isinstance(answer.error, Waiting)
            for name in self._following.names
        )

    def metrics_text(self) -> bytes:
        return self.metrics.text()

    def states(self) -> Mapping[str, int]:
        """Policies by state."""
        counted = {"chosen": 0, "none": 0, "failed": 0}
        for answer in list(self._selector.answers.values()):
            state = "failed" if answer.error is not None else "none" if answer.selection is None else "chosen"
            counted[state] += 1
        return counted

    def undeployed(self) -> tuple[int, float]:
        """How many chosen tags Git does not hold, and for how many seconds the oldest of them."""
        return self._runs.undeployed.count(), self._runs.undeployed.oldest()

    # ------------------------------------------------------------------------------------------------- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then let what is under way finish its push, or drop it between two steps."""
        await self._adopt(Reading(objects=self.objects))
        self._started = True
        background = [asyncio.create_task(self._poll()), asyncio.create_task(self._watch())]
        try:
            stopped = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for task in done - {stopped}:
                task.result()
        finally:
            self._stopping = True
            log.info("stopping")
            for task in background:
                task.cancel()
            pushing = {branch.task for branch in self._branches}
            for each in self._tasks:
                if each not in pushing:
                    each.cancel()
            await self._observer.close()
            await self._runs.drain()
            await self._tasks.end()

    async def _poll(self) -> None:
        """Start what is due; sleep until the next."""
        while True:
            self._wake.clear()
            now = self._monotonic()
            along = False
            while (group := self._polls.pop(now, along=along)) is not None:
                along = True
                await self._slots.acquire()
                self._tasks.start(self._check(group), then=self._slots.release)
            while (key := self._looks.pop(now)) is not None:
                self._runs.dirty(self._branches.by_key[key], routine=True)
            due = [at - self._monotonic() for at in (self._polls.next_due(), self._looks.next_due()) if at is not None]
            if (wait := self._regating.begin()) is not None:
                due.append(wait)
            await pause(self._wake, min(due, default=None))

    async def _watch(self) -> None:
        while True:
            reading = await self._source.next()
            if reading.objects is None:
                self._bad = reading.error
                self.metrics.reloads.labels("bad").inc()
                self.metrics.objects_good.set(0)
                log.error("the objects are invalid, the last good ones stay in use: %s", reading.error)
                continue
            self._bad = None
            self.metrics.reloads.labels("good").inc()
            self.metrics.objects_good.set(1)
            log.log(
                logging.INFO if reading.policies is None else logging.DEBUG, "the objects changed and were read again"
            )
            await self._adopt(reading)

    async def _adopt(self, reading: Reading) -> None:
        """Make these objects the ones in use: schedules for what is new, an end for what is gone."""
        objects = reading.objects
        assert objects is not None
        self.objects = objects
        if isinstance(self._secrets, CurrentSecrets):
            self._secrets.objects = objects.secrets
        policies = differing(self._policies, objects.policies) if reading.policies is None else reading.policies
        before = dict(self._branches.invalid)
        implicit = {name for branch in self._branches for name in branch.implicit}
        moved = self._branches.adopt(objects, policies)
        for branch in moved.gone:
            self._runs.drop(branch)
        if self._branches.invalid != before:
            for key, error in self._branches.invalid.items():
                if str(error) != str(before.get(key)):
                    log.error("%s", error)
            self._observer.refused(dict(self._branches.invalid))
        if moved.gone:
            implicit -= {name for branch in self._branches for name in branch.implicit}
            self._drop(implicit)
        for key, policy in policies.items():
            if policy is None:
                self._policies.pop(key, None)
            else:
                self._policies[key] = policy
        self._drop([str(key) for key, policy in policies.items() if policy is None])
        self._selector.situations.adopt(objects, policies)
        await self._follow(policy for policy in policies.values() if policy is not None)
        now = self._monotonic()
        for branch in self._branches:
            self._looks.put(branch.key, interval=branch.interval, due=now + branch.interval)
        for home in moved.touched:
            self._runs.dirty(self._branches.by_key[home])
        for home in moved.around:
            # Five hundred Kustomizations that are made together are no reason for five hundred runs.
            self._looks.hurry(home, now + SOON)
        self._wake.set()

    def _drop(self, names: Collection[str]) -> None:
        self._following.drop(names)
        self._heard.forget(names)
        self._regating.forget(names)

    async def _follow(self, policies: Iterable[ImagePolicy], gone: Iterable[str] = ()) -> None:
        self._drop(tuple(gone))
        outcomes = await self._following.follow(policies)
        known = {name: each for name, each in outcomes.items() if not isinstance(each.error, Waiting)}
        if known:
            self._heard.tell(known, restored=True)
            self._regating.answered(known)
        self._wake.set()

    # ------------------------------------------------------------------------------------------------- checks

    async def _check(self, group: Group) -> None:
        """One poll: list, judge, and wake the branches whose answer changed."""
        members = self._following.members(group)
        if not members:
            self._polls.drop(group)
            return
        outcomes = await self._selector.refresh(members)
        self._compare(outcomes)
        errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
        until = max(
            (error.until for error in errors if isinstance(error, Transient) and error.until is not None), default=None
        )
        now = self._monotonic()
        not_before = now + (until - self._clock()).total_seconds() if until is not None else None
        # A Secret that is missing may come soon: objects are made in any order.
        failed = any(isinstance(error, Transient) or error.reason == "SecretNotFound" for error in errors)
        self._polls.done(group, now, failed=failed, not_before=not_before)
        self._wake.set()

    async def _check_hints(self, name: str) -> None:
        """All hints of one image, those too that come while they are checked."""
        while asked := self._hints.take(name):
            members = self._following.of_image(name)
            for tag in asked:
                await self._ask(members, partial(self._selector.hint, parse_name(name), tag, members))
                self.metrics.hints.labels("checked").inc()

    async def _ask(self, members: Sequence[ImagePolicy], ask: Callable[[], Awaitable[Mapping[str, Outcome]]]) -> None:
        """Somebody waits for these answers: pushes that they may be in wait for them, too."""
        names = [policy_name(member) for member in members]
        self._checking.update(names)
        try:
            self._compare(await ask())
        finally:
            for each in names:
                self._checking[each] -= 1
                if not self._checking[each]:
                    del self._checking[each]
            for branch in self._branches:
                branch.wake.set()

    def _compare(self, outcomes: Mapping[str, Outcome]) -> None:
        """Tell what is new, and wake the branches that it may matter to."""
        self._following.unasked.difference_update(outcomes)
        outcomes = {name: outcome for name, outcome in outcomes.items() if name in self._following}
        changed = self._heard.tell(outcomes)
        self._regating.answered(outcomes)
        for branch in self._branches:
            if not changed.isdisjoint(branch.names):
                self._runs.dirty(branch)
            else:
                # Whoever waits for checks under way looks again.
                branch.wake.set()

    # ------------------------------------------------------------------------------------------------- branches

    def _busy(self, branch: Branch) -> bool:
        """Is a check under way that was hinted, or that is a policy's first, or whose list changed, for this branch?"""
        return any(
            not branch.names.isdisjoint(names)
            for names in (self._checking, self._selector.judging, self._following.unasked)
        )
