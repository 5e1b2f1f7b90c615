"""What people ask to be taken back: the wish `rollback POLICY`, and a Quarantine for what Git holds now.

Both are a planned rollback of all sites of a policy, and both end by themselves: what was written after the wish, or by
a person after the Quarantine was made, is not what was meant. So nothing has to be remembered over a restart. Members
of its group that hold the same tag go back with it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.errors import ImageUpdaterError, Terminal
from image_updater.patch.decisions import State
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.rollback.aims import Aims, backs
from image_updater.pipeline.rollback.decision import Author, Back, RollbackPlan
from image_updater.pipeline.rollback.evidence import answered, written
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.pipeline.rollback.waysback import digest_of
from image_updater.pipeline.tasks import Tasks
from image_updater.policy.gating import downgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey
    from image_updater.api.wishes import RollbackWish
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.report import AutomationReport, CommitReport, UpdateReport
    from image_updater.pipeline.rollback.decision import Written
    from image_updater.pipeline.rollback.evidence import Ground, Taking
    from image_updater.policy.situation import Proven, Quarantined

log = logging.getLogger("image_updater.run")

PAUSES: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds until something that failed, or was stopped, is tried again; the last one repeats."""
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of it, for status and Events. `asked`: the moment of the wish; None: a Quarantine asked.

    `error`: it is tried again. Without one and without a commit there was nothing to do, for the reason in `message`.
    """

    policy: str
    spec: ImagePolicy
    reason: str
    since: datetime
    asked: datetime | None = None
    bad: Value | None = None
    to: Value | None = None
    commit: CommitReport | None = None
    error: ImageUpdaterError | None = None
    message: str = ""


class Reverting:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        *,
        situations: Situations,
        answers: Callable[[], Mapping[str, Outcome]],
        proven: Callable[[str], Sequence[Proven]],
        take_back: Callable[[ObjectKey, Taking], Awaitable[AutomationReport]],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        digests: Callable[[ImagePolicy, Iterable[str]], Awaitable[Mapping[str, str]]],
        told: Callable[[Answer], None] = lambda _: None,
        handled: Callable[[str], datetime | None] = lambda _: None,
        forbids: Callable[[Sequence[Placement]], str | None] = lambda _: None,
    ) -> None:
        """`take_back` makes the commit, through the branch's queue. `digests`: which bytes tags have. `told` hears of
        each end. `handled`: the wish of a policy that was answered last, where that outlives the process. `forbids`:
        why images may not be touched now.
        """
        self._situations = situations
        self._answers = answers
        self._take_back = take_back
        self._clock = clock
        self._sleep = sleep
        self._told = told
        self._handled = handled
        self._aims = Aims(
            situations=situations, answers=answers, proven=proven, clock=clock, digests=digests, forbids=forbids
        )
        self._placed: dict[ObjectKey, tuple[Placement, ...]] = {}
        self._by_policy: dict[str, set[ObjectKey]] = {}
        self._busy: set[str] = set()
        self._done: OrderedDict[object, None] = OrderedDict()
        """Wishes that were answered, and Quarantines with the places that they were looked at for."""
        self._tasks = Tasks()
        situations.subscribe(self.consider)

    # ------------------------------------------------------------------------------------------------- from outside

    def ran(self, report: UpdateReport, automations: Iterable[ObjectKey]) -> None:
        """The line ran over a branch: where its policies have their hands on now."""
        for key in automations:
            part = report.automations.get(str(key))
            if part is None or (part.error is not None and not part.placements):
                continue
            self._placed[key] = part.placements
            for names in self._by_policy.values():
                names.discard(key)
            for each in part.placements:
                self._by_policy.setdefault(each.name, set()).add(key)
        self._by_policy = {name: keys for name, keys in self._by_policy.items() if keys}
        self.consider(self._by_policy)

    def forget(self, automations: Iterable[ObjectKey]) -> None:
        """These write no more."""
        for key in automations:
            self._placed.pop(key, None)
            for names in self._by_policy.values():
                names.discard(key)

    def placed(self, policy: str) -> tuple[Placement, ...]:
        """Where a policy has its hand on, by the last runs."""
        found = self._by_policy.get(policy, ())
        return tuple(each for key in sorted(found) for each in self._placed[key] if each.name == policy)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._tasks.end()

    def consider(self, names: Iterable[str]) -> None:
        """Is something asked for these policies that was not done yet?"""
        for name in tuple(names):
            outcome = self._answers().get(name)
            if outcome is None or name in self._busy or not self._by_policy.get(name):
                continue
            if self._wish(outcome.spec) is not None or self._quarantined(outcome) is not None:
                self._busy.add(name)
                self._tasks.start(self._work(name), then=lambda name=name: self._busy.discard(name))  # type: ignore[misc]

    # ------------------------------------------------------------------------------------------------- what is asked

    def _wish(self, spec: ImagePolicy) -> RollbackWish | None:
        """The wish, unless it was answered."""
        name = policy_name(spec)
        wish = self._situations.wishes(spec).rollback
        if wish is None or ("wish", name, wish.at) in self._done or self._handled(name) == wish.at:
            return None
        return wish

    def _quarantined(self, outcome: Outcome) -> tuple[Quarantined, Value] | None:
        """A person's Quarantine for a value that Git holds."""
        name, compiled = policy_name(outcome.spec), outcome.compiled
        if compiled is None:
            return None
        situation, now = self._situations.of(outcome.spec), self._clock()
        if not situation.quarantined:
            return None
        wish = self._situations.wishes(outcome.spec).rollback
        for each in self.placed(name):
            digest = each.value.digest or digest_of(outcome, each.value.tag)
            entry = downgrade(compiled, situation, each.value.tag, digest, now)
            if entry is None or self._mark(name, entry, each) in self._done:
                continue
            if wish is None or wish.to != each.value.tag or (entry.since is not None and wish.at <= entry.since):
                return entry, each.value
            # Somebody knew it, and asked for just this.
        return None

    @staticmethod
    def _mark(name: str, entry: Quarantined, placement: Placement) -> object:
        return ("quarantine", name, entry, placement.key, placement.value)

    def _note(self, *marks: object) -> None:
        for mark in marks:
            self._done[mark] = None
        while len(self._done) > _KEPT:
            self._done.popitem(last=False)

    # ------------------------------------------------------------------------------------------------- doing it

    async def _work(self, name: str) -> None:
        tries = 0
        while True:
            outcome = self._answers().get(name)
            if outcome is None or not self._by_policy.get(name):
                return
            wish = self._wish(outcome.spec)
            entry = self._quarantined(outcome) if wish is None else None
            if wish is not None:
                failed = await self._grant(outcome, wish)
            elif entry is not None:
                failed = await self._go_down(outcome, *entry)
            else:
                return
            if failed:
                await self._sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
            else:
                tries = 0

    async def _grant(self, outcome: Outcome, wish: RollbackWish) -> bool:
        """One commit of each automation. True: try again."""
        name = policy_name(outcome.spec)
        why = f"asked for by {wish.by or 'somebody'}" + (f": {wish.reason}" if wish.reason else "")
        if against := self._aims.against(outcome, wish.to):
            why += f" (although {wish.to} is {'; it is '.join(against)})"
            log.warning("%s: goes to %s %s", name, wish.to, why, extra={"policy": name})

        async def choose(ground: Ground) -> RollbackPlan | str:
            if answered(ground.past, wish.at) is not None:
                return "it was done before"
            self._aims.check(outcome, wish.to)
            meant = await self._aims.meant(ground, name)
            known = await written(ground, meant)
            meant = [each for each in meant if not _is_later(known[each.key].at, wish.at)]
            if not meant:
                return "what Git holds was written after that wish"
            to = await self._aims.target(outcome, meant, known, wish.to)
            found = [*backs(meant, to), *await self._aims.members(ground, outcome.spec, meant, to)]
            return RollbackPlan(automation=ground.automation.key, backs=tuple(found), reason=why, asked=wish.at)

        failed, _ = await self._each(outcome, why, choose, asked=wish.at, since=wish.at)
        if not failed:
            self._note(("wish", name, wish.at))
        return failed

    async def _go_down(self, outcome: Outcome, entry: Quarantined, value: Value) -> bool:
        name = policy_name(outcome.spec)
        why = f"{entry.source or 'a Quarantine'}: {entry.reason or 'quarantined'}"
        marks = [self._mark(name, entry, each) for each in self.placed(name) if each.value == value]

        async def choose(ground: Ground) -> RollbackPlan | str:
            self._aims.check(outcome, None)
            meant = [each for each in await self._aims.meant(ground, name) if each.value == value]
            known = await written(ground, meant)
            meant = [each for each in meant if not _is_insisted(known[each.key], entry.since)]
            if not meant:
                return "a person has set it in Git after that"
            to = await self._aims.target(outcome, meant, known, None)
            found = [*backs(meant, to, bad=value), *await self._aims.members(ground, outcome.spec, meant, to)]
            return RollbackPlan(automation=ground.automation.key, backs=tuple(found), reason=why)

        failed, done = await self._each(outcome, why, choose, asked=None, since=entry.since or self._clock())
        if done:
            self._note(*marks)
        return failed

    async def _each(
        self,
        outcome: Outcome,
        why: str,
        choose: Callable[[Ground], Awaitable[RollbackPlan | str]],
        *,
        asked: datetime | None,
        since: datetime,
    ) -> tuple[bool, bool]:
        """For each automation of the policy. Did one fail, and was anything (or nothing, for good) done?"""
        name, failed = policy_name(outcome.spec), False
        for automation in sorted(self._by_policy.get(name, ())):
            plans: list[RollbackPlan] = []
            said: list[str] = []

            async def taking(
                ground: Ground, plans: list[RollbackPlan] = plans, said: list[str] = said
            ) -> RollbackPlan | None:
                plans.clear()
                said.clear()
                found = await choose(ground)
                if isinstance(found, str):
                    said.append(found)
                    return None
                plans.append(found)
                return found

            before = tuple(self._placed.get(automation, ()))
            report = await self._take_back(automation, taking)
            error, commit = report.error, report.commit
            failed = failed or (error is not None and not isinstance(error, Terminal))
            back = plans[0].backs[0] if plans and plans[0].backs else None
            self._told(
                Answer(
                    policy=name,
                    spec=outcome.spec,
                    reason=why,
                    since=since,
                    asked=asked,
                    bad=_displaced(back, before) if back is not None else None,
                    to=back.to if back is not None else None,
                    commit=commit,
                    error=error,
                    message="" if commit is not None else said[0] if said else nothing_of(report),
                )
            )
            if commit is not None:
                self._tell_members(plans[0], before, commit, since)
            if error is not None:
                log.warning("%s: %s is not taken back: %s", name, outcome.spec.image, error, extra={"policy": name})
        return failed, not failed

    def _tell_members(
        self, plan: RollbackPlan, before: Sequence[Placement], commit: CommitReport, since: datetime
    ) -> None:
        """What went back with the policy that it is about."""
        for back in {each.policy: each for each in plan.backs if each.policy != plan.backs[0].policy}.values():
            self._told(
                Answer(
                    policy=back.policy,
                    spec=self._answers()[back.policy].spec,
                    reason=f"its group goes back together ({plan.reason})",
                    since=since,
                    bad=_displaced(back, before),
                    to=back.to,
                    commit=commit,
                )
            )


def _displaced(back: Back, placed: Iterable[Placement]) -> Value | None:
    """What goes: as the plan says it, else what stood there."""
    here = (each.value for each in placed if each.key in back.places and not each.value.is_of(back.to))
    return back.bad or next(here, None)


def nothing_of(report: AutomationReport) -> str:
    """Why a run took nothing back."""
    refused = next((each for each in report.sites if each.state is State.REFUSED), None)
    return refused.reason if refused is not None else "Git holds nothing that is to be taken back"


def _is_later(at: datetime | None, wish: datetime) -> bool:
    return at is not None and at > wish


def _is_insisted(found: Written, since: datetime | None) -> bool:
    """Has a person set it, knowing better?"""
    return found.author is Author.PERSON and since is not None and found.at is not None and found.at > since
