"""What goes into a judgement and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.images import Digest
    from image_updater.policy.situation import Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """`reason` says who signed, or why it does not count. `lasting` False: it may be signed yet (a check later)."""

    ok: bool
    reason: str
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFacts:
    """What is known of one tag. None = not known (yet)."""

    digest: Digest | None = None
    created: datetime | None = None
    pushed: datetime | None = None
    first_seen: datetime | None = None
    platforms: tuple[str, ...] | None = None
    dateless: bool = False
    """The image itself was read and says no creation date: out of `newest` by created, whatever else is known of it."""
    bytes_seen: datetime | None = None
    """When this tag was first seen with this `digest`."""
    verified: Verified | None = None
    """What was found when the signatures of `digest` were checked as the policy's `verify` says."""
    created_known: bool = False
    """The dates were looked up, and the digest if one must be written: what is None then will never be known.
    It does not mean that nobody asked."""
    unknowable: frozenset[Need] = frozenset()
    """What gates may ask for and nobody can tell (a tags file does not say it, the registry has no such image)."""


class Fate(StrEnum):
    CHOSEN = "chosen"
    ELIGIBLE = "eligible"
    HELD = "held"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of one tag and why; `reason` is never empty."""

    tag: str
    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    tag: str
    digest: Digest | None = None


class Judgement(Protocol):
    """The outcome of `judge()`. `verdicts` are best first, then held, then rejected, and are made when read: a list of
    100,000 tags costs nothing until then."""

    @property
    def chosen(self) -> Chosen | None: ...
    @property
    def reason(self) -> str:
        """Why this one, or why none; never empty."""

    @property
    def verdicts(self) -> Sequence[Verdict]: ...
    def best(self, count: int) -> Sequence[Verdict]:
        """The first `count` of `verdicts`, for those who need no more."""

    @property
    def needs_facts(self) -> Sequence[str]:
        """Tags whose facts (dates, or the digest of what would win) must be fetched before a choice can be made, in the
        order they should be fetched; () = none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The image a policy chose, and why. `name` is spec.image as written."""

    policy: str
    """`namespace/name` of the ImagePolicy, or `annotation:<file>:<policy text>` of an implicit one."""
    name: str
    tag: str
    digest: Digest | None = None
    """To be written beside the tag; None = digests are not written (and an existing one is removed)."""
    reason: str = ""
    facts: Mapping[str, TagFacts] = field(default_factory=dict, repr=False, compare=False)


class MoveKind(StrEnum):
    """What writing a selection over a current value would be."""

    CURRENT = "current"
    UP = "up"
    REPLACE = "replace"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What writing would mean, and why.

    `current`: nothing to write; `up`: newer by the policy's order; `replace`: not comparable, or as new; `refused`: it
    may not be written.
    """

    kind: MoveKind
    reason: str
