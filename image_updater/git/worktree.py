"""How a work tree is read: what differs from HEAD, the files as they stand, which of them may be written.

Nothing is written here; commits are made in `checkout`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, FileStatus

from image_updater.git import folder, trees
from image_updater.git.errors import CheckoutError, TreeRefused
from image_updater.git.folder import BlobIds, FileTree
from image_updater.git.trees import GitTree
from image_updater.kustomize.model import Entry, EntryKind

_CHANGED = (
    FileStatus.INDEX_NEW
    | FileStatus.INDEX_MODIFIED
    | FileStatus.INDEX_DELETED
    | FileStatus.INDEX_RENAMED
    | FileStatus.INDEX_TYPECHANGE
    | FileStatus.WT_NEW
    | FileStatus.WT_MODIFIED
    | FileStatus.WT_TYPECHANGE
    | FileStatus.WT_RENAMED
    | FileStatus.WT_DELETED
    | FileStatus.CONFLICTED
)
"""What makes a file dirty: staged, changed on disk, in conflict."""


class WorkTree:
    """See the module. `root` is its top folder."""

    def __init__(self, repository: pygit2.Repository, root: Path, ids: BlobIds) -> None:
        self._repository = repository
        self._root = root
        self._ids = ids

    def dirty(self) -> frozenset[str]:
        """Paths that differ from HEAD: modified, staged, deleted, untracked (ignored ones are not)."""
        return frozenset(path for path, flags in self._status().items() if flags & _CHANGED)

    def tree(self, head: Callable[[], GitTree]) -> FileTree:
        """The files as they stand. `head`: HEAD's, asked for when the listing is made."""
        return FileTree(self._root, lambda: self._entries(head))

    def check_writable(self, path: str) -> None:
        """Raises TreeRefused for a file that is dirty, ignored or filtered, and for a path that cannot be."""
        trees.check_path(path)
        repository = self._repository
        try:
            flags = repository.status_file(path)
        except KeyError:
            flags = 0
            if repository.path_is_ignored(path):
                flags = int(FileStatus.IGNORED)
        except (pygit2.GitError, ValueError) as exc:
            raise TreeRefused(f"{path}: {exc}", remedy="name a file") from exc
        if flags & FileStatus.IGNORED:
            raise TreeRefused(f"{path} is ignored by Git", remedy="see git check-ignore -v")
        if flags & _CHANGED:
            raise TreeRefused(f"{path} has changes that are not committed", remedy="commit or stash them first")
        if repository.get_attr(path, "filter"):
            raise TreeRefused(
                f"{path} passes through an external filter (LFS, git-crypt), which libgit2 cannot run",
                remedy="edit it with git",
            )

    def original(self, path: str) -> bytes | None:
        """What a file holds on disk; None where there is none. Raises TreeRefused: a symlink, a folder."""
        place = self._root / path
        if not os.path.lexists(place):
            return None
        if place.is_symlink() or not place.is_file():
            raise TreeRefused(f"{path} is a symlink or no file", remedy="name the file itself")
        return place.read_bytes()

    def _status(self) -> dict[str, int]:
        try:
            return self._repository.status(untracked_files="all", ignored=False)
        except (pygit2.GitError, KeyError, ValueError) as exc:
            raise CheckoutError(f"{self._root}: git status fails: {exc}", remedy="see git status") from exc

    def _entries(self, head: Callable[[], GitTree]) -> Mapping[str, Entry]:
        """HEAD's files, but for the paths that status names: what it does not name is equal in HEAD, index
        and on disk.
        """
        status = self._status()
        known = head().files()
        # Where Git converts contents (line ends, filters), its ids are not those of the bytes on disk.
        every = self._converts(known, status)
        sparse = self._flag("core.sparsecheckout")
        found: dict[str, Entry] = {}
        if every or sparse:
            for path, entry in known.items():
                if path in status or (sparse and not os.path.lexists(self._root / path)):
                    continue
                if every and entry.kind is EntryKind.FILE:
                    self._add(found, path)
                else:
                    found[path] = entry
        else:
            found.update(known)
        for path, flags in status.items():
            found.pop(path, None)
            if path.endswith("/"):
                # A repository inside this one: its files are not ours.
                continue
            submodule = self._submodule(path)
            if submodule is not None:
                found[path] = submodule
            elif not (
                flags & FileStatus.WT_DELETED or (flags & FileStatus.INDEX_DELETED and not flags & FileStatus.WT_NEW)
            ):
                self._add(found, path)
        return found

    def _submodule(self, path: str) -> Entry | None:
        index = self._repository.index
        if not (self._root / path).is_dir() or path not in index or index[path].mode != FileMode.COMMIT:
            return None
        return Entry(str(index[path].id), EntryKind.SUBMODULE)

    def _add(self, found: dict[str, Entry], path: str) -> None:
        entry = folder.stat_entry(path, str(self._root / path), self._ids)
        if entry is not None:
            found[path] = entry

    def _converts(self, head: Mapping[str, Entry], status: Mapping[str, int]) -> bool:
        if (self._config("core.autocrlf") or "false").lower() not in ("false", "no", "off", "0"):
            return True
        if self._config("core.attributesfile") or (Path(self._repository.path) / "info" / "attributes").exists():
            return True
        if os.path.exists(os.path.expanduser("~/.config/git/attributes")):
            return True
        return any(p == ".gitattributes" or p.endswith("/.gitattributes") for paths in (head, status) for p in paths)

    def _config(self, key: str) -> str | None:
        try:
            return self._repository.config[key]
        except KeyError:
            return None

    def _flag(self, key: str) -> bool:
        config = self._repository.config
        return key in config and config.get_bool(key)
