"""Strategy `newest`: the tag with the latest date. It never picks from unknown dates.

A date is unknown when nobody asked yet, when the image has none, when it lies before 1990 (reproducible builds write
0), or when the newest date is shared by different (or unknown) bytes. While any date is unknown the policy holds,
because exactly that tag could be the newest. `firstSeen` differs in one point: tags of the first complete listing
have no date by design, and only later ones can win.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from image_updater.api.model import NewestBy
from image_updater.policy.contest import Bytes, Facts, Gate, Outcome, nothing
from image_updater.policy.filters import Filters
from image_updater.policy.model import Chosen, Fate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from image_updater.policy.model import TagFacts
    from image_updater.policy.tagset import TagSet

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)

_NO_DATE = {
    NewestBy.CREATED: "no creation date",
    NewestBy.PUSHED: "no push time in this registry",
    NewestBy.FIRST_SEEN: "no first-seen date",
}
_OTHER_WAYS = {
    NewestBy.CREATED: "order by pushed or firstSeen",
    NewestBy.PUSHED: "order by created or firstSeen",
    NewestBy.FIRST_SEEN: "order by created",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """The tags that the filters leave."""

    tags: TagSet
    passing: frozenset[str]


@dataclass(frozen=True, slots=True)
class Newest:
    """`spec.policy.newest`."""

    filters: Filters
    gate: Gate
    by: NewestBy
    text: str

    def start(self, tags: TagSet) -> Standing:
        return Standing(tags, frozenset(filter(self.filters.passes, tags.unique)))

    def advance(self, standing: Standing, tags: TagSet) -> Standing:
        added, removed = tags.changes(standing.tags)
        if not added and not removed:
            return Standing(tags, standing.passing)
        return Standing(tags, standing.passing.difference(removed).union(filter(self.filters.passes, added)))

    def date(self, known: TagFacts | None) -> datetime | None:
        """The date that counts, in UTC; None = unknown."""
        if known is None:
            return None
        match self.by:
            case NewestBy.CREATED:
                date = known.created
            case NewestBy.PUSHED:
                date = known.pushed
            case NewestBy.FIRST_SEEN:
                date = known.first_seen
            case _:
                assert_never(self.by)
        if date is None:
            return None
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
        return date if date >= EARLIEST else None

    def resolve(self, standing: Standing, facts: Facts) -> tuple[Outcome, Standing]:
        return self._resolve(standing, facts), standing

    def _resolve(self, standing: Standing, facts: Facts) -> Outcome:
        dated, undated = self._dates(standing, facts)
        if undated:
            return self._unknown(undated, len(undated) + len(dated), facts)
        if not dated:
            return Outcome(chosen=None, reason=nothing(standing.tags, self.text))
        newest = max(dated)[0]
        return self._first(newest, sorted((tag for date, tag in dated if date == newest), reverse=True), facts)

    def _dates(self, standing: Standing, facts: Facts) -> tuple[list[tuple[datetime, str]], list[str]]:
        """The tags in the contest: those with their dates, and those without."""
        dated: list[tuple[datetime, str]] = []
        undated: list[str] = []
        for tag in standing.passing:
            known = facts.get(tag)
            date = self.date(known)
            if self._refusal(known, date) is not None:
                continue
            if date is None:
                undated.append(tag)
            else:
                dated.append((date, tag))
        return dated, undated

    def _first(self, date: datetime, tags: list[str], facts: Facts) -> Outcome:
        """The choice among the tags that share the newest date, greatest first."""
        known = [facts[tag] for tag in tags]
        if len(tags) > 1 and (None in (digests := {one.digest for one in known}) or len(digests) > 1):
            needs = tuple(tag for tag, one in zip(tags, known, strict=True) if one.digest is None)
            shared = f"{len(tags):,} tags share the newest date {_text(date)} ({_some(tags)})"
            what = "and the digests of some are not known" if None in digests else "but not their bytes"
            return Outcome(
                chosen=None,
                reason=f"{shared}, {what}: which one is newest cannot be known; let filterTags leave one of them"
                f" or {_OTHER_WAYS[self.by]}",
                needs=needs,
                held=True,
            )
        status, why = self.gate.check(known[0])
        winner = (date, tags[0]), tags[0]
        if status is Bytes.PENDING:
            reason = f"{tags[0]} would win, but {why}"
            return Outcome(chosen=None, reason=reason, needs=(tags[0],), held=True, winner=winner)
        chosen = Chosen(tag=tags[0], digest=known[0].digest)
        return Outcome(chosen=chosen, reason=f"the newest: {self.word} {_text(date)}", winner=winner)

    def _unknown(self, undated: list[str], total: int, facts: Facts) -> Outcome:
        needs = sorted((tag for tag in undated if not _asked(self.by, facts.get(tag))), reverse=True)
        reason = f"{total - len(undated):,} of {total:,} dates known"
        if needs:
            reason += ": holds until all are; a narrower filterTags needs fewer, --state keeps what is known"
        else:
            reason += f": {_some(sorted(undated))} cannot be dated"
            reason += f"; leave such tags out with filterTags, or {_OTHER_WAYS[self.by]}"
        return Outcome(chosen=None, reason=reason, needs=tuple(needs), held=True)

    def walk(self, standing: Standing, facts: Facts) -> Iterator[Outcome]:
        dated, undated = self._dates(standing, facts)
        if undated or not dated:
            yield self._resolve(standing, facts)
            return
        dated.sort(reverse=True)
        for date, rows in itertools.groupby(dated, key=lambda row: row[0]):
            tags = [tag for _, tag in rows]
            for place in range(len(tags)):
                outcome = self._first(date, tags[place:], facts)
                yield outcome
                if outcome.chosen is None and outcome.winner is None:
                    return

    def among(self, standing: Standing, facts: Facts, tags: Collection[str]) -> None:
        return None

    def verdict(self, tag: str, facts: Facts, outcome: Outcome) -> tuple[Fate, Any, str]:
        refusal = self.filters.refusal(tag)
        known = facts.get(tag)
        date = self.date(known)
        refusal = refusal or self._refusal(known, date)
        if refusal is not None:
            return Fate.REJECTED, None, refusal
        rank = (date or EARLIEST, tag)
        if date is None:
            return Fate.HELD, rank, f"its date is not known: {self._why_undated(known)}"
        if outcome.chosen is None:
            return Fate.HELD, rank, f"{self.word} {_text(date)}, but {outcome.reason}"
        if tag == outcome.chosen.tag:
            return Fate.CHOSEN, rank, outcome.reason
        if date == self.date(facts.get(outcome.chosen.tag)):
            return Fate.ELIGIBLE, rank, f"the same bytes as {outcome.chosen.tag}, which is greater in byte order"
        return Fate.ELIGIBLE, rank, f"{self.word} {_text(date)}, before {outcome.chosen.tag}"

    @property
    def word(self) -> str:
        return "first seen" if self.by is NewestBy.FIRST_SEEN else str(self.by)

    def _refusal(self, known: TagFacts | None, date: datetime | None) -> str | None:
        """Why a tag that the filters leave is out of the contest."""
        if self.by is NewestBy.FIRST_SEEN and date is None:
            return "it was there when the repository was first listed: only tags that came later have a first-seen date"
        if self.by is NewestBy.CREATED and known is not None and known.dateless:
            return "its image has no creation date"
        status, why = self.gate.check(known)
        return why if status is Bytes.REFUSED else None

    def _why_undated(self, known: TagFacts | None) -> str:
        if not _asked(self.by, known):
            return "it was not fetched yet"
        raw = None if known is None else known.created if self.by is NewestBy.CREATED else known.pushed
        if raw is None:
            return _NO_DATE[self.by]
        return f"{_text(raw)} lies before 1990, as reproducible builds write it"


def _asked(by: NewestBy, known: TagFacts | None) -> bool:
    if known is None:
        return False
    return known.created_known or (known.created if by is NewestBy.CREATED else known.pushed) is not None


def _text(date: datetime) -> str:
    return date.isoformat().replace("+00:00", "Z")


def _some(tags: list[str]) -> str:
    shown = ", ".join(tags[:3])
    return shown if len(tags) <= 3 else f"{shown} and {len(tags) - 3:,} more"
