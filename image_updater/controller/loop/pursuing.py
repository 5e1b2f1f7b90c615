"""A failed rollout, followed to its end: told, held, or taken back; tried again while Git or the API server is away."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.case import Case
from image_updater.controller.loop.status import Rollback
from image_updater.controller.status import Happening
from image_updater.controller.update.tripping import RESUME
from image_updater.errors import ImageUpdaterError, Terminal
from image_updater.pipeline.rollback.decision import Action, Author, Image, IntentState, Kind, Written
from image_updater.pipeline.rollback.reverting import PAUSES, nothing_of
from image_updater.pipeline.tasks import pause
from image_updater.policy.situation import Hold, Origin, Quarantined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.loop.proving import Proving
    from image_updater.controller.loop.retreat import Retreat
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.report import AutomationReport, CommitReport
    from image_updater.pipeline.rollback.evidence import Taking
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.sync.rollout.model import Rollout

log = logging.getLogger("image_updater.controller")

LONGEST: Final = 60.0
"""Seconds until it is looked at again, at most: the clock may be set back meanwhile."""

_ACTS: Final = (Kind.HOLD, Kind.ROLLBACK)
_LOUD: Final = (Kind.NOTIFY, Kind.PAGE)


@dataclass(slots=True)
class Failure:
    """One workload whose rollout has failed. `wake` it when something of that changes; `over` ends it."""

    kustomization: Kustomization
    rollout: Rollout
    since: datetime
    placed: tuple[Placement, ...]
    revision: str = ""
    """What was applied when it failed."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    pending: bool = True
    """What is done about it is not known yet, or not done: nothing newer is written meanwhile, so that it is recorded
    first.
    """
    waits: bool = False
    """It is not to be decided yet."""
    tries: int = 0
    told: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({each.name for each in self.placed}))


