"""All gates of one policy in its situation, at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.model import Start
from image_updater.images import parse_name
from image_updater.policy.gates import (
    ages,
    freezes,
    groups,
    holds,
    people,
    platforms,
    promotion,
    quarantines,
    signatures,
    windows,
)
from image_updater.policy.gates.blocked import Blocked, GateName, earliest
from image_updater.policy.model import Fate
from image_updater.policy.situation import Situation, has_gates

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.contest import Facts
    from image_updater.policy.model import TagFacts

Check = Callable[[str, "TagFacts | None"], "Blocked | None"]

_EMPTY = Situation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    checks: tuple[Check, ...] = ()
    only: frozenset[str] | None = None
    """No other tag passes, and waiting does not change that."""
    floor: Callable[[str], bool] | None = None
    """Does nothing pass that ranks below this tag?"""
    wide: tuple[Blocked, ...] = ()
    """What stops the policy now."""
    later: datetime | None = None
    """When the first of those ends, or another begins."""

    def blocks(self, tag: str, known: TagFacts | None) -> tuple[Blocked, ...]:
        """What does not let a tag pass; a rejection alone, as nothing else matters then."""
        found: list[Blocked] = []
        for check in self.checks:
            blocked = check(tag, known)
            if blocked is not None:
                if blocked.fate is Fate.REJECTED:
                    return (blocked,)
                found.append(blocked)
        return tuple(found)


NONE = Gates()


def gather(compiled: CompiledPolicy, facts: Facts, situation: Situation, now: datetime, *, group: bool = True) -> Gates:
    """`group=False` leaves the group out: what this policy would take by itself."""
    policy = compiled.policy
    if not has_gates(policy) and situation == _EMPTY:
        return NONE
    wide, later = _wide(policy, situation, now, group=group)
    checks: list[Check] = []
    only: list[frozenset[str]] = []
    floor = None
    name = parse_name(policy.image)
    if situation.denied:
        denials = {each.what: each for each in reversed(situation.denied)}
        checks.append(lambda tag, known: people.denied(denials, tag, known))
    if entries := quarantines.standing(situation.quarantined, name, now):
        checks.append(lambda tag, known: quarantines.check(entries, tag, known, now))
    hold = holds.standing(situation.hold, now)
    if hold is not None and not holds.everything(hold):
        lasting = hold
        checks.append(lambda tag, _: holds.check(compiled, lasting, tag, facts, now))

        def floor(tag: str) -> bool:
            return holds.below(compiled, lasting, tag)

    start = situation.start
    if policy.start is Start.PROVEN and start is not None:
        checks.append(lambda tag, known: promotion.begins(start, tag, known))
        first = promotion.first_choice(start)
        only.append(frozenset() if first is None else frozenset({first.tag}))
    after, upstream = policy.after, situation.upstream
    if after is not None and upstream is not None:
        checks.append(lambda tag, known: promotion.check(after, upstream, tag, known, now))
        only.append(frozenset(one.tag for one in upstream))
    members = situation.group
    if group and policy.group is not None and members is not None:
        within = policy.group
        checks.append(lambda tag, _: groups.check(within, members, tag))
        if members:
            only.append(frozenset.intersection(*map(frozenset, members.values())))
    if policy.approvals > 0:
        checks.append(lambda tag, known: people.approved(policy.approvals, situation.approvals, tag, known))
        only.append(frozenset(approval.tag for approval in situation.approvals))
    wanted = tuple(dict.fromkeys((*policy.platforms, *((situation.node_platforms or ()) if policy.from_nodes else ()))))
    if wanted:
        checks.append(lambda tag, known: platforms.check(wanted, tag, known))
    if policy.verify is not None:
        checks.append(signatures.check)
    if policy.min_age:
        checks.append(lambda tag, known: ages.check(policy.min_age, tag, known, now))
    return Gates(
        checks=tuple(checks),
        only=frozenset.intersection(*only) if only else None,
        floor=floor,
        wide=wide,
        later=later,
    )


def _wide(
    policy: ImagePolicy, situation: Situation, now: datetime, *, group: bool
) -> tuple[tuple[Blocked, ...], datetime | None]:
    """What stops the policy, and when that changes."""
    found: list[Blocked] = []
    hold = holds.standing(situation.hold, now)
    if hold is not None and holds.everything(hold):
        found.append(holds.stops(hold, now))
    if situation.breaker:
        found.append(Blocked(gate=GateName.BREAKER, reason=f"the breaker is open: {situation.breaker}"))
    found += (freezes.stops(freeze, now) for freeze in freezes.standing(situation.freezes, now))
    opening = windows.opening(policy.windows, now)
    if not opening.open:
        found.append(Blocked(gate=GateName.WINDOWS, reason=opening.reason, until=opening.until))
    if policy.after is not None and situation.upstream is None:
        why = f": {situation.upstream_source}" if situation.upstream_source else ""
        reason = f"nobody knows what {policy.after.name} has proven, which it comes after{why}"
        found.append(Blocked(gate=GateName.AFTER, reason=reason))
    if situation.start_problem:
        reason = f"start: proven waits, as what was proven is not known: {situation.start_problem}"
        found.append(Blocked(gate=GateName.START, reason=reason))
    if group and policy.group is not None:
        problem = situation.group_problem
        if not problem and situation.group is None:
            problem = "what its other members would take is not known yet"
        if problem:
            found.append(Blocked(gate=GateName.GROUP, reason=f"group {policy.group} does not move: {problem}"))
    if policy.from_nodes and situation.node_platforms is None:
        found.append(Blocked(gate=GateName.PLATFORMS, reason="the platforms of the cluster's nodes are not known"))
    later = earliest(
        (*(blocked.until for blocked in found), opening.until, *freezes.beginnings(situation.freezes, now))
    )
    return tuple(found), later
