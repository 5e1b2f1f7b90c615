"""What a rollout leads to, and what takes a workload's images back. Pure: the tables of facts/flagger.md 2.4, with the
actions of design section 9.

A rollback is a plan like any other: some uses of some sites are to hold another value. It goes through the queue, the
scope, the edit and the proof of an update; the rest of the commit that brought the bad image stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from image_updater.api.model import DigestReflection, OnFailure
from image_updater.images import Digest, canonical, split
from image_updater.patch.decisions import Choice, Plan, State
from image_updater.pipeline.rollback.placements import Value
from image_updater.policy.model import MoveKind, Movement, Selection
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey
    from image_updater.kustomize.model import ObjectId, Path, Use
    from image_updater.patch.decisions import Decision
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.policy.situation import Proven

SETTLED: Final = timedelta(seconds=5)
"""How long a failure stands before it is acted on: failures that come together are seen together."""
HISTORY: Final = timedelta(minutes=20)
"""A failure that was older than this when the process began is history (Kargo's figure)."""
FROZEN: Final = timedelta(seconds=30)
"""Until it is asked again whether a Freeze has ended, or the registry answers."""
STORM: Final = timedelta(minutes=10)
STORM_POLICIES: Final = 3
"""That many policies failing within STORM: it is hardly the fault of that many tags."""

ROLLBACK: Final = "Rollback"
ROLLBACK_ASKED: Final = "Rollback-Asked"
"""The moment of the wish: what tells two of them apart, and a wish that was granted from one that was not."""
QUARANTINE: Final = "Quarantine"
QUARANTINE_REASON: Final = "Quarantine-Reason"


# ------------------------------------------------------------------------------------------------- what is known


class Author(StrEnum):
    """Who gave a site the value that it holds."""

    OURS = "ours"
    ROLLBACK = "rollback"
    """Ours, and a rollback's."""
    PERSON = "person"
    UNKNOWN = "unknown"
    """The history that was fetched does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The newest commit that changed an image of a workload. `old`: what it displaced."""

    author: Author
    commit: str | None = None
    at: datetime | None = None
    old: Value | None = None
    parent: str | None = None
    """What that commit was made on."""
    displaced: tuple[tuple[Value, Value], ...] = ()
    """What people and rollbacks replaced here since our last commit, each with what came instead; newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of ours in a workload, and what decides over it."""

    placement: Placement
    written: Written
    changed: bool = True
    """It is another one than in the workload's last good state: what was proven, else what our commit found."""
    proven: Value | None = None
    """The last value proven in this environment that is another one, and not quarantined."""
    bad: tuple[Value, ...] = ()
    """What failed since this policy had its last proven tag, without the value that stands there now."""
    unknown: Value | None = None
    """What it could go to if the registry said that it has not the bytes that are quarantined."""

    @property
    def value(self) -> Value:
        return self.placement.value

    @property
    def goes_to(self) -> Value | None:
        return self.proven or self.written.old


class IntentState(StrEnum):
    """`status.rollback.state` of an ImagePolicy."""

    INTENDED = "Intended"
    """Written before the push: whoever finds it goes on."""
    PUSHED = "Pushed"
    DONE = "Done"
    """The workload is healthy again."""
    ENDED = "Ended"
    """Nothing was to do: Git held something else by then."""
    REFUSED = "Refused"
    """It may not, or cannot, be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A rollback that was begun, as far as it decides over what comes next."""

    state: IntentState
    bad: Value
    to: Value | None = None
    """None: it was begun, and not decided yet."""
    commit: str | None = None


# ------------------------------------------------------------------------------------------------- the decision


class Kind(StrEnum):
    """What is done about a rollout."""

    NOTHING = "nothing"
    PROVEN = "proven"
    DEPLOYED = "deployed"
    """It runs, and nothing has checked it: no proof."""
    BUSY = "busy"
    """New commits for this workload wait."""
    WAIT = "wait"
    """Not settled yet; look again at `again`."""
    NOTIFY = "notify"
    HISTORY = "history"
    HOLD = "hold"
    """No commit: the tag is held in status until a newer one."""
    ROLLBACK = "rollback"
    PAGE = "page"
    """Nothing may be touched: a person is needed now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One image that goes back."""

    placement: Placement
    to: Value | None
    """None only with `hold`: nothing is known that it could go back to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """`reason` is a sentence for people; never empty. `breaker`: why the breaker of these policies opens with it."""

    kind: Kind
    reason: str
    suspects: tuple[Suspect, ...] = ()
    breaker: str = ""
    again: datetime | None = None


def decide(
    rollout: Rollout,
    images: Sequence[Image],
    *,
    on_failure: OnFailure,
    now: datetime,
    since: datetime,
    started: datetime,
    intent: Intent | None = None,
    breaker: str = "",
    frozen: str = "",
    moved: str = "",
    mixed: str = "",
) -> Action:
    """What a rollout of a workload leads to. `images`: those of ours in it, as Git holds them now.

    `since`: when it came to that state; `started`: when this process began. `intent`: a rollback that was begun for
    what Git holds, or has brought it. `breaker`: why it is open for one of these policies; `frozen`: why a Freeze
    forbids even a rollback; `moved`: what Git holds of its template by now that was not applied when it failed;
    `mixed`: what else differed then from the workload's last proven state.
    """
    match rollout.state:
        case RolloutState.HEALTHY:
            return Action(kind=Kind.PROVEN, reason=rollout.reason or "its rollout is healthy")
        case RolloutState.HEALTHY_UNANALYSED:
            return Action(kind=Kind.DEPLOYED, reason=rollout.reason or "it runs, and no analysis was made")
        case RolloutState.ROLLED_BACK:
            return Action(kind=Kind.NOTHING, reason="it failed before, and the good version serves again")
        case RolloutState.PENDING | RolloutState.PROGRESSING | RolloutState.WAITING_APPROVAL:
            kind = Kind.BUSY if rollout.busy else Kind.NOTHING
            return Action(kind=kind, reason=rollout.reason or f"its rollout is {rollout.state}")
        case RolloutState.SUSPENDED | RolloutState.TERMINATING:
            return Action(kind=Kind.NOTHING, reason=rollout.reason or f"it is {rollout.state}")
        case RolloutState.PRIMARY_BROKEN:
            return Action(
                kind=Kind.PAGE,
                reason=f"the primary broke while it was promoted, and the new version alone serves: nothing may be"
                f" changed now ({rollout.reason})",
            )
        case RolloutState.FAILED:
            return _failed(
                rollout,
                images,
                on_failure=on_failure,
                now=now,
                since=since,
                started=started,
                intent=intent,
                breaker=breaker,
                frozen=frozen,
                moved=moved,
                mixed=mixed,
            )


def _failed(
    rollout: Rollout,
    images: Sequence[Image],
    *,
    on_failure: OnFailure,
    now: datetime,
    since: datetime,
    started: datetime,
    intent: Intent | None,
    breaker: str,
    frozen: str,
    moved: str,
    mixed: str,
) -> Action:
    def notify(why: str) -> Action:
        return Action(kind=Kind.NOTIFY, reason=f"{rollout.reason}: {why}" if rollout.reason else why)

    if rollout.culprit is not Culprit.TAG:
        whose = "the environment's fault" if rollout.culprit is Culprit.ENVIRONMENT else "not known to be the tag's"
        return notify(f"{whose}, so nothing is rolled back")
    applied = dict(rollout.images)
    held = [each for each in images if is_applied(each.placement, applied)]
    if images and not held:
        return Action(kind=Kind.NOTHING, reason="Git holds other images by now")
    pushed = intent is not None and intent.state is IntentState.PUSHED
    if intent is not None and pushed and any(each.value.is_of(intent.bad) for each in held):
        return Action(
            kind=Kind.NOTHING, reason=f"rolled back in {(intent.commit or '')[:12]}, which is not applied yet"
        )
    changed = [each for each in held if each.changed]
    back = next((each for each in changed if each.written.author is Author.ROLLBACK), None)
    if back is not None:
        return notify(f"{back.value} was a rollback itself ({(back.written.commit or '')[:12]}): a person is needed")
    suspects = [each for each in changed if each.written.author is Author.OURS]
    if not suspects:
        return notify("no commit of ours brought it, so nothing is rolled back")
    strangers = [each for each in changed if each.written.author is not Author.OURS]
    if strangers:
        other = strangers[0]
        return notify(f"{other.placement.image}:{other.value} changed too, and not by us: nothing is rolled back")
    if rollout.failing and not any(each.placement.container in rollout.failing for each in suspects):
        return notify(f"what fails is {', '.join(rollout.failing)}, which we have not changed")
    begun = intent is not None and intent.state is IntentState.INTENDED
    going = begun and intent is not None and any(each.value.is_of(intent.bad) for each in held)
    if not going:
        if since < min(started, now) - HISTORY:  # a start ahead of now: the clock was set back since
            return Action(kind=Kind.HISTORY, reason=f"it failed long before this process began: {rollout.reason}")
        if now < since + SETTLED:
            return Action(kind=Kind.WAIT, reason="it has failed just now", again=since + SETTLED)
    if moved:
        why = f"Git holds something else of it by now ({moved}), whose own rollout is waited for"
        return replace(notify(f"not judged: {why}"), again=now + FROZEN)
    if mixed:
        return notify(f"more than our images changed since it was last good ({mixed}), so nothing is rolled back")
    if on_failure is OnFailure.NONE:
        return notify("onFailure is none")
    if breaker and not (going and intent is not None and intent.to is not None):
        return notify(f"the breaker is open: {breaker}")
    twice = next(((each.value, bad) for each in suspects for bad in each.bad if not bad.is_of(each.value)), None)
    opens = f"{twice[1]} and {twice[0]} failed one after the other" if twice is not None else ""
    reason = rollout.reason or "its rollout failed"
    targets = tuple(Suspect(placement=each.placement, to=each.goes_to) for each in suspects)
    if on_failure is OnFailure.HOLD:
        return Action(kind=Kind.HOLD, reason=reason, suspects=targets, breaker=opens)
    if frozen:
        return replace(notify(f"not rolled back: {frozen}"), again=now + FROZEN)
    lost = next((each for each in suspects if each.goes_to is None), None)
    if lost is not None and lost.unknown is not None:
        why = f"the registry does not say which bytes {lost.unknown} has, and some are quarantined"
        return replace(notify(f"not rolled back yet: {why}"), again=now + FROZEN)
    if lost is not None:
        return notify(f"nothing is known that {lost.placement.image} could go back to")
    return Action(kind=Kind.ROLLBACK, reason=reason, suspects=targets, breaker=opens)


def is_applied(placement: Placement, applied: Mapping[str, str]) -> bool:
    """Is what Git holds there what failed in the cluster?"""
    found = applied.get(placement.container or "")
    if found is None:
        return False
    name, tag, digest = split(found)
    return placement.value.is_of(Value(tag, digest)) and canonical(name) == canonical(placement.image)


# ------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """One image that goes back, at these places (root, object, path). `bad`: only where it holds this."""

    policy: str
    """As claims name it."""
    image: str
    to: Value
    places: frozenset[tuple[str, ObjectId, Path]]
    bad: Value | None = None

    def moves(self, use: Use, policy: str | None, *, wide: bool = False) -> bool:
        """Is this use meant? `wide`: with the others of that image in the same roots."""
        if policy != self.policy:
            return False
        if (use.root, use.object, use.path) not in self.places and not (
            wide and any(root == use.root for root, _, _ in self.places)
        ):
            return False
        name, tag, digest = split(use.value)
        return canonical(name) == canonical(self.image) and (self.bad is None or Value(tag, digest).is_of(self.bad))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantines:
    """What the commit says of an image that it takes back."""

    image: str
    value: Value
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.image}:{self.value}" if self.value.tag else f"{self.image}{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPlan:
    """What one commit of an automation takes back, and what it says of that.

    `place`: for the subject, `namespace/name` of a Kustomization. `asked`: the moment of the wish that this answers.
    """

    automation: ObjectKey
    backs: tuple[Back, ...]
    reason: str
    place: str = ""
    quarantines: tuple[Quarantines, ...] = ()
    asked: datetime | None = None

    def back_of(self, use: Use, policy: str | None, *, wide: bool = False) -> Back | None:
        return next((each for each in self.backs if each.moves(use, policy, wide=wide)), None)

    def only(self, *, wide: bool) -> Callable[[Use, str | None], bool]:
        """For the planner: which uses may move."""
        return lambda use, policy: self.back_of(use, policy, wide=wide) is not None

    def choices(self, policies: Mapping[str, ImagePolicy]) -> dict[str, Choice]:
        """What stands in for the answers of the registry: nothing is asked."""
        made: dict[str, Choice] = {}
        for key, policy in policies.items():
            back = next((each for each in self.backs if each.policy == key), None)
            selection = None if back is None else _selection(back, policy, self.reason)
            made[key] = Choice(
                policy=policy,
                selection=selection,
                reason=self.reason if selection is not None else NO_PART,
                move=_goes_back if selection is not None else _stays,
            )
        return made


NO_PART: Final = "no part of this rollback"


def _selection(back: Back, policy: ImagePolicy, reason: str) -> Selection | None:
    if not back.to.tag:
        return None
    written = policy.reflection is not DigestReflection.NEVER
    digest = Digest(back.to.digest) if written and back.to.digest else None
    return Selection(policy=back.policy, name=policy.image, tag=back.to.tag, digest=digest, reason=reason)


def _goes_back(tag: str | None, digest: str | None) -> Movement:
    return Movement(kind=MoveKind.REPLACE, reason="it goes back")


def _stays(tag: str | None, digest: str | None) -> Movement:
    return Movement(kind=MoveKind.REFUSED, reason=NO_PART)


def all_or_nothing(planned: Plan) -> Plan:
    """A plan that cannot take everything back takes nothing back: half of it is a state that nobody has ever seen."""
    refused = next((each for each in planned.decisions if each.state is State.REFUSED), None)
    if refused is None:
        return planned
    return _stopped(planned, f"{refused.site.file}:{refused.site.line} cannot go back: {refused.reason}")


def _stopped(planned: Plan, reason: str) -> Plan:
    def stopped(decision: Decision) -> Decision:
        if decision.state is not State.UPDATED:
            return decision
        return replace(decision, state=State.REFUSED, reason=reason, changes=())

    return Plan(decisions=tuple(stopped(each) for each in planned.decisions))


def good_value(proven: Sequence[Proven], fits: Callable[[Value], bool]) -> Value | None:
    """The value that was proven last and still is, of those that fit."""
    standing = [each for each in proven if each.withdrawn is None and fits(Value(each.tag, each.digest))]
    found = max(standing, key=lambda each: each.at, default=None)
    return Value(found.tag, found.digest) if found is not None else None
