"""The last line of a test run: what did not run has failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUMMARY = Path(__file__).parents[3] / ".ci" / "summary.py"
CHECKS = "".join(f"ok {name}\n" for name in ("lint", "format", "types", "contracts", "generated"))


def report(*outcomes: str) -> str:
    inner = {"passed": "", "failed": "<failure/>", "error": "<error/>", "skipped": "<skipped/>"}
    cases = "".join(f'<testcase name="t{n}">{inner[each]}</testcase>' for n, each in enumerate(outcomes))
    return f"<testsuites><testsuite>{cases}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("checks", "unit", "integration", "last", "status"),
    [
        (CHECKS, report("passed", "passed"), report("passed"), "8 passed, 0 failed", 0),
        (CHECKS, report("passed", "failed"), report("error"), "6 passed, 2 failed", 1),
        (CHECKS, report("passed", "skipped"), report("passed"), "7 passed, 1 failed", 1),
        (CHECKS, report(), report("passed"), "6 passed, 1 failed", 1),
        (CHECKS, None, report("passed"), "6 passed, 1 failed", 1),
        (CHECKS, report("passed"), "<testsuites><testsu", "6 passed, 1 failed", 1),
        ("ok lint\nfailed types\n", report("passed"), report("passed"), "3 passed, 4 failed", 1),
        (None, report("passed"), report("passed"), "2 passed, 5 failed", 1),
    ],
    ids=[
        "all well",
        "failures and errors",
        "a skip",
        "an empty suite",
        "a suite without a report",
        "a report cut short",
        "checks that failed or did not run",
        "no checks at all",
    ],
)
def test_the_sum_counts(
    tmp_path: Path, checks: str | None, unit: str | None, integration: str | None, last: str, status: int
) -> None:
    for name, text in (("checks", checks), ("unit.xml", unit), ("integration.xml", integration)):
        if text is not None:
            (tmp_path / name).write_text(text)
    command = [sys.executable, str(SUMMARY), "checks", "unit.xml", "integration.xml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == status
