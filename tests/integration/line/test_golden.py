"""Whole behaviours as directories: `before/` with `objects.yaml` and `tags.json` becomes `after/`, byte for byte.

`expect.json`: `states` are [file, line, state] of sites that must be reported (others may be too), `edits` the
exact edits, `problems` files that must be reported as problems, `args` further arguments, `exit` the exit code of
the write.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def update(folder: Path, case: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(
        cli,
        [
            "update",
            str(folder),
            "-f",
            str(case / "objects.yaml"),
            "--tags",
            str(case / "tags.json"),
            "-o",
            "json",
            *arguments,
        ],
        standalone_mode=False,
    )
    if result.exception is not None:
        raise result.exception
    return result.return_value, json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
def test_before_becomes_after(name: str, tmp_path: Path) -> None:
    case = GOLDEN / name
    expect = json.loads((case / "expect.json").read_text())
    folder = tmp_path / "repository"
    shutil.copytree(case / "before", folder)
    before, after = files(case / "before"), files(case / "after")

    code, report = update(folder, case, *expect["args"])
    assert files(folder) == before, "a dry run writes nothing"
    assert code == (3 if before != after else 0), report
    assert report["changed"] is (before != after), report

    code, report = update(folder, case, "--write", *expect["args"])
    assert code == expect.get("exit", 0), report
    assert files(folder) == after, report
    sites = {(site["file"], site["line"], site["state"]) for site in report["sites"]}
    missing = [state for state in expect["states"] if tuple(state) not in sites]
    assert not missing, sorted(sites)
    assert all(site["reason"] for site in report["sites"] if site["state"] not in ("current", "updated"))
    if "edits" in expect:
        found = [[e[k] for k in ("file", "line", "field", "old", "new", "policy", "kind")] for e in report["edits"]]
        assert found == expect["edits"]
    assert set(expect["problems"]) <= {problem["file"] for problem in report["problems"]}

    code, report = update(folder, case, *expect["args"])
    assert (code, report["edits"]) == (0, []), "a second run finds nothing to do"
