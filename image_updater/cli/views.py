"""Reports as text for people: aligned, coloured on a terminal, nothing hidden."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import click

from image_updater.api.annotations import FORMS
from image_updater.cli.output import console, printable, table
from image_updater.pipeline.report import Mode, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from image_updater.pipeline.report import (
        DiffReport,
        EditReport,
        FailureReport,
        ImagesReport,
        ProblemReport,
        SiteReport,
        UpdateReport,
    )

STATE_STYLE = {
    State.CURRENT: "green",
    State.UPDATED: "bold green",
    State.HELD: "yellow",
    State.MANUAL: "cyan",
    State.IGNORED: "dim",
    State.CONFLICT: "bold red",
    State.REMOTE: "magenta",
    State.REFUSED: "red",
    State.UNMANAGED: "dim",
}

_IMPLICIT = re.compile(rf"annotation:\S+?:(?P<said>(?:{'|'.join(FORMS)})\b[^:]*)(?::(?P<filter>.*))?\Z", re.DOTALL)
"""The name of an implicit policy: `annotation:IMAGE:TEXT[:FILTER]`; no form of TEXT has a colon in it."""

_DONE = {
    Mode.DRY_RUN: "nothing was written (--write, --commit or --push)",
    Mode.WRITE: "written",
    Mode.COMMIT: "committed",
    Mode.PUSH: "pushed",
}


def show_update(report: UpdateReport, mode: Mode, color: str, *, by_hand: bool = False) -> None:
    """`by_hand`: of `set`, which has no sites and no further modes."""
    out = console(color)
    if report.edits:
        out.print(f"{_count(len(report.edits), 'edit')}:", style="bold")
        table(out, [_edit_row(edit) for edit in report.edits], styles=("", "dim", "bold"))
    if report.proof:
        out.print("proof:", style="bold")
        for line in report.proof:
            out.print(f"  {printable(line)}")
    notable = [site for site in report.sites if site.state not in {State.CURRENT, State.UPDATED, State.UNMANAGED}]
    if notable:
        out.print("left as they are:", style="bold")
        _sites(out, notable)
    _problems(out, report.problems)
    for commit in report.commits:
        line = f"{commit.commit[:12]} {commit.subject}" if commit.commit else commit.subject
        out.print(f"commit {printable(line)} ({'pushed to' if commit.pushed else 'on'} {printable(commit.branch)})")
    out.print(_summary(report, mode, by_hand=by_hand))


def _summary(report: UpdateReport, mode: Mode, *, by_hand: bool) -> str:
    counted = Counter(site.state for site in report.sites)
    states = ", ".join(f"{counted[state]} {state}" for state in State if counted[state])
    tail = f" · {states}" if states else "" if report.changed or by_hand else " · no image sites"
    if not report.changed:
        behind = report.failures or any(counted[state] for state in (State.HELD, State.CONFLICT, State.REFUSED))
        return f"nothing changed{tail}" if behind else f"up to date{tail}"
    files = len({edit.file for edit in report.edits})
    commit = f" {report.commit[:12]}" if report.commit else ""
    done = "nothing was written" if by_hand and mode is Mode.DRY_RUN else _DONE[mode]
    if mode is Mode.PUSH and not all(each.pushed for each in report.commits):
        done, commit = "committed", f"{commit}, not pushed"
    return f"{_count(len(report.edits), 'edit')} in {_count(files, 'file')}: {done}{commit}{tail}"


def _edit_row(edit: EditReport) -> tuple[str, str, str, str]:
    match edit.kind:
        case "insert":
            change = f"+ {edit.new}"
        case "remove":
            change = f"- {edit.old}"
        case _:
            change = f"{edit.old} → {edit.new}"
    return f"{edit.file}:{edit.line}", edit.field, change, _policy(edit.policy)


def _policy(name: str) -> str:
    """Of an implicit policy only what the annotation says: its image stands beside it."""
    match = _IMPLICIT.match(name)
    if match is None:
        return name
    return f"annotation {match['said']}" + (f", filter {match['filter']}" if match["filter"] else "")


def show_images(report: ImagesReport, color: str) -> None:
    out = console(color)
    by_file: dict[str, list[SiteReport]] = {}
    for site in report.sites:
        by_file.setdefault(site.file, []).append(site)
    for file, sites in by_file.items():
        out.print(printable(file), style="bold")
        rows = [
            (
                str(site.line),
                site.image,
                _policy(site.policy) if site.policy else "-",
                str(site.state),
                ", ".join(site.roots) or "-",
                site.reason,
            )
            for site in sites
        ]
        table(out, rows, styles=("dim", "", "cyan", "", "dim", "dim"))
    _problems(out, report.problems)
    images = len({site.image for site in report.sites if site.state is not State.REMOTE})
    roots = len({root for site in report.sites for root in site.roots})
    out.print(f"{_count(len(report.sites), 'site')}, {_count(images, 'image')}, {_count(roots, 'root')}")


def show_diff(report: DiffReport, color: str) -> None:
    out = console(color)
    if report.images:
        out.print("images:", style="bold")
        table(out, [(root, old or "(none)", "→", new or "(none)") for root, old, new in report.images])
    if report.objects:
        out.print("objects:", style="bold")
    mark = {"added": ("+", "green"), "removed": ("-", "red")}
    for item in report.objects:
        sign, style = mark.get(item.change, ("~", "yellow"))
        out.print(f"  {sign} {printable(item.root)}: {printable(item.object)}", style=style)
        table(
            out,
            [(field, f"{_side(old)} → {_side(new)}") for field, old, new in item.fields],
            indent=6,
            styles=("dim",),
        )
    if not report.objects:
        out.print("no object differs" if not report.failures else "no object differs in the roots that build")


def complain(problems: Iterable[ProblemReport], failures: Iterable[FailureReport]) -> None:
    """Problems and failures as lines on stderr."""
    for problem in problems:
        click.echo(f"warning: {_place(problem)}{printable(problem.reason)}", err=True)
    for failure in failures:
        click.echo(f"error: {printable(failure.subject)}: {printable(failure.message)}", err=True)


def _sites(out: Console, sites: Sequence[SiteReport]) -> None:
    from rich.text import Text

    rows = [
        (
            Text(str(site.state), style=STATE_STYLE[site.state]),
            f"{site.file}:{site.line}",
            site.image,
            site.reason or "-",
        )
        for site in sites
    ]
    table(out, rows)


def _problems(out: Console, problems: Sequence[ProblemReport]) -> None:
    if problems:
        out.print("problems:", style="bold yellow")
        for problem in problems:
            out.print(f"  {_place(problem)}{printable(problem.reason)}")


def _place(problem: ProblemReport) -> str:
    place = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    return f"{printable(place)}: " if place else ""


def _side(value: str | None) -> str:
    return "(none)" if value is None else value


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
