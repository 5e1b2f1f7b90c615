"""What status says of a commit on a branch that waits to be merged."""

from __future__ import annotations

from datetime import UTC, datetime

from image_updater.controller.update import automationstatus
from image_updater.pipeline.report import AutomationReport, CommitReport

EARLIER = datetime(2026, 5, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def commit(*, stood: bool) -> AutomationReport:
    made = CommitReport(
        repository="r",
        branch="updates",
        commit="c" * 40,
        automation="default/a",
        subject="Update web",
        pushed=True,
        stood=stood,
    )
    return AutomationReport(revision="a" * 40, commit=made)


def test_a_commit_that_stands_already_is_no_push() -> None:
    first = automationstatus.after_run(commit(stood=False), {}, branch="main", answers={}, now=EARLIER)
    assert first.fields["lastPushCommit"] == "c" * 40
    assert first.fields["observedRevision"] == "main@sha1:" + "a" * 40, "not of the branch that was pushed to"
    assert [each.reason for each in first.happened] == ["CommitPushed"]
    again = automationstatus.after_run(commit(stood=True), first.fields, branch="main", answers={}, now=NOW)
    assert again.fields == first.fields
    assert not again.happened
