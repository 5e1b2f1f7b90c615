"""Who is told what the daemon learns and does: the controller, which writes it into status. `run` only logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ObjectKey
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.report import CommitReport, UpdateReport
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.pipeline.rollback.reverting import Answer


class Observer(Protocol):
    """Called from the daemon's event loop; must neither wait nor raise."""

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        """Answers, by policy name, that say something else than the ones before."""

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        """The line ran over a branch; without a report, `error` says why it could not."""

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        """All automations that no run can be made for, after each change of them."""

    def pushed(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        """A commit beside the runs: a rollback, or what an automation keeps in the branch."""

    def reverted(self, answer: Answer) -> None:
        """What became of something that people asked to be taken back."""

    def handled(self, policy: str) -> datetime | None:
        """The moment of the wish to roll back that was answered last, where that outlives the process."""

    def forbids(self, placed: Sequence[Placement]) -> str | None:
        """Why these images may not be touched now, whoever asks for it."""


class Nobody:
    """The `Observer` of those who read the log."""

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        """Logged by the daemon."""

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        """Logged by the daemon."""

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        """Logged by the daemon."""

    def pushed(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        """Logged by the daemon."""

    def reverted(self, answer: Answer) -> None:
        """Logged by who took it back."""

    def handled(self, policy: str) -> datetime | None:
        """Git tells."""
        return None

    def forbids(self, placed: Sequence[Placement]) -> str | None:
        """Nobody knows."""
        return None
