"""What people ask of one policy: hold, resume, approve, deny, roll back.

In a cluster and in objects files they are annotations of the ImagePolicy; for `run` they are rows of its state file.
Both are read into one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.api.model import GROUP

if TYPE_CHECKING:
    from datetime import datetime

HOLD: Final = f"{GROUP}/hold"
"""A reason in words, or JSON `{"reason", "by", "at", "until"}`."""
RESUME: Final = f"{GROUP}/resume"
"""RFC 3339: holds from before that moment are over. Or JSON `{"at", "by"}`."""
APPROVALS: Final = f"{GROUP}/approvals"
"""JSON `[{"tag", "digest", "by", "at"}]`, or tags with commas between them."""
DENY: Final = f"{GROUP}/deny"
"""JSON `[{"what", "by", "at", "reason"}]`, or tags and digests with commas between them."""
ROLLBACK: Final = f"{GROUP}/rollback"
"""JSON `{"to", "by", "at", "reason"}`; `to` null = the last proven tag, else the one before. `at` tells two apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWish:
    reason: str
    by: str = ""
    at: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalWish:
    tag: str
    by: str = ""
    at: datetime | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyWish:
    """`what`: a tag or a digest."""

    what: str
    by: str = ""
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackWish:
    at: datetime
    to: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    hold: HoldWish | None = None
    resumed: datetime | None = None
    resumed_by: str = ""
    approvals: tuple[ApprovalWish, ...] = ()
    denied: tuple[DenyWish, ...] = ()
    rollback: RollbackWish | None = None
