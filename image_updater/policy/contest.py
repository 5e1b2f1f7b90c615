"""How a strategy decides: first what needs no facts (kept from list to list), then what does.

A *standing* is what is known from tags alone; it moves on with the tags that came and went. An *outcome* is the
standing looked at with the facts of the moment. `verdict` explains one tag, and is only asked when somebody reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from image_updater.policy.model import Chosen, Fate, TagFacts
    from image_updater.policy.tagset import TagSet

Facts = Mapping[str, "TagFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is chosen and why, or what has to be known first."""

    chosen: Chosen | None
    reason: str
    needs: tuple[str, ...] = ()
    held: bool = False
    """Something could win, but may not yet; `reason` says what it waits for."""
    winner: tuple[Any, str] | None = None
    """The place (as `verdict` ranks it) and the tag that wins, or would win if its bytes were known."""


class Contest(Protocol):
    """One compiled strategy with its filters."""

    def start(self, tags: TagSet) -> Any:
        """The standing of a list that is seen for the first time."""

    def advance(self, standing: Any, tags: TagSet) -> Any:
        """The standing of the next list, by what changed."""

    def resolve(self, standing: Any, facts: Facts) -> tuple[Outcome, Any]:
        """The outcome, and the standing to keep."""

    def walk(self, standing: Any, facts: Facts) -> Iterator[Outcome]:
        """The outcome, then what it would be if that tag were out, and so on, best first. One that waits for the bytes
        of a tag names it as `winner`; behind any other that chooses nothing there is no more."""

    def among(self, standing: Any, facts: Facts, tags: Collection[str]) -> Iterator[Outcome] | None:
        """`walk` over no more than these tags; None where that is no cheaper."""

    def verdict(self, tag: str, facts: Facts, outcome: Outcome) -> tuple[Fate, Any, str]:
        """Fate, place among its like (greater = better) and reason of one tag."""


class Bytes(Enum):
    """What is known of the bytes behind a tag, as far as the policy asks for them."""

    FINE = "fine"
    PENDING = "pending"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Gate:
    """What must be known of a tag's digest before it may win: that it can be written, that it is not denied."""

    reflection: str | None
    """`digestReflectionPolicy`, when digests are written."""
    denied: frozenset[str]

    @property
    def active(self) -> bool:
        return self.reflection is not None or bool(self.denied)

    def check(self, known: TagFacts | None) -> tuple[Bytes, str]:
        if not self.active:
            return Bytes.FINE, ""
        digest = None if known is None else known.digest
        if digest is not None:
            return (
                (Bytes.REFUSED, f"its digest {digest} is denied by spec.deny")
                if digest in self.denied
                else (Bytes.FINE, "")
            )
        if known is None or not known.created_known:
            why = (
                f"digestReflectionPolicy {self.reflection} writes it" if self.reflection else "spec.deny names digests"
            )
            return Bytes.PENDING, f"its digest is not known yet, and {why}"
        if self.reflection is not None:
            return Bytes.REFUSED, f"it has no known digest, and digestReflectionPolicy {self.reflection} must write one"
        return Bytes.FINE, ""


def nothing(tags: TagSet, what: str) -> str:
    """The reason when no tag is eligible."""
    if not tags.source:
        return "the repository has no tags"
    if len(tags) == 1:
        return f"the only tag is not eligible for {what}"
    return f"none of {len(tags):,} tags is eligible for {what}"
