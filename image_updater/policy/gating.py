"""`gate`: which of the judged tags may be written now, what holds back the better ones, and until when.

Candidates are looked at best first until one passes, so a policy whose best tag passes costs nothing more. Three rules:

- A tag that a gate holds or rejects gives way to the next best.
- A tag of which something must be known first gives way to none: nothing lower is chosen on partial data. Facts are
  asked for a few candidates at a time, and of no more than `MOST_ASKED`.
- A gate that stops the whole policy (a hold, a freeze, closed windows) changes nothing of that: what would win is held.

Pure. Equal arguments give equal answers, and while only the clock moves the answer stays until `Gated.until`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from image_updater.images import parse_name
from image_updater.policy.contest import Outcome
from image_updater.policy.gates import freezes, holds, quarantines
from image_updater.policy.gates.blocked import Blocked, GateName, earliest
from image_updater.policy.gates.freezes import applies
from image_updater.policy.gates.gathered import Gates, gather
from image_updater.policy.gates.quarantines import bars
from image_updater.policy.judge import Row, arrange
from image_updater.policy.model import Chosen, Fate, Verdict
from image_updater.policy.situation import Need
from image_updater.policy.tagset import FEW

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.contest import Facts
    from image_updater.policy.judge import Judged
    from image_updater.policy.situation import Quarantined, Situation

__all__ = ["Blocked", "GateName", "Gated", "Takes", "applies", "bars", "downgrade", "gate", "may_roll_back", "takes"]

MOST_ASKED = 100
"""Candidates of which facts are asked for because no better one passes. Behind them the policy waits."""
_AHEAD = 10
"""So many of the best are asked for their digest even while something else holds them, so that their age begins."""
_WALKED = 50
"""Candidates that are looked at one by one, before only those are that can pass at all (proven, approved, of the
group); and how many of them `because` tells of."""

_SPARE = 5
"""For each verdict that is wanted, so many tags are looked at before all are."""

_GOOD = frozenset({Fate.CHOSEN, Fate.ELIGIBLE})
_BY_FACTS = frozenset({GateName.PLATFORMS, GateName.VERIFY, GateName.MIN_AGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """A `Judgement` after the gates."""

    chosen: Chosen | None
    reason: str
    needs_facts: Sequence[str]
    """As of the judgement, and the tags of `needs`."""
    held: bool
    """Nothing is chosen, but something waits."""
    stopped: Chosen | None = None
    """What would be chosen, were the whole policy not stopped: where Git holds it, nothing waits."""
    wanted: str | None = None
    """The best tag that is not rejected, where it is another one than is chosen: what is being waited for."""
    until: datetime | None = None
    """The first moment at which waiting alone changes the answer; None = only facts or the situation can."""
    needs: Mapping[str, frozenset[Need]] = field(default_factory=dict, hash=False)
    """Facts that gates ask for, of tags that could still win."""
    because: tuple[Blocked, ...] = ()
    """What stops the policy, and what holds or rejects the best of the tags that do not pass."""
    view: View = field(compare=False, repr=False)

    @property
    def verdicts(self) -> Sequence[Verdict]:
        return self.view.verdicts

    def best(self, count: int) -> Sequence[Verdict]:
        return self.view.best(count)

    def leading(self, count: int) -> Sequence[Verdict]:
        """The first `count` candidates in the policy's own order, held, quarantined and chosen alike: what a person
        wants to see first."""
        return self.view.leading(count)


@dataclass(slots=True, kw_only=True)
class _Walk:
    """The way down the candidates."""

    outcome: Outcome | None = None
    """Where it ended; None = no candidate passes."""
    undecided: tuple[Blocked, ...] = ()
    """What must be known of the tag where it ended."""
    blocked: dict[str, tuple[Blocked, ...]] = field(default_factory=dict)
    """What does not let the better ones pass, best first."""
    needs: dict[str, frozenset[Need]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    until: datetime | None = None


def gate(judgement: Judged, compiled: CompiledPolicy, facts: Facts, situation: Situation, *, now: datetime) -> Gated:
    """The answer at `now`. `facts` must not change under an answer that is still read."""
    gates = gather(compiled, facts, situation, now)
    sure = judgement.chosen is not None or _tag(judgement.outcome) is None
    if sure and not gates.checks and not gates.wide:
        return Gated(
            chosen=judgement.chosen,
            reason=judgement.reason,
            needs_facts=judgement.needs_facts,
            held=judgement.held,
            until=gates.later,
            view=View(judgement, facts, gates, _Walk(outcome=judgement.outcome)),
        )
    walk = _walk(judgement, facts, gates)
    passes = walk.outcome is not None and not walk.undecided
    best = walk.outcome.chosen if walk.outcome is not None and passes else None
    chosen = None if gates.wide else best
    waiting = [tag for tag, blocks in walk.blocked.items() if blocks[0].fate is Fate.HELD]
    if chosen is None and walk.outcome is not None and (tag := _tag(walk.outcome)) is not None:
        waiting.append(tag)
    listed = itertools.islice(walk.blocked.values(), _WALKED)
    return Gated(
        chosen=chosen,
        reason=_reason(judgement, gates, walk),
        needs_facts=tuple(dict.fromkeys((*walk.asked, *walk.needs))),
        held=chosen is None and (bool(waiting) or (walk.outcome is not None and walk.outcome.held)),
        stopped=best if gates.wide else None,
        wanted=waiting[0] if waiting else None,
        until=earliest((gates.later, walk.until)),
        needs=walk.needs,
        because=(*gates.wide, *itertools.chain.from_iterable(listed), *walk.undecided),
        view=View(judgement, facts, gates, walk),
    )


def _walk(judged: Judged, facts: Facts, gates: Gates) -> _Walk:
    walk = _Walk()
    candidates = _candidates(judged, gates)
    by_facts = 0
    for index, outcome in enumerate(candidates):
        tag = _tag(outcome)
        if tag is None:
            walk.outcome = outcome
            walk.asked += outcome.needs
            return walk
        blocks = _blocks(gates, outcome, tag, facts)
        if not blocks:
            walk.outcome = outcome
            return walk
        sure = [blocked for blocked in blocks if not blocked.undecided]
        walk.until = earliest((walk.until, *_changes(blocks, told=index < _WALKED)))
        if not sure:
            walk.outcome = outcome
            if by_facts < MOST_ASKED:
                walk.undecided = blocks
                _ask(walk, outcome, tag, blocks)
                for following in itertools.islice(candidates, by_facts):
                    _ask_ahead(walk, following, facts, gates)
            else:
                reason = f"not looked at, as {by_facts} better ones do not pass: nothing more is asked for"
                walk.undecided = tuple(replace(blocked, reason=reason, needs=frozenset()) for blocked in blocks[:1])
            return walk
        walk.blocked[tag] = blocks
        if index < _AHEAD and sure[0].fate is Fate.HELD and any(Need.DIGEST in blocked.needs for blocked in blocks):
            walk.needs[tag] = frozenset({Need.DIGEST})
        by_facts += _by_facts(blocks)
        if gates.floor is not None and gates.floor(tag) and any(one.gate is GateName.HOLD for one in blocks):
            walk.until = earliest((walk.until, *(blocked.until for blocked in blocks)))
            return walk
    return walk


def _candidates(judged: Judged, gates: Gates) -> Iterator[Outcome]:
    """Best first. Behind the first ones only those that can pass, where that is known."""
    everything = judged.walk()
    if gates.only is None:
        yield from everything
        return
    seen: set[str | None] = set()
    for outcome in itertools.islice(everything, _WALKED):
        seen.add(_tag(outcome))
        yield outcome
    rest = judged.among(gates.only) if len(seen) == _WALKED else everything
    for outcome in everything if rest is None else rest:
        if _tag(outcome) not in seen:
            yield outcome


def _blocks(gates: Gates, outcome: Outcome, tag: str, facts: Facts) -> tuple[Blocked, ...]:
    """What the gates say, and that the digest must be known which is to be written."""
    blocks = gates.blocks(tag, facts.get(tag))
    if outcome.chosen is not None or (blocks and blocks[0].fate is Fate.REJECTED):
        return blocks
    reason = "waiting: its digest is not known yet, and must be"
    needs = frozenset({Need.DIGEST})
    return (*blocks, Blocked(gate=GateName.DIGEST, tag=tag, reason=reason, needs=needs, undecided=True))


def _changes(blocks: Sequence[Blocked], *, told: bool) -> Iterator[datetime | None]:
    """When what is said of a tag changes; where nothing is said of it, when it passes."""
    if told:
        yield from (blocked.until for blocked in blocks)
    elif all(blocked.until is not None for blocked in blocks):
        yield max(blocked.until for blocked in blocks if blocked.until is not None)


def _ask(walk: _Walk, outcome: Outcome, tag: str, blocks: Sequence[Blocked]) -> None:
    """What the gates need; what the judgement itself does alone is in `asked` only."""
    if any(blocked.needs for blocked in blocks if blocked.gate is not GateName.DIGEST):
        walk.needs[tag] = frozenset[Need]().union(*(blocked.needs for blocked in blocks))
    walk.asked += outcome.needs


def _ask_ahead(walk: _Walk, outcome: Outcome, facts: Facts, gates: Gates) -> None:
    """One of the next candidates: where many do not pass, they are not asked for one by one."""
    tag = _tag(outcome)
    blocks = () if tag is None else _blocks(gates, outcome, tag, facts)
    if tag is not None and blocks and all(blocked.undecided for blocked in blocks):
        _ask(walk, outcome, tag, blocks)


def _by_facts(blocks: Sequence[Blocked]) -> bool:
    """Did facts of the tag decide, that somebody had to ask for?"""
    return any(blocked.gate in _BY_FACTS and not blocked.undecided for blocked in blocks)


def _tag(outcome: Outcome) -> str | None:
    return None if outcome.winner is None else outcome.winner[1]


def said(blocks: Sequence[Blocked]) -> str:
    return "; ".join(dict.fromkeys(blocked.reason for blocked in blocks))


def _reason(judged: Judged, gates: Gates, walk: _Walk) -> str:
    outcome = walk.outcome
    better = ""
    if walk.blocked:
        # A held one before one that is out: it is what people wait for.
        tag, blocks = min(walk.blocked.items(), key=lambda item: item[1][0].fate is Fate.REJECTED)
        others = len(walk.blocked) - 1
        more = f" (and {others:,} more {'does' if others == 1 else 'do'} not pass)" if others else ""
        if gates.only is not None and len(walk.blocked) >= _WALKED:
            more = " (and many more do not pass)"  # Of those behind, only what can pass was looked at.
        better = f"{tag} is {said(blocks)}{more}"
    if outcome is None:
        wide = f"; {said(gates.wide)}" if gates.wide else ""
        return f"no tag passes the gates: {better}{wide}"
    tag = _tag(outcome) or ""
    if walk.undecided:
        own = outcome.chosen is None and outcome.needs
        text = outcome.reason if own else f"{tag} would win, but it is {said(walk.undecided)}"
    elif gates.wide and tag:
        text = f"{tag} would win, but {said(gates.wide)}"
    else:
        text = outcome.reason
    return f"{text}; {better}" if better else text


class View:
    """The verdicts of an answer, made when they are read."""

    def __init__(self, judged: Judged, facts: Facts, gates: Gates, walk: _Walk) -> None:
        self._judged = judged
        self._facts = facts
        self._gates = gates
        self._walk = walk
        end = walk.outcome
        if end is None:
            end = Outcome(chosen=None, reason="no tag passes the gates", held=True, winner=judged.outcome.winner)
        self._end = end

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        if self._plain:
            return tuple(self._judged.verdicts)
        return arrange(map(self._row, self._judged.tags.unique))

    def best(self, count: int) -> tuple[Verdict, ...]:
        if self._plain:
            return self._judged.best(count)
        if "verdicts" in self.__dict__:
            return self.verdicts[:count]
        winner = self._end.winner
        if self._chooses and winner is not None and len(self._judged.tags.source) > FEW:
            # Then the eligible follow, in the order of the walk; of many that do not pass more are looked at.
            walked = self._walked(len(self._walk.blocked) + _SPARE * count)
            tags = [won[1] for outcome in walked if (won := outcome.winner)]
            if winner[1] in tags:
                rows = map(self._row, tags[tags.index(winner[1]) :])
                good = list(itertools.islice((row for row in rows if row[0] in _GOOD), count))
                if len(good) == count:
                    return arrange(good)
        return arrange(map(self._row, self._judged.tags.unique), count)

    def leading(self, count: int) -> tuple[Verdict, ...]:
        tags = [won[1] for outcome in self._walked(count) if (won := outcome.winner)]
        if not tags:
            return self.best(count)
        return tuple(Verdict(tag, fate, reason) for fate, _, tag, reason in map(self._row, tags))

    def _walked(self, count: int) -> Iterator[Outcome]:
        return itertools.islice(self._judged.walk(), count)

    @property
    def _chooses(self) -> bool:
        return self._end.chosen is not None and not self._gates.wide and not self._walk.undecided

    @property
    def _plain(self) -> bool:
        told = self._gates.checks or self._gates.wide or self._walk.undecided
        return self._end is self._judged.outcome and not told

    def _row(self, tag: str) -> Row:
        fate, rank, reason = self._judged.compiled.contest.verdict(tag, self._facts, self._end)
        if fate is Fate.REJECTED:
            return fate, rank, tag, reason
        walk, winner = self._walk, self._end.winner
        blocks = walk.blocked.get(tag, ())
        if not blocks and (walk.outcome is None or (winner is not None and rank > winner[0])):
            # Better than what passes, and not looked at: it was known that it cannot.
            blocks = self._gates.blocks(tag, self._facts.get(tag))
        elif not blocks and winner is not None and tag == winner[1]:
            blocks = walk.undecided or self._gates.wide
        elif not blocks:
            blocks = self._behind(tag)
        if not blocks:
            return fate, rank, tag, reason
        return blocks[0].fate, rank, tag, said(blocks)

    def _behind(self, tag: str) -> tuple[Blocked, ...]:
        """What surely does not let a tag pass that ranks below the one where the walk ended. Nobody asks for it, and a
        hold, which a newer tag has ended, says nothing of it."""
        blocks = self._gates.blocks(tag, self._facts.get(tag)) if self._gates.checks else ()
        return tuple(blocked for blocked in blocks if not blocked.undecided and blocked.gate is not GateName.HOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What one member of a group would take by itself, best first."""

    tags: tuple[str, ...] = ()
    until: datetime | None = None
    needs: Mapping[str, frozenset[Need]] = field(default_factory=dict, hash=False)
    reason: str = ""
    """Why it takes none."""


