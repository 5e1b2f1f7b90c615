"""Which kustomize renders: found once, its version read once.

Order: the path given, `kustomize` on PATH, `kubectl` on PATH, the wheel's `kubectl` beside the interpreter. Refuses
kustomize before 5.0.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.errors import RenderError, Terminal
from image_updater.render.child import Child
from image_updater.render.errors import WAYS, RendererMissing, RendererTooOld
from image_updater.render.sandbox import Limits, child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = (5, 0)

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?[-+.\w]*")
_LIMITS = Limits(seconds=20, cpu_seconds=20, output=1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kustomize:
    """A binary that builds kustomizations."""

    command: tuple[str, ...]
    """The words before the folder: `(…/kustomize, build)` or `(…/kubectl, kustomize)`."""
    version: str
    """Kustomize's own version, `v5.8.1`."""
    carrier: str | None = None
    """`kubectl v1.37.1` when kubectl carries it."""

    @property
    def path(self) -> str:
        return self.command[0]

    @property
    def description(self) -> str:
        """What a `Proof` trailer names: `kustomize v5.8.1`, `kustomize v5.5.0 (kubectl v1.32.4)`."""
        return f"kustomize {self.version}" + (f" ({self.carrier})" if self.carrier else "")

    def supports(self, major: int, minor: int, patch: int = 0) -> bool:
        """Whether this kustomize is at least that version; one built without a version counts as new."""
        return self.version.startswith("devel-") or _numbers(self.version) >= (major, minor, patch)


def find_binary(explicit: str | None, environment: Mapping[str, str]) -> Kustomize:
    """The renderer of this machine. Raises RendererMissing (with the three ways to get one) or RendererTooOld.

    `explicit` is a path, or a name that is looked up on PATH, of a kustomize or a kubectl.
    """
    path = environment.get("PATH", "")
    if explicit is not None:
        found = shutil.which(explicit, path=path)
        if found is None:
            raise RendererMissing(f"{explicit}: there is no such program, or it may not be run", remedy=WAYS)
        return read_version(found)
    for name in ("kustomize", "kubectl"):
        found = shutil.which(name, path=path)
        if found is not None:
            return read_version(found)
    wheel = Path(sys.executable).parent / "kubectl"
    if os.access(wheel, os.X_OK):
        return read_version(str(wheel))
    raise RendererMissing("there is no kustomize here to prove edits with", remedy=WAYS)


def find_helm(explicit: str | None, environment: Mapping[str, str]) -> str | None:
    """Helm's path for `helmCharts:`, or None. Raises RendererMissing when the one named is not there."""
    found = shutil.which(explicit or "helm", path=environment.get("PATH", ""))
    if found is None and explicit is not None:
        raise RendererMissing(
            f"{explicit}: there is no such program, or it may not be run", remedy="put `helm` 3 or 4 on PATH"
        )
    return os.path.abspath(found) if found else None


def read_version(path: str) -> Kustomize:
    """Ask a binary what it is; kept until the file changes. Raises RendererMissing, RendererTooOld."""
    path = os.path.abspath(path)
    status = os.stat(path)
    return _read_version(path, status.st_mtime_ns, status.st_size)


def helm_version(path: str) -> str:
    """`v4.3.1` (as helm says it); kept until the file changes. Raises RendererMissing."""
    status = os.stat(path)
    return _helm_version(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _read_version(path: str, mtime: int, size: int) -> Kustomize:
    if "kubectl" in Path(path).name:
        kustomize = _kubectl(path)
    else:
        answer = _ask(path, "version")
        # Built from source without a version: which build it is still decides what is cached.
        devel = f"devel-{mtime ^ size:x}" if "(devel)" in answer else None
        kustomize = Kustomize(command=(path, "build"), version=devel or _first_version(answer, path))
    if not kustomize.supports(*OLDEST):
        raise RendererTooOld(f"{path} is kustomize {kustomize.version}, 5.0 is the oldest that works", remedy=WAYS)
    return kustomize


def _kubectl(path: str) -> Kustomize:
    answer = _ask(path, "version", "--client", "-o", "json")
    try:
        parsed = json.loads(answer)
        version = str(parsed["kustomizeVersion"])
        carrier = f"kubectl {parsed['clientVersion']['gitVersion']}"
    except (ValueError, KeyError, TypeError) as exc:
        raise RendererTooOld(f"{path} does not say which kustomize it holds", remedy=WAYS) from exc
    return Kustomize(command=(path, "kustomize"), version=version, carrier=carrier)


@functools.lru_cache(maxsize=16)
def _helm_version(path: str, _mtime: int, _size: int) -> str:
    return _first_version(_ask(path, "version", "--short"), path)


def _ask(path: str, *arguments: str) -> str:
    with tempfile.TemporaryDirectory(prefix="image-updater-") as folder:
        environment = child_environment(home=folder, temporary=folder)
        try:
            finished = Child((path, *arguments), folder=folder, environment=environment, limits=_LIMITS).run()
        except (OSError, RenderError) as exc:
            raise RendererMissing(f"{path} cannot be run: {exc}", remedy=WAYS) from exc
    if finished.status != 0:
        raise RendererMissing(
            f"{path} cannot say its version: {finished.messages.strip()[:300] or f'exit {finished.status}'}",
            remedy=WAYS,
        )
    return finished.output.decode("utf-8", "replace")


def _first_version(answer: str, path: str) -> str:
    match = _VERSION.search(answer)
    if match is None:
        raise RendererMissing(f"{path} says {answer.strip()[:100]!r}, which is no version", remedy=WAYS)
    return match.group(0)


def _numbers(version: str) -> tuple[int, int, int]:
    match = _VERSION.search(version)
    if match is None:
        raise Terminal(f"{version!r} is no version")
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)
