"""`python -m tests.bench [NAME…] [--save]`: every work in a process of its own, one table at the end.

Exit code 1 when a work failed; a missed budget is a figure, not a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench import figures
from tests.bench.rows import Row, number

WORKS = {
    "judge": "judge 100,000 tags",
    "locate": "find all sites of 4,100 YAML files",
    "monorepo": "500 tags move at once in 5,000 files",
    "move": "one of those 500 moves, warm",
    "automations": "20 automations on one branch",
    "hint": "hint → commit on the server",
    "images": "1,000 images × 100 tags",
    "longlist": "one image with 50,000 tags",
    "render": "builds with the real Kustomize",
    "gates": "a Freeze over 1,000 policies, 100,000 young tags, a replay",
    "policies": "1,000 ImagePolicies in a cluster",
    "kustomizations": "200 and 500 Kustomizations in a cluster",
    "loop": "tag → commit → Deployment in a cluster",
    "closed": "bad tags taken back in a cluster",
}
CLUSTER = ("policies", "kustomizations", "loop", "closed")
"""Those in a cluster, in modules `cluster_…`."""
PAGE = Path(__file__).parents[2] / "docs/benchmarks.md"
TIMEOUT = 300
"""Seconds that a work may take."""
CLUSTER_TIMEOUT = 900
"""Those start control planes, wait for intervals, and look for some minutes at what goes on when nothing does."""
_HEADER = ("work", "Flux", "budget", "before", "now", "verdict")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(f"{k}: {v}" for k, v in WORKS.items()))
    parser.add_argument("--save", action="store_true", help="keep the figures in figures.json")
    parser.add_argument("--notes", action="store_true", help="say how each figure was measured")
    parser.add_argument("--markdown", action="store_true", help="print the lines of docs/benchmarks.md instead")
    parser.add_argument("--page", action="store_true", help="put the lines into the tables of docs/benchmarks.md")
    given = parser.parse_args()
    unknown = set(given.names) - WORKS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    rows: list[Row] = []
    failed = []
    for name in given.names or WORKS:
        sys.stderr.write(f"{name}: {WORKS[name]} …\n")
        found = _run(name)
        if found is None:
            failed.append(name)
        else:
            rows += found
    sys.stdout.write(markdown(rows) if given.markdown else table(rows, notes=given.notes))
    if given.save:
        figures.save(rows)
    if given.page:
        PAGE.write_text(page(rows, PAGE.read_text()))
    for name in failed:
        sys.stderr.write(f"{name} failed, its output is above\n")
    return 1 if failed else 0


def _run(name: str) -> list[Row] | None:
    """The rows of one work, from a fresh interpreter; None when it failed."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    module, timeout = (f"cluster_{name}", CLUSTER_TIMEOUT) if name in CLUSTER else (name, TIMEOUT)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.child", module],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"{name} took longer than {timeout} s\n")
        return None
    if done.returncode != 0:
        return None
    return [Row(**row) for row in json.loads(done.stdout)]


def table(rows: list[Row], *, notes: bool = False) -> str:
    """The figures in columns."""
    before = figures.load()
    lines = [_HEADER]
    for row in rows:
        known = before.get(row.work)
        lines.append(
            (
                row.work,
                row.flux,
                _budget(row),
                number(known["value"], known["unit"]) if known is not None else "–",
                number(row.value, row.unit),
                row.verdict,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    out = []
    for index, line in enumerate(lines):
        out.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if index == 0:
            out.append("  ".join("─" * width for width in widths))
        elif notes and rows[index - 1].note:
            out.append(f"    {rows[index - 1].note}")
    return "\n".join(out) + "\n"


def markdown(rows: list[Row]) -> str:
    """As docs/benchmarks.md has them."""
    lines = [
        f"| {row.work} | {row.flux} | {_budget(row)} | {number(row.value, row.unit)} | {row.verdict} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines).replace("|  |", "| |") + "\n"


def page(rows: list[Row], text: str) -> str:
    """The page with these lines: in the place of those of the same works, new ones at the end of their table."""
    lines = text.splitlines()
    for line in markdown(rows).splitlines():
        work = line.partition(" | ")[0]
        known = [number for number, each in enumerate(lines) if each.partition(" | ")[0] == work]
        cluster = work.startswith("| cluster:")
        if known:
            lines[known[0]] = line
        else:
            table = [number for number, each in enumerate(lines) if _is_figure(each) and cluster == _is_cluster(each)]
            lines.insert(table[-1] + 1, line)
    return "\n".join(lines) + "\n"


def _is_figure(line: str) -> bool:
    """Of the tables with six columns, but no head."""
    return line.startswith("| ") and line.count(" | ") == len(_HEADER) - 1 and not line.startswith("| work |")


def _is_cluster(line: str) -> bool:
    return line.startswith("| cluster:")


def _budget(row: Row) -> str:
    if row.budget is None:
        return "–"
    return ("" if row.exact else "≤ ") + number(row.budget, row.unit)


if __name__ == "__main__":
    sys.exit(main())