def takes(
    judgement: Judged,
    compiled: CompiledPolicy,
    facts: Facts,
    situation: Situation,
    *,
    now: datetime,
    among: Collection[str] | None = None,
    limit: int = 50,
) -> Takes:
    """For `Situation.group` of the other members: the tags that pass this policy's own gates, not below one of which
    something must be known first. `among`: look at no others (those that all members list)."""
    gates = gather(compiled, facts, situation, now, group=False)
    walk = _Walk()
    found: list[str] = []
    by_facts = 0
    if among is not None:
        among = frozenset(among)
        gates = replace(gates, only=among if gates.only is None else gates.only & among)
    if gates.wide:
        return Takes(until=gates.later, reason=said(gates.wide))
    reason = judgement.reason
    candidates = _candidates(judgement, gates)
    for outcome in candidates:
        tag = _tag(outcome)
        if tag is None:
            reason = outcome.reason
            break
        if len(found) == limit or by_facts > MOST_ASKED:
            break
        if among is not None and tag not in among:
            continue
        blocks = _blocks(gates, outcome, tag, facts)
        if not blocks:
            found.append(tag)
            continue
        reason = f"{tag} is {said(blocks)}"
        walk.until = earliest((walk.until, *_changes(blocks, told=False)))
        if all(blocked.undecided for blocked in blocks):
            _ask(walk, outcome, tag, blocks)
            for following in itertools.islice(candidates, min(len(found) + by_facts, limit - len(found) - 1)):
                if among is None or _tag(following) in among:
                    _ask_ahead(walk, following, facts, gates)
            break
        by_facts += _by_facts(blocks)
    needs = {**walk.needs, **{tag: walk.needs.get(tag, frozenset()) | {Need.DIGEST} for tag in walk.asked}}
    until = earliest((gates.later, walk.until))
    return Takes(tags=tuple(found), until=until, needs=needs, reason="" if found else reason)


def may_roll_back(
    compiled: CompiledPolicy,  # What is asked about; all that decides is in its situation today.
    situation: Situation,
    now: datetime,
    *,
    by_person: bool = False,
) -> str | None:
    """Why nothing may be rolled back now; None = it may. Windows, approvals and ages do not count; a freeze does unless
    it says `allowRollback`. `by_person`: somebody asked for it, whom neither a hold nor the breaker stops."""
    for freeze in freezes.standing(situation.freezes, now):
        if not freeze.allow_rollback:
            return freezes.reason(freeze, now)
    if by_person:
        return None
    hold = holds.standing(situation.hold, now)
    if hold is not None and holds.everything(hold):
        return holds.stops(hold, now).reason
    return f"the breaker is open: {situation.breaker}" if situation.breaker else None


def downgrade(
    compiled: CompiledPolicy, situation: Situation, current_tag: str | None, current_digest: str | None, now: datetime
) -> Quarantined | None:
    """The quarantine of a person that makes a site go down which holds this value; None = it stays."""
    entries = quarantines.by_person(situation.quarantined)
    return bars(entries, parse_name(compiled.policy.image), current_tag, current_digest, now)
