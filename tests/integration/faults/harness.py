"""What the fault suites share: a registry that misbehaves on command, repositories, and the command line as a process.

Every run of the command line is held to what always holds: a designed exit code, no traceback, no secret, no escape
sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_updater.embedded import EmbeddedRegistry
from tests.parts import gitservers
from tests.parts.tools import binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

PASSWORD = "s3cret-of-the-registry"
GIT_PASSWORD = "s3cret-of-the-git-server"
SECRETS = (PASSWORD, GIT_PASSWORD)
LIMIT = 60.0
"""Seconds that any run may take."""
LAUNCHER = Path(__file__).with_name("launcher.py")

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: {image}  # kept as it is
"""
POLICY = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: {name}, labels: {{name: {name}}}}}
spec:
  image: {image}
  insecure: true
  interval: {interval}
  timeout: {timeout}{more}
  policy: {{semver: {{range: '>=1.0'}}}}
---
"""
REPOSITORY = """\
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {{name: fleet}}
spec:
  url: {url}
  ref: {{branch: main}}
  timeout: {timeout}{more}
---
"""
AUTOMATION = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: {name}}}
spec:
  interval: {interval}
  sourceRef: {{name: fleet}}{more}
---
"""


def policy(name: str, image: str, *, interval: str = "5m", timeout: str = "5s", more: str = "") -> str:
    return POLICY.format(name=name, image=image, interval=interval, timeout=timeout, more=more)


def repository(url: str, *, timeout: str = "20s", more: str = "") -> str:
    return REPOSITORY.format(url=url, timeout=timeout, more=more)


def automation(name: str = "all", *, interval: str = "5m", more: str = "") -> str:
    return AUTOMATION.format(name=name, interval=interval, more=more)


def alone(name: str) -> str:
    """`more` of an automation that has one policy and one folder, both of its own name."""
    return f"\n  policySelector: {{matchLabels: {{name: {name}}}}}\n  update: {{paths: [{name}]}}"


class Registry:
    """The embedded registry in a thread of its own, so that tests and their child processes meet it from outside."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.server = EmbeddedRegistry()

    def _run(self) -> None:
        async def serve() -> None:
            async with self.server:
                self._ready.set()
                await self._stop.wait()

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve())

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def host(self) -> str:
        return self.server.host

    def push(self, name: str, *tags: str) -> None:
        for tag in tags:
            self.server.push(name, tag)

    def image(self, name: str) -> str:
        return f"{self.host}/{name}"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def states(self) -> dict[str, str]:
        """By file: the state of its (last) site."""
        return {site["file"]: site["state"] for site in self.report["sites"]}

    def reason(self, file: str) -> str:
        (found,) = {site["reason"] for site in self.report["sites"] if site["file"] == file}
        return str(found)


@dataclass(slots=True)
class Home:
    """A folder that the command line lives in: its cache, its temporary files, its home."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    limits: Callable[[], None] | None = None

    def variables(self, **more: str) -> dict[str, str]:
        for name in ("tmp", "home"):
            (self.folder / name).mkdir(exist_ok=True, parents=True)
        return {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "IMAGE_UPDATER_KUSTOMIZE": binary("kustomize"),
            "PYTHONPATH": str(Path(__file__).parents[3]),
            **self.environment,
            **more,
        }

    def start(self, *arguments: str, die: str = "", cwd: Path | None = None, **more: str) -> subprocess.Popen[bytes]:
        command = (
            [sys.executable, str(LAUNCHER), die, *arguments]
            if die
            else [sys.executable, "-m", "image_updater", *arguments]
        )
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.variables(**more),
            cwd=cwd,
            preexec_fn=self.limits,
        )

    def run(self, *arguments: str, die: str = "", cwd: Path | None = None, **more: str) -> Result:
        """One run to its end. `die`: the step at which it is killed (see launcher.py)."""
        process = self.start(*arguments, die=die, cwd=cwd, **more)
        return self.end(process, killed=bool(die))

    def end(self, process: subprocess.Popen[bytes], *, killed: bool = False) -> Result:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"still running after {LIMIT:g} s:\n{err.decode(errors='replace')}") from None
        return check(
            Result(process.returncode, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")),
            killed=killed,
        )

    def update(self, objects: Path, *arguments: str, **more: Any) -> Result:
        """`update -f objects … -o json`."""
        return self.run("update", *arguments, "-f", str(objects), "-o", "json", **more)


def check(result: Result, *, killed: bool = False) -> Result:
    """What holds for every run."""
    said = result.out + result.err
    assert "Traceback" not in said, said
    assert "error: unexpected" not in said, said
    for secret in SECRETS:
        assert secret not in said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said), repr(said)
    if killed:
        assert result.code in (-signal.SIGKILL, 0, 1), (result.code, said)
    else:
        assert result.code in (0, 1, 2, 3), (result.code, said)
    if result.code in (1, 2):
        assert result.err.strip(), "it failed and gave no reason"
    return result


