"""`judge`: which tag wins, and why every other one does not.

Pure. The choice is made at once and cheaply; verdicts are made when they are read. With `previous` only the tags that
came and went are judged. `facts` must not change under a judgement that is still read.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from image_updater.policy.model import Fate, Judgement, Selection, Verdict
from image_updater.policy.tagset import FEW, TagSet

if TYPE_CHECKING:
    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.contest import Facts, Outcome
    from image_updater.policy.model import Chosen


class Judged:
    """The `Judgement` that `judge` makes."""

    def __init__(self, compiled: CompiledPolicy, tags: TagSet, facts: Facts, now: datetime, standing: Any) -> None:
        self.compiled = compiled
        self.tags = tags
        self.now = now
        self._facts = facts
        self.outcome: Outcome
        """What the contest says; `walk` begins with it."""
        self.outcome, self.standing = compiled.contest.resolve(standing, facts)

    @property
    def chosen(self) -> Chosen | None:
        return self.outcome.chosen

    @property
    def reason(self) -> str:
        return self.outcome.reason

    @property
    def needs_facts(self) -> Sequence[str]:
        return self.outcome.needs

    @property
    def held(self) -> bool:
        """Nothing is chosen, but something waits: for facts, or for a person to say what the dates cannot."""
        return self.outcome.held

    def walk(self) -> Iterator[Outcome]:
        """The outcome, then what it would be if that tag were out, and so on: best first, read as far as it is asked.
        Behind an outcome that chooses nothing and names no `winner` there is no more."""
        yield self.outcome
        if self.outcome.winner is not None:
            yield from itertools.islice(self.compiled.contest.walk(self.standing, self._facts), 1, None)

    def among(self, tags: Collection[str]) -> Iterator[Outcome] | None:
        """`walk` over no more than these tags; None where that is no cheaper."""
        return self.compiled.contest.among(self.standing, self._facts, tags)

    def best(self, count: int) -> tuple[Verdict, ...]:
        """The first `count` verdicts. Those of the other tags are not kept."""
        if "verdicts" in self.__dict__:
            return tuple(self.verdicts[:count])
        if self.chosen is not None and len(self.tags.source) > FEW:
            # Then the eligible follow, in the order of the walk.
            rows = tuple(
                self._row(won[1]) for outcome in itertools.islice(self.walk(), count) if (won := outcome.winner)
            )
            if len(rows) == count:
                return arrange(rows)
        return arrange(map(self._row, self.tags.unique), count)

    @cached_property
    def verdicts(self) -> Sequence[Verdict]:
        """The chosen, the eligible and the held best first, then the rejected in byte order."""
        return arrange(map(self._row, self.tags.unique))

    def _row(self, tag: str) -> Row:
        fate, rank, reason = self.compiled.contest.verdict(tag, self._facts, self.outcome)
        return fate, rank, tag, reason


Row = tuple[Fate, Any, str, str]
"""Fate, rank among its like (greater = better), tag, reason."""


def arrange(rows: Iterable[Row], count: int | None = None) -> tuple[Verdict, ...]:
    """Verdicts in their order: by fate, the rejected in byte order, the others best first. With `count` the first."""
    by_fate: dict[Fate, list[Row]] = {fate: [] for fate in Fate}
    for row in rows:
        by_fate[row[0]].append(row)
    found: list[Verdict] = []
    for fate, like in by_fate.items():
        if count is None or len(like) <= count - len(found):
            if fate is Fate.REJECTED:
                like.sort(key=lambda row: row[2])
            else:
                like.sort(key=lambda row: row[1], reverse=True)
        elif fate is Fate.REJECTED:
            like = heapq.nsmallest(count - len(found), like, key=lambda row: row[2])
        else:
            like = heapq.nlargest(count - len(found), like, key=lambda row: row[1])
        found += (Verdict(tag, fate, reason) for fate, _, tag, reason in like)
    return tuple(found)


def judge(
    compiled: CompiledPolicy,
    tags: Sequence[str] | TagSet,
    facts: Facts,
    *,
    now: datetime,
    previous: Judgement | None = None,
) -> Judged:
    """One judgement of a complete list. `previous`: an earlier one, of this policy or it is ignored."""
    listed = TagSet.of(tags)
    if isinstance(previous, Judged) and previous.compiled == compiled:
        if listed is not previous.tags and listed.source is previous.tags.source:
            listed = previous.tags
        standing = compiled.contest.advance(previous.standing, listed)
    else:
        standing = compiled.contest.start(listed)
    return Judged(compiled, listed, facts, now, standing)


def select(compiled: CompiledPolicy, judgement: Judgement, facts: Facts) -> Selection | None:
    """What is to be written; None when nothing is chosen. The digest stands beside the tag only if it is reflected."""
    chosen = judgement.chosen
    if chosen is None:
        return None
    known = facts.get(chosen.tag)
    digest = chosen.digest or (None if known is None else known.digest)
    if compiled.reflects and digest is None:
        return None
    return Selection(
        policy=str(compiled.policy.key),
        name=compiled.policy.image,
        tag=chosen.tag,
        digest=digest if compiled.reflects else None,
        reason=judgement.reason,
        facts={} if known is None else {chosen.tag: known},
    )
