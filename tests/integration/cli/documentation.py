"""Runs what the documentation shows, in a folder of its own, and puts what came out in its place.

`<!-- file: NAME -->` before a fenced block: the block is that file. A `console` block: each line that begins with `$
` is run by a shell, in order, and what follows is what it prints. A `sh` block is only shown (it needs a server or a
network); its flags must exist. `python -m tests.integration.cli.documentation` writes the pages anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from image_updater.cli.app import cli
from tests.parts.tools import binary

ROOT = Path(__file__).parents[3]
PAGES = (
    "README.md",
    "docs/guide.md",
    "docs/concepts.md",
    "docs/gates.md",
    "docs/when-it-fails.md",
    "docs/people-first.md",
    "docs/flagger.md",
    "docs/replay.md",
    "docs/commands.md",
    "docs/markers-and-annotations.md",
    "docs/access.md",
    "docs/security.md",
    "docs/troubleshooting.md",
    "docs/migrating-from-flux.md",
)

_FENCE = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def play(text: str, folder: Path) -> str:
    """The page with what its commands print now. Raises AssertionError when one fails or a flag does not exist."""

    def block(match: re.Match[str]) -> str:
        name, language, body = match["file"], match["language"], match["body"]
        if name is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        elif language == "console":
            return match[0].replace(body, _console(body, folder)) if body else match[0]
        elif language == "sh":
            for line in body.splitlines():
                _known(line)
        return match[0]

    return _FENCE.sub(block, text)


def _console(body: str, folder: Path) -> str:
    commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    return "".join(f"$ {command}\n{_run(command, folder)}" for command in commands)


def _run(command: str, folder: Path) -> str:
    _known(command)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={
            "PATH": f"{Path(sys.executable).parent}:{Path(binary('kustomize')).parent}:{os.environ['PATH']}",
            "HOME": str(folder / ".home"),
            "LANG": "C.UTF-8",
            **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada"),
            **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@example.com"),
            **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-05-01T12:00:00Z"),
        },
    )
    output = done.stdout.decode()
    assert "error:" not in output or "# fails" in command, f"{command}\n{output}"
    assert done.returncode in ({1, 2} if "# fails" in command else {0, 3}), f"{command}: {done.returncode}\n{output}"
    assert "Traceback" not in output, output
    return output if not output or output.endswith("\n") else f"{output}\n"


def _known(line: str) -> None:
    """Every flag of an `image-updater` command must exist."""
    for words in re.findall(r"(?:^|[|;&(])\s*image-updater ([a-z]+)([^|#;&)]*)", line):
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None, f"no such command: {line}"
        flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in words[1].split() if re.match(r"-[a-zA-Z-]", word)}
        assert used <= flags | {"--help"}, f"no such flag {used - flags}: {line}"


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(play(path.read_text(), Path(folder)))


if __name__ == "__main__":
    main()
