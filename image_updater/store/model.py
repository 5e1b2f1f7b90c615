"""What the store hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTags:
    """A complete tag list, as one credential identity got it.

    `fingerprint` stands for everything else in it but the times: two lists with one fingerprint are the same. `pushed`
    and `digests` are what the list call itself said. `first_complete_at` is the store's: None when saving, set when
    loaded.
    """

    tags: tuple[str, ...] = field(repr=False)
    fingerprint: str
    scanned_at: datetime
    first_complete_at: datetime | None = None
    pushed: Mapping[str, datetime] = field(default_factory=dict, repr=False)
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy chose at a time, and why; no tag = it chose nothing."""

    policy: str
    tag: str | None
    digest: str | None
    reason: str
    at: datetime


class Stage(StrEnum):
    """What happens to a tag of a policy, in this order; `failed` instead of, or after, `healthy`."""

    PUSHED = "pushed"
    """The registry's own time of the push."""
    SEEN = "seen"
    ELIGIBLE = "eligible"
    COMMITTED = "committed"
    APPLIED = "applied"
    HEALTHY = "healthy"
    FAILED = "failed"


EVERYWHERE: Final = ""
"""The environment of stages that come before a tag is applied anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """When a tag reached which stage, in one environment (`namespace/name` of a Kustomization; `""`: in none yet)."""

    policy: str
    tag: str
    digest: str | None = None
    environment: str = EVERYWHERE
    pushed: datetime | None = None
    seen: datetime | None = None
    eligible: datetime | None = None
    committed: datetime | None = None
    applied: datetime | None = None
    healthy: datetime | None = None
    failed: datetime | None = None
    revision: str | None = None
    """`branch@sha1:<commit>` that was applied."""
    commit: str | None = None
    """The commit that wrote it."""

    @property
    def withdrawn(self) -> datetime | None:
        """It was proven, and has failed since."""
        if self.healthy is None or self.failed is None or self.failed <= self.healthy:
            return None
        return self.failed

    @property
    def begun(self) -> datetime | None:
        """From when its way is counted: the push, else when it was first seen."""
        return self.pushed if self.pushed is not None else self.seen

    @property
    def lead_time(self) -> timedelta | None:
        """From there until its rollout was healthy; None while that is not known."""
        begun = self.begun
        if begun is None or self.healthy is None:
            return None
        return max(self.healthy - begun, timedelta(0))

    @property
    def last(self) -> datetime | None:
        """When the last thing happened to it."""
        known = (self.failed, self.healthy, self.applied, self.committed, self.eligible, self.seen, self.pushed)
        return max((each for each in known if each is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTag:
    """A tag as it was seen over time. `first_seen` None: it was there before anybody looked."""

    tag: str
    first_seen: datetime | None = None
    pushed: datetime | None = None
    digests: tuple[tuple[str, datetime | None], ...] = ()
    """Digests it is known to have had, the oldest first, with when it was first seen with them (None: not known)."""
    listed: bool = True
    """It is in the last complete list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagHistory:
    """What is kept of a repository's tags, as one credential identity saw them."""

    repository: str
    since: datetime | None
    """The first complete list: tags of it have no date."""
    tags: tuple[SeenTag, ...] = field(default=(), repr=False)
    created: Mapping[str, datetime] = field(default_factory=dict, repr=False)
    """Creation dates by digest."""
    platforms: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """Platforms by digest."""
