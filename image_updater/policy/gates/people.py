"""What people say of single tags: `approvals`, and tags that were denied by command.

An approval with a digest is for these bytes only. One person counts once, whatever the number of approvals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.images import is_digest
from image_updater.policy.gates.blocked import Blocked, GateName, asks, held, rejected, unknowable, utc
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from image_updater.api.wishes import ApprovalWish, DenyWish
    from image_updater.policy.model import TagFacts


def denied(entries: Mapping[str, DenyWish], tag: str, known: TagFacts | None) -> Blocked | None:
    """`entries`: by tag or digest."""
    if tag in entries:
        return rejected(GateName.DENY, tag, denial(entries[tag]))
    if not any(map(is_digest, entries)):
        return None
    digest = None if known is None else known.digest
    if digest is None:
        return None if unknowable(known, Need.DIGEST) else asks(GateName.DENY, tag, Need.DIGEST)
    if digest not in entries:
        return None
    return rejected(GateName.DENY, tag, denial(entries[digest], f", by its digest {digest}"))


def denial(entry: DenyWish, what: str = "") -> str:
    """Continues "TAG is"; `what` says by which name it was denied, where that is not the tag."""
    when = f" at {utc(entry.at).isoformat(timespec='minutes').replace('+00:00', 'Z')}" if entry.at is not None else ""
    why = f": {' '.join(entry.reason.split())}" if entry.reason else ""
    return f"denied by {entry.by or 'annotation'}{when}{what}{why}"


def approved(wanted: int, approvals: Sequence[ApprovalWish], tag: str, known: TagFacts | None) -> Blocked | None:
    ours = [approval for approval in approvals if approval.tag == tag]
    digest = None if known is None else known.digest
    certain = {one.by for one in ours if one.digest is None or (digest is not None and one.digest == digest)}
    if len(certain) >= wanted:
        return None
    possible = {one.by for one in ours}
    if digest is None and len(possible) >= wanted and not unknowable(known, Need.DIGEST):
        return asks(GateName.APPROVALS, tag, Need.DIGEST)
    names = f" ({', '.join(sorted(name or 'somebody' for name in certain))})" if certain else ""
    others = len(possible - certain)
    which = "for other bytes" if digest is not None else "for certain bytes, and its own are not known"
    for_others = f"; {others} more {which}" if others else ""
    return held(GateName.APPROVALS, tag, f"at {len(certain)} of {wanted} approvals{names}{for_others}")
