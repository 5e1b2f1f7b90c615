"""One failed workload, looked at on the tip that would be written on: whose change it was, what else has changed, where
its images go. Before anything is pushed, the intent is in the policies' statuses.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import ImagePolicy, Kustomization
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.status import Rollback
from image_updater.controller.loop.storms import said
from image_updater.controller.loop.values import Values
from image_updater.controller.status import Happening
from image_updater.controller.update.inputs import KUSTOMIZATION
from image_updater.images import parse_name
from image_updater.pipeline.rollback import evidence
from image_updater.pipeline.rollback.decision import (
    FROZEN,
    Action,
    Author,
    Back,
    Image,
    Intent,
    Kind,
    Quarantines,
    RollbackPlan,
    Suspect,
    decide,
    good_value,
    is_applied,
)
from image_updater.pipeline.rollback.placements import Value, of_kustomization, of_object
from image_updater.pipeline.rollback.waysback import is_proven
from image_updater.policy.gating import may_roll_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.loop.case import Case
    from image_updater.controller.loop.proving import Proving
    from image_updater.controller.loop.storms import Storms
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.rollback.decision import Written
    from image_updater.pipeline.rollback.evidence import Ground
    from image_updater.pipeline.rollback.placements import Placement

AGAIN: Final = timedelta(seconds=1)
"""Until it is looked again whether those that fail at the same time are judged."""


class Retreat:
    """See the module. `taking(case)` is asked on each tip."""

    def __init__(
        self,
        context: Context,
        *,
        selector: Selector,
        proving: Proving,
        storms: Storms,
        entry: Callable[[str], Entry | None],
        fields: Callable[[Entry], Mapping[str, Any]],
        save: Callable[..., Awaitable[None]],
        opens: Callable[[Iterable[str], str], None],
        tell: Callable[[str, Happening], None],
        started: datetime,
    ) -> None:
        """`fields`: of a status, as they are. `opens(policies, why)`: their breaker opens."""
        self._context = context
        self._selector = selector
        self._situations = selector.situations
        self._proving = proving
        self._storms = storms
        self._values = Values(selector=selector, proving=proving, clock=context.clock)
        self._entry = entry
        self._fields = fields
        self._save = save
        self._opens = opens
        self._tell = tell
        self._left: set[tuple[object, ...]] = set()
        """What was told of members of a group that do not go back with it."""
        self._started = started
        self._good: dict[tuple[ObjectKey, Ref], str] = {}
        """By workload the last commit with which it was healthy."""

    def good(self, kustomization: ObjectKey, refs: Iterable[Ref], revision: str) -> None:
        """They are healthy with what that revision says of them."""
        commit = revision.rpartition(":")[2]
        if commit:
            self._good |= {(kustomization, ref): commit for ref in refs}

    def retain(self, kustomizations: Container[ObjectKey]) -> None:
        """All others are no more."""
        self._good = {place: commit for place, commit in self._good.items() if place[0] in kustomizations}

    def glance(self, case: Case, images: Sequence[Image]) -> Action:
        """What it would lead to, if these images are as they seem: nothing is read."""
        action = self._decide(case, images, self._intent(case, images))
        names = [self.name_of(each.placement) for each in images]
        if action.kind is Kind.WAIT:
            for name in names:
                self._storms.expect(name, case.since, case.place)
        elif action.kind not in (Kind.HOLD, Kind.ROLLBACK):
            self._storms.judged(names)
        return action

    # ------------------------------------------------------------------------------------------- on a tip

    async def take(self, case: Case, ground: Ground) -> RollbackPlan | None:
        """What goes back there, and `case` says the rest."""
        case.plan = None
        placed = of_kustomization(await ground.found(), case.kustomization)
        ref = case.rollout.ref
        mine = of_object(placed, group=ref.group, kind=ref.kind, namespace=ref.namespace, name=ref.name)
        case.names = frozenset(self.name_of(each) for each in mine)
        found, before, base = await self._images(case, ground, mine)
        intent = self._intent(case, found)
        applied = dict(case.rollout.images)
        # An older rollback, of what has failed now or of an image beside it, has taken nothing of this back.
        done = (each for each in found if each.written.author is Author.ROLLBACK)
        case.commit = next((each.written.commit for each in done if not is_applied(each.placement, applied)), None)
        action = self._decide(case, found, intent)
        if action.kind in (Kind.HOLD, Kind.ROLLBACK):
            suspects = [each.placement for each in action.suspects]
            failed = case.revision.rpartition(":")[2]
            known = failed if failed and ground.past.history.contains(failed) else None
            moved = await evidence.moved_on(ground, suspects, known) if known is not None else ""
            mixed = ""
            if not moved and base is not None:
                mixed = await evidence.mixed(ground, suspects, before, base, known)
            if moved or mixed:
                action = self._decide(case, found, intent, moved=moved, mixed=mixed)
        if action.kind in (Kind.HOLD, Kind.ROLLBACK) and (intent is None or intent.to is None):
            action = self._in_storm(case, action)
        if action.kind not in (Kind.HOLD, Kind.ROLLBACK, Kind.WAIT):
            self._storms.judged(case.names)
        if action.kind in (Kind.HOLD, Kind.ROLLBACK):
            action = await self._with_groups(ground, action)
        case.action = action
        plan = await self._plan(case, ground, action) if action.kind is Kind.ROLLBACK else None
        if plan is not None:
            self._tell_left(case, action, {each.automation for each in mine})
        if action.breaker:
            # After the intent is written: what has none is not taken back any more while the breaker is open.
            self._opens((self.name_of(each.placement) for each in action.suspects), action.breaker)
        return plan

    def _decide(
        self, case: Case, images: Sequence[Image], intent: Intent | None, *, moved: str = "", mixed: str = ""
    ) -> Action:
        frozen, breaker = self.stopped({self.name_of(each.placement): each.placement for each in images})
        return decide(
            case.rollout,
            images,
            on_failure=case.kustomization.on_failure,
            now=self._context.clock(),
            since=case.since,
            started=self._started,
            intent=intent,
            breaker=breaker,
            frozen=frozen,
            moved=moved,
            mixed=mixed,
        )

    def stopped(self, names: Iterable[str]) -> tuple[str, str]:
        """Why a Freeze, a hold or `spec.suspend` forbids it, and why a breaker does."""
        frozen = breaker = ""
        for name in names:
            entry = self._entry(name)
            if entry is not None and isinstance(entry.value, ImagePolicy) and entry.value.suspend:
                frozen = frozen or f"ImagePolicy {name} is suspended"
            outcome = self._selector.answers.get(name)
            if outcome is None or outcome.compiled is None:
                continue
            situation = self._situations.of(outcome.spec)
            breaker = breaker or situation.breaker
            calm = replace(situation, breaker="")
            frozen = frozen or may_roll_back(outcome.compiled, calm, self._context.clock()) or ""
        return frozen, breaker

    def _in_storm(self, case: Case, action: Action) -> Action:
        """Several policies at once: nothing goes back, and their breakers open."""
        for each in action.suspects:
            self._storms.note(self.name_of(each.placement), case.since, case.place)
        self._storms.retain(self._selector.answers)
        now = self._context.clock()
        together = self._storms.together(now)
        if not together and self._storms.gathers(now):
            why = "others fail at the same time, and it is not known yet whose fault that is"
            return Action(kind=Kind.WAIT, reason=f"{action.reason}: {why}", again=now + AGAIN)
        if not together:
            return action
        self._opens(together, said(together))
        return Action(kind=Kind.NOTIFY, reason=f"{action.reason}: nothing is rolled back, {said(together)}")

    # ------------------------------------------------------------------------------------------- groups

    def together(self, names: Iterable[str]) -> frozenset[str]:
        """These policies, and the others of their groups."""
        found = set(names)
        for spec in filter(None, map(self._values.spec, tuple(found))):
            if spec.group is not None:
                members = self._situations.groups.get((spec.key.namespace, spec.group), ())
                found |= {name for name in members if name in self._selector.answers}
        return frozenset(found)

    async def _with_groups(self, ground: Ground, action: Action) -> Action:
        """What moves together goes back together: the members that hold the same tag, by our own hand, and are applied
        by a Kustomization of this cluster.
        """
        by_tag = {each.placement.value.tag: each for each in action.suspects}
        names = {self.name_of(each.placement) for each in action.suspects}
        others = self.together(names) - names
        if not others:
            return action
        placed = await ground.found()
        entries = self._context.cache.entries(KUSTOMIZATION).values()
        applied = {
            each.key
            for entry in entries
            if isinstance(entry.value, Kustomization)
            for each in of_kustomization(placed, entry.value)
        }
        members = [
            each for each in placed if self.name_of(each) in others and each.value.tag in by_tag and each.key in applied
        ]
        known = await evidence.written(ground, members)
        more = []
        for each in members:
            to = by_tag[each.value.tag].to
            if known[each.key].author is not Author.OURS:
                continue
            tag = to.tag if to is not None else None
            name = self.name_of(each)
            if tag is not None:
                await self._values.ask(name, [Value(tag)])
                if Value(tag).is_of(each.value) or not self._values.is_free(name, Value(tag)):
                    return _not_together(action, f"{each.image} may not go to {tag}")
                if not self._values.fits(name, Value(tag)):
                    unknown = _not_together(action, f"the registry does not say which bytes {each.image}:{tag} has")
                    return replace(unknown, again=self._context.clock() + FROZEN)
            if frozen := self.stopped([name])[0]:
                return replace(_not_together(action, frozen), again=self._context.clock() + FROZEN)
            value = self._values.with_digest(name, Value(tag)) if tag is not None else None
            more.append(Suspect(placement=each, to=value))
        return replace(action, suspects=(*action.suspects, *more))

    def _tell_left(self, case: Case, action: Action, automations: Collection[ObjectKey]) -> None:
        """Members of its group that another automation writes stay where they are."""
        for each in (one.placement for one in action.suspects if one.placement.automation not in automations):
            name = self.name_of(each)
            left = (name, each.value, *case.place, case.since)
            if left not in self._left:
                self._left.add(left)
                text = f"its group goes back ({action.reason}), and {each.value} stays: {each.automation} writes it"
                self._tell(name, Happening(reason="RollbackRefused", message=text, warning=True))

    # ------------------------------------------------------------------------------------------- what is known

    async def _images(
        self, case: Case, ground: Ground, mine: Sequence[Placement]
    ) -> tuple[list[Image], Mapping[evidence.Key, str], str | None]:
        known = await evidence.written(ground, mine)
        base = self._base(case, ground, mine, [known[each.key] for each in mine])
        before = await evidence.images(ground, base) if base is not None else {}
        found = []
        for each in mine:
            name, written = self.name_of(each), known[each.key]
            proven = [one for one in self._proving.of(name) if one.environment == str(case.kustomization.key)]
            others = [one for one in proven if not loopstatus.value_of(one).is_of(each.value)]
            old = written.old if written.old is not None and not written.old.is_of(each.value) else None
            old = old if old is not None and old.tag is not None else None
            await self._values.ask(name, [*map(loopstatus.value_of, others), *filter(None, [old])])
            fits, is_free = partial(self._values.fits, name), partial(self._values.is_free, name)
            unknown = good_value(others, is_free) or (old if old is not None and is_free(old) else None)
            last = max((one for one in proven if one.withdrawn is None), key=lambda one: one.at, default=None)
            good = good_value(others, fits)
            old = old if old is not None and fits(old) else None
            if old is not None and is_proven(proven, old):
                # What served until our commit: what was proven after it, somebody has taken back.
                good = old
            found.append(
                Image(
                    placement=each,
                    written=replace(written, old=self._values.with_digest(name, old)),
                    changed=before.get(each.key) != evidence.reference(each),
                    proven=self._values.with_digest(name, good),
                    bad=self._values.failed_since(name, last, ground.past.history),
                    unknown=unknown,
                )
            )
        return found, before, base

    def _base(self, case: Case, ground: Ground, mine: Sequence[Placement], known: Iterable[Written]) -> str | None:
        """The commit of the workload's last good state; else the one that ours was made on."""
        good = self._good.get((case.kustomization.key, case.rollout.ref))
        if good is not None and ground.past.history.contains(good):
            return good
        names = {self.name_of(each) for each in mine}
        proven = [
            each
            for name in names
            for each in self._proving.of(name)
            if each.environment == str(case.kustomization.key) and each.withdrawn is None and each.revision
        ]
        for each in sorted(proven, key=lambda one: one.at, reverse=True):
            commit = str(each.revision).rpartition(":")[2]
            if ground.past.history.contains(commit):
                return commit
        ours = [each for each in known if each.author is Author.OURS and each.parent is not None]
        newest = max(ours, key=lambda each: each.at.timestamp() if each.at is not None else 0.0, default=None)
        return newest.parent if newest is not None else None

    def name_of(self, placement: Placement) -> str:
        """As answers name its policy."""
        own = f"{placement.name} ({placement.automation})"
        return own if own in self._selector.answers else placement.name

    # ------------------------------------------------------------------------------------------- intents

    def _intent(self, case: Case, images: Iterable[Image]) -> Intent | None:
        """A rollback that was begun for this workload, of what Git holds there."""
        held = [each.value for each in images]
        for name in sorted(case.names):
            known = self.begun(case, name)
            if known is not None and known.bad is not None and any(each.is_of(known.bad) for each in held):
                return Intent(state=known.state, bad=known.bad, to=known.to, commit=known.commit)
        return None

    def begun(self, case: Case, name: str) -> Rollback | None:
        """What the status of a policy says of this failure."""
        entry = self._entry(name)
        if entry is None:
            return None
        known = loopstatus.rollback_of(self._context.status.current(entry), case.place)
        return known if known is not None and known.open else None

    async def _plan(self, case: Case, ground: Ground, action: Action) -> RollbackPlan | None:
        """The part of this automation; with the intent on the server."""
        suspects = [each for each in action.suspects if each.placement.automation == ground.automation.key]
        if not suspects:
            return None
        for each in suspects:
            await self._intend(case, action, each)
        plan = RollbackPlan(
            automation=ground.automation.key,
            reason=_short(f"{case.rollout.ref} in Kustomization {case.kustomization.key}: {action.reason}"),
            place=str(case.kustomization.key),
            backs=tuple(
                Back(
                    policy=each.placement.policy,
                    image=each.placement.image,
                    to=each.to or Value(),
                    bad=each.placement.value,
                    places=frozenset({each.placement.key}),
                )
                for each in suspects
            ),
            quarantines=tuple(dict.fromkeys([await self._quarantine(each) for each in suspects])),
        )
        case.plan = plan
        return plan

    async def _intend(self, case: Case, action: Action, suspect: Suspect) -> None:
        """Raises what keeps it from being written: nothing is pushed then."""
        name = self.name_of(suspect.placement)
        entry = self._entry(name)
        if entry is None:
            return  # an annotation's policy has no object; what Git holds says whether it was done
        intent = case.intent(action, suspect)
        known = self.begun(case, name)
        since = intent.since.replace(microsecond=0) if intent.since is not None else None
        if known is not None and replace(known, requested=None, message="") == replace(intent, since=since):
            return  # it stands there, maybe with what has kept it from being done so far
        text = f"{suspect.placement.image} goes back from {suspect.placement.value} to {suspect.to}: {action.reason}"
        happened = Happening(reason="RollbackIntended", message=text, warning=True)
        await self._save(entry, loopstatus.rollback_fields(intent, self._fields(entry)), happened)

    async def _quarantine(self, suspect: Suspect) -> Quarantines:
        """With the digest of the bytes that failed, where it is known or the registry says."""
        name, value = self.name_of(suspect.placement), suspect.placement.value
        digest = self._values.digest(name, value)
        spec = self._values.spec(name)
        if digest is None and spec is not None and value.tag is not None:
            await self._selector.hint(parse_name(spec.image), value.tag, [spec])
            digest = self._values.seen(spec, value.tag)
        return Quarantines(image=suspect.placement.image, value=Value(value.tag, digest))


def _not_together(action: Action, why: str) -> Action:
    return Action(kind=Kind.NOTIFY, reason=f"{action.reason}: its group does not go back together: {why}")


def _short(text: str, most: int = 300) -> str:
    """A trailer is one line that people read."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
