"""A folder that holds what one tree's builds read, and nothing more.

Kustomize reads files, so the closures of roots are laid out in a temporary folder: each file once per tree, by hard
link where another live workspace has the same blob (the tree after an edit differs in a few files). Layout:

    repository/…     the closures' files at their own paths
    wrappers/N/      generated kustomizations that refer to a root
    empty/           the children's home and working folder
    scratch/         the children's temporary files

Nothing leaves the folder: paths with `..`, absolute paths, files below a symlink and symlinks that lead out of the
repository are refused.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.errors import RenderError, Where
from image_updater.kustomize.model import EntryKind
from image_updater.render.errors import LimitExceeded, Unbuildable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.kustomize.model import Entry, Root, Tree
    from image_updater.render.sandbox import Limits

_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
_ROOM = 128 * 1024**2
"""Free bytes below which the memory file system is left alone."""

_LINKS = 40
"""Symlinks followed before a chain counts as a cycle (the kernel's own number)."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f,\[\]{}'\"]|: | #|:$|^ | $")
_PLACE = "../ROOT"


class Workspace:
    """The folder of one tree. Thread-safe; `close` removes it."""

    def __init__(self, tree: Tree, *, limits: Limits, like: Iterable[Workspace] = ()) -> None:
        self.tree = tree
        self._limits = limits
        self._like = tuple(like)
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}  # what is laid out, in bytes
        self._by_oid: dict[str, str] = {}  # oid → a file that holds it
        self._folders: set[str] = set()
        self._generated: dict[str, str] = {}  # folder → the kustomization that was generated into it
        self._wrappers = 0
        self._helm: str | None = None
        self._programs: str | None = None  # a folder beside, where this one is mounted noexec
        try:
            self.folder = os.path.realpath(tempfile.mkdtemp(prefix="image-updater-", dir=_place()))
            for name in ("repository", "wrappers", "empty", "scratch"):
                os.mkdir(f"{self.folder}/{name}")
        except OSError as exc:
            raise RenderError(
                f"no temporary folder for the build: {exc.strerror}", remedy="make room, or set TMPDIR"
            ) from exc
        self.repository = f"{self.folder}/repository"
        self.home = f"{self.folder}/empty"
        self.scratch = f"{self.folder}/scratch"

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        with self._lock:
            self._sizes.clear()
            self._by_oid.clear()
            self._like = ()  # or each tree would keep all the trees before it
        for folder in (self.folder, self._programs):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def prepare(self, root: Root) -> str:
        """Write what is missing of a root; the folder to build. Raises Unbuildable, LimitExceeded, RenderError."""
        where = Where(file=root.path)
        if len(root.closure) > self._limits.files:
            reads = f"{len(root.closure):,} files, more than {self._limits.files:,}"
            raise LimitExceeded(f"the build reads {reads}", where=where)
        with self._lock:
            try:
                return self._lay_out(root, where)
            except OSError as exc:
                raise _no_room(exc, where) from exc

    def _lay_out(self, root: Root, where: Where) -> str:
        files = self.tree.files()
        total = 0
        for path in sorted(root.closure):
            entry = files.get(path)
            if entry is None:
                continue  # kustomize says it better than we could
            if path not in self._sizes:
                self._sizes[path] = self._write(path, entry, files)
            total += self._sizes[path]
            if total > self._limits.input:
                raise LimitExceeded(f"the build reads more than {self._limits.input:,} bytes", where=where)
        target = self._target(root.path)
        if not os.path.isdir(target):
            os.makedirs(target, exist_ok=True)
        if root.generated is not None:
            self._generate(root.path, target, root.generated)
        return self._wrap(root, target) if root.wrapper is not None else target

    def _generate(self, folder: str, target: str, text: str) -> None:
        """The folder has no kustomization: Flux would generate this one into it."""
        known = self._generated.setdefault(folder, text)
        if known != text:
            raise Unbuildable("two objects name this folder, and each wants another generated kustomization in it")
        if not os.path.lexists(f"{target}/kustomization.yaml"):
            _create(f"{target}/kustomization.yaml", text.encode())

    def old_helm(self, helm: str) -> str:
        """A helm 4 that calls itself 3: kustomize before 5.8.1 asks `version -c` and insists (kustomize issue 6013).

        What it calls besides, `helm template` of a chart in a folder, is the same in both.
        """
        with self._lock:
            if self._helm is None:
                try:
                    self._helm = self._write_helm(helm)
                except OSError as exc:
                    raise _no_room(exc) from exc
            return self._helm

    def _write_helm(self, helm: str) -> str:
        folder = self.folder
        if _forbids_programs(folder):
            # As containers mount /dev/shm.
            folder = self._programs = self._programs or tempfile.mkdtemp(prefix="image-updater-")
        path = f"{folder}/helm"
        with open(path, "w", encoding="utf-8") as file:
            file.write(_HELM_3.format(helm=shlex.quote(helm)))
        os.chmod(path, 0o500)
        return path

    def holds(self, oid: str) -> str | None:
        """A file with this content, for a hard link."""
        return self._by_oid.get(oid)

    def _target(self, path: str) -> str:
        if path in (".", ""):
            return self.repository
        _check_path(path)
        return f"{self.repository}/{path}"

    def _write(self, path: str, entry: Entry, files: Mapping[str, Entry]) -> int:
        _check_path(path)
        self._make_folder(posixpath.dirname(path), files)
        target = f"{self.repository}/{path}"
        if entry.kind is EntryKind.SUBMODULE:
            raise Unbuildable("a submodule: its content is not in this repository", where=Where(file=path))
        if entry.kind is EntryKind.SYMLINK:
            text = os.fsdecode(self.tree.read(path))
            _check_link(path, files, self.tree)
            os.symlink(text, target)
            return len(text)
        size = self._link(entry.oid, target)
        if size is None:
            data = self.tree.read(path)
            size = len(data)
            _create(target, data)
        self._by_oid[entry.oid] = target
        return size

    def _link(self, oid: str, target: str) -> int | None:
        for other in (self, *self._like):
            source = other.holds(oid)
            if source is None:
                continue
            try:
                os.link(source, target)
                return os.stat(target).st_size
            except OSError:
                continue  # another file system, too many links, or gone meanwhile: written instead
        return None

    def _make_folder(self, folder: str, files: Mapping[str, Entry]) -> None:
        if folder in self._folders or not folder:
            return
        parent = posixpath.dirname(folder)
        self._make_folder(parent, files)
        if folder in files:
            raise Unbuildable("a file lies below something that is no folder", where=Where(file=folder))
        os.makedirs(f"{self.repository}/{folder}", exist_ok=True)
        self._folders.add(folder)

    def _wrap(self, root: Root, target: str) -> str:
        assert root.wrapper is not None
        self._wrappers += 1
        folder = f"{self.folder}/wrappers/{self._wrappers}"
        os.mkdir(folder)
        relative = os.path.relpath(target, folder)
        if _UNSAFE.search(relative):
            raise Unbuildable(
                f"the folder name {root.path!r} cannot be written in a kustomization", remedy="rename the folder"
            )
        with open(f"{folder}/kustomization.yaml", "w", encoding="utf-8") as file:
            file.write(root.wrapper.replace(_PLACE, relative))
        return folder


