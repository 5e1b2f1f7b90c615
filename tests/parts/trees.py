"""Trees of values: what a Git tree says about files, without Git."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from image_updater.kustomize.model import Entry, EntryKind, Root, RootKind, blob_id

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemoryTree:
    """Files by path; `symlinks` by path → target, `submodules` by path → commit. Ids are Git's own blob ids."""

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        *,
        symlinks: Mapping[str, str] | None = None,
        submodules: Mapping[str, str] | None = None,
    ) -> None:
        self._data: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self.reads: list[str] = []
        for path, content in files.items():
            self._add(path, content.encode() if isinstance(content, str) else content, EntryKind.FILE)
        for path, target in (symlinks or {}).items():
            self._add(path, target.encode(), EntryKind.SYMLINK)
        for path, commit in (submodules or {}).items():
            self._entries[path] = Entry(commit, EntryKind.SUBMODULE)

    def _add(self, path: str, data: bytes, kind: EntryKind) -> None:
        oid = blob_id(data)
        self._data[path] = data
        self._entries[path] = Entry(oid, kind, len(data))

    @property
    def id(self) -> str:
        text = "\n".join(f"{entry.kind} {entry.oid} {path}" for path, entry in sorted(self._entries.items()))
        return hashlib.sha1(text.encode()).hexdigest()

    def files(self) -> Mapping[str, Entry]:
        return self._entries

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self._data[path]

    def changed(self, files: Mapping[str, str | bytes]) -> MemoryTree:
        """The tree after an edit."""
        return MemoryTree({**self._data, **files})


def kustomize_root(path: str, tree: MemoryTree, **fields: object) -> Root:
    """A root whose closure is the whole tree."""
    own = f"{path}/kustomization.yaml" if path != "." else "kustomization.yaml"
    known: dict[str, object] = {
        "id": path,
        "path": path,
        "kind": RootKind.KUSTOMIZE,
        "kustomization": own,
        "closure": frozenset(tree.files()),
        "folders": frozenset({path}),
    }
    return Root(**{**known, **fields})  # type: ignore[arg-type]


def plain_root(path: str, tree: MemoryTree) -> Root:
    """A plain root over the files below a folder."""
    prefix = "" if path == "." else path + "/"
    closure = frozenset(name for name in tree.files() if name.startswith(prefix))
    return Root(id=path, path=path, kind=RootKind.PLAIN, closure=closure, folders=frozenset({path}))
