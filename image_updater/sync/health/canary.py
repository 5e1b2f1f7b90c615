"""Flagger's Canary: it has no Ready and no observedGeneration, so only its phase and its two hashes tell.

Two traps: between an apply and the next tick of its analysis it still says `Succeeded` of the revision before; and
after a rollback it says `Failed` until the next revision comes, although the good one serves again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from image_updater.api.durations import parse_duration
from image_updater.sync.health.reading import (
    Verdict,
    current,
    failed,
    in_progress,
    mapping,
    number,
    terminating,
    text,
)

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.cluster.model import Body

_INTERVAL: Final = timedelta(seconds=60)
"""Flagger's own default for `analysis.interval`."""
_SHORTEST: Final = timedelta(seconds=10)
"""Flagger analyses no more often, whatever is asked for (`GetAnalysisInterval`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a Canary said when we changed its target's pod template, and when that was."""

    at: datetime
    phase: str
    last_applied: str

    @classmethod
    def of(cls, body: Body, at: datetime) -> Seen:
        status = mapping(body, "status")
        return cls(at=at, phase=text(status, "phase"), last_applied=text(status, "lastAppliedSpec"))


def canary(body: Body, *, now: datetime, before: Seen | None = None) -> Verdict:
    """`before`: where the target has just been changed, the answer waits until Flagger has looked: until the phase or
    `lastAppliedSpec` moves, or two analysis intervals are over.
    """
    spec, status = mapping(body, "spec"), mapping(body, "status")
    phase = text(status, "phase")
    applied, promoted = text(status, "lastAppliedSpec"), text(status, "lastPromotedSpec")
    same = applied == promoted
    weight = number(status, "canaryWeight")
    if phase in ("Terminating", "Terminated"):
        return terminating()
    if spec.get("suspend") is True:
        return current("it is suspended: nothing is analysed")
    old = before is not None and (phase, applied) == (before.phase, before.last_applied)
    if old and before is not None and now < before.at + 2 * interval(body):
        return in_progress("Flagger has not looked at the new revision yet")
    match phase:
        case "Succeeded" if not same:
            return in_progress("the new revision is not promoted yet")
        case "Succeeded" | "Initialized":
            return current("promoted without analysis" if spec.get("skipAnalysis") is True else phase)
        case "Failed" if same:
            return current("rolled back: the promoted revision serves")
        case "Failed" if weight > 0:
            return failed("the promotion failed: all traffic is on the new pods, the primary is not healthy")
        case "Failed":
            return failed(f"the analysis failed ({number(status, 'failedChecks')} failed checks)")
        case "Waiting" | "WaitingPromotion":
            gate = "confirm-rollout" if phase == "Waiting" else "confirm-promotion"
            return in_progress(f"waiting for approval: its {gate} gate is closed")
        case "Progressing":
            return in_progress(f"weight {weight}, {number(status, 'failedChecks')} failed checks")
        case "":
            return in_progress("Flagger has not looked at it yet")
        case _:
            return in_progress(phase)


def interval(body: Body) -> timedelta:
    """Between two looks of Flagger's."""
    spec = mapping(body, "spec")
    analysis = mapping(spec, "analysis") or mapping(spec, "canaryAnalysis")
    try:
        asked = parse_duration(text(analysis, "interval")) or _INTERVAL
    except ValueError:
        return _INTERVAL
    return max(asked, _SHORTEST)
