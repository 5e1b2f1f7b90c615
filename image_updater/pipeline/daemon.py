"""The daemon: polls registries, listens to hints, and runs the line over each branch when something there may change.

It decides nothing. Answers come from the `Selector`, plans and pushes from `pipeline.update`; this module only says
when. All of its state can be lost: after a restart the store and Git say the same again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from image_updater.errors import ImageUpdaterError, SpecError, Transient, Waiting
from image_updater.images import parse_name
from image_updater.pipeline.branches import branches_of
from image_updater.pipeline.hints import Hints, Taken
from image_updater.pipeline.report import Mode, UpdateRequest
from image_updater.pipeline.scheduler import Schedule
from image_updater.pipeline.selection import Selector, policy_name
from image_updater.pipeline.tasks import Tasks, pause
from image_updater.pipeline.update import update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, Objects
    from image_updater.pipeline.branches import Branch
    from image_updater.pipeline.metrics import Metrics
    from image_updater.pipeline.outcome import Outcome
    from image_updater.pipeline.report import UpdateReport
    from image_updater.pipeline.secrets import CurrentSecrets
    from image_updater.pipeline.session import Session
    from image_updater.pipeline.watching import ObjectFiles
    from image_updater.settings import Settings

log = logging.getLogger("image_updater.run")

LOOK_EVERY = 1.0
"""Seconds between looks at the objects files."""

Group = tuple[str, str]
"""Canonical image name and identity: one list."""


class Daemon:
    """`await run(stop)` until `stop` is set. `hint()` may be called at any time from the same event loop."""

    def __init__(
        self,
        *,
        files: ObjectFiles,
        objects: Objects,
        selector: Selector,
        secrets: CurrentSecrets,
        settings: Settings,
        environment: Mapping[str, str],
        metrics: Metrics,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        dice: Callable[[], float],
        session: Session | None = None,
        apply: Callable[[UpdateRequest], Awaitable[UpdateReport]] = update,
    ) -> None:
        self._files = files
        self.objects = objects
        self._selector = selector
        self._secrets = secrets
        self._settings = settings
        self._environment = environment
        self.metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._apply = apply
        self._session = session
        self._polls: Schedule[Group] = Schedule(dice)
        self._looks: Schedule[str] = Schedule(dice)
        self._groups: dict[Group, tuple[ImagePolicy, ...]] = {}
        self._names: dict[str, Group] = {}
        self._branches: dict[str, Branch] = {}
        self._hints = Hints()
        self._checking: Counter[str] = Counter()
        """Policies that a hint is checking now."""
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._bad: ImageUpdaterError | None = None
        self._failed: dict[str, str | None] = {}
        """Why each policy's last check failed: said once, not at every poll."""
        self._invalid: dict[str, str] = {}
        self._started = self._stopping = False
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
        if self._stopping or not any(group[0] == name for group in self._groups):
            self.metrics.hints.labels("unknown").inc()
            return False
        taken = self._hints.put(name, tag)
        if taken is Taken.STARTED:
            self._tasks.start(self._check_hints(name), then=lambda: self._hints.end(name))
        elif taken is Taken.DROPPED:
            self.metrics.hints.labels("dropped").inc()
        return taken is not Taken.DROPPED

    def health(self) -> tuple[bool, Mapping[str, object]]:
        details: dict[str, object] = {
            "status": "stopping" if self._stopping else "ok",
            "policies": sum(len(group) for group in self._groups.values()),
            "branches": len(self._branches),
        }
        if self._bad is not None:
            details["status"] = "degraded"
            details["objects"] = f"the last good reading is in use: {self._bad}"
        if self._invalid:
            details["invalid"] = dict(self._invalid)
        return True, details

    def ready(self) -> bool:
        """Every policy has an answer, or a reason why there is none, from after the start."""
        answers = self._selector.answers
        return self._started and all(
            (answer := answers.get(name)) is not None and not isinstance(answer.error, Waiting) for name in self._names
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

    # ------------------------------------------------------------------------------------------------- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then let what is under way finish its push, or drop it between two steps."""
        await self._adopt(self.objects)
        self._started = True
        for branch in self._branches.values():
            # Where nothing is known yet, the first answer will wake it.
            if not branch.policies or any(self._answer(name)[0] for name in branch.policies):
                self._dirty(branch)
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
            await self._drain()

    async def _drain(self) -> None:
        pushing = [branch.task for branch in self._branches.values() if branch.task is not None]
        idle = [task for task in self._tasks if task not in pushing]
        for branch in self._branches.values():
            branch.wake.set()
        for task in idle:
            task.cancel()
        if pushing:
            _, late = await asyncio.wait(pushing, timeout=self._settings.stop_timeout)
            for task in late:
                log.warning("a push did not end in time and is abandoned (--stop-timeout)")
                task.cancel()
        await self._tasks.end()

    async def _poll(self) -> None:
        """Start what is due; sleep until the next."""
        while True:
            self._wake.clear()
            now = self._monotonic()
            while (group := self._polls.pop(now)) is not None:
                await self._slots.acquire()
                self._tasks.start(self._check(group), then=self._slots.release)
            while (key := self._looks.pop(now)) is not None:
                self._dirty(self._branches[key], routine=True)
            due = [at for at in (self._polls.next_due(), self._looks.next_due()) if at is not None]
            await pause(self._wake, min(due) - self._monotonic() if due else None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            reading = await asyncio.to_thread(self._files.look)
            if reading is None:
                continue
            if reading.objects is None:
                self._bad = reading.error
                self.metrics.reloads.labels("bad").inc()
                self.metrics.objects_good.set(0)
                log.error("the objects are invalid, the last good ones stay in use: %s", reading.error)
                continue
            self._bad = None
            self.metrics.reloads.labels("good").inc()
            self.metrics.objects_good.set(1)
            log.info("the objects changed and were read again")
            await self._adopt(reading.objects)
            for branch in self._branches.values():
                self._dirty(branch)

    async def _adopt(self, objects: Objects) -> None:
        """Make `objects` the ones in use: schedules for what is new, an end for what is gone."""
        self.objects = objects
        self._secrets.objects = objects.secrets
        self._make_branches(objects)
        implicit = [
            answer.spec
            for name, answer in self._selector.answers.items()
            if any(name in branch.implicit for branch in self._branches.values())
        ]
        gone = self._names.keys() - {policy_name(policy) for policy in (*objects.policies, *implicit)}
        self._selector.forget(gone)
        self._groups.clear()
        self._names.clear()
        await self._follow((*objects.policies, *implicit))
        for key in self._polls.keys() - self._groups.keys():
            self._polls.drop(key)
        self._wake.set()

    def _make_branches(self, objects: Objects) -> None:
        branches, self._invalid = branches_of(objects, self._branches)
        for name, reason in self._invalid.items():
            log.error("ImageUpdateAutomation %s: %s", name, reason)
        for key in self._branches.keys() - branches.keys():
            self._branches[key].wake.set()
            self._looks.drop(key)
        self._branches = branches
        now = self._monotonic()
        for key, branch in branches.items():
            self._looks.put(key, interval=branch.interval, due=now + branch.interval)

    async def _follow(self, policies: Iterable[ImagePolicy]) -> None:
        """Poll these policies too: one list for each image and identity, at the shortest of their intervals."""
        new: list[ImagePolicy] = []
        for policy in policies:
            name = policy_name(policy)
            if policy.suspend or name in self._names:
                continue
            try:
                source = self._selector.source(policy)
            except SpecError as error:
                self._invalid[name] = str(error)
                log.error("ImagePolicy %s: %s", name, error)  # noqa: TRY400 - a user's fault: no traceback
                continue
            self._names[name] = source.key
            self._groups[source.key] = (*self._groups.get(source.key, ()), policy)
            if name not in self._selector.answers:
                new.append(policy)
        restored = await self._selector.restore(new)
        now = self._monotonic()
        for group, members in self._groups.items():
            interval = min(member.interval for member in members).total_seconds()
            ages = [self._age(restored[name]) for member in members if (name := policy_name(member)) in restored]
            fresh = [age for age in ages if age is not None]
            wait = interval if not ages else max(0.0, interval - max(fresh)) if len(fresh) == len(ages) else 0.0
            self._polls.put(group, interval=interval, due=now + wait)
            if wait == 0:
                self._polls.hurry(group, now)
        self._wake.set()

    def _age(self, outcome: Outcome) -> float | None:
        """Seconds since the list behind a usable answer was made."""
        if outcome.error is not None or outcome.scanned_at is None:
            return None
        return max(timedelta(0), self._clock() - outcome.scanned_at).total_seconds()

    # ------------------------------------------------------------------------------------------------- checks

    async def _check(self, group: Group) -> None:
        """One poll: list, judge, and wake the branches whose answer changed."""
        members = self._groups.get(group)
        if members is None:
            self._polls.drop(group)
            return
        before = {policy_name(member): self._answer(policy_name(member)) for member in members}
        outcomes = await self._selector.refresh(members)
        self._compare(before, outcomes)
        errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
        until = max(
            (error.until for error in errors if isinstance(error, Transient) and error.until is not None), default=None
        )
        now = self._monotonic()
        not_before = now + (until - self._clock()).total_seconds() if until is not None else None
        self._polls.done(
            group, now, failed=any(isinstance(error, Transient) for error in errors), not_before=not_before
        )
        self._wake.set()

    async def _check_hints(self, name: str) -> None:
        """All hints of one image, those too that come while they are checked."""
        while asked := self._hints.take(name):
            members = [member for group, each in self._groups.items() if group[0] == name for member in each]
            names = [policy_name(member) for member in members]
            self._checking.update(names)
            try:
                for tag in asked:
                    before = {each: self._answer(each) for each in names}
                    outcomes = await self._selector.hint(parse_name(name), tag, members)
                    self.metrics.hints.labels("checked").inc()
                    self._compare(before, outcomes)
            finally:
                self._checking.subtract(names)
                for branch in self._branches.values():
                    branch.wake.set()

    def _answer(self, name: str) -> tuple[object, ...]:
        """What a change of the answer is measured by."""
        outcome = self._selector.answers.get(name)
        if outcome is None:
            return (None,)
        if outcome.selection is None:
            return (outcome.error is None, None)
        return (True, outcome.selection.tag, outcome.selection.digest)

    def _compare(self, before: Mapping[str, tuple[object, ...]], outcomes: Mapping[str, Outcome]) -> None:
        changed: set[str] = set()
        for name, outcome in outcomes.items():
            failed = outcome.error.reason if outcome.error is not None else None
            newly = failed is not None and failed != self._failed.get(name)
            self._failed[name] = failed
            moved = self._answer(name) != before.get(name)
            if moved:
                changed.add(name)
            if moved or newly:
                level = logging.WARNING if outcome.error is not None else logging.INFO
                chosen = outcome.selection.tag if outcome.selection is not None else "nothing"
                log.log(level, "%s: %s: %s", name, chosen, outcome.reason, extra={"policy": name, "chosen": chosen})
        for branch in self._branches.values():
            if changed & branch.names:
                self._dirty(branch)
            else:
                # Whoever waits for checks under way looks again.
                branch.wake.set()

    # ------------------------------------------------------------------------------------------------- branches

    def _dirty(self, branch: Branch, *, routine: bool = False) -> None:
        """Look at this branch soon; `routine`: its interval is over, nothing is known to have changed."""
        now = self._monotonic()
        branch.window.open(now)
        if not routine and branch.changed_at is None:
            branch.changed_at = now
        branch.wake.set()
        if branch.task is None or branch.task.done():
            branch.task = self._tasks.start(self._branch(branch))

    def _busy(self, branch: Branch) -> bool:
        """Is a check under way that was hinted, or whose list changed, for a policy of this branch?"""
        return any(self._checking[name] > 0 for name in branch.names) or not branch.names.isdisjoint(
            self._selector.judging
        )

    async def _branch(self, branch: Branch) -> None:
        """Wait for the batch window, run the line, until nothing changed meanwhile."""
        while not self._stopping and self._branches.get(branch.key) is branch:
            branch.wake.clear()
            wait = branch.window.wait(self._monotonic(), busy=self._busy(branch))
            if wait is None:
                return
            if wait > 0:
                await pause(branch.wake, wait)
                continue
            branch.window.close()
            changed_at, branch.changed_at = branch.changed_at, None
            await self._update(branch, changed_at)

    async def _update(self, branch: Branch, changed_at: float | None) -> None:
        started = self._monotonic()
        failed = True
        try:
            report = await self._apply(
                UpdateRequest(
                    objects=self.objects,
                    settings=self._settings,
                    secrets=self._secrets,
                    now=self._clock(),
                    mode=Mode.PUSH,
                    environment=self._environment,
                    selector=self._selector,
                    session=self._session,
                    automations=frozenset(each.key for each in branch.automations),
                )
            )
        except ImageUpdaterError as error:
            log.error("%s: %s", branch.repository.key, error)  # noqa: TRY400 - a fault of the input or the network
        except Exception:
            log.exception("%s: unexpected fault while updating", branch.repository.key)
        else:
            failed = await self._note(branch, report, changed_at)
        ended = self._monotonic()
        self.metrics.update_seconds.observe(ended - started)
        self.metrics.updates.labels("failed" if failed else "done").inc()
        self._looks.done(branch.key, ended, failed=failed)
        self._wake.set()

    async def _note(self, branch: Branch, report: UpdateReport, changed_at: float | None) -> bool:
        """Log and count what an update did; True when part of it failed."""
        for commit in report.commits:
            labels = (commit.repository, commit.branch)
            self.metrics.commits.labels(*labels).inc()
            if commit.attempts > 1:
                self.metrics.push_retries.labels(*labels).inc(commit.attempts - 1)
            if changed_at is not None:
                self.metrics.change_to_commit.observe(self._monotonic() - changed_at)
            log.info(
                "%s: %s",
                commit.commit[:12],
                commit.subject,
                extra={"commit": commit.commit, "branch": commit.branch, "automation": commit.automation},
            )
        answers = self._selector.answers
        waiting = {name for name, answer in answers.items() if isinstance(answer.error, Waiting)}
        failures = [failure for failure in report.failures if failure.subject not in waiting]
        # A policy's own failure was logged by its check; what is left is Git's.
        ours = [failure for failure in failures if failure.subject not in answers]
        for failure in ours:
            log.error("%s: %s", failure.subject, failure.message, extra={"reason": failure.reason})
        implicit = frozenset(
            name for site in report.sites if (name := site.policy) is not None and name.startswith("annotation:")
        )
        if implicit != branch.implicit:
            branch.implicit = implicit
            await self._follow(answers[name].spec for name in implicit if name in answers)
        return bool(ours)
