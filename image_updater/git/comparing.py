"""Which of some wanted files differ between a commit and its parent. What is equal in both is not looked into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pygit2
from pygit2.enums import DeltaStatus


@dataclass(frozen=True, slots=True)
class Folder:
    """Wanted files, by folder: what is equal in two trees is not looked into."""

    files: frozenset[str] = frozenset()
    folders: Mapping[str, Folder] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[str]) -> Folder:
        files: set[str] = set()
        below: dict[str, list[str]] = {}
        for path in paths:
            name, slash, rest = path.partition("/")
            if slash:
                below.setdefault(name, []).append(rest)
            else:
                files.add(name)
        return cls(frozenset(files), {name: cls.of(each) for name, each in below.items()})

    def differing(self, new: pygit2.Tree | None, old: pygit2.Tree | None, prefix: str = "") -> Iterable[Difference]:
        for name in self.files:
            made, was = _blob(new, name), _blob(old, name)
            if made != was:
                yield prefix + name, made, was
        for name, folder in self.folders.items():
            one, other = _subtree(new, name), _subtree(old, name)
            if (one.id if one is not None else None) != (other.id if other is not None else None):
                yield from folder.differing(one, other, f"{prefix}{name}/")


Difference = tuple[str, str | None, str | None]
"""Path, blob in the newer tree, blob in the older one."""


class Compared:
    """A commit and one parent: path → blob in the commit, blob in the parent, for the wanted files that differ."""

    def __init__(self, commit: pygit2.Commit, parent: pygit2.Commit, wanted: Folder) -> None:
        self._commit, self._parent = commit, parent
        self._all: dict[str, tuple[str | None, str | None]] | None = None
        self.files: dict[str, tuple[str | None, str | None]] = {}
        if commit.tree_id != parent.tree_id:
            self.files = {path: (new, old) for path, new, old in wanted.differing(commit.tree, parent.tree)}

    def everything(self) -> dict[str, tuple[str | None, str | None]]:
        """All files that differ."""
        if self._all is None:
            self._all = {}
            for delta in self._parent.tree.diff_to_tree(self._commit.tree).deltas:
                new = str(delta.new_file.id) if delta.status != DeltaStatus.DELETED else None
                old = str(delta.old_file.id) if delta.status != DeltaStatus.ADDED else None
                self._all[delta.new_file.path] = new, old
        return self._all


def _child(tree: pygit2.Tree | None, name: str) -> pygit2.Object | None:
    if tree is None:
        return None
    try:
        return tree[name]
    except KeyError:
        return None


def _blob(tree: pygit2.Tree | None, name: str) -> str | None:
    found = _child(tree, name)
    return str(found.id) if isinstance(found, pygit2.Blob) else None


def _subtree(tree: pygit2.Tree | None, name: str) -> pygit2.Tree | None:
    found = _child(tree, name)
    return found if isinstance(found, pygit2.Tree) else None
