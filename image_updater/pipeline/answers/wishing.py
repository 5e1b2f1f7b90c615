"""What people ask of a policy comes by annotations and by the state file: both together, the later word wins. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from image_updater.api.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.api.wishes import HoldWish

_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When somebody said so in an annotation without a time."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

T = TypeVar("T")


def merged(one: Wishes, other: Wishes) -> Wishes:
    """Approvals and denials add up; of two holds that no resume has ended, the one counts that lasts longer; of two
    resumes or rollbacks, the later one."""
    nothing = Wishes()
    if one == nothing or other == nothing:
        return other if one == nothing else one
    resumed = _later(one, other, lambda wishes: wishes.resumed)
    until = resumed.resumed if resumed is not None else None
    holds = [each for each in (one.hold, other.hold) if each is not None and not _over(each, until)]
    return Wishes(
        hold=max(holds, key=lambda hold: (hold.until or _NEVER, hold.at or _UNKNOWN), default=None),
        resumed=until,
        resumed_by=resumed.resumed_by if resumed is not None else "",
        approvals=tuple(dict.fromkeys((*one.approvals, *other.approvals))),
        denied=tuple(dict.fromkeys((*one.denied, *other.denied))),
        rollback=_later(one.rollback, other.rollback, lambda rollback: rollback.at),
    )


def _over(hold: HoldWish, resumed: datetime | None) -> bool:
    return resumed is not None and hold.at is not None and hold.at <= resumed


def _later(one: T | None, other: T | None, at: Callable[[T], datetime | None]) -> T | None:
    if one is None or other is None:
        return other if one is None else one
    return other if (at(other) or _UNKNOWN) > (at(one) or _UNKNOWN) else one
