"""Diffs that the usual tools take."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from image_updater.cli.difference import unified

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "plain": ("a.yaml", "a: 1\nb: 2\nc: 3\n", "a: 1\nb: 3\nc: 3\n"),
    "crlf": ("a.yaml", "a: 1\r\nb: 2\r\n", "a: 1\r\nb: 3\r\n"),
    "no-last-break": ("a.yaml", "a: 1\nb: 2", "a: 1\nb: 3"),
    "last-break-comes": ("a.yaml", "b: 2", "b: 2\nc: 3\n"),
    "form-feed-and-separators": ("a.yaml", "a: 1\x0c\nb: '\u2028'\nc: 2\n", "a: 1\x0c\nb: '\u2028'\nc: 3\n"),
    "blanks": ("apps/my app/a b.yaml", "a: 1\n", "a: 2\n"),
    "quotes": ('we"ird\\na\tme.yaml', "a: 1\n", "a: 2\n"),
    "umlauts": ("äöü/ß.yaml", "name: grüße\ntag: 1\n", "name: grüße\ntag: 2\n"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tool", [["git", "apply", "-p1"], ["patch", "-p1", "--binary", "-s"]], ids=["git", "patch"])
def test_git_apply_and_patch_take_the_diff(tmp_path: Path, case: str, tool: list[str]) -> None:
    if tool[0] == "patch" and shutil.which("patch") is None:
        tool = ["git", "apply", "-p1", "--unidiff-zero"]
    name, old, new = CASES[case]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(old.encode())
    difference = unified({name: (old, new), "same.yaml": ("x", "x")})
    subprocess.run(tool, cwd=tmp_path, input=difference.encode(), check=True, capture_output=True)
    assert file.read_bytes() == new.encode()


def test_a_new_file_comes_from_dev_null(tmp_path: Path) -> None:
    difference = unified({"sub/new.yaml": (None, "a: 1\n")})
    subprocess.run(["git", "apply", "-p1"], cwd=tmp_path, input=difference.encode(), check=True)
    assert (tmp_path / "sub/new.yaml").read_text() == "a: 1\n"


def test_nothing_changed_is_no_diff() -> None:
    assert unified({"a": ("x", "x")}) == ""
