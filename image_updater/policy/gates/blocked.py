"""What a gate says of a tag, or of a whole policy; and how times are written in reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.policy.model import Fate
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.policy.model import TagFacts

_MINUTE = timedelta(minutes=1)
_UNKNOWN = {
    Need.DIGEST: "its digest is not known yet",
    Need.PLATFORMS: "its platforms are not known yet",
    Need.SIGNATURE: "its signatures were not checked yet",
}


class GateName(StrEnum):
    """Which gate; where a field of the policy makes it, by the name of that field."""

    QUARANTINE = "quarantine"
    DENY = "deny"
    PLATFORMS = "platforms"
    VERIFY = "verify"
    MIN_AGE = "minAge"
    AFTER = "after"
    GROUP = "group"
    APPROVALS = "approvals"
    START = "start"
    DIGEST = "digest"
    """The digest that must be written, or that `deny` names, is not known."""
    HOLD = "hold"
    BREAKER = "breaker"
    FREEZE = "freeze"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """One gate that does not let a tag pass, or (`tag` None) that stops the policy.

    `until`: when waiting alone ends or changes it. `needs`: facts that the gate asks for; `undecided`: with them the
    tag may pass at once.
    """

    gate: GateName
    tag: str | None = None
    reason: str
    until: datetime | None = None
    fate: Fate = Fate.HELD
    needs: frozenset[Need] = frozenset()
    undecided: bool = False


def held(gate: GateName, tag: str, reason: str, until: datetime | None = None) -> Blocked:
    return Blocked(gate=gate, tag=tag, reason=reason, until=until)


def rejected(gate: GateName, tag: str, reason: str, until: datetime | None = None) -> Blocked:
    return Blocked(gate=gate, tag=tag, reason=reason, until=until, fate=Fate.REJECTED)


def asks(gate: GateName, tag: str, need: Need, until: datetime | None = None) -> Blocked:
    """The gate cannot say anything before it knows more, or until it ends."""
    reason = f"waiting: {_UNKNOWN[need]} ({gate} asks for it)"
    return Blocked(gate=gate, tag=tag, reason=reason, until=until, needs=frozenset({need}), undecided=True)


def unknowable(known: TagFacts | None, need: Need) -> bool:
    """Is it pointless to ask for this fact again?"""
    return known is not None and need in known.unknowable


def utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def clock(moment: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """`12:03` today, `2026-11-26T12:03Z` on another day; in another zone than UTC with its offset or name. Rounded up
    to the minute: what is said to begin then has begun."""
    local = moment.astimezone(zone)
    rest = timedelta(seconds=local.second, microseconds=local.microsecond)
    if rest:
        local = (moment.astimezone(UTC) + _MINUTE - rest).astimezone(zone)
    if local.date() != now.astimezone(zone).date():
        return local.isoformat(timespec="minutes").replace("+00:00", "Z")
    return f"{local:%H:%M}" if zone is UTC else f"{local:%H:%M} {zone}"


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
