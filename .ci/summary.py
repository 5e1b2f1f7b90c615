"""The sum of a test run. A check or a suite that did not run, collected nothing or skipped tests has failed."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

CHECKS = 5
"""Lint, format, types, import contracts, generated files."""


def suite(path: Path) -> tuple[int, int]:
    """(passed, failed) of one suite's report."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))  # noqa: S314 - pytest's own file
    except (OSError, ElementTree.ParseError) as exc:
        print(f"{path.stem}: the suite did not run: {exc}")
        return 0, 1
    failed = sum(1 for case in cases if any(child.tag in ("failure", "error", "skipped") for child in case))
    skipped = [case.get("name") for case in cases if case.find("skipped") is not None]
    if skipped:
        print(f"{path.stem}: skipped tests count as failed: {', '.join(map(str, skipped[:10]))}")
    if not cases:
        print(f"{path.stem}: no test was collected")
        return 0, 1
    print(f"{path.stem}: {len(cases) - failed} passed, {failed} failed")
    return len(cases) - failed, failed


def checks(path: Path) -> tuple[int, int]:
    """(passed, failed) of the checks; one that is not in the file has failed."""
    lines = path.read_text().splitlines() if path.exists() else []
    passed = sum(line.startswith("ok ") for line in lines)
    failed = [line.removeprefix("failed ") for line in lines if line.startswith("failed ")]
    missing = max(0, CHECKS - len(lines))
    if missing:
        failed += ["did not run"] * missing
    print(f"checks: {passed} passed, {len(failed)} failed" + (f" ({', '.join(failed)})" if failed else ""))
    return passed, len(failed)


def main(arguments: list[str]) -> int:
    """`checks unit.xml integration.xml`: prints the sum as the last line, 1 when anything failed."""
    sums = [checks(Path(arguments[0])), *(suite(Path(name)) for name in arguments[1:])]
    passed, failed = (sum(column) for column in zip(*sums, strict=True))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
