"""The contest of the strategies that order tags by themselves: the winner is kept, a new tag is compared with it."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from image_updater.policy.contest import Bytes, Facts, Gate, Outcome, nothing
from image_updater.policy.filters import Filters
from image_updater.policy.ladder import Ladder, Rung
from image_updater.policy.model import Chosen, Fate
from image_updater.policy.ordering import Key, Ordering
from image_updater.policy.tagset import FEW, TagSet

_FIRST_RUNGS = 64
_MORE_RUNGS = 16
"""How much further down is read at a time where all tags must be looked at."""

_MANY_NEW = 0.1
"""Above this share of new tags the list is read anew: that is made for long lists."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The best tag of a list, `barred` ones left out (their bytes were refused)."""

    tags: TagSet
    barred: frozenset[str]
    best: tuple[Key, str] | None
    ladder: Ladder = field(default_factory=Ladder, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Ordered:
    filters: Filters
    gate: Gate
    ordering: Ordering
    text: str

    def start(self, tags: TagSet, barred: frozenset[str] = frozenset()) -> Standing:
        filters = self.filters
        if filters.expand is None:

            def passes(tag: str) -> bool:
                return tag not in barred and filters.passes(tag)

            found = self.ordering.best(tags, passes)
            return Standing(tags, barred, None if found is None else (found[0], max(found[1])))
        by_value = filters.greatest_by_value((tag for tag in tags if tag not in barred) if barred else tags)
        found = self.ordering.best(TagSet(tuple(by_value)), lambda _: True)
        return Standing(tags, barred, None if found is None else (found[0], max(map(by_value.__getitem__, found[1]))))

    def advance(self, standing: Standing, tags: TagSet) -> Standing:
        added, removed = tags.changes(standing.tags)
        best = standing.best
        if len(added) > len(tags.source) * _MANY_NEW + 8:
            return self.start(tags, standing.barred)
        if best is not None and best[1] in removed:
            ladder = standing.ladder.moved(self._rungs(added), removed)
            return replace(self.start(tags, standing.barred), ladder=ladder)
        came = list(self._rungs(added))
        for rung in came:
            if rung[1] not in standing.barred and (best is None or rung > best):
                best = rung
        return Standing(tags, standing.barred, best, standing.ladder.moved(came, removed))

    def resolve(self, standing: Standing, facts: Facts) -> tuple[Outcome, Standing]:
        if standing.barred and standing.barred != self._barred(facts):
            standing = replace(self.start(standing.tags), ladder=standing.ladder)
        if standing.best is None:
            return self._none(standing), standing
        status, why = self.gate.check(facts.get(standing.best[1]))
        if status is Bytes.REFUSED:
            # At most once: now everything that is refused is barred.
            barred = replace(self.start(standing.tags, self._barred(facts)), ladder=standing.ladder)
            return self.resolve(barred, facts)
        return self._won(standing.best, status, why, facts), standing

    def _won(self, rung: Rung, status: Bytes, why: str, facts: Facts) -> Outcome:
        """What it is when this tag is the best."""
        tag = rung[1]
        if status is Bytes.PENDING:
            return Outcome(
                chosen=None, reason=f"{tag} would win, but {why}", needs=(tag,), held=True, winner=(rung, tag)
            )
        known = facts.get(tag)
        chosen = Chosen(tag=tag, digest=None if known is None else known.digest)
        return Outcome(chosen=chosen, reason=self.ordering.praise(), winner=(rung, tag))

    def walk(self, standing: Standing, facts: Facts) -> Iterator[Outcome]:
        for rung in self._ranked(standing):
            status, why = self.gate.check(facts.get(rung[1]))
            if status is not Bytes.REFUSED:
                yield self._won(rung, status, why, facts)

    def among(self, standing: Standing, facts: Facts, tags: Collection[str]) -> Iterator[Outcome]:
        for rung in sorted(self._rungs(tag for tag in tags if tag in standing.tags), reverse=True):
            status, why = self.gate.check(facts.get(rung[1]))
            if status is not Bytes.REFUSED:
                yield self._won(rung, status, why, facts)

    def _ranked(self, standing: Standing) -> Iterator[Rung]:
        if len(standing.tags.source) <= FEW:
            yield from sorted(self._rungs(standing.tags.unique), reverse=True)
            return
        index = 0
        while (rung := standing.ladder.rung(index, lambda known: self._read(standing.tags, known))) is not None:
            index += 1
            yield rung

    def _read(self, tags: TagSet, known: int) -> tuple[list[Rung], bool]:
        """More than `known` of the best, and whether they are all."""
        wanted = max(_FIRST_RUNGS, _MORE_RUNGS * known)
        if self.filters.expand is None:
            best: set[Rung] = set()
            for lines in self.ordering.groups(tags):
                best.update(self._rungs(lines))
                if len(best) > known:
                    return heapq.nlargest(wanted, best), False
        rungs = heapq.nlargest(wanted, self._rungs(tags.unique))
        return rungs, len(rungs) < wanted

    def _rungs(self, tags: Iterable[str]) -> Iterator[Rung]:
        """The places of those that have one and may win."""
        for tag in tags:
            place = self._place(tag)
            if not isinstance(place, str):
                yield place, tag

    def verdict(self, tag: str, facts: Facts, outcome: Outcome) -> tuple[Fate, Any, str]:
        place = self._place(tag)
        if isinstance(place, str):
            return Fate.REJECTED, None, place
        status, why = self.gate.check(facts.get(tag))
        if status is Bytes.REFUSED:
            return Fate.REJECTED, None, why
        rank = place, tag
        if outcome.winner is None or tag == outcome.winner[1]:
            return Fate.CHOSEN if outcome.chosen is not None else Fate.HELD, rank, outcome.reason
        (best, winner), _ = outcome.winner
        than = "as good, and greater in byte order" if best == place else self.ordering.better
        return Fate.ELIGIBLE, rank, f"eligible, but {winner} is {than}"

    def compare_key(self, tag: str) -> Key | str:
        """The place of any tag, also of one that may not win; or why it has none (never-down compares with it)."""
        pattern, expand = self.filters.pattern, self.filters.expand
        match = None if pattern is None else pattern.match(tag.encode())
        if expand is not None and match is not None:
            return self.ordering.key(expand(match))
        if pattern is not None and match is None and (expand is not None or not self.ordering.has_shape):
            return f"does not match filterTags.pattern '{pattern.text}'"
        return self.ordering.key(tag)

    def _place(self, tag: str) -> Key | str:
        value, refusal = self.filters.read(tag)
        if refusal is not None:
            return refusal
        key = self.ordering.key(value)
        if isinstance(key, str):
            return key if value == tag else f"{value!r} is {key}"
        return self.ordering.refusal(key) or key

    def _barred(self, facts: Facts) -> frozenset[str]:
        check = self.gate.check
        return frozenset(tag for tag, known in facts.items() if check(known)[0] is Bytes.REFUSED)

    def _none(self, standing: Standing) -> Outcome:
        return Outcome(chosen=None, reason=nothing(standing.tags, self.text))
