"""A workload that a Flagger Canary targets: only the Canary's word counts (facts of Flagger: Canary.status).

The target has 0 replicas before, after and when the analysis has failed, and is "available" each time. What its pods
showed during the analysis tells whose failure it was: a canary whose pods could not be scheduled fails like any other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from image_updater.sync.health.canary import interval
from image_updater.sync.health.reading import mapping, number, text
from image_updater.sync.rollout.model import PROMOTED, Culprit, RolloutState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from image_updater.cluster.model import Body
    from image_updater.sync.health import Seen
    from image_updater.sync.rollout.signs import Sign

PATIENCE: Final = 2
"""Analysis intervals in which Flagger has looked at a new revision."""


class Finding(NamedTuple):
    state: RolloutState
    reason: str = ""
    culprit: Culprit = Culprit.UNKNOWN
    failing: tuple[str, ...] = ()
    until: datetime | None = None


def judge_canary(
    body: Body | None,
    *,
    seen: Seen | None,
    analysis: Sequence[Sign] = (),
    events: Sequence[str] = (),
    now: datetime,
) -> Finding:
    """`seen`: what it said when the target was changed, None once it has moved since. `analysis`: what was wrong with
    the canary's pods when they were last there.
    """
    if body is None:
        return Finding(RolloutState.PENDING, "its Canary does not exist")
    spec, status = mapping(body, "spec"), mapping(body, "status")
    phase = text(status, "phase")
    same = text(status, "lastAppliedSpec") == text(status, "lastPromotedSpec")
    if mapping(body, "metadata").get("deletionTimestamp") or phase in ("Terminating", "Terminated"):
        return Finding(RolloutState.TERMINATING, "its Canary is being deleted")
    if spec.get("suspend") is True:
        return Finding(RolloutState.SUSPENDED, "its Canary is suspended")
    old = seen is not None and not moved(body, seen)
    if old and seen is not None and now < (until := seen.at + PATIENCE * interval(body)):
        return Finding(RolloutState.PENDING, "Flagger has not looked at it yet", until=until)
    match phase:
        case "Succeeded" | "Initialized" if not same:
            return Finding(RolloutState.PENDING, "Flagger has not looked at it yet")
        case "Succeeded" | "Initialized" if spec.get("skipAnalysis") is True:
            return Finding(RolloutState.HEALTHY_UNANALYSED, "promoted without analysis")
        case "Succeeded" | "Initialized" if old:
            return Finding(RolloutState.HEALTHY_UNANALYSED, "Flagger has seen no other revision: nothing was analysed")
        case "Succeeded" | "Initialized":
            return Finding(RolloutState.HEALTHY, phase)
        case "Failed" if same:
            return Finding(RolloutState.ROLLED_BACK, "rolled back: the promoted revision serves")
        case "Failed" if old:
            return Finding(RolloutState.FAILED, "its Canary had failed before, and Flagger has not looked at it since")
        case "Failed" if number(status, "canaryWeight") > 0:
            return Finding(
                RolloutState.PRIMARY_BROKEN,
                "the promotion failed: all traffic is on the new pods, the primary is not healthy",
            )
        case "Failed":
            return _failed(analysis, events)
        case "Waiting" | "WaitingPromotion":
            gate = "confirm-rollout" if phase == "Waiting" else "confirm-promotion"
            return Finding(RolloutState.WAITING_APPROVAL, f"its {gate} gate is closed")
        case "":
            return Finding(RolloutState.PENDING, "Flagger has not looked at it yet")
        case "Initializing":
            return Finding(RolloutState.PROGRESSING, "its primary is being made")
        case "Progressing":
            return Finding(RolloutState.PROGRESSING, "it is being analysed")
        case "Promoting" | "Finalising":
            return Finding(RolloutState.PROGRESSING, PROMOTED)
        case _:
            return Finding(RolloutState.PROGRESSING, phase)


def moved(body: Body, seen: Seen) -> bool:
    """Whether Flagger has looked since."""
    status = mapping(body, "status")
    return (text(status, "phase"), text(status, "lastAppliedSpec")) != (seen.phase, seen.last_applied)


_CHECK: Final = re.compile(
    r"^Halt|quer(y|ies) failed|^Metric template|^Error building|progress deadline|manual webhook"
)
"""Flagger's warnings that say why an analysis does not go on (pkg/controller, scheduler*.go)."""

_UNMEASURED: Final = re.compile(
    r"no values found|quer(y|ies) failed|^Metric template .* error|^Error building|"
    r"external check .* failed .*(connection refused|no such host|no route to host|timeout|deadline exceeded|EOF)"
)
"""Those of a check that failed because nobody could measure."""


def _failed(analysis: Sequence[Sign], events: Sequence[str]) -> Finding:
    """The primary serves: the tag's, unless its pods, or the measuring, failed for another reason."""
    words = "the analysis failed"
    environment = [sign for sign in analysis if sign.culprit is Culprit.ENVIRONMENT]
    if environment and len(environment) == len(analysis):
        return Finding(RolloutState.FAILED, f"{words}: {environment[0].reason}", Culprit.ENVIRONMENT)
    own = [sign for sign in analysis if sign.culprit is Culprit.TAG]
    if own:
        names = tuple(dict.fromkeys(sign.container for sign in own))
        return Finding(RolloutState.FAILED, f"{words}: {own[0].reason}", Culprit.TAG, names)
    checks = [message for message in events if _CHECK.search(message)]
    if checks and all(_UNMEASURED.search(message) for message in checks):
        return Finding(RolloutState.FAILED, f"{words}, since nothing was measured: {checks[-1]}", Culprit.ENVIRONMENT)
    detail = f": {checks[-1]}" if checks else ""
    return Finding(RolloutState.FAILED, f"{words}{detail}", Culprit.TAG)
