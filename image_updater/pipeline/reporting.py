"""Decisions, edits and problems as the report's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.patch.decisions import State
from image_updater.pipeline.report import EditReport, ProblemReport, SiteReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from image_updater.kustomize.model import Problem, Provenance
    from image_updater.patch.decisions import Decision
    from image_updater.patch.model import Edit

_STRENGTH = {
    State.UPDATED: 0,
    State.CONFLICT: 1,
    State.REFUSED: 2,
    State.HELD: 3,
    State.CURRENT: 4,
    State.MANUAL: 5,
    State.IGNORED: 6,
    State.REMOTE: 7,
    State.UNMANAGED: 8,
}


def site_rows(decisions: Iterable[Decision]) -> tuple[SiteReport, ...]:
    """One row for each state of a site; where several automations speak, those that claim it win over `unmanaged`."""
    by_site: dict[tuple[str, int, str], list[Decision]] = {}
    for decision in decisions:
        site = decision.site
        by_site.setdefault((site.file, site.line, site.field), []).append(decision)
    rows: list[SiteReport] = []
    for found in by_site.values():
        moved = {(each.policy, root) for each in found if each.state is State.UPDATED for root in each.roots}
        claimed = [
            each
            for each in found
            if each.state is not State.UNMANAGED and not (each.state is State.CURRENT and _moved(each, moved))
        ]
        rows.extend(_row(each, each.roots) for each in claimed)
        spoken_for = {root for each in claimed for root in each.roots}
        left = [each for each in found if each.state is State.UNMANAGED]
        roots = tuple(dict.fromkeys(root for each in left for root in each.roots if root not in spoken_for))
        if left and (roots or not claimed):
            rows.append(_row(left[0], roots))
    unique = list(dict.fromkeys(rows))
    unique.sort(key=lambda row: (row.file, row.line, row.field, _STRENGTH[row.state]))
    return tuple(unique)


def _moved(decision: Decision, moved: set[tuple[str | None, str]]) -> bool:
    """Is it current only because an automation before this one moves it in the same run?"""
    return bool(decision.roots) and all((decision.policy, root) in moved for root in decision.roots)


def _row(decision: Decision, roots: tuple[str, ...]) -> SiteReport:
    site = decision.site
    return SiteReport(
        file=site.file,
        line=site.line,
        field=site.field,
        image=site.image,
        policy=decision.policy,
        roots=roots,
        state=decision.state,
        reason="" if decision.state is State.CURRENT else decision.reason,
    )


def edit_rows(edits: Sequence[Edit]) -> tuple[EditReport, ...]:
    """In the order of files and lines."""
    ordered = sorted(edits, key=lambda edit: (edit.file, edit.start))
    return tuple(
        EditReport(
            file=edit.file,
            line=edit.line,
            field=edit.field,
            old=edit.old,
            new=edit.new,
            policy=edit.policy,
            kind=str(edit.kind),
        )
        for edit in ordered
    )


def problem_rows(provenance: Provenance) -> tuple[ProblemReport, ...]:
    """Unreadable files and near-miss markers that belong to no site."""
    rows = [_problem(problem) for problem in provenance.problems]
    rows += [
        ProblemReport(file=marker.file, line=marker.line, reason=f"marker: {marker.problem}")
        for marker in provenance.loose
        if marker.problem
    ]
    return tuple(dict.fromkeys(rows))


def _problem(problem: Problem) -> ProblemReport:
    return ProblemReport(file=problem.file, line=problem.line, reason=problem.reason)
