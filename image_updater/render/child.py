"""One child process: started cheaply, read within limits, and always gone at the end.

Blocking on purpose: it runs on the renderer's threads, which carry the network filter (sandbox.py). No `preexec_fn`,
so that the start is a vfork whatever the size of this process; limits are set from outside right after the start.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.render.errors import LimitExceeded

if sys.platform.startswith("linux"):
    import resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from image_updater.render.sandbox import Limits

_MESSAGES = 256 * 1024
"""Bytes kept of the child's messages; the rest is read and dropped."""

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a child ended. `status` is the exit code, or minus the signal."""

    status: int
    output: bytes
    messages: str


class Child:
    """A command that runs once; `kill` may come from another thread at any time."""

    def __init__(self, command: Sequence[str], *, folder: str, environment: Mapping[str, str], limits: Limits) -> None:
        self._command = list(command)
        self._folder = folder
        self._environment = dict(environment)
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> Finished:
        """Run to the end. Raises LimitExceeded, or OSError when it cannot be started."""
        deadline = time.monotonic() + self._limits.seconds
        with self._lock:
            if self._killed:
                raise LimitExceeded("the build was cancelled")
            process = subprocess.Popen(  # noqa: S603 - the command is ours, no shell
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
            self._process = process
        try:
            self._restrict(process.pid)
            output, messages = self._read(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._late() from None
        finally:
            self._finish(process)
        if self._killed:
            raise LimitExceeded("the build was cancelled")
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            raise LimitExceeded(
                f"the build used more than {self._limits.cpu_seconds} s of CPU, "
                "or the system ran out of memory and killed it"
            )
        return Finished(status=status, output=output, messages=messages)

    def kill(self) -> None:
        """End the whole group at once; `run` then raises."""
        with self._lock:
            self._killed = True
            process = self._process
            if process is not None and process.returncode is None:
                _kill_group(process.pid)

    def _restrict(self, pid: int) -> None:
        if not sys.platform.startswith("linux"):
            return
        cpu, memory = self._limits.cpu_seconds, self._limits.memory
        try:
            for kind, soft, hard in (
                (resource.RLIMIT_CPU, cpu, cpu + 1),
                (resource.RLIMIT_DATA, memory, memory),
                (resource.RLIMIT_CORE, 0, 0),
            ):
                resource.prlimit(pid, kind, within(resource.getrlimit(kind)[1], soft, hard))
        except ProcessLookupError:
            return  # already over: nothing left to limit

    def _read(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, str]:
        assert process.stdout is not None
        assert process.stderr is not None
        out, messages = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, out)
            selector.register(process.stderr, selectors.EVENT_READ, messages)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._late()
                for key, _ in selector.select(left):
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.data is out:
                        out += data
                        if len(out) > self._limits.output:
                            raise LimitExceeded(f"the build wrote more than {self._limits.output:,} bytes")
                    elif len(messages) < _MESSAGES:
                        messages += data[: _MESSAGES - len(messages)]
        return bytes(out), messages.decode("utf-8", "replace")

    def _late(self) -> LimitExceeded:
        return LimitExceeded(f"the build took longer than {self._limits.seconds:g} s")

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if process.returncode is None:
                _kill_group(process.pid)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def within(ours: int, soft: int, hard: int) -> tuple[int, int]:
    """A limit that is no higher than our own hard one (which only root may raise; -1 = none)."""
    return (soft, hard) if ours < 0 else (min(soft, ours), min(hard, ours))


def _kill_group(pid: int) -> None:
    """The child leads its own session, so its group has its number as long as it is not reaped."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself in this moment
