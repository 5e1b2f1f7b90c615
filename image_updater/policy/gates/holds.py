"""A hold: somebody said that the policy moves no further, or not to a tag up to one that was taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.policy.gates.blocked import Blocked, GateName, asks, clock, held, unknowable, utc
from image_updater.policy.newest import Newest
from image_updater.policy.ordered import Ordered
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.contest import Facts
    from image_updater.policy.situation import Hold


def standing(hold: Hold | None, now: datetime) -> Hold | None:
    """The hold, while it lasts; then the one behind it."""
    while hold is not None and hold.until is not None and utc(hold.until) <= now:
        hold = hold.then
    return hold


def everything(hold: Hold) -> bool:
    """Does it hold newer tags too?"""
    return hold.tag is None or hold.until_resume


def stops(hold: Hold, now: datetime) -> Blocked:
    """The whole policy."""
    # Of one without a time, an annotation by hand, nobody knows whether a resume came later.
    ends = "resume" if hold.since is not None else "taking the annotation away"
    end = "" if hold.until is not None else f" ({ends} ends it)"
    return Blocked(gate=GateName.HOLD, reason=f"it is {_reason(hold, now)}{end}", until=hold.until and utc(hold.until))


def check(compiled: CompiledPolicy, hold: Hold, tag: str, facts: Facts, now: datetime) -> Blocked | None:
    """A tag under a hold that newer ones end."""
    assert hold.tag is not None
    known = facts.get(tag)
    until = hold.until and utc(hold.until)
    if tag == hold.tag and hold.digest is not None:
        digest = None if known is None else known.digest
        if digest is not None and digest != hold.digest:
            return None  # Other bytes: what was taken back is not this.
        if digest is None and not unknowable(known, Need.DIGEST):
            return asks(GateName.HOLD, tag, Need.DIGEST, until)
    elif newer(compiled, hold, tag, facts):
        return None
    return held(GateName.HOLD, tag, _reason(hold, now), until)


def newer(compiled: CompiledPolicy, hold: Hold, tag: str, facts: Facts) -> bool:
    """Is `tag` beyond the held one, in the policy's own order? What cannot be compared is not: then a person must say
    it (resume)."""
    assert hold.tag is not None
    contest = compiled.contest
    if isinstance(contest, Ordered):
        ours, theirs = contest.compare_key(tag), contest.compare_key(hold.tag)
        return not isinstance(ours, str) and not isinstance(theirs, str) and ours > theirs
    if isinstance(contest, Newest):
        date = contest.date(facts.get(tag))
        # What was taken back was there before it was.
        limit = contest.date(facts.get(hold.tag)) or (hold.since and utc(hold.since))
        return date is not None and limit is not None and utc(date) > limit
    return False


def below(compiled: CompiledPolicy, hold: Hold, tag: str) -> bool:
    """Is everything that ranks below `tag` held too?"""
    contest = compiled.contest
    if not isinstance(contest, Ordered) or hold.tag is None:
        return False
    ours, theirs = contest.compare_key(tag), contest.compare_key(hold.tag)
    return isinstance(theirs, str) or (not isinstance(ours, str) and ours < theirs)


def _reason(hold: Hold, now: datetime) -> str:
    text = "held"
    if hold.by:
        text += f" by {hold.by}"
    if hold.tag is not None and not hold.until_resume:
        text += f" up to {hold.tag}"
    if hold.until is not None:
        text += f" until {clock(utc(hold.until), now)}"
    return f"{text}: {hold.reason}" if hold.reason else text
