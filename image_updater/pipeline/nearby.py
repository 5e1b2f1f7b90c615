"""The files that a kustomization on disk refers to, wherever they are: a tree for `set` where there is no Git.

Only what the kustomizations name is read, never a whole home folder: every string in them that is an existing path
counts. The top of the tree is the lowest folder that holds all of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.documents import decode, parse, walk
from image_updater.documents.nodes import Scalar
from image_updater.errors import DocumentError
from image_updater.kustomize.model import Entry, blob_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MAX_FILES = 20_000


class NearbyTree:
    """See the module. `top` is the folder that paths count from, `folder` the one that was asked about, relative
    to it.
    """

    def __init__(self, folder: Path) -> None:
        start = folder.resolve()
        found = sorted(_crawl(start))
        self.top = Path(os.path.commonpath([start, *(path.parent for path in found)]))
        self._data = {path.relative_to(self.top).as_posix(): path.read_bytes() for path in found}
        self._files = {path: Entry(blob_id(data), size=len(data)) for path, data in self._data.items()}
        self.folder = start.relative_to(self.top).as_posix()

    @property
    def id(self) -> str:
        return blob_id("\0".join(f"{path}\0{entry.oid}" for path, entry in self._files.items()).encode())

    def files(self) -> Mapping[str, Entry]:
        return self._files

    def read(self, path: str) -> bytes:
        return self._data[path]


def _crawl(start: Path) -> Iterator[Path]:
    """Every regular file that the kustomizations from `start` on name, and those kustomizations."""
    folders, files = [start], set()
    seen = {start}
    while folders:
        folder = folders.pop()
        here = [folder / name for name in NAMES if (folder / name).is_file()]
        if not here:
            # Named, but no kustomization: a folder of plain files (a chart, values); all of it may be read.
            here = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in here:
            if path in files:
                continue
            files.add(path)
            if len(files) > MAX_FILES:
                raise DocumentError(
                    f"{start} refers to more than {MAX_FILES:,} files", remedy="run it inside a checkout"
                )
            yield path
            if path.name in NAMES:
                for target in _named(folder, path):
                    if target.is_dir():
                        if target not in seen:
                            seen.add(target)
                            folders.append(target)
                    elif target not in files:
                        files.add(target)
                        yield target


def _named(folder: Path, kustomization: Path) -> Iterator[Path]:
    try:
        documents = parse(decode(kustomization.read_bytes(), file=str(kustomization)), file=str(kustomization))
    except DocumentError:
        return  # whoever locates the tree reports it with its line
    for document in documents:
        for _, node in walk(document.root):
            if isinstance(node, Scalar) and 0 < len(node.value) < 4096 and "\n" not in node.value:
                text = node.value.rpartition("=")[2]
                if "://" in text or text.startswith("/"):
                    continue
                target = Path(os.path.normpath(folder / text))
                if os.path.commonpath([folder, target]) == os.path.sep:
                    continue  # nothing but the whole machine holds both: no repository does
                if target != folder and (target.is_file() or target.is_dir()) and target not in folder.parents:
                    yield target
