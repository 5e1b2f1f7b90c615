"""What speaks against a tag that a person asks for all the same: people outrank every record, but never unknowingly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.moments import format_rfc3339
from image_updater.images import parse_name
from image_updater.policy.gates.people import denial
from image_updater.policy.gates.quarantines import bars, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from image_updater.api.wishes import DenyWish
    from image_updater.policy.situation import Quarantined
    from image_updater.store import Milestone


def despite(
    image: str,
    tag: str,
    *,
    digest: str | None = None,
    quarantined: Iterable[Quarantined] = (),
    denied: Iterable[DenyWish] = (),
    deny: Iterable[str] = (),
    milestones: Iterable[Milestone] = (),
    now: datetime,
) -> tuple[str, ...]:
    """Clauses that continue "TAG is …". `denied` by command, `deny` by the policy's spec."""
    return tuple(dict.fromkeys(_against(image, tag, digest, quarantined, denied, deny, milestones, now)))


def _against(
    image: str,
    tag: str,
    digest: str | None,
    quarantined: Iterable[Quarantined],
    denied: Iterable[DenyWish],
    deny: Iterable[str],
    milestones: Iterable[Milestone],
    now: datetime,
) -> Iterator[str]:
    entry = bars(quarantined, parse_name(image), tag, digest, now) if image else None
    if entry is not None:
        yield reason(entry, tag, now)
    names = {tag, digest} - {None}
    yield from (denial(each) for each in denied if each.what in names)
    if names & set(deny):
        yield "denied by spec.deny"
    for row in milestones:
        failed = row.failed
        if row.tag == tag and failed is not None and (row.healthy is None or row.healthy < failed):
            where = f" in {row.environment}" if row.environment else ""
            yield f"known to have failed{where} at {format_rfc3339(failed)}"
