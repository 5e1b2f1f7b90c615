"""A commit's files as a `kustomize.model.Tree`, and new trees made from old ones without a work tree.

A tree object is parsed once and kept by its id, so that the next commit's listing reads only the folders that changed.
Edits rebuild only the folders on their way; modes stay, symlinks and submodules are never written to or through.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

import pygit2
from pygit2.enums import FileMode, ObjectType

from image_updater.git.errors import MirrorDamaged, TreeRefused
from image_updater.kustomize.model import Entry, EntryKind

_KINDS = {
    b"120000": EntryKind.SYMLINK,
    b"160000": EntryKind.SUBMODULE,
}
_FOLDER_MODES = (b"40000", b"040000")
_KEEP = 20_000

Listing = tuple[tuple[tuple[str, Entry], ...], tuple[tuple[str, str], ...]]
"""A folder: its files, and its folders with their tree ids."""


class TreeCache:
    """Parsed tree objects by id, least recently used go first. Shared by all trees of a mirror; safe
    between threads.
    """

    def __init__(self, keep: int = _KEEP, *, remedy: str = "the mirror is made anew") -> None:
        self._keep = keep
        self._remedy = remedy
        self._listings: OrderedDict[str, Listing] = OrderedDict()
        self._lock = threading.Lock()
        self.damaged = False
        """Something could not be read: the mirror looks here before its next fetch, and makes itself anew."""

    def listing(self, repository: pygit2.Repository, oid: str) -> Listing:
        with self._lock:
            found = self._listings.get(oid)
            if found is not None:
                self._listings.move_to_end(oid)
                return found
        made = _parse(self.read(repository, oid, ObjectType.TREE))
        with self._lock:
            self._listings[oid] = made
            while len(self._listings) > self._keep:
                self._listings.popitem(last=False)
        return made

    def read(self, repository: pygit2.Repository, oid: str, kind: ObjectType) -> bytes:
        """An object's bytes. Raises MirrorDamaged when it is absent, unreadable or of another kind."""
        try:
            found, data = repository.read(oid)
        except (KeyError, ValueError, pygit2.GitError) as exc:
            self.damaged = True
            said = exc.args[0] if exc.args else exc
            raise MirrorDamaged(f"object {oid} cannot be read: {said}", remedy=self._remedy) from exc
        if found != kind:
            self.damaged = True
            raise MirrorDamaged(f"object {oid} is no {kind.name.lower()}", remedy=self._remedy)
        return data


def _parse(data: bytes) -> Listing:
    """Git's tree format: `mode SP name NUL` and 20 bytes, repeated."""
    files: list[tuple[str, Entry]] = []
    folders: list[tuple[str, str]] = []
    position, size = 0, len(data)
    while position < size:
        space = data.index(b" ", position)
        zero = data.index(b"\0", space)
        mode = data[position:space]
        # Names are bytes to Git; what is no UTF-8 stays distinguishable and goes back unharmed.
        name = data[space + 1 : zero].decode("utf-8", "surrogateescape")
        oid = data[zero + 1 : zero + 21].hex()
        position = zero + 21
        if mode in _FOLDER_MODES:
            folders.append((name, oid))
        else:
            files.append((name, Entry(oid, _KINDS.get(mode, EntryKind.FILE))))
    return tuple(files), tuple(folders)


