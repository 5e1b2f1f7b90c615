"""What each gate says, as people read it: printed by `explain`, as JSON, and in the policy's status."""

from __future__ import annotations

from datetime import timedelta

import pytest

from image_updater import policy
from image_updater.api.model import Window
from image_updater.cli.verdicts import show_policies
from image_updater.controller.update.gatestatus import eligible_at, gate_reason, leading
from image_updater.pipeline.answers.explain import report
from image_updater.pipeline.answers.outcome import Outcome
from image_updater.policy import Fate
from image_updater.policy.gating import GateName
from tests.unit.policy.making import NOW
from tests.unit.policy_gates.gating import gated, made, seen
from tests.unit.policy_gates.test_texts import TABLE, Case

BEST = {"followed tag too young": "latest"}


def outcome(case: Case) -> Outcome:
    answer = gated(case.policy, case.facts, **case.situation)
    return Outcome(
        policy="apps/web",
        spec=case.policy.policy,
        reason=answer.reason,
        compiled=case.policy,
        judgement=answer,
        selection=policy.select(case.policy, answer, case.facts) if answer.chosen is not None else None,
        facts=case.facts,
        gated=answer,
        until=answer.until,
        judged_at=NOW,
    )


@pytest.mark.parametrize("name", TABLE)
def test_explain_prints_and_status_shows_what_each_gate_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case, tag = TABLE[name], BEST.get(name, "1.6.0")
    found = outcome(case)
    told = report(found)
    show_policies([told], "never", limit=None)
    printed = capsys.readouterr().out
    section = printed.partition(f"\n  {case.fate} (")[2]
    assert any(tag in line.split() and line.endswith(f"  {case.text}") for line in section.splitlines()), printed
    row = {"tag": tag, "verdict": str(case.fate), "reason": case.text}
    assert row in told.as_json()["tags"]
    assert (tag, case.text) in [(each.tag, each.reason) for each in leading(found, 10)]
    assert (gate_reason(found) is None) is (case.chosen is not None or not found.held)
    if case.fate is Fate.HELD and case.until is not None:
        assert eligible_at(found) in (case.until, None)
        assert eligible_at(found) is not None or ";" in case.text, "time alone brings it"


@pytest.mark.parametrize(
    ("cron", "hours", "day", "hour"),
    [("0 9 * * *", 1, 27, 9), ("0 9 * * *", 8, 26, 14), ("0 12 * * *", 1, 27, 12)],
    ids=["closed-then", "open-then", "open-now-and-closed-then"],
)
def test_what_ages_is_eligible_when_its_windows_are_open(cron: str, hours: int, day: int, hour: int) -> None:
    """NOW is a Wednesday, 12:00; the tag is old enough 26 hours later."""
    waits = made(min_age=timedelta(hours=30), windows=(Window(cron=cron, duration=timedelta(hours=hours)),))
    case = Case(waits, {"1.6.0": seen("f", timedelta(hours=4))}, {}, GateName.MIN_AGE, Fate.HELD, "")
    assert eligible_at(outcome(case)) == NOW.replace(day=day, hour=hour)
