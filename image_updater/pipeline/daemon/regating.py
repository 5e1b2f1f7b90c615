"""Answers that change by themselves: their time comes, or what decides beside the tags becomes another.

Times are of the wall clock, for that is what windows and ages are of; waiting is in bounded steps of the monotonic one.
So a clock that is set, or a machine that slept, is noticed within a step, and an answer from a time that has not come
again yet is judged anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from image_updater.pipeline.daemon.scheduler import Alarms

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.following import Following
    from image_updater.pipeline.tasks import Tasks

STEP: Final = 15.0
"""Seconds until the wall clock is looked at again, while something waits for it."""


class Regating:
    """Which policies and branches wait for a time, and which policies must be judged again at once."""

    def __init__(
        self,
        selector: Selector,
        following: Following,
        *,
        clock: Callable[[], datetime],
        tasks: Tasks,
        wake: Callable[[], None],
        heard: Callable[[Mapping[str, Outcome]], None],
        look: Callable[[str], None],
        step: float = STEP,
    ) -> None:
        """`heard` is told of the new answers, `look` of branches (by key) whose time has come."""
        self._selector = selector
        self._following = following
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._heard = heard
        self._look = look
        self._step = step
        self._policies: Alarms[str] = Alarms()
        self._branches: Alarms[str] = Alarms()
        self._stale: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        selector.situations.subscribe(self.again)

    def again(self, names: Iterable[str]) -> None:
        """The situation of these policies is another one."""
        self._stale.update(names)
        self._wake()

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        """New answers: from now on their times count."""
        for name, outcome in outcomes.items():
            self._policies.put(name, outcome.until if outcome.error is None else None)

    def later(self, branch: str, until: datetime | None) -> None:
        """Something that a branch holds may move from then on."""
        self._branches.put(branch, until)
        self._wake()

    def forget(self, names: Iterable[str]) -> None:
        """These policies are no more."""
        for name in names:
            self._policies.put(name, None)

    def begin(self) -> float | None:
        """Start what is due. Seconds until it should be called again, None = nothing waits for a time."""
        now = self._clock()
        for branch in self._branches.due(now):
            self._look(branch)
        self._stale.update(self._policies.due(now))
        if self._stale and (self._task is None or self._task.done()):
            self._task = self._tasks.start(self._judge(), then=self._wake)
        waits = [at for at in (self._policies.next(), self._branches.next()) if at is not None]
        if not waits:
            return None
        return min(max((min(waits) - now).total_seconds(), 0.0), self._step)

    async def _judge(self) -> None:
        while self._stale:
            names, self._stale = self._stale, set()
            policies = [spec for name in names if (spec := self._following.spec(name)) is not None]
            self._heard(await self._selector.regate(policies))
            answers = self._selector.answers
            # Also of those that somebody else has judged again meanwhile.
            self.answered({name: answers[name] for name in names if name in answers and name in self._following})
