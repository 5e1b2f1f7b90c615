"""Runs of the line over branches: when one is due, what came of it, and who is told."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from image_updater.errors import ImageUpdaterError, Waiting
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.answers.undeployed import Undeployed
from image_updater.pipeline.daemon.holding import Holding
from image_updater.pipeline.report import AutomationReport, Mode, UpdateRequest
from image_updater.pipeline.tasks import pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey, Objects
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.branches import Branch, Branches
    from image_updater.pipeline.daemon.metrics import Metrics
    from image_updater.pipeline.daemon.observing import Observer
    from image_updater.pipeline.daemon.scheduler import Schedule
    from image_updater.pipeline.keeping import Busy as RollingOut
    from image_updater.pipeline.report import PullResolver, Secrets, State, UpdateReport
    from image_updater.pipeline.rollback.evidence import Noting, Taking
    from image_updater.pipeline.session import Session
    from image_updater.pipeline.tasks import Tasks
    from image_updater.settings import Settings

log = logging.getLogger("image_updater.run")


class Runs:
    """One run a branch at a time; a change that comes meanwhile leads to another one."""

    def __init__(
        self,
        *,
        branches: Branches,
        objects: Callable[[], Objects],
        selector: Selector,
        secrets: Secrets,
        settings: Settings,
        environment: Mapping[str, str],
        session: Session | None,
        metrics: Metrics,
        observer: Observer,
        tasks: Tasks,
        looks: Schedule[str],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        apply: Callable[[UpdateRequest], Awaitable[UpdateReport]],
        busy: Callable[[Branch], bool],
        follow: Callable[[Iterable[ImagePolicy], Iterable[str]], Awaitable[None]],
        wake: Callable[[], None],
        later: Callable[[str, datetime | None], None],
        pulls: PullResolver | None = None,
        rolling: RollingOut | None = None,
    ) -> None:
        """`busy`: are checks under way that a push of this branch could carry, too? `later` is told from when on
        something that a branch holds may move; `rolling` says why a site should not be moved right now.
        """
        self._branches = branches
        self._objects = objects
        self._selector = selector
        self._secrets = secrets
        self._settings = settings
        self._environment = environment
        self._session = session
        self._metrics = metrics
        self._observer = observer
        self._tasks = tasks
        self._looks = looks
        self._clock = clock
        self._monotonic = monotonic
        self._apply = apply
        self._busy = busy
        self._follow = follow
        self._wake = wake
        self._later = later
        self._pulls = pulls
        self._rolling = rolling
        self.undeployed = Undeployed(clock)
        self.holding = Holding(lambda: selector.answers)
        self._logged: dict[str, frozenset[tuple[str, str]]] = {}
        """By branch the failures of its last run: the log has them once, until they change."""
        self.stopping = False

    def dirty(self, branch: Branch, *, routine: bool = False) -> None:
        """Look at this branch soon; `routine`: its interval is over, nothing is known to have changed."""
        if self.stopping:
            branch.answer()
            return
        now = self._monotonic()
        branch.window.open(now)
        if not routine and branch.changed_at is None:
            branch.changed_at = now
        branch.wake.set()
        if branch.task is None or branch.task.done():
            branch.task = self._tasks.start(self._branch(branch), then=branch.answer)

    async def run_now(self, branch: Branch) -> None:
        """A run that begins after this call; returns at its end."""
        ended = asyncio.get_running_loop().create_future()
        branch.asked.append(ended)
        self.dirty(branch, routine=True)
        await ended

    async def take_back(self, automation: ObjectKey, taking: Taking) -> AutomationReport:
        """A rollback, beside what else is written there: the branch's queue keeps the two apart. What keeps it from
        being made is in the report.
        """
        return await self._aside(automation, rollback=taking)

    async def note(self, automation: ObjectKey, noting: Noting) -> AutomationReport:
        """The same for what an automation keeps in the branch."""
        return await self._aside(automation, note=noting)

    async def _aside(self, automation: ObjectKey, **work: Any) -> AutomationReport:
        branch = self._branches.of(automation)
        if branch is None or self.stopping:
            return AutomationReport(error=Waiting(f"ImageUpdateAutomation {automation} does not write now"))
        try:
            report = await self._apply(replace(self._request(frozenset({automation})), **work))
        except ImageUpdaterError as error:
            return AutomationReport(error=error)
        self._count(report, None)
        part = report.automations.get(str(automation), AutomationReport())
        if part.commit is not None:
            self._observer.pushed(branch, automation, part.commit)
            self.dirty(branch)
        return part

    def drop(self, branch: Branch) -> None:
        """The branch is no more: what runs for it ends by itself."""
        self._logged.pop(branch.key, None)
        branch.wake.set()
        self._looks.drop(branch.key)
        self.undeployed.drop(branch.key)
        self.holding.drop(branch.key)

    async def drain(self) -> None:
        """Let pushes under way finish, as long as `--stop-timeout` says."""
        self.stopping = True
        pushing = [branch.task for branch in self._branches if branch.task is not None]
        for branch in self._branches:
            branch.wake.set()
        if pushing:
            _, late = await asyncio.wait(pushing, timeout=self._settings.stop_timeout)
            for task in late:
                log.warning("a push did not end in time and is abandoned (--stop-timeout)")
                task.cancel()

    def active(self, automation: ObjectKey) -> bool:
        """May this automation still write? Asked again right before it would."""
        return self._branches.of(automation) is not None

    async def _branch(self, branch: Branch) -> None:
        """Wait for the batch window, run the line, until nothing changed meanwhile."""
        while not self.stopping and self._branches.by_key.get(branch.key) is branch:
            branch.wake.clear()
            wait = branch.window.wait(self._monotonic(), busy=self._busy(branch))
            if wait is None:
                return
            if wait > 0 and not branch.asked:
                await pause(branch.wake, wait)
                continue
            branch.window.close()
            changed_at, branch.changed_at = branch.changed_at, None
            asked, branch.asked = branch.asked, []
            try:
                await self._update(branch, changed_at)
            finally:
                for future in asked:
                    if not future.done():
                        future.set_result(None)

    async def _update(self, branch: Branch, changed_at: float | None) -> None:
        started = self._monotonic()
        failed = True
        report: UpdateReport | None = None
        fault: ImageUpdaterError | None = None
        try:
            report = await self._apply(self._request(frozenset(each.key for each in branch.automations)))
        except ImageUpdaterError as error:
            fault = error
            said = frozenset({(str(branch.repository.key), str(error))})
            if self._logged.get(branch.key) != said:
                log.error("%s: %s", branch.repository.key, error)  # noqa: TRY400 - a fault of the input or the network
            self._logged[branch.key] = said
        except Exception as error:
            fault = ImageUpdaterError(f"unexpected fault: {type(error).__name__}", remedy="the log has the traceback")
            log.exception("%s: unexpected fault while updating", branch.repository.key)
        else:
            failed = await self._note(branch, report, changed_at)
        if report is None:
            self.undeployed.failed(branch.key, branch.names, self._selector.answers)
        ended = self._monotonic()
        self._metrics.update_seconds.observe(ended - started)
        self._metrics.updates.labels("failed" if failed else "done").inc()
        self._looks.done(branch.key, ended, failed=failed)
        self._wake()
        if self._branches.by_key.get(branch.key) is branch:
            self._observer.updated(branch, report, fault)

    def _request(self, automations: frozenset[ObjectKey]) -> UpdateRequest:
        return UpdateRequest(
            objects=self._objects(),
            settings=self._settings,
            secrets=self._secrets,
            now=self._clock(),
            mode=Mode.PUSH,
            environment=self._environment,
            selector=self._selector,
            session=self._session,
            automations=automations,
            apart=True,
            active=self.active,
            pulls=self._pulls,
            busy=self._rolling,
        )

    def _count(self, report: UpdateReport, changed_at: float | None) -> None:
        for commit in report.commits:
            if commit.stood:
                continue
            labels = (commit.repository, commit.branch)
            self._metrics.commits.labels(*labels).inc()
            if commit.attempts > 1:
                self._metrics.push_retries.labels(*labels).inc(commit.attempts - 1)
            if changed_at is not None:
                self._metrics.change_to_commit.observe(self._monotonic() - changed_at)
            log.info(
                "%s: %s",
                commit.commit[:12],
                commit.subject,
                extra={"commit": commit.commit, "branch": commit.branch, "automation": commit.automation},
            )

    async def _note(self, branch: Branch, report: UpdateReport, changed_at: float | None) -> bool:
        """Log and count what an update did; True when part of it failed."""
        self._count(report, changed_at)
        answers = self._selector.answers
        waiting = {name for name, answer in answers.items() if isinstance(answer.error, Waiting)}
        failures = [failure for failure in report.failures if failure.subject not in waiting]
        # A policy's own failure was logged by its check; what is left is Git's.
        ours = [failure for failure in failures if failure.subject not in answers]
        known = self._logged.get(branch.key, frozenset())
        for failure in ours:
            if (failure.subject, failure.message) not in known:
                log.error("%s: %s", failure.subject, failure.message, extra={"reason": failure.reason})
        self._logged[branch.key] = frozenset((failure.subject, failure.message) for failure in ours)
        if ours:
            self.undeployed.failed(branch.key, branch.names, answers)
        else:
            self.undeployed.ran(branch.key, _sites(report), answers)
        self.holding.ran(branch.key, branch.automations, report.automations)
        moments = [part.until for part in report.automations.values() if part.until is not None]
        self._later(branch.key, min(moments, default=None))
        await self._implicit(branch, report)
        return bool(ours)

    async def _implicit(self, branch: Branch, report: UpdateReport) -> None:
        """Policies that stand only in Git are polled as long as they stand there."""
        if any(part.error is not None for part in report.automations.values()):
            return  # who knows what it would have found
        found = {policy_name(policy): policy for part in report.automations.values() for policy in part.implicit}
        before = branch.implicit
        branch.follow(implicit=frozenset(found))
        gone = before.difference(*(each.implicit for each in self._branches))
        await self._follow(found.values(), gone)


def _sites(report: UpdateReport) -> Iterator[tuple[str, State]]:
    """The policies of the sites, as answers name them, and the sites' states."""
    for part in report.automations.values():
        names = {policy.key.name: policy_name(policy) for policy in part.implicit}
        for site in part.sites:
            if site.policy is not None:
                yield names.get(site.policy, site.policy), site.state
