"""What the automations of a run did so far, on its way to a report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from image_updater.patch.decisions import State
from image_updater.pipeline.answers.outcome import ANNOTATION
from image_updater.pipeline.report import (
    AutomationReport,
    CommitReport,
    FailureReport,
    ProblemReport,
    SiteReport,
    UpdateReport,
)
from image_updater.pipeline.reporting import edit_rows, problem_rows, site_rows
from image_updater.pipeline.rollback.placements import placements

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from image_updater.errors import ImageUpdaterError
    from image_updater.patch.decisions import Decision
    from image_updater.patch.model import Edit
    from image_updater.pipeline.line import Run
    from image_updater.policy.situation import Hold


@dataclass(slots=True)
class Done:
    """Grows while a run goes on; `report()` freezes it. `files`: path → (old text or None, new text)."""

    decisions: list[Decision] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    files: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    problems: dict[ProblemReport, None] = field(default_factory=dict)
    failures: dict[FailureReport, None] = field(default_factory=dict)
    commits: list[CommitReport] = field(default_factory=list)
    proof: dict[str, None] = field(default_factory=dict)
    apart: bool = False
    """Each automation has a report of its own, too."""
    automations: dict[str, AutomationReport] = field(default_factory=dict)
    holds: dict[str, tuple[Hold, ...]] = field(default_factory=dict)
    focus: str = "."
    """Only what stands in this folder, or is rendered from a root in it, is reported."""

    def note(self, run: Run, decisions: Iterable[Decision] | None = None) -> None:
        """Adds one automation's run; `decisions` replaces those of its plan when the push changed their fate."""
        settled = tuple(run.plan.decisions if decisions is None else decisions)
        self.decisions += settled
        if self.apart:
            key = str(run.automation.key)
            self.automations[key] = replace(
                self.automations.get(key, AutomationReport()),
                sites=site_rows(each for each in settled if each.state is not State.UNMANAGED),
                unmanaged=len({each.site.id for each in settled if each.state is State.UNMANAGED}),
                problems=_problems(run),
                holds=run.holds,
                missing=run.missing,
                implicit=tuple(policy for name, policy in run.claims.policies.items() if name.startswith(ANNOTATION)),
                placements=placements(run),
                until=run.until,
            )
        self.edits += run.edits
        self.proof |= dict.fromkeys(str(proof) for proof in run.proof.roots)
        self.problems |= dict.fromkeys(_problems(run))
        for policy, holds in run.holds.items():
            self.holds[policy] = tuple(dict.fromkeys((*self.holds.get(policy, ()), *holds)))
        for key, error in run.failures:
            self.failures[FailureReport.of(key, error)] = None
        for file, data in run.files.items():
            old = self.files.get(file)
            self.files[file] = (old[0] if old is not None else _text(run, file), data.decode())

    def fail(self, subject: str, error: ImageUpdaterError) -> None:
        self.failures[FailureReport.of(subject, error)] = None

    def end(
        self,
        automation: str,
        *,
        revision: str | None,
        commit: CommitReport | None = None,
        last: tuple[str, datetime] | None = None,
        error: ImageUpdaterError | None = None,
    ) -> None:
        """One automation is through: what it pushed, or why it did not come so far."""
        if commit is not None:
            self.commits.append(commit)
        if error is not None:
            self.fail(automation, error)
        if self.apart:
            known = self.automations.get(automation, AutomationReport())
            self.automations[automation] = replace(known, revision=revision, commit=commit, last=last, error=error)

    def report(self, *, commit: str | None = None) -> UpdateReport:
        return UpdateReport(
            changed=bool(self.files),
            commit=commit or (self.commits[-1].commit if self.commits else None),
            edits=edit_rows(self.edits),
            sites=focused(site_rows(self.decisions), self.focus),
            problems=tuple(row for row in self.problems if row.file is None or inside(row.file, self.focus)),
            failures=tuple(self.failures),
            commits=tuple(self.commits),
            proof=tuple(self.proof),
            files=dict(self.files),
            automations=self.automations,
            holds=dict(self.holds),
        )


def _problems(run: Run) -> tuple[ProblemReport, ...]:
    """Of its files, of its branch's commits, and what cannot be known."""
    return (
        *problem_rows(run.provenance),
        *(ProblemReport(file=each.file, line=each.line, reason=each.reason) for each in run.recorded),
        *(ProblemReport(file=None, line=None, reason=note) for note in run.notes),
    )


def inside(path: str, folder: str) -> bool:
    """Is a repository path the folder itself, or below it?"""
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def focused(rows: tuple[SiteReport, ...], folder: str) -> tuple[SiteReport, ...]:
    """The rows that stand in the folder, or are rendered from a root in it."""
    if folder == ".":
        return rows
    return tuple(row for row in rows if inside(row.file, folder) or any(inside(root, folder) for root in row.roots))


def _text(run: Run, file: str) -> str | None:
    try:
        return run.tree.read(file).decode("utf-8", "replace")
    except KeyError:
        return None
