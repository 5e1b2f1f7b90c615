"""Flagger's Canary: every row of its status table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from image_updater.sync.health import Seen, health
from image_updater.sync.model import Condition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CURRENT, PROGRESS, FAILED = Condition.CURRENT, Condition.IN_PROGRESS, Condition.FAILED


def canary(phase: str, applied: str = "", promoted: str = "", *, spec: Any = None, **status: Any) -> dict[str, Any]:
    status |= {"phase": phase, "lastAppliedSpec": applied, "lastPromotedSpec": promoted}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "web", "namespace": "apps", "generation": 5},
        "spec": {"analysis": {"interval": "30s"}, **(spec or {})},
        "status": status,
    }


ROWS = [
    ("new", canary(""), PROGRESS, "has not looked"),
    ("initializing", canary("Initializing"), PROGRESS, "Initializing"),
    ("initialized", canary("Initialized", "A", "A"), CURRENT, "Initialized"),
    ("gate before", canary("Waiting", "A", "A"), PROGRESS, "waiting for approval: its confirm-rollout gate"),
    ("analysis", canary("Progressing", "B", "A", canaryWeight=20, failedChecks=2), PROGRESS, "weight 20, 2 failed"),
    ("gate after", canary("WaitingPromotion", "B", "A"), PROGRESS, "its confirm-promotion gate"),
    ("promoting", canary("Promoting", "B", "A"), PROGRESS, "Promoting"),
    ("finalising", canary("Finalising", "B", "A"), PROGRESS, "Finalising"),
    ("succeeded", canary("Succeeded", "B", "B"), CURRENT, "Succeeded"),
    ("succeeded, the next one is applied", canary("Succeeded", "C", "B"), PROGRESS, "not promoted yet"),
    ("not analysed", canary("Succeeded", "B", "B", spec={"skipAnalysis": True}), CURRENT, "without analysis"),
    ("failed", canary("Failed", "B", "A", canaryWeight=0, failedChecks=5), FAILED, "5 failed checks"),
    ("failed in promotion", canary("Failed", "B", "A", canaryWeight=100), FAILED, "all traffic is on the new pods"),
    ("rolled back", canary("Failed", "A", "A"), CURRENT, "rolled back"),
    ("suspended", canary("Progressing", "B", "A", spec={"suspend": True}), CURRENT, "suspended"),
    ("terminating", canary("Terminating", "A", "A"), Condition.TERMINATING, "deleted"),
    ("terminated", canary("Terminated", "A", "A"), Condition.TERMINATING, "deleted"),
    ("a phase of a later Flagger", canary("Pondering"), PROGRESS, "Pondering"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_canary(body: dict[str, Any], expected: Condition, words: str) -> None:
    found = health(body, now=NOW)
    assert (found.condition, words in found.message) == (expected, True), found.message


OLD = canary("Succeeded", "A", "A")


def after(seconds: int, body: dict[str, Any]) -> Condition:
    """`seconds` behind a change of the target, when the Canary said OLD."""
    return health(body, now=NOW + timedelta(seconds=seconds), before=Seen.of(OLD, NOW)).condition


def test_success_right_behind_our_apply_is_of_the_revision_before() -> None:
    assert after(0, OLD) is PROGRESS
    assert after(59, OLD) is PROGRESS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (canary("Progressing", "B", "A"), PROGRESS),
        (canary("Succeeded", "B", "B"), CURRENT),
        (canary("Failed", "B", "A"), FAILED),
    ],
)
def test_once_it_has_moved_it_is_believed(body: dict[str, Any], expected: Condition) -> None:
    assert after(1, body) is expected


def test_two_intervals_later_it_is_believed() -> None:
    """The change was none for Flagger, such as one that Git took back."""
    assert after(60, OLD) is CURRENT


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({"analysis": {"interval": "10s"}}, 20),
        ({"analysis": {}}, 120),
        ({"analysis": {"interval": "soon"}}, 120),
        ({"analysis": None, "canaryAnalysis": {"interval": "1m"}}, 120),
    ],
)
def test_the_interval_is_the_canarys_or_flaggers_own(spec: Any, seconds: int) -> None:
    body = canary("Succeeded", "A", "A", spec=spec)
    assert after(seconds - 1, body) is PROGRESS
    assert after(seconds, body) is CURRENT