class GitTree:
    """The files of one tree object, read when asked for. Immutable; `id` is Git's tree id."""

    def __init__(self, repository: pygit2.Repository, tree_id: str, cache: TreeCache) -> None:
        self._repository = repository
        self._id = tree_id
        self._cache = cache
        self._files: Mapping[str, Entry] | None = None

    def __repr__(self) -> str:
        return f"GitTree({self._id})"

    @property
    def id(self) -> str:
        return self._id

    def files(self) -> Mapping[str, Entry]:
        """All files by path, folder by folder. Raises MirrorDamaged when an object is missing."""
        if self._files is None:
            found: dict[str, Entry] = {}
            stack = [("", self._id)]
            while stack:
                prefix, oid = stack.pop()
                files, folders = self._cache.listing(self._repository, oid)
                for name, entry in files:
                    found[prefix + name] = entry
                stack.extend((f"{prefix}{name}/", child) for name, child in reversed(folders))
            self._files = MappingProxyType(found)
        return self._files

    def entry(self, path: str) -> Entry | None:
        """One file's entry without listing the whole tree."""
        if self._files is not None:
            return self._files.get(path)
        *parents, leaf = path.split("/")
        oid: str | None = self._id
        for name in parents:
            oid = dict(self._cache.listing(self._repository, oid)[1]).get(name) if oid else None
        return dict(self._cache.listing(self._repository, oid)[0]).get(leaf) if oid else None

    def read(self, path: str) -> bytes:
        entry = self.entry(path)
        if entry is None or entry.kind is EntryKind.SUBMODULE:
            raise KeyError(path)
        return self._cache.read(self._repository, entry.oid, ObjectType.BLOB)


def encodable(text: str) -> bool:
    """Whether it can be written as UTF-8 (a name read from disk may hold bytes that are none)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_path(path: str) -> tuple[str, ...]:
    """The path's parts. Raises TreeRefused for what leaves the repository or what Git would refuse to check out."""
    parts = tuple(path.split("/"))
    bad = any(
        part in ("", ".", "..")
        or part.lower().rstrip(". ") == ".git"
        or part.lower().startswith("git~1")
        or "\0" in part
        for part in parts
    )
    if bad or "\\" in path or not encodable(path):
        raise TreeRefused(
            f"{path!r} is no path inside the repository", remedy="use a relative path with / and without .. or .git"
        )
    return parts


def edited(repository: pygit2.Repository, tree_id: str, files: Mapping[str, bytes | None]) -> str:
    """Id of the tree with `files` written (None = deleted). Modes stay; a new file is 100644; an empty folder goes.

    Raises TreeRefused for symlinks, submodules, a folder where a file is meant, or a deletion of what is not there.
    """
    plan: dict[str, object] = {}
    for path, data in files.items():
        node = plan
        *parents, leaf = check_path(path)
        for part in parents:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise TreeRefused(f"{path!r} lies below a file that is written too", remedy="name one of them")
            node = child
        if isinstance(node.get(leaf), dict):
            raise TreeRefused(f"{path!r} is a folder and a file", remedy="name one of them")
        node[leaf] = data
    made = _rebuild(repository, tree_id, plan, "")
    return made if made is not None else str(repository.TreeBuilder().write())


def _rebuild(repository: pygit2.Repository, tree_id: str | None, plan: Mapping[str, object], prefix: str) -> str | None:
    """The new tree's id, None when nothing is left in it."""
    if tree_id is None:
        tree = None
        builder = repository.TreeBuilder()
    else:
        found = repository[tree_id]
        assert isinstance(found, pygit2.Tree)
        tree = found
        builder = repository.TreeBuilder(tree)
    for name, value in plan.items():
        path = prefix + name
        old = tree[name] if tree is not None and name in tree else None
        mode = old.filemode if old is not None else None
        if mode in (FileMode.LINK, FileMode.COMMIT):
            what = "a symlink" if mode == FileMode.LINK else "a submodule"
            raise TreeRefused(f"{path} is {what}", remedy="edit what it points to")
        if isinstance(value, dict):
            if mode is not None and mode != FileMode.TREE:
                raise TreeRefused(f"{path} is a file, not a folder", remedy="check the path")
            child = _rebuild(repository, str(old.id) if old is not None else None, value, f"{path}/")
            if child is not None:
                builder.insert(name, child, FileMode.TREE)
            elif old is not None:
                builder.remove(name)
        elif mode == FileMode.TREE:
            raise TreeRefused(f"{path} is a folder", remedy="name a file in it")
        elif value is None:
            if old is None:
                raise TreeRefused(f"{path} cannot be deleted: it is not there", remedy="plan again on the current tree")
            builder.remove(name)
        else:
            assert isinstance(value, bytes)
            builder.insert(name, repository.create_blob(value), mode if mode is not None else FileMode.BLOB)
    return str(builder.write()) if len(builder) else None
