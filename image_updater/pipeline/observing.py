"""Who is told what the daemon learns and does: the controller, which writes it into status. `run` only logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.api.model import ObjectKey
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.branches import Branch
    from image_updater.pipeline.outcome import Outcome
    from image_updater.pipeline.report import CommitReport, UpdateReport


class Observer(Protocol):
    """Called from the daemon's event loop; must neither wait nor raise."""

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        """Answers, by policy name, that say something else than the ones before."""

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        """The line ran over a branch; without a report, `error` says why it could not."""

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        """All automations that no run can be made for, after each change of them."""

    def taken_back(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        """A rollback was pushed."""


class Nobody:
    """The `Observer` of those who read the log."""

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        """Logged by the daemon."""

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        """Logged by the daemon."""

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        """Logged by the daemon."""

    def taken_back(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        """Logged by the daemon."""
