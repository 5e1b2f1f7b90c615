"""What may stand in a status, and what a writer hands in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from image_updater.api.shapes import UndeclaredStatus
from image_updater.api.status import STATUS, status_fields


def test_values_become_json_and_nothing_stays_out_of_order() -> None:
    berlin = timezone(timedelta(hours=1))
    assert status_fields(
        "ImagePolicy",
        {
            "observedGeneration": 3,
            "latest": {"image": "web", "tag": "1.2", "digest": None, "since": datetime(2026, 3, 1, 9, 0, 0, 5, berlin)},
            "candidates": tuple({"tag": str(i), "verdict": "eligible"} for i in range(12)),
            "tagCount": 0,
            "hold": None,
        },
    ) == {
        "observedGeneration": 3,
        "latest": {"image": "web", "tag": "1.2", "since": "2026-03-01T08:00:00Z"},
        "candidates": [{"tag": str(i), "verdict": "eligible"} for i in range(10)],
        "tagCount": 0,
    }
    assert status_fields("ImageUpdateAutomation", {"siteCounts": {"held": 1, "current": 9}}) == {
        "siteCounts": {"current": 9, "held": 1}
    }


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("ImagePolicy", {"scannedAt": datetime(2026, 1, 1, tzinfo=UTC)}, "status: scannedAt is not declared"),
        ("ImagePolicy", {"latest": {"image": "a"}}, "status.latest.tag is missing"),
        ("ImagePolicy", {"latest": {"image": "a", "tag": 1}}, "status.latest.tag takes a string, not int"),
        ("ImagePolicy", {"latest": "a:1"}, "status.latest takes a mapping, not str"),
        ("ImagePolicy", {"latest": {"image": "a", "tag": "1", "since": datetime(2026, 1, 1)}}, "a time with a zone"),  # noqa: DTZ001
        ("ImagePolicy", {"candidates": [{"tag": "1", "verdict": "maybe"}]}, "status.candidates[0].verdict: 'maybe'"),
        ("ImagePolicy", {"tagCount": True}, "status.tagCount takes a whole number, not bool"),
        ("ImagePolicy", {"tagCount": -1}, "status.tagCount takes a whole number"),
        ("Kustomization", {"drift": "x"}, "status.drift takes a list, not str"),
        ("Kustomization", {"healthCounts": ["x"]}, "status.healthCounts takes a mapping, not list"),
    ],
)
def test_what_is_not_declared_is_refused(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UndeclaredStatus) as caught:
        status_fields(kind, fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", STATUS)
def test_every_kind_has_what_kstatus_reads(kind: str) -> None:
    assert {"observedGeneration", "conditions", "lastHandledReconcileAt"} <= {each.name for each in STATUS[kind].fields}
