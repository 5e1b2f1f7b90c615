"""What the store hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


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
