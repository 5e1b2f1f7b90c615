"""`minAge`: bytes must have been there for a while, by our own clock or by the registry's; never by the image's date.

It counts from when the tag was first seen with these bytes, or from the push time that the registry itself records,
whichever is earlier. New bytes under the tag begin anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.api.durations import format_duration
from image_updater.policy.gates.blocked import Blocked, GateName, asks, clock, earliest, held, unknowable, utc
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from image_updater.policy.model import TagFacts


def check(age: timedelta, tag: str, known: TagFacts | None, now: datetime) -> Blocked | None:
    """With a digest that is not known now (it may have moved since), what is known still tells that it is too young."""
    text = f"minAge {format_duration(age)}"
    pushed = known.pushed and utc(known.pushed) if known is not None else None
    seen = known.bytes_seen and utc(known.bytes_seen) if known is not None else None
    since = earliest((pushed, seen))
    if since is not None and since + age > now:
        return held(GateName.MIN_AGE, tag, f"eligible at {clock(since + age, now)} ({text})", since + age)
    if pushed is not None or (seen is not None and known is not None and known.digest is not None):
        return None
    listed = known.first_seen and utc(known.first_seen) if known is not None else None
    first = None
    if listed is not None and listed + age > now:
        # Its bytes cannot be older than the tag here.
        first = f"eligible at {clock(listed + age, now)} at the earliest ({text})"
    if unknowable(known, Need.DIGEST):
        reason = first or f"of unknown age: without its digest nobody knows when its bytes came ({text})"
        return held(GateName.MIN_AGE, tag, reason, listed + age if listed is not None and first else None)
    unasked = asks(GateName.MIN_AGE, tag, Need.DIGEST)
    if listed is not None and first is not None:
        # Asking for its digest starts the clock of its bytes.
        return replace(unasked, reason=f"{first}: its digest is not known yet", until=listed + age, undecided=False)
    return unasked
