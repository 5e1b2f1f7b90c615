"""Finding and running the real parts.

`make test` installs what is missing (.ci/tools.sh); what is not there fails with its remedy, it is never skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CACHE = Path(os.environ.get("IMAGE_UPDATER_CACHE") or Path.home() / ".cache" / "image-updater")
"""Where .ci/tools.sh keeps what it builds. Read at import: fixtures give tests another HOME."""

_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
"""Daemons live in sbin, which is not on everyone's PATH."""

_HOME_PATH = os.environ.get("PATH", "")


class PartMissingError(AssertionError):
    """A program that the suites need is not on this machine."""


class PartFailedError(AssertionError):
    """A part ended by itself or did not get ready; the message ends with its log."""


def binary(name: str) -> str:
    """The path of a program: the pinned one of the cache folder first, then beside the interpreter, then PATH and sbin.

    Names with a version (`kustomize-5.5`) exist in the cache folder only.
    """
    for folder in (CACHE / "bin", Path(sys.executable).parent):
        candidate = folder / name
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    found = shutil.which(name, path=os.pathsep.join((_HOME_PATH, *_SYSTEM)))
    if found is None:
        raise PartMissingError(f"{name}: not in {CACHE / 'bin'}, not on PATH; `make tools` installs it")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


class Part:
    """A running program with its log. `stop` ends it, by its own process group."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """What it has written so far (both streams)."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, timeout: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds. May be called twice."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is not None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: int | Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = 30.0,
) -> Part:
    """Start a program and wait until it is ready: a port that accepts, or a function that says so.

    The first word is looked up with `binary` unless it is a path. Raises PartFailedError with the end of the log.
    """
    words = [str(word) for word in command]
    if "/" not in words[0]:
        words[0] = binary(words[0])
    name = Path(words[0]).name
    with log.open("ab") as out:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment) if environment is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    part = Part(name, process, log)
    try:
        _await_ready(part, ready, timeout)
    except BaseException:
        part.stop()
        raise
    return part


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: int | Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = 30.0,
) -> Iterator[Part]:
    """`start`, and `stop` at the end whatever happens."""
    part = start(command, log=log, ready=ready, environment=environment, folder=folder, timeout=timeout)
    try:
        yield part
    finally:
        part.stop()


def _await_ready(part: Part, ready: int | Callable[[], bool] | None, timeout: float) -> None:
    if ready is None:
        return
    deadline = time.monotonic() + timeout
    while not (listens(ready) if isinstance(ready, int) else ready()):
        if not part.running:
            raise PartFailedError(f"{part.name} ended with {part.process.returncode}:\n{_tail(part)}")
        if time.monotonic() > deadline:
            raise PartFailedError(f"{part.name} is not ready after {timeout:g} s:\n{_tail(part)}")
        time.sleep(0.02)


def _tail(part: Part) -> str:
    return "\n".join(part.output().splitlines()[-40:])
