"""Roots that somebody names, one by one, of one tree after the other: without locating what the tree holds besides.

The roots are those of `locate` (same closure, same wrapper, so the same render and key). What the step from one
tree to the next did not touch is answered from memory. The first root of a tree costs a look at its list of files, the
rest costs what their closures hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from image_updater.documents import decode, parse
from image_updater.errors import DocumentError, Where
from image_updater.kustomize import overlays
from image_updater.kustomize import roots as roots_
from image_updater.kustomize.engine import Build, Engine
from image_updater.kustomize.facts import holds_objects, is_template
from image_updater.kustomize.files import Files
from image_updater.kustomize.model import EntryKind
from image_updater.kustomize.paths import folder_of, inside, parents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.kustomize.facts import FactCache
    from image_updater.kustomize.model import Problem, Root, Tree
    from image_updater.kustomize.roots import NamedRoot

_MAX_CHECKED = 100_000


@dataclass(frozen=True, slots=True)
class Single:
    """A named root. `problems` are what a build of it will stumble over, as far as reading tells."""

    root: Root
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Known:
    single: Single
    build: Build
    generated: bool


class NamedRoots:
    """The named roots of one line of trees (a repository's branch). Not thread-safe: the caller brings a lock."""

    def __init__(self, cache: FactCache) -> None:
        self._cache = cache
        self._files: Files | None = None
        self._engine: Engine | None = None
        self._memo: dict[tuple[str, bool], Build] = {}
        self._known: dict[str, _Known] = {}
        self._charts: frozenset[str] = frozenset()
        self._checked: set[str] = set()

    def find(self, tree: Tree, named: NamedRoot) -> Single:
        """The root of a folder. Raises DocumentError: the folder is not there, it holds nothing to apply, or (without
        a kustomization, where Flux would make one) a file in it is no YAML.
        """
        files, engine = self._turn(tree)
        key = repr(named)
        known = self._known.get(key)
        if known is None:
            known = self._make(files, engine, roots_.outside(named))
            if not known.build.partial:
                self._known[key] = known
        return known.single

    def retain(self, named: Iterable[NamedRoot]) -> None:
        """Forget all others."""
        keep = {repr(each) for each in named}
        self._known = {key: known for key, known in self._known.items() if key in keep}

    # ------------------------------------------------------------------------------------------- from tree to tree

    def _turn(self, tree: Tree) -> tuple[Files, Engine]:
        before = self._files
        if before is not None and self._engine is not None and before.tree.id == tree.id:
            return before, self._engine
        files = Files(tree, self._cache, before)
        if before is None:
            self._memo, self._known = {}, {}
        else:
            self._forget(files, before)
        if before is None or any(path.endswith("Chart.yaml") for path in files.changed):
            charts = overlays.chart_folders(files.entries)
            if charts != self._charts:
                self._known.clear()
            self._charts = charts
        self._files, self._engine = files, Engine(files, self._memo)
        return files, self._engine

    def _forget(self, files: Files, before: Files) -> None:
        """Drop what read something that changed."""
        changed, old, new = files.changed, before.entries, files.entries
        if any((new.get(path) or old[path]).kind is EntryKind.SYMLINK for path in changed):
            self._memo, self._known = {}, {}
            return
        moved = {folder_of(path) for path in changed if path not in old or path not in new}

        def untouched(build: Build) -> bool:
            return (
                not build.partial and build.files.isdisjoint(changed) and (not moved or build.folders.isdisjoint(moved))
            )

        self._memo = {key: build for key, build in self._memo.items() if untouched(build)}
        self._known = {
            key: known
            for key, known in self._known.items()
            if untouched(known.build)
            and not (known.generated and any(inside(known.build.folder, path) for path in changed))
        }

    # ------------------------------------------------------------------------------------------- one root

    def _make(self, files: Files, engine: Engine, naming: roots_.Naming) -> _Known:
        folder = naming.path
        if not files.is_folder(folder):
            raise _no_folder(files, folder)
        generated = folder not in files.kustomizations
        manifests: list[str] = []
        if generated:
            manifests = self._manifests(files, folder)
            if not manifests and not overlays.nested_folders(files, folder):
                raise DocumentError(
                    "the folder holds no kustomization and no manifest",
                    where=Where(file=folder),
                    remedy="check spec.path; nothing is pruned because of it",
                )
        laid = overlays.laid(engine, naming, manifests)
        if laid.plain:
            root = overlays.plain_root(folder, laid.build.files)
        else:
            identity = folder if naming.overlay is None or not naming.source else f"{folder} ({naming.source})"
            root = overlays.root_of(identity, laid.build, files, wrapper=laid.wrapper, generated=laid.generated)
            # What reading finds broken is left to the build to say: it has the last word, and better ones.
            root = replace(root, unbuildable=laid.build.unbuildable)
        problems = tuple(sorted(laid.build.problems, key=lambda p: (p.line is None, p.file, p.line or 0)))
        return _Known(Single(root, problems), laid.build, generated)

    def _manifests(self, files: Files, folder: str) -> list[str]:
        """The files below a folder without kustomization that hold objects. Raises DocumentError for one that is no
        YAML: left out, as `locate` does, what was in it would be pruned.
        """
        nested = overlays.nested_folders(files, folder)
        found: list[str] = []
        for path in sorted(files.below(folder)):
            if any(inside(f, path) for f in nested) or not overlays.could_hold_objects(files, path, self._charts):
                continue
            self._check(files, path)
            if files.facts(path).manifest:
                found.append(path)
        return found

    def _check(self, files: Files, path: str) -> None:
        oid = files.entries[path].oid
        if oid in self._checked:
            return
        data = files.tree.read(path)
        if holds_objects(data) or (not path.endswith(".json") and not is_template(data)):
            error = files.facts(path).error  # it knows Git LFS too
            if error is not None:
                raise DocumentError(error[0], where=Where(file=path, line=error[1]))
            parse(decode(data, file=path), file=path)
        if len(self._checked) >= _MAX_CHECKED:
            self._checked.clear()
        self._checked.add(oid)


def _no_folder(files: Files, folder: str) -> DocumentError:
    """It may be that something else stands there, or where a folder above it should be."""
    for path in parents(folder):
        entry = files.entries.get(path)
        if entry is None:
            continue
        match entry.kind:
            case EntryKind.SUBMODULE:
                what, remedy = "a submodule", "name its repository in a GitRepository of its own"
            case EntryKind.SYMLINK:
                what, remedy = "a symlink", "write the folder that it leads to into spec.path"
            case EntryKind.FILE:
                what, remedy = "a file", "spec.path is a folder"
        return DocumentError(f"{what} stands there, and no folder", where=Where(file=path), remedy=remedy)
    return DocumentError("there is no such folder", where=Where(file=folder), remedy="check spec.path")
