"""Which policies are held, and why: by people's words and rollbacks (their situation), and by what Git says of sites.

For status, Events and metrics; nothing is decided by it. What Git says is known per automation, after it ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.pipeline.answers.outcome import policy_name
from image_updater.policy.gates.holds import standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.api.model import ImageUpdateAutomation, ObjectKey
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.report import AutomationReport
    from image_updater.policy.situation import Hold

Found = dict[str, tuple["Hold", ...]]
"""By policy, as answers name it."""


class Holding:
    """One for a daemon. `answers()`: what is known of each policy, by name."""

    def __init__(self, answers: Callable[[], Mapping[str, Outcome]]) -> None:
        self._answers = answers
        self._branches: dict[str, dict[ObjectKey, Found]] = {}

    def ran(
        self, branch: str, automations: Iterable[ImageUpdateAutomation], reports: Mapping[str, AutomationReport]
    ) -> None:
        """These automations write to the branch; the reports are of those of them that just ran."""
        before = self._branches.get(branch, {})
        self._branches[branch] = now = {}
        for automation in automations:
            report, known = reports.get(str(automation.key)), before.get(automation.key)
            if report is None or (report.error is not None and not report.sites):
                if known is not None:
                    now[automation.key] = known
                continue
            names = {policy.key.name: policy_name(policy) for policy in report.implicit}
            found = {names.get(policy, policy): holds for policy, holds in report.holds.items()}
            if known is not None:
                # Nothing was planned for these: whether Git still holds them was not asked.
                found |= {name: holds for name, holds in known.items() if name not in found and self._silent(name)}
            now[automation.key] = found

    def drop(self, branch: str) -> None:
        """The branch is no more."""
        self._branches.pop(branch, None)

    def _silent(self, policy: str) -> bool:
        answer = self._answers().get(policy)
        return answer is not None and answer.selection is None

    def of(self, policy: str) -> Hold | None:
        """What holds it: a word about the whole policy first, then the newest of what Git says."""
        answer = self._answers().get(policy)
        told = _told(answer) if answer is not None else None
        if told is not None:
            return told
        found = [hold for holds in self.in_git(policy) for hold in holds]
        return max(found, key=lambda hold: (hold.since.timestamp() if hold.since else 0.0, hold.reason), default=None)

    def in_git(self, policy: str) -> list[tuple[Hold, ...]]:
        """What Git says of its sites, by automation."""
        return [found[policy] for branch in self._branches.values() for found in branch.values() if policy in found]

    def has_run(self, automation: ObjectKey) -> bool:
        """Is it known what Git says of its sites?"""
        return any(automation in branch for branch in self._branches.values())

    def count(self) -> int:
        """Policies that are held."""
        # From another thread: copies first.
        branches = [found for branch in list(self._branches.values()) for found in list(branch.values())]
        held = {policy for found in branches for policy in found}
        held.update(name for name, answer in list(self._answers().items()) if _told(answer) is not None)
        return len(held)


def _told(answer: Outcome) -> Hold | None:
    """The word about the whole policy, while it stops something."""
    hold = answer.situation.hold
    if answer.judged_at is not None:
        hold = standing(hold, answer.judged_at)
    if hold is None:
        return None
    # A hold up to some tag is over when something newer is chosen.
    return hold if hold.tag is None or hold.until_resume or answer.selection is None else None
