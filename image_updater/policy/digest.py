"""Strategy `digest`: one mutable tag is followed; what moves is its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_updater.policy.contest import Bytes, Facts, Gate, Outcome
from image_updater.policy.filters import Filters
from image_updater.policy.model import Chosen, Fate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from image_updater.policy.tagset import TagSet


@dataclass(frozen=True, slots=True)
class Follow:
    """`spec.policy.digest`. The standing is: is the tag listed?"""

    filters: Filters
    gate: Gate
    tag: str

    def start(self, tags: TagSet) -> bool:
        return self.tag in tags

    def advance(self, standing: bool, tags: TagSet) -> bool:
        return self.tag in tags

    def resolve(self, standing: bool, facts: Facts) -> tuple[Outcome, bool]:
        return self._resolve(standing, facts), standing

    def _resolve(self, listed: bool, facts: Facts) -> Outcome:
        refusal = self.filters.refusal(self.tag)
        if refusal is not None:
            return Outcome(chosen=None, reason=f"the followed tag {self.tag} is out: {refusal}")
        if not listed:
            return Outcome(chosen=None, reason=f"the repository has no tag {self.tag}")
        winner = (self.tag,), self.tag
        known = facts.get(self.tag)
        status, why = self.gate.check(known)
        if status is Bytes.PENDING:
            reason = f"{self.tag} is followed, but {why}"
            return Outcome(chosen=None, reason=reason, needs=(self.tag,), held=True, winner=winner)
        if status is Bytes.REFUSED or known is None:
            return Outcome(chosen=None, reason=f"{self.tag} is followed, but {why}")
        chosen = Chosen(tag=self.tag, digest=known.digest)
        return Outcome(chosen=chosen, reason=f"the followed tag {self.tag} is {known.digest}", winner=winner)

    def walk(self, standing: bool, facts: Facts) -> Iterator[Outcome]:
        yield self._resolve(standing, facts)

    def among(self, standing: bool, facts: Facts, tags: Collection[str]) -> None:
        return None

    def verdict(self, tag: str, facts: Facts, outcome: Outcome) -> tuple[Fate, Any, str]:
        refusal = self.filters.refusal(tag)
        if refusal is not None:
            return Fate.REJECTED, None, refusal
        if tag != self.tag:
            return Fate.REJECTED, None, f"not the followed tag {self.tag}"
        if outcome.chosen is not None:
            return Fate.CHOSEN, (tag,), outcome.reason
        return Fate.HELD if outcome.held else Fate.REJECTED, (tag,), outcome.reason
