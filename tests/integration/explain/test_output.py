"""How `explain` prints: pipes, locales, terminals, a full disk, completion. Run as a process where that matters."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.cli.output import dumps
from tests.integration.explain.running import check, explain, policy, run, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANY = policy("{semver: {range: '*'}}")
PROGRAM = [sys.executable, "-m", "image_updater"]


def process(arguments: list[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, check=False, env={**os.environ, **(env or {})})


def on_a_terminal(arguments: list[str], env: Mapping[str, str]) -> bytes:
    """What a terminal would show: stdout is one, stderr is none."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **env}
    child = subprocess.Popen([*PROGRAM, *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:
        pass  # Linux answers EIO when the other end is closed.
    finally:
        os.close(ours)
    assert child.wait(30) == 0
    return shown


def test_the_json_is_the_documented_one_and_all_of_stdout(tmp_path: Path) -> None:
    done = process(write(tmp_path, ANY, ["1.0.0", "latest"]))
    assert (done.returncode, done.stderr) == (0, b"")
    [report] = json.loads(done.stdout)
    check(report, ["1.0.0", "latest"])
    assert report == {
        "policy": "default/web",
        "image": "registry.example/acme/web",
        "chosen": {"tag": "1.0.0", "digest": None},
        "reason": report["reason"],
        "tags": report["tags"],
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_our_json_is_the_library_s(value: object) -> None:
    assert dumps(value) == json.dumps(value, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "utf-16"},
    ],
    ids=["ascii", "latin-1", "utf-16"],
)
def test_json_is_utf_8_whatever_the_locale_is(env: dict[str, str], tmp_path: Path) -> None:
    done = process(write(tmp_path, ANY, ["1.0.0", "é", "→", "\U0001f600"]), env)
    assert done.returncode == 0
    [report] = json.loads(done.stdout.decode("utf-8"))
    check(report, ["1.0.0", "é", "→", "\U0001f600"])


def test_errors_are_json_in_any_locale(tmp_path: Path) -> None:
    arguments = write(tmp_path, policy("{semver: {range: 'é'}}"), ["1.0.0"])
    done = process(arguments, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    [error] = json.loads(done.stdout.decode("utf-8"))["errors"]
    assert set(error) == {"file", "line", "object", "field", "reason", "message", "remedy"}
    assert "'é' is not a version range" in error["message"]


def test_text_on_an_ascii_terminal_is_no_traceback(tmp_path: Path) -> None:
    arguments = [*write(tmp_path, ANY, ["1.0.0", "é"]), "-o", "text"]
    done = process(arguments, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"1.0.0" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_reader_that_goes_away_is_no_traceback(output: str, tmp_path: Path) -> None:
    arguments = [*write(tmp_path, ANY, [f"1.0.{n}" for n in range(20_000)]), "--all", "-o", output]
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
    assert said == b""


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_full_disk_is_said_in_one_line(output: str, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, *write(tmp_path, ANY, ["1.0.0"]), "-o", output], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"No space left" in done.stderr
    assert b"fault of image-updater" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "coloured"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--color", "never"], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        ([], {"IMAGE_UPDATER_COLOR": "never"}, False),
    ],
)
def test_colour_on_a_terminal(arguments: list[str], env: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    shown = on_a_terminal([*write(tmp_path, ANY, ["1.0.0"]), "-o", "text", *arguments], env)
    assert b"1.0.0" in shown
    assert (b"\x1b[" in shown) is coloured


@pytest.mark.parametrize(("color", "coloured"), [("auto", False), ("always", True), ("never", False)])
def test_colour_in_a_pipe(color: str, coloured: bool, tmp_path: Path) -> None:
    done = process([*write(tmp_path, ANY, ["1.0.0"]), "-o", "text", "--color", color])
    assert (b"\x1b[" in done.stdout) is coloured


def test_json_has_no_colour_even_when_it_is_asked_for(tmp_path: Path) -> None:
    done = process([*write(tmp_path, ANY, ["1.0.0"]), "--color", "always"])
    assert b"\x1b[" not in done.stdout


def test_text_tells_each_fate_and_what_is_left_out(tmp_path: Path) -> None:
    tags = [f"1.0.{n}" for n in range(50)] + ["latest"]
    text = run(*write(tmp_path, ANY, tags), "-o", "text").stdout
    assert "1.0.49" in text
    assert "eligible (49)" in text
    assert "rejected (1)" in text
    everything = run(*write(tmp_path, ANY, tags), "-o", "text", "--all").stdout
    assert all(tag in everything for tag in tags)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["image-updater", "exp"], "explain"),
        (["image-updater", "explain", "--ta"], "--tags"),
        (["image-updater", "explain", "--curr"], "--current"),
        (["image-updater", "explain", "-o", ""], "json"),
        (["image-updater", "explain", "--color", "al"], "always"),
        (["image-updater", "explain", "--tags", ""], "file"),
        (["image-updater", "explain", "-f", ""], "file"),
        (["image-updater", "explain", "--state", ""], "file"),
        (["image-updater", "explain", "--secrets", ""], "dir"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_shell_completes(words: list[str], wanted: str) -> None:
    # As the script does: what is being typed is the last word.
    env = {
        "_IMAGE_UPDATER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = process([], env)
    assert wanted in done.stdout.decode().replace(",", "\n").split()


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_flag(flag: str) -> None:
    text = run("explain", flag).stdout
    for name in ("-f", "--policy", "--tags", "--current", "--now", "-o", "--color", "--state", "--secrets"):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--taggs", "x"], "--tags"),
        (["-o", "yaml"], "'text', 'json'"),
        (["-o", "diff"], "'text', 'json'"),
        (["extra"], "extra"),
        (["--color", "blue"], "auto"),
        (["--concurrency", "0"], "between 1 and"),
        (["--max-pages", "many"], "not a whole number"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, ANY, ["1.0.0"], *arguments)
    assert answer.code == 2
    assert words in answer.stderr


def test_a_mistyped_variable_is_said(tmp_path: Path) -> None:
    answer = run(*write(tmp_path, ANY, ["1.0.0"]), env={"IMAGE_UPDATER_STTE": "x"})
    assert answer.code == 2
    [error] = answer.errors
    assert error["field"] == "IMAGE_UPDATER_STTE"
    assert "IMAGE_UPDATER_STATE" in error["remedy"]


@pytest.mark.parametrize("state", ["folder", "garbage"])
def test_a_state_file_that_is_none(state: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage").write_text("no database at all\n" * 100)
    answer = run(*write(tmp_path, ANY, ["1.0.0"]), "--state", str(tmp_path / state))
    if state == "folder":
        assert answer.code == 1
        assert "is a folder" in answer.stderr
        assert answer.errors
    else:
        assert (answer.code, answer.chosen) == (0, "1.0.0")
