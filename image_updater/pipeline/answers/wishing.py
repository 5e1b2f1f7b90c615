"""What people ask of a policy comes by annotations and by the state file: both together, the later word wins. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from image_updater.api.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable

_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When somebody said so in an annotation without a time."""

T = TypeVar("T")


def merged(one: Wishes, other: Wishes) -> Wishes:
    """Approvals and denials add up; of two holds, resumes or rollbacks the later one counts."""
    nothing = Wishes()
    if one == nothing or other == nothing:
        return other if one == nothing else one
    resumed = _later(one, other, lambda wishes: wishes.resumed)
    return Wishes(
        hold=_later(one.hold, other.hold, lambda hold: hold.at),
        resumed=resumed.resumed if resumed is not None else None,
        resumed_by=resumed.resumed_by if resumed is not None else "",
        approvals=tuple(dict.fromkeys((*one.approvals, *other.approvals))),
        denied=tuple(dict.fromkeys((*one.denied, *other.denied))),
        rollback=_later(one.rollback, other.rollback, lambda rollback: rollback.at),
    )


def _later(one: T | None, other: T | None, at: Callable[[T], datetime | None]) -> T | None:
    if one is None or other is None:
        return other if one is None else one
    return other if (at(other) or _UNKNOWN) > (at(one) or _UNKNOWN) else one
