"""`after` and `start: proven`: only what has been healthy elsewhere.

A tag is proven with its bytes. It soaks from the first environment of the other policy in which it was healthy, and is
out as soon as one of them says that it failed later (until it is proven there again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.durations import format_duration
from image_updater.policy.gates.blocked import Blocked, GateName, asks, clock, held, rejected, unknowable, utc
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from image_updater.api.model import After
    from image_updater.policy.model import TagFacts
    from image_updater.policy.situation import Proven


def check(after: After, upstream: Sequence[Proven], tag: str, known: TagFacts | None, now: datetime) -> Blocked | None:
    digest = None if known is None else known.digest
    same = [one for one in upstream if one.tag == tag]
    ours = [one for one in same if one.digest is None or digest is None or one.digest == digest]
    if not ours:
        other = f": {after.name} proved other bytes of this tag" if same else ""
        return held(GateName.AFTER, tag, f"not proven by {after.name}{other}")
    if digest is None and any(one.digest is not None for one in ours) and not unknowable(known, Need.DIGEST):
        return asks(GateName.AFTER, tag, Need.DIGEST)
    withdrawn = [one for one in ours if one.withdrawn is not None and not _again(one, ours)]
    if withdrawn:
        last = max(utc(one.withdrawn) for one in withdrawn if one.withdrawn is not None)
        return rejected(GateName.AFTER, tag, f"withdrawn by {after.name}, where it failed at {clock(last, now)}")
    since = min(utc(one.at) for one in ours if one.withdrawn is None)
    if since + after.soak > now:
        proven = f"proven by {after.name} at {clock(since, now)}, soak {format_duration(after.soak)}"
        return held(GateName.AFTER, tag, f"eligible at {clock(since + after.soak, now)} ({proven})", since + after.soak)
    return None


def _again(one: Proven, all_of_them: Sequence[Proven]) -> bool:
    """Was it proven in the same environment after that?"""
    return any(
        other.withdrawn is None
        and other.environment == one.environment
        and one.withdrawn is not None
        and utc(other.at) >= utc(one.withdrawn)
        for other in all_of_them
    )


def first_choice(start: Sequence[Proven]) -> Proven | None:
    """What an environment that has proven nothing begins with: what others proved last, and did not withdraw."""
    return max((one for one in start if one.withdrawn is None), key=lambda one: (utc(one.at), one.tag), default=None)


def begins(start: Sequence[Proven], tag: str, known: TagFacts | None) -> Blocked | None:
    first = first_choice(start)
    if first is None:
        return held(GateName.START, tag, "held by start: proven, as nothing is known to be proven")
    if first.tag != tag:
        return held(GateName.START, tag, f"held by start: proven, which begins with {first.tag}")
    digest = None if known is None else known.digest
    if first.digest is None or digest == first.digest:
        return None
    if digest is None:
        return None if unknowable(known, Need.DIGEST) else asks(GateName.START, tag, Need.DIGEST)
    return held(GateName.START, tag, "held by start: proven, as other bytes of this tag were proven")
