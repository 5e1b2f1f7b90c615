"""What a Kustomization's status says: of a sync, of the health behind it, of what keeps it from either. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.controller.status import Ready
from image_updater.errors import Terminal
from image_updater.sync.inventory import object_id
from image_updater.sync.model import Action, Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from image_updater.cluster.model import Ref
    from image_updater.sync.model import Done, Health, SyncReport

APPLIED: Final = "ReconciliationSucceeded"
PROGRESSING: Final = "Progressing"
UNHEALTHY: Final = "HealthCheckFailed"
APPLY_FAILED: Final = "ApplyFailed"
PRUNE_FAILED: Final = "PruneFailed"
_CHANGES: Final = (Action.CREATED, Action.CONFIGURED, Action.RECREATED, Action.PRUNED, Action.ORPHANED)
_HASH: Final = re.compile(r"(sha1:[0-9a-f]{12})[0-9a-f]+\Z")
_SHOWN: Final = 3
"""Objects that a message names; the rest is counted."""
_LISTED: Final = 50


def applied(revision: str, objects: int, report: SyncReport) -> Ready:
    """Everything is as Git says, or left to somebody on purpose."""
    message = f"{short(revision)} is applied: {count(objects, 'object')}"
    drifted = [done.ref for done in report.done if done.action is Action.DRIFTED]
    skipped = [done.ref for done in report.done if done.action is Action.SKIPPED]
    if drifted:
        words = "differs in the cluster and is" if len(drifted) == 1 else "differ in the cluster and are"
        message += f"; {_names(drifted)} {words} left so (drift: warn)"
    if skipped:
        words = "is left alone because an annotation says" if len(skipped) == 1 else "are left alone: annotations say"
        message += f"; {_names(skipped)} {words} so"
    if report.held:
        why = next(done.reason for done in report.done if done.action is Action.HELD)
        message += f"; not pruned: {_names(report.held)} ({why})"
    if report.yielded:
        why = next(done.reason for done in report.done if done.action is Action.YIELDED)
        message += f"; not set back: {_names(report.yielded)} ({why})"
    return Ready(state=True, reason=APPLIED, message=message)


def failed(revision: str, report: SyncReport, wanted: Iterable[Ref]) -> Ready:
    """Something could not be applied or deleted."""
    refs = set(wanted)
    broken = [done for done in report.done if done.action is Action.FAILED]
    pruning = bool(broken) and all(done.ref not in refs for done in broken)
    reasons = {error.reason for error in report.errors}
    reason = PRUNE_FAILED if pruning else reasons.pop() if len(reasons) == 1 else APPLY_FAILED
    texts = list(dict.fromkeys(str(error) for error in report.errors))
    message = texts[0]
    if len(texts) > 1:
        message += f"; and {len(texts) - 1:,} more: see status.failed"
    stalled = all(isinstance(error, Terminal) for error in report.errors)
    message = f"{short(revision)}: {message}"
    return Ready(state=False, reason=reason, message=message, stalled=stalled, reconciling=not stalled)


def short(revision: str) -> str:
    """For sentences: `main@sha1:0123456789ab`. Fields of status have all of it."""
    return _HASH.sub(r"\1", revision)


def progressing(message: str) -> Ready:
    return Ready(state=None, reason=PROGRESSING, message=message, reconciling=True)


def judged(good: Ready, revision: str, healths: Sequence[Health], seconds: float) -> Ready:
    """After the wait: `good`, or who is not healthy."""
    bad = [health for health in healths if health.condition is not Condition.CURRENT]
    if not bad:
        return good
    failed = [health for health in bad if health.condition is Condition.FAILED]
    shown = failed or bad
    words = [f"{each.ref}: {each.message or each.condition}" for each in shown[:_SHOWN]]
    more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    lead = "not healthy" if failed else f"not healthy after {seconds:g} s"
    message = f"{short(revision)} is applied, {lead}: {'; '.join(words)}{more}"
    return Ready(state=False, reason=UNHEALTHY, message=message, reconciling=True)


def changes(done: Iterable[Done]) -> str:
    """`created Deployment.apps apps/web; pruned Service apps/old`."""
    by_action: dict[Action, list[Ref]] = {}
    for each in done:
        if each.action in _CHANGES:
            by_action.setdefault(each.action, []).append(each.ref)
    return "; ".join(f"{action} {_names(by_action[action])}" for action in _CHANGES if action in by_action)


def health_fields(healths: Sequence[Health]) -> dict[str, Any]:
    """For status: who is not healthy, and how many are what."""
    bad = [health for health in healths if health.condition is not Condition.CURRENT]
    counts = Counter(str(health.condition) for health in healths)
    return {
        "unhealthy": [
            {"id": object_id(each.ref), "status": str(each.condition), "message": each.message or None}
            for each in bad[:_LISTED]
        ]
        or None,
        "healthCounts": dict(sorted(counts.items())) or None,
    }


def report_fields(done: Iterable[Done]) -> dict[str, Any]:
    """For status: what differs and is left so, and what failed."""
    drift, broken = [], []
    for each in done:
        if each.action is Action.DRIFTED:
            drift.append({"id": object_id(each.ref), "fields": list(each.fields)})
        elif each.action is Action.FAILED:
            reason = each.error.message if each.error is not None else each.reason
            where = replace(each.error.where, object=None) if each.error is not None else ""
            broken.append({"id": object_id(each.ref), "reason": f"{where}: {reason}" if str(where) else reason})
    return {"drift": drift[:_LISTED] or None, "failed": broken[:_LISTED] or None}


def _names(refs: Sequence[Ref]) -> str:
    shown = ", ".join(str(ref) for ref in refs[:_SHOWN])
    return shown if len(refs) <= _SHOWN else f"{shown} and {len(refs) - _SHOWN} more"


def count(number: int, noun: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