class Pursuing:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        *,
        retreat: Retreat,
        saying: Saying,
        situations: Situations,
        proving: Proving,
        metrics: LoopMetrics,
        entry: Callable[[str], Entry | None],
        tell: Callable[[str, Happening], None],
        take_back: Callable[[ObjectKey, Taking], Awaitable[AutomationReport]],
        released: Callable[[ObjectKey], None],
    ) -> None:
        """`tell`: an Event of a policy, whether or not it has an object."""
        self._context = context
        self._released = released
        self._retreat = retreat
        self._saying = saying
        self._situations = situations
        self._proving = proving
        self._metrics = metrics
        self._entry = entry
        self._say = tell
        self._take_back = take_back
        self._held: dict[str, Hold] = {}

    async def run(self, failure: Failure) -> None:
        """Until the failure is over."""
        while not failure.over:
            failure.wake.clear()
            try:
                again = await self.step(failure)
            except Exception:
                # What is newer waits for this failure: it may not be forgotten because of a fault of ours.
                log.exception("unexpected fault")
                again = PAUSES[-1]
            await pause(failure.wake, again)

    async def step(self, failure: Failure) -> float | None:
        """Do what is to be done now. Seconds until it is looked at again; None: when something changes."""
        # The clock may be set back meanwhile: what has failed has not failed later than now.
        failure.since = min(failure.since, self._context.clock())
        try:
            again = await self._act(failure)
        except ImageUpdaterError as error:  # the API server: the intent could not be written
            return self._trouble(failure, error)
        if failure.pending and not failure.tries and not failure.waits:
            failure.pending = False
            for automation in sorted({each.automation for each in failure.placed}):
                self._released(automation)
        return again

    async def _act(self, failure: Failure) -> float | None:
        case = _case(failure)
        case.names = frozenset(failure.names)
        action = self._retreat.glance(case, self._images(failure))
        if action.kind is Kind.ROLLBACK:
            await self._begin(case, action)
        if action.kind in _ACTS:
            for automation in sorted({each.automation for each in failure.placed}):
                case.renew()
                report = await self._take_back(automation, partial(self._retreat.take, case))
                if report.error is not None and (case.plan is not None or case.commit is None):
                    return self._trouble(failure, report.error)
                action = self._ended(case, failure, report, action)
        failure.tries, failure.waits = 0, action.kind is Kind.WAIT
        self._tell(failure, action)
        if action.again is None:
            return None
        return min((action.again - self._context.clock()).total_seconds(), LONGEST)

    def _images(self, failure: Failure) -> list[Image]:
        """What is ours in it, as if all of it were our doing: enough to see whether Git must be asked at all."""
        environment = str(failure.kustomization.key)
        found = []
        for each in failure.placed:
            proven = any(
                one.environment == environment and one.withdrawn is None and each.value.is_of(loopstatus.value_of(one))
                for one in self._proving.of(each.name)
            )
            written = Written(author=Author.OURS, old=each.value)
            found.append(Image(placement=each, written=written, changed=not proven))
        if found and not any(each.changed for each in found):
            return [replace(each, changed=True) for each in found]
        return found

    async def _begin(self, case: Case, action: Action) -> None:
        """The intent, before Git is asked for anything: if it is away for long, this is what is gone on with."""
        for suspect in action.suspects:
            name = suspect.placement.name
            entry = self._entry(name)
            known = self._retreat.begun(case, name)
            if entry is None or (known is not None and known.bad == suspect.placement.value):
                continue
            intent = replace(case.intent(action, replace(suspect, to=None)), message="Git is being looked at")
            await self._saying.save(entry, loopstatus.rollback_fields(intent, self._saying.fields(entry)))

    # ------------------------------------------------------------------------------------------- what came of it

    def _ended(self, case: Case, failure: Failure, report: AutomationReport, before: Action) -> Action:
        """What one automation's part came to, in status."""
        action = case.action or before
        if report.commit is not None:
            self._pushed(case, report.commit)
            return action
        if case.commit is not None and case.plan is None:
            # It is in Git already: made before this process was started, or by another cluster.
            self._found(case, case.commit)
            return action
        if action.kind is Kind.HOLD:
            self._hold_back(failure, action)
        elif action.kind is Kind.ROLLBACK and case.plan is not None:
            reason = nothing_of(report)
            self._conclude(case, IntentState.REFUSED, reason)
            return Action(kind=Kind.NOTIFY, reason=f"{action.reason}: {reason}")
        elif action.kind in (*_LOUD, Kind.WAIT) and action.again is not None:
            self._postpone(case, action.reason)
        elif action.kind in _LOUD:
            self._conclude(case, IntentState.REFUSED, action.reason)
        elif action.kind is not Kind.ROLLBACK:
            self._conclude(case, IntentState.ENDED, action.reason)
        return action

    def _pushed(self, case: Case, commit: CommitReport) -> None:
        assert case.action is not None
        for suspect in case.action.suspects:
            if str(suspect.placement.automation) == commit.automation:
                name = self._retreat.name_of(suspect.placement)
                begun = self._retreat.begun(case, name) or case.intent(case.action, suspect)
                self._amend(case, name, IntentState.PUSHED, begun, commit=commit.commit, subject=commit.subject)
        self._metrics.rollbacks.labels("pushed").inc()

    def _found(self, case: Case, commit: str) -> None:
        for name in sorted(case.names):
            known = self._retreat.begun(case, name)
            if known is not None and known.state is IntentState.INTENDED:
                self._amend(case, name, IntentState.PUSHED, commit=commit)

    def _conclude(self, case: Case, state: IntentState, why: str) -> None:
        """Nothing goes back: an intent that was begun says so."""
        for name in sorted(case.names):
            known = self._retreat.begun(case, name)
            if known is not None and known.state is IntentState.INTENDED:
                self._amend(case, name, state, message=why)
        self._metrics.rollbacks.labels(str(state).lower()).inc()

    def _postpone(self, case: Case, why: str) -> None:
        """It is gone on with later: what was begun stays so."""
        for name in sorted(case.names):
            known = self._retreat.begun(case, name)
            if known is not None and known.state is IntentState.INTENDED:
                self._amend(case, name, IntentState.INTENDED, message=why)

    def _amend(
        self,
        case: Case,
        name: str,
        state: IntentState,
        begun: Rollback | None = None,
        *,
        commit: str | None = None,
        message: str = "",
        subject: str = "",
    ) -> None:
        entry, known = self._entry(name), begun or self._retreat.begun(case, name)
        if known is None:
            return
        if entry is not None:
            amended = replace(known, state=state, commit=commit, message=message)
            self._saying.amend(entry, loopstatus.rollback_fields(amended, self._saying.fields(entry)))
        if subject:
            self._say(name, loopstatus.rolled_back(subject, commit or "", known.reason))

    def _hold_back(self, failure: Failure, action: Action) -> None:
        """`onFailure: hold`: no commit; the tag waits until there is a newer one."""
        for suspect in action.suspects:
            value = suspect.placement.value
            name = self._retreat.name_of(suspect.placement)
            bad = Quarantined(
                image=suspect.placement.image,
                tag=value.tag,
                digest=value.digest or self._proving.digest_of(name, value),
                reason=f"{failure.rollout.ref}: {action.reason}",
                source=loopstatus.source_of(failure.kustomization.key),
                origin=Origin.ROLLOUT,
                since=failure.since,
            )
            self.hold(name, (bad,))

    def hold(self, policy: str, failed: tuple[Quarantined, ...]) -> None:
        """Its rollout failed, and Git keeps it."""
        last = failed[-1]
        self._situations.failed(policy, failed)
        entry = self._entry(policy)
        resume = "`image-updater resume`" if entry is not None else RESUME
        reason = f"{last.reason}; a newer tag ends it, or {resume}"
        hold = Hold(reason=reason, by=last.source, since=last.since, tag=last.tag, digest=last.digest)
        self._situations.held(policy, hold)
        fields = loopstatus.hold_fields(failed)
        if entry is not None:
            is_new = self._saying.fields(entry).get("hold") != fields["hold"]
            self._saying.amend(entry, fields)
        else:
            is_new = self._held.get(policy) != hold
        self._held[policy] = hold
        self._metrics.held.set(len(self._held))
        if is_new:
            self._say(policy, Happening(reason="HoldBegun", message=reason, warning=True))

    @property
    def held(self) -> Mapping[str, Hold]:
        """Policies that a failed rollout holds."""
        return dict(self._held)

    def release(self, policy: str) -> None:
        """Something newer is proven, or somebody says that it may go on."""
        if policy in self._held:
            del self._held[policy]
            self._situations.failed(policy, ())
            self._situations.held(policy, None)
            self._metrics.held.set(len(self._held))
            entry = self._entry(policy)
            if entry is not None and loopstatus.held_by_rollout(self._saying.fields(entry), ""):
                happened = Happening(reason="HoldEnded", message="a newer tag is proven, or somebody resumed it")
                self._saying.amend(entry, {"hold": None}, happened)

    # ------------------------------------------------------------------------------------------- telling

    def _trouble(self, failure: Failure, error: ImageUpdaterError) -> float | None:
        """Git, the registry or the API server is away, or will not have it: status says so, and it is tried again."""
        case = _case(failure)
        text = f"it cannot be taken back yet: {error}"
        if failure.told != text:
            failure.told = text
            where = f"{failure.rollout.ref} in Kustomization {failure.kustomization.key}"
            log.warning("%s: %s", where, text)
            for name in failure.names:
                self._say(name, Happening(reason="RollbackRefused", message=f"{where}: {text}", warning=True))
        for name in failure.names:
            # A try that has found something else has written its intent anew, without this.
            known = self._retreat.begun(case, name)
            if known is not None and known.state is IntentState.INTENDED and known.message != text:
                self._amend(case, name, IntentState.INTENDED, message=text)
        wait = PAUSES[min(failure.tries, len(PAUSES) - 1)]
        failure.tries += 1
        return PAUSES[-1] if isinstance(error, Terminal) else wait

    def _tell(self, failure: Failure, action: Action) -> None:
        if action.kind not in (*_LOUD, Kind.HISTORY) or failure.told == action.reason:
            return
        failure.told = action.reason
        where = f"{failure.rollout.ref} in Kustomization {failure.kustomization.key}"
        level = logging.ERROR if action.kind is Kind.PAGE else logging.WARNING
        log.log(level, "%s: %s", where, action.reason)
        reason = "RolloutFailed" if action.kind is Kind.PAGE else "RollbackRefused"
        for name in failure.names:
            self._say(name, Happening(reason=reason, message=f"{where}: {action.reason}", warning=True))


def _case(failure: Failure) -> Case:
    return Case(
        kustomization=failure.kustomization, rollout=failure.rollout, since=failure.since, revision=failure.revision
    )