@dataclass(slots=True)
class Fleet:
    """A bare repository with one folder for each image, and the objects that keep it up to date."""

    registry: Registry
    bare: Path
    objects: Path
    home: Home
    names: tuple[str, ...] = ("web", "api")

    @property
    def url(self) -> str:
        return self.bare.as_uri()

    def image(self, name: str) -> str:
        return self.registry.image(f"acme/{name}")

    def write(self, text: str) -> None:
        self.objects.write_text(text)

    def file(self, name: str, *, revision: str = "main") -> str:
        return gitservers.git("show", f"{revision}:{name}", cwd=self.bare)

    def tag(self, name: str) -> str:
        """The tag that Git holds now."""
        return self.tags[name]

    @property
    def tags(self) -> dict[str, str]:
        """By image, as Git holds them now."""
        text = gitservers.git("grep", "image: ", "main", "--", "*/deployment.yaml", cwd=self.bare)
        found = re.findall(r"^main:([^/\n]+)/deployment.yaml:.*image: \S+:(\S+)", text, re.MULTILINE)
        assert [name for name, _ in found] == sorted(self.names)
        return dict(found)

    @property
    def log(self) -> list[str]:
        """Subjects, newest first."""
        return gitservers.git("log", "--format=%s", "main", cwd=self.bare).splitlines()

    @property
    def tip(self) -> str:
        return gitservers.git("rev-parse", "main", cwd=self.bare)

    def update(self, *arguments: str, **more: Any) -> Result:
        return self.home.update(self.objects, *arguments, **more)

    def clone(self, name: str = "checkout", *options: str) -> Path:
        folder = self.bare.parent / name
        gitservers.git("clone", "-q", *options, self.url, folder)
        return folder

    def sound(self) -> None:
        """The repository is whole, its history is a line, and no secret is in it."""
        gitservers.git("fsck", "--full", "--strict", cwd=self.bare)
        assert not gitservers.git("rev-list", "--merges", "main", cwd=self.bare)
        text = gitservers.git("log", "-p", "--format=raw", "main", cwd=self.bare)
        for secret in SECRETS:
            assert secret not in text


def files(registry: Registry, names: tuple[str, ...], tag: str = "1.0.0") -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        image = f"{registry.image(f'acme/{name}')}:{tag}"
        found[f"{name}/deployment.yaml"] = DEPLOYMENT.format(name=name, image=image)
        found[f"{name}/kustomization.yaml"] = "resources: [deployment.yaml]\n"
    return found


def fleet(
    registry: Registry, folder: Path, *, names: tuple[str, ...] = ("web", "api"), bare: Path | None = None
) -> Fleet:
    """Each image is at 1.0.0 in Git and at 1.1.0 in the registry."""
    for name in names:
        registry.push(f"acme/{name}", "1.0.0", "1.1.0")
    place = gitservers.bare(bare or folder / "fleet.git", files=files(registry, names))
    made = Fleet(registry, place, folder / "objects.yaml", Home(folder / "life"), names)
    made.write(
        "".join(policy(name, made.image(name)) for name in names)
        + repository(made.url)
        + "".join(automation(name, more=alone(name)) for name in names)
    )
    return made


def leftovers(folder: Path) -> list[str]:
    """What a run left in a work tree that Git does not know, and locks in its .git."""
    found = gitservers.git("status", "--porcelain", "--ignored", "-uall", cwd=folder).splitlines()
    git = Path(gitservers.git("rev-parse", "--absolute-git-dir", cwd=folder))
    found += [str(path.relative_to(git)) for path in git.rglob("*.lock")]
    found += [str(path.relative_to(git)) for path in git.rglob("image-updater*")]
    return found


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended in any case."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def until(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait for another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


class Log:
    """The stderr of a process that runs, read as it comes so that it never blocks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._stream = process.stderr
        self._lines: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._lines.append(line.decode(errors="replace"))
        self._ended.set()

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def until(self, pattern: str, *, seconds: float = 30.0) -> re.Match[str]:
        """The first line that matches, so far or to come."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [match for line in list(self._lines) if (match := re.search(pattern, line))]
            return bool(found) or self._ended.is_set()

        until(look, seconds=seconds)
        assert found, f"no line matches {pattern!r}:\n{self.text}"
        return found[0]

    def rest(self) -> str:
        """All of it, once the process has closed it."""
        assert self._ended.wait(30), self.text
        for secret in SECRETS:
            assert secret not in self.text
        return self.text
