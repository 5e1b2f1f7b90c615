"""What gates say of a policy, as the fields and the reason of its status. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from image_updater.api.moments import parse_rfc3339
from image_updater.policy.gates.blocked import GateName
from image_updater.policy.gates.windows import opening
from image_updater.policy.model import Fate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.policy.model import Verdict

REASONS: Final[Mapping[GateName, str]] = {
    GateName.BREAKER: "BreakerOpen",
    GateName.FREEZE: "Frozen",
    GateName.WINDOWS: "OutsideWindow",
    GateName.MIN_AGE: "Soaking",
    GateName.AFTER: "Soaking",
    GateName.GROUP: "AwaitingGroup",
    GateName.APPROVALS: "AwaitingApproval",
    GateName.VERIFY: "Unverified",
}
"""Of the condition, where a gate leaves nothing to choose; of the others it is `Held`."""

REMEMBERED: Final = 20
"""Candidates whose age status keeps."""


def leading(outcome: Outcome, count: int) -> Sequence[Verdict]:
    """The best tags in the policy's own order: what gates hold back is what people look for."""
    if outcome.gated is not None:
        return outcome.gated.leading(count)
    return outcome.judgement.best(count) if outcome.judgement is not None else ()


def gate_fields(outcome: Outcome, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The fields that gates fill; None where there is nothing to say."""
    return {"eligibleAt": eligible_at(outcome), "firstSeen": _ages(outcome, verdicts) or None}


def eligible_at(outcome: Outcome) -> datetime | None:
    """When the best of the tags that are held can be written: windows must be open then, too. None when time alone does
    not bring it."""
    gated = outcome.gated
    if gated is None:
        return None
    tag = gated.wanted or next((each.tag for each in gated.because if each.tag and each.fate is Fate.HELD), None)
    blocks = [each for each in gated.because if each.tag in (None, tag)]
    moments = [each.until for each in blocks if each.until is not None and each.fate is Fate.HELD]
    if not moments or len(moments) != len(blocks):
        return None
    window = opening(outcome.spec.windows, max(moments))
    return max(moments) if window.open else window.until


def gate_reason(outcome: Outcome) -> str | None:
    """The reason of `Ready` where gates leave nothing to choose; None: it is not theirs."""
    gated = outcome.gated
    if gated is None or outcome.selection is not None:
        return None
    held = [each for each in gated.because if each.fate is Fate.HELD]
    if not held:
        return None
    return REASONS.get(held[0].gate, "Held")


def _ages(outcome: Outcome, verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Since when we know the bytes of what may be written: who loses the state file reads it here. What waits longest
    comes first: it is old enough first, however many newer ones stand before it.
    """
    if not outcome.spec.min_age:
        return []
    blocked = outcome.gated.because if outcome.gated is not None else ()
    tags = [each.tag for each in blocked if each.gate is GateName.MIN_AGE and each.tag is not None]
    tags += [outcome.selection.tag] if outcome.selection is not None else []
    tags += (verdict.tag for verdict in verdicts)
    known = ((tag, outcome.facts.get(tag)) for tag in dict.fromkeys(tags))
    found = [
        (facts.bytes_seen, tag, str(facts.digest))
        for tag, facts in known
        if facts is not None and facts.digest is not None and facts.bytes_seen is not None
    ]
    return [{"tag": tag, "digest": digest, "seen": seen} for seen, tag, digest in sorted(found)[:REMEMBERED]]


def remembered(status: Mapping[str, Any]) -> list[tuple[str, str, datetime]]:
    """Tag, digest and first sight of what a status remembers; what cannot be read is left out: it counts anew."""
    found: list[tuple[str, str, datetime]] = []
    for each in status.get("firstSeen") or ():
        try:
            moment = parse_rfc3339(str(each["seen"]))
            found.append((str(each["tag"]), str(each["digest"]), moment))
        except (KeyError, ValueError):
            continue
    return found
