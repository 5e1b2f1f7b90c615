"""Verdicts as text: one block a policy, its tags grouped by fate, equal reasons said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.cli.output import console, printable, table
from image_updater.policy.model import Fate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from image_updater.pipeline.report import PolicyReport

STYLES = {Fate.CHOSEN: "bold green", Fate.ELIGIBLE: "green", Fate.HELD: "yellow", Fate.REJECTED: "red"}


def show_policies(reports: Sequence[PolicyReport], color: str, *, limit: int | None = 20) -> None:
    """`limit`: tags shown of each reason; the rest is counted. None = all."""
    out = console(color)
    if not reports:
        out.print("no policies")
    for index, report in enumerate(reports):
        if index:
            out.print()
        show_policy(out, report, limit=limit)


def show_policy(out: Console, report: PolicyReport, *, limit: int | None = 20) -> None:
    from rich.text import Text

    out.print(Text.assemble((printable(report.policy), "bold"), "  ", (printable(report.image), "cyan")))
    if report.chosen is not None:
        digest = f"@{report.chosen.digest}" if report.chosen.digest else ""
        out.print(Text.assemble("→ ", (f"{report.chosen.tag}{digest}", "bold green"), f"  {printable(report.reason)}"))
    else:
        out.print(Text.assemble(("→ nothing", "bold yellow"), f"  {printable(report.reason)}"))
    for note in report.notes:
        out.print(f"  note: {printable(note)}", style="dim")
    verdicts = report.judgement.verdicts if report.judgement is not None else ()
    by_fate: dict[Fate, dict[str, list[str]]] = {}
    for verdict in verdicts:
        by_fate.setdefault(verdict.fate, {}).setdefault(verdict.reason, []).append(verdict.tag)
    for fate in Fate:
        reasons = by_fate.get(fate)
        if reasons is None:
            continue
        count = sum(len(tags) for tags in reasons.values())
        out.print(Text.assemble("  ", (f"{fate}", STYLES[fate]), f" ({count})"))
        rows = list(reasons.items())
        shown = rows if limit is None else rows[:limit]
        table(out, [(_tags(tags, limit), reason) for reason, tags in shown], indent=4, styles=("", "dim"))
        rest = sum(len(tags) for _, tags in rows[len(shown) :])
        if rest:
            out.print(f"    … and {rest} more (--all shows them)", style="dim")


def _tags(tags: Sequence[str], limit: int | None) -> str:
    most = 6 if limit is not None else len(tags)
    text = " ".join(printable(tag) for tag in tags[:most])
    return text if len(tags) <= most else f"{text} … and {len(tags) - most} more"
