"""A path that a person named, as a tree: the whole checkout that it is in, else the folder itself."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.errors import SpecError
from image_updater.git import Checkout, FolderTree, writing_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.kustomize.model import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`root` is what paths count from; `focus` the named folder below it (`.` = all of it)."""

    tree: Tree
    root: Path
    focus: str
    checkout: Checkout | None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only image-updater that writes here. Blocking. Raises CheckoutError, FileTrouble."""
        with self.checkout.writing() if self.checkout is not None else writing_folder(self.root):
            yield


def open_path(path: Path) -> Opened:
    """Raises SpecError when there is no such folder."""
    if not path.is_dir():
        raise SpecError(f"{path} is no folder", remedy="name a folder, a checkout or the URL of a repository")
    checkout = Checkout.open(path)
    if checkout is None:
        return Opened(tree=FolderTree(path), root=path, focus=".", checkout=None)
    focus = path.resolve().relative_to(Path(checkout.root).resolve()).as_posix()
    return Opened(tree=checkout.tree(), root=Path(checkout.root), focus=focus, checkout=checkout)
