"""A tree with some files replaced, before anything is written anywhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from image_updater.kustomize.model import Entry, blob_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.kustomize.model import Tree


class OverlayTree:
    """`base` with `changes` (None = removed) laid over it; frozen once made."""

    def __init__(self, base: Tree, changes: Mapping[str, bytes]) -> None:
        self._base = base
        self._changes = dict(changes)
        entries = {path: Entry(blob_id(data), size=len(data)) for path, data in self._changes.items()}
        self._files: Mapping[str, Entry] = {**base.files(), **entries}
        digest = hashlib.sha256(base.id.encode())
        for path in sorted(entries):
            digest.update(f"\0{path}\0{entries[path].oid}".encode())
        self._id = digest.hexdigest()

    @property
    def id(self) -> str:
        return self._id

    @property
    def base(self) -> Tree:
        return self._base

    @property
    def changes(self) -> Mapping[str, bytes]:
        return self._changes

    def files(self) -> Mapping[str, Entry]:
        return self._files

    def read(self, path: str) -> bytes:
        data = self._changes.get(path)
        return self._base.read(path) if data is None else data