_HELM_3 = """\
#!/bin/sh
if [ "$1" = version ]; then echo v3.19.0; exit; fi
exec {helm} "$@"
"""


def _create(target: str, data: bytes) -> None:
    """A whole file or none: what a full disk cut short would be built as if it were the truth."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        os.unlink(target)
        raise


def _place() -> str | None:
    try:
        room = os.statvfs(_MEMORY)
    except OSError:
        return None
    if os.access(_MEMORY, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= _ROOM:
        return str(_MEMORY)
    return None


def _no_room(exc: OSError, where: Where | None = None) -> RenderError:
    return RenderError(f"the build's temporary folder: {exc.strerror}", where=where, remedy="make room, or set TMPDIR")


def _forbids_programs(folder: str) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def _check_path(path: str) -> None:
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise Unbuildable("the path leaves the repository", where=Where(file=path))


def _check_link(path: str, files: Mapping[str, Entry], tree: Tree) -> None:
    """Follow a symlink step by step through the tree's own: a lexical look misses `a/b → ../..` and then `a/b/../x`."""
    here = path.split("/")[:-1]
    pending = os.fsdecode(tree.read(path)).split("/")
    followed = 1
    if not pending[0]:
        raise _outside(path)
    while pending:
        step = pending.pop(0)
        if step in ("", "."):
            continue
        if step == "..":
            if not here:
                raise _outside(path)
            here.pop()
            continue
        here.append(step)
        entry = files.get("/".join(here))
        if entry is not None and entry.kind is EntryKind.SYMLINK:
            followed += 1
            if followed > _LINKS:
                raise Unbuildable("the symlink leads to itself", where=Where(file=path))
            here.pop()
            target = os.fsdecode(tree.read("/".join([*here, step]))).split("/")
            if not target[0]:
                raise _outside(path)
            pending = target + pending


def _outside(path: str) -> Unbuildable:
    return Unbuildable(
        "the symlink leads out of the repository",
        where=Where(file=path),
        remedy="replace it by a file, or a path inside",
    )
