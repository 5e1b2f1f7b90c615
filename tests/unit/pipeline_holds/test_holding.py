"""What is counted for metrics is counted beside the loop that goes on with its work."""

from __future__ import annotations

from typing import Any

from image_updater.pipeline.daemon.holding import Holding
from image_updater.policy.situation import Hold, Situation


class Answer:
    """One that comes with another policy while it is looked at."""

    judged_at = selection = None

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    @property
    def situation(self) -> Situation:
        self._answers[f"another-{len(self._answers)}"] = self
        return Situation(hold=Hold(reason="by hand"))


def test_a_policy_that_comes_meanwhile_breaks_no_count() -> None:
    answers: dict[str, Any] = {}
    answers["web"] = Answer(answers)
    assert Holding(lambda: answers).count() == 1
