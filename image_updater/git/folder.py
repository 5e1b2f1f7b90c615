"""Files as they stand on a disk, as a `kustomize.model.Tree`: a plain folder, and what a work tree shares with it.

`id`s are Git's (SHA-1 over `blob SIZE NUL content`), computed once per file and kept by its stat data, as Git's index
does.
A file that changes between listing and reading is an error, never a mixture.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from image_updater.git import files
from image_updater.git.errors import FilesChanged, FileTrouble
from image_updater.kustomize.model import Entry, EntryKind, blob_id

_RACY = 2_000_000_000
"""Nanoseconds: a file touched more recently could change again without a new time stamp, so it is not kept (git's
`racy` problem).
"""


class BlobIds:
    """Blob ids by (device, inode, size, mtime, ctime). Safe between threads."""

    def __init__(self, keep: int = 200_000, clock: Callable[[], int] = time.time_ns) -> None:
        self._known: dict[tuple[int, int, int, int, int], str] = {}
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()

    def of(self, path: str, found: os.stat_result) -> str:
        """Id of the file at `path`, whose lstat is `found`. Raises OSError."""
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, found.st_size + 1)
            while len(data) < found.st_size and (more := os.read(descriptor, found.st_size)):
                data += more
        finally:
            os.close(descriptor)
        made = blob_id(data)
        if self._clock() - max(found.st_mtime_ns, found.st_ctime_ns) > _RACY:
            with self._lock:
                if len(self._known) >= self._keep:
                    self._known.clear()
                self._known[key] = made
        return made


SHARED = BlobIds()


def content(root: Path, path: str, entry: Entry) -> bytes:
    """What a listed file holds, checked against its id. Raises FileTrouble when it changed since."""
    place = root / path
    try:
        if entry.kind is EntryKind.SYMLINK:
            data = os.fsencode(os.readlink(place))
        else:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                data = file.read()
    except OSError as exc:
        raise FileTrouble(f"{path} cannot be read: {exc.strerror}", remedy="run again") from exc
    if blob_id(data) != entry.oid:
        raise FilesChanged(f"{path} changed while it was read", remedy="run again")
    return data


def stat_entry(path: str, place: str, ids: BlobIds) -> Entry | None:
    """The entry of one file on disk; None for what is neither file nor symlink, or is gone."""
    try:
        found = os.lstat(place)
        if stat.S_ISLNK(found.st_mode):
            return Entry(blob_id(os.fsencode(os.readlink(place))), EntryKind.SYMLINK, found.st_size)
        if stat.S_ISREG(found.st_mode):
            return Entry(ids.of(place, found), EntryKind.FILE, found.st_size)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise FileTrouble(f"{path} cannot be read: {exc.strerror}", remedy="check its rights") from exc
    return None


def tree_id(entries: Mapping[str, Entry]) -> str:
    """A hash over paths and entries, in the order of paths."""
    made = hashlib.sha256()
    for path in sorted(entries):
        entry = entries[path]
        made.update(f"{entry.kind}\0{entry.oid}\0".encode() + os.fsencode(path) + b"\0")
    return f"folder-{made.hexdigest()}"


class FileTree:
    """A listing made once, contents read when asked for."""

    def __init__(self, root: Path, entries: Callable[[], Mapping[str, Entry]]) -> None:
        self.root = root
        self._list = entries
        self._entries: Mapping[str, Entry] | None = None
        self._id: str | None = None

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = tree_id(self.files())
        return self._id

    def files(self) -> Mapping[str, Entry]:
        if self._entries is None:
            self._entries = MappingProxyType(dict(self._list()))
        return self._entries

    def read(self, path: str) -> bytes:
        entry = self.files()[path]
        if entry.kind is EntryKind.SUBMODULE:
            raise KeyError(path)
        return content(self.root, path, entry)


class FolderTree(FileTree):
    """A plain folder without Git: everything below it, hidden files too, Git's own folders not."""

    def __init__(self, path: Path, ids: BlobIds = SHARED) -> None:
        root = path.resolve()
        if not root.is_dir():
            raise FileTrouble(f"{path} is no folder", remedy="name a folder")

        def entries() -> Mapping[str, Entry]:
            found: dict[str, Entry] = {}
            for name, item in files.walk(root):
                entry = stat_entry(name, item.path, ids)
                if entry is not None:
                    found[name] = entry
            return found

        super().__init__(root, entries)
