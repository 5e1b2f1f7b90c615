"""The status of an ImagePolicy: an answer of the line as the fields and the condition that people read. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.status import POLICY_STATUS, ready_of
from image_updater.controller.loop.status import KUSTOMIZATION
from image_updater.controller.status import Ready
from image_updater.controller.update.gatestatus import gate_fields, gate_reason
from image_updater.errors import SecretNotFound, Transient
from image_updater.policy.model import Fate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.policy.model import Verdict

COMMON: Final = ("observedGeneration", "conditions", "lastHandledReconcileAt")
BEST: Final = 10
"""Candidates that status names."""
SUSPENDED: Final = "suspended: it is neither looked at nor written until spec.suspend goes"


def own_fields(status: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a status that are its kind's own."""
    return {name: value for name, value in status.items() if name not in COMMON}


def fields(
    outcome: Outcome,
    before: Mapping[str, Any],
    *,
    verdicts: Sequence[Verdict],
    first_seen: Mapping[str, datetime],
    now: datetime,
) -> dict[str, Any]:
    """`before` are the fields as they are. An answer that failed keeps them: what was chosen still is (law 3)."""
    if outcome.error is not None or outcome.judgement is None:
        return dict(before)
    made: dict[str, Any] = {
        **before,
        "latest": _latest(outcome, before.get("latest"), verdicts, now),
        "candidates": [
            {
                "tag": verdict.tag,
                "verdict": verdict.fate,
                "reason": verdict.reason,
                "digest": _digest(outcome, verdict.tag),
                "firstSeen": first_seen.get(verdict.tag),
            }
            for verdict in verdicts[:BEST]
        ],
        "tagCount": len(outcome.listing.answer.tags) if outcome.listing is not None else None,
        **gate_fields(outcome, verdicts),
    }
    return POLICY_STATUS.json(made, "status")


def is_said(outcome: Outcome, status: Mapping[str, Any], generation: int) -> bool:
    """Does status say it already? Asked of answers from the state file, right after a start: a thousand policies whose
    verdicts would be made for nothing.
    """
    listing, selection = outcome.listing, outcome.selection
    if listing is None or not listing.restored or selection is None or outcome.error is not None or outcome.notes:
        return False
    latest = status.get("latest") or {}
    ready = ready_of(status)
    digest = selection.digest or _digest(outcome, selection.tag)
    return (
        (status.get("observedGeneration"), ready.get("observedGeneration")) == (generation, generation)
        and (ready.get("status"), ready.get("reason")) == ("True", "Succeeded")
        and (latest.get("image"), latest.get("tag"), latest.get("digest"))
        == (selection.name, selection.tag, str(digest) if digest else None)
        and status.get("tagCount") == len(listing.answer.tags)
    )


def _latest(
    outcome: Outcome, before: Mapping[str, Any] | None, verdicts: Sequence[Verdict], now: datetime
) -> Mapping[str, Any] | None:
    selection = outcome.selection
    if selection is None:
        # Held: what was chosen before is not taken back, unless it is rejected by now (quarantined, denied). Nothing
        # eligible: there is no such image any more.
        bad = {verdict.tag for verdict in verdicts if verdict.fate is Fate.REJECTED}
        return before if is_held(outcome) and before is not None and before.get("tag") not in bad else None
    digest = selection.digest or _digest(outcome, selection.tag)
    chosen = {"image": selection.name, "tag": selection.tag, "digest": digest}
    if before is not None and all(
        before.get(name) == (str(value) if value else None) for name, value in chosen.items()
    ):
        return before
    return {**chosen, "since": now}


def _digest(outcome: Outcome, tag: str) -> str | None:
    known = outcome.facts.get(tag)
    return str(known.digest) if known is not None and known.digest is not None else None


def is_held(outcome: Outcome) -> bool:
    """Nothing is chosen, but something waits: for dates, or for a person."""
    judgement = getattr(outcome.judgement, "inner", outcome.judgement)
    return outcome.selection is None and bool(getattr(judgement, "held", False))


def ready(outcome: Outcome) -> Ready:
    """What `Ready` says of an answer."""
    if outcome.error is not None:
        return failed(outcome.error, message=outcome.reason)
    message = "; ".join((outcome.reason, *outcome.notes))
    if outcome.selection is not None:
        chosen = outcome.selection
        written = f"{chosen.name}:{chosen.tag}" + (f"@{chosen.digest}" if chosen.digest else "")
        return Ready(state=True, reason="Succeeded", message=f"{written}: {message}")
    if (gate := gate_reason(outcome)) is not None:
        return Ready(state=False, reason=gate, message=message)
    if is_held(outcome):
        return Ready(state=False, reason="Held", message=message)
    return Ready(state=False, reason="NothingEligible", message=message)


_HELD: Final = re.compile(r"; held(?: since \S+)?: .*", re.DOTALL)


def with_hold(said: Ready, hold: Mapping[str, Any] | None) -> Ready:
    """With the hold of what is chosen: Git stays where it is, whatever `status.latest` says. Where nothing is chosen,
    the message says why already; what a failed rollout left (`by` a Kustomization) holds nothing that is chosen.
    """
    if said.state is not True:
        return said
    message = _HELD.sub("", said.message)
    if hold is not None and not str(hold.get("by", "")).startswith(KUSTOMIZATION):
        since = f" since {hold['since']}" if "since" in hold else ""
        message += f"; held{since}: {str(hold['reason']).removeprefix('held: ')}"
    return replace(said, message=message)


def failed(error: ImageUpdaterError, *, message: str | None = None) -> Ready:
    """What `Ready` says of an error. A Secret that is missing may come: that is no stall."""
    found = Ready.of(error)
    waits = isinstance(error, SecretNotFound)
    return Ready(
        state=False,
        reason=found.reason,
        message=message or found.message,
        stalled=found.stalled and not waits,
        reconciling=found.reconciling or waits,
    )


def steady(new: Ready, error: ImageUpdaterError | None, status: Mapping[str, Any], generation: int) -> Ready:
    """The words of a failure that goes on do not change: some hold a time, and each would be a write."""
    if not isinstance(error, Transient):
        return new
    said = ready_of(status)
    if (said.get("status"), said.get("reason"), said.get("observedGeneration")) != ("False", new.reason, generation):
        return new
    return replace(new, message=str(said.get("message") or new.message))
