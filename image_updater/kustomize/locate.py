"""`locate`: all roots and image sites of a tree. Pure; what it parsed and built is kept for the next call."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from image_updater.kustomize import answers, keep, overlays, variables
from image_updater.kustomize import facts as facts_
from image_updater.kustomize import roots as roots_
from image_updater.kustomize import sites as sites_
from image_updater.kustomize.engine import Build, Engine
from image_updater.kustomize.facts import BulkCache, FactCache, MemoryCache
from image_updater.kustomize.files import Files, changed
from image_updater.kustomize.model import (
    EntryKind,
    Marker,
    Problem,
    Provenance,
    Root,
    Tree,
)
from image_updater.kustomize.objects import objects_of
from image_updater.kustomize.paths import KUSTOMIZATION_NAMES, folder_of
from image_updater.kustomize.roots import NamedRoot, Naming

_DEFAULT_CACHE = MemoryCache()


@dataclass(slots=True)
class _Result:
    root: Root
    rows: sites_.Rows
    build: Build
    namer: str | None = None
    """The file of the object that names the root: the answer depends on it, the build does not read it."""


@dataclass(slots=True)
class _State:
    """What one `locate` leaves for the next."""

    files: Files
    memo: dict[tuple[str, bool], Build]
    results: dict[str, _Result]
    writers: sites_.Writers
    answer: Provenance | None = None
    named: str = ""
    """The roots that were named from outside."""
    kinds: dict[str, int] = field(default_factory=dict)
    charts: frozenset[str] = frozenset()
    markers: dict[tuple[str, str], list[Marker]] = field(default_factory=dict)


_STATES: OrderedDict[object, _State] = OrderedDict()
_ANSWERS: OrderedDict[object, Provenance] = OrderedDict()
_LOCK = threading.Lock()
_MAX_STATES = 4
_MAX_WRITERS = 100_000
_MANIFEST, _MARKED, _ERROR = 1, 2, 4


def locate(
    tree: Tree, *, named: Sequence[NamedRoot] = (), cache: FactCache | None = None, reuse: bool = True
) -> Provenance:
    """Every root of the tree, every place that declares an image with the roots that render it, and what could not be
    read.

    `named`: roots that something outside the tree names. `cache` keeps facts by content id, and answers by tree,
    between processes. `reuse`: take a kept answer as it is; without, a long process is ready for the next small change.
    Where versions of Kustomize differ (image volumes) the newer one is followed.
    """
    key = (tree.id, repr(named))
    with _LOCK:  # the work is pure Python: side by side it would not be faster, and what is kept has one writer
        state = _STATES.get(key)
        if state is not None and state.answer is not None:
            _STATES.move_to_end(key)
            return state.answer
        answer = _ANSWERS.get(key)
        name = keep.key(*key)
        if answer is None and cache is not None and reuse:
            answer = keep.load(cache, name)
        if answer is not None and reuse:
            _ANSWERS[key] = answer
            while len(_ANSWERS) > _MAX_STATES:
                _ANSWERS.popitem(last=False)
            return answer
        known = answer
        previous = _nearest(tree)
        twin = _twin(previous, tree, key[1])
        state = _STATES[key] = twin or _compute(tree, named, cache or _DEFAULT_CACHE, previous)
        while len(_STATES) > _MAX_STATES:
            _STATES.popitem(last=False)
        assert state.answer is not None
        if cache is not None and known is None and reuse:
            keep.save(cache, name, state.answer)
            if isinstance(cache, BulkCache):
                cache.flush()
        return state.answer


def _nearest(tree: Tree) -> _State | None:
    """Of the trees located last the one that shares most with this one, judged by a sample of paths."""
    entries = tree.files()
    sample = list(entries)[:: max(len(entries) // 64, 1)]
    best, state = 0, None
    for candidate in reversed(_STATES.values()):
        old = candidate.files.entries
        score = sum(old.get(path) == entries[path] for path in sample)
        if score > best:
            best, state = score, candidate
    return state


def _twin(state: _State | None, tree: Tree, named: str) -> _State | None:
    """What is known of the same files under another name: a planned tree, once it is a commit."""
    if state is None or state.answer is None or state.named != named:
        return None
    if changed(tree.files(), state.files.entries):
        return None
    return replace(state, files=state.files.moved_to(tree), answer=replace(state.answer, tree=tree.id))


def forget() -> None:
    """Drops what this process keeps (tests and benchmarks of a cold start)."""
    with _LOCK:
        _STATES.clear()
        _ANSWERS.clear()
    _DEFAULT_CACHE.clear()


def _compute(tree: Tree, named: Sequence[NamedRoot], cache: FactCache, previous: _State | None) -> _State:
    files = Files(tree, cache, previous.files if previous is not None else None)
    memo = {} if previous is None else _still_valid(previous, files)
    state = _State(files, memo, {}, sites_.Writers() if previous is None else previous.writers, named=repr(named))
    if previous is not None:
        state.markers = previous.markers
        state.kinds, state.charts = dict(previous.kinds), previous.charts
        if len(state.writers) > _MAX_WRITERS:
            state.writers = sites_.Writers()
            previous.results.clear()
    _Run(state, previous).run(named)
    if isinstance(cache, BulkCache):
        cache.flush()
    return state


def _still_valid(previous: _State, files: Files) -> dict[tuple[str, bool], Build]:
    """The builds that read nothing that changed."""
    changed = files.changed
    old = previous.files.entries
    if any((files.entries.get(p) or old[p]).kind is EntryKind.SYMLINK for p in changed):
        return {}
    moved = {folder_of(p) for p in changed if p not in old or p not in files.entries}
    return {
        key: build
        for key, build in previous.memo.items()
        if not build.partial and build.files.isdisjoint(changed) and (not moved or build.folders.isdisjoint(moved))
    }


class _Run:
    def __init__(self, state: _State, previous: _State | None) -> None:
        self.state = state
        self.files = state.files
        self.previous = previous.results if previous is not None else {}
        self.engine = Engine(self.files, state.memo)
        self.problems: dict[Problem, None] = {}

    def run(self, named: Sequence[NamedRoot]) -> None:
        manifests = self._manifests()
        names = [*roots_.namings(self.files, manifests), *(roots_.outside(n) for n in named)]
        referenced = roots_.referenced(self.files)
        self._kustomize_roots(names, referenced)
        for naming in names:
            self._named(naming, manifests)
        covered = self._covered()
        for folder, paths_ in sorted(self.files.kustomizations.items()):
            if covered.isdisjoint(paths_):
                # Nobody's root, and no root reaches it: an unused component, or a cycle, which must not vanish.
                build = self.engine.build(folder)
                if self._is_one(build):
                    self._add(folder, folder, build)
                    covered |= build.files
        for folder, paths in roots_.plain_folders(self.files, manifests, covered).items():
            self._plain(folder, paths)
        self._answer()

    def _covered(self) -> set[str]:
        """Every file that some build reads."""
        return {path for result in self.state.results.values() for path in result.build.files - {result.namer}}

    def _manifests(self) -> list[str]:
        """YAML files that hold objects; what does not parse and looks like one is a problem."""
        entries = self.files.entries
        charts = overlays.chart_folders(entries)
        kinds = self.state.kinds
        if charts != self.state.charts:
            kinds.clear()
            self.state.charts = charts
        todo = entries if not kinds else self.files.changed
        self.files.prefetch(todo)
        for path in todo:
            kinds.pop(path, None)
            if path in entries and (kind := self._kind(path)):
                kinds[path] = kind
        found = []
        for path, kind in kinds.items():
            if kind & _MANIFEST:
                found.append(path)
            if kind & _ERROR:
                error = self.files.facts(path).error
                assert error is not None
                self.problems[Problem(file=path, line=error[1], reason=error[0])] = None
        return sorted(found)

    def _kind(self, path: str) -> int:
        """What a file is to us: a manifest, one with markers, one that should be read and cannot be."""
        entry = self.files.entries[path]
        if entry.kind is not EntryKind.FILE or not self.files.is_yaml(path):
            return 0
        if path.rpartition("/")[2] in KUSTOMIZATION_NAMES:
            return _MARKED if self.files.facts(path, full=True).marked else 0
        if self.state.charts and overlays.is_template(path, self.state.charts):
            return 0
        facts = self.files.facts(path)
        kind = _MARKED if facts.marked else 0
        if facts.error is not None:
            return kind | (_ERROR if facts.manifest or facts.marked else 0)
        return kind | (_MANIFEST if facts.manifest else 0)

    def _kustomize_roots(self, names: list[Naming], referenced: set[str]) -> None:
        overlaid = {naming.path for naming in names if naming.overlay is not None}
        for folder in sorted(self.files.kustomizations):
            if folder in referenced or folder in overlaid:
                continue
            build = self.engine.build(folder)
            if self._is_one(build):
                self._add(folder, folder, build)

    def _is_one(self, build: Build) -> bool:
        """Can the folder be a root? Not a component; nor a template, which does not parse for its `{{` and is no
        mistake as long as nobody refers to it."""
        if build.component or build.broken is None:
            return not build.component
        return not any(
            self.files.facts(path, full=True).error is not None and b"{{" in self.files.tree.read(path)
            for path in self.files.kustomizations[build.folder]
        )

    def _add(
        self,
        identity: str,
        folder: str,
        build: Build,
        *,
        wrapper: str | None = None,
        generated: str | None = None,
        namer: str | None = None,
    ) -> None:
        old = self.previous.get(identity)
        if old is not None and old.build is build and old.root.wrapper == wrapper:
            self.state.results[identity] = old
            return
        build_ = build
        if build.variables and build.references:
            build_ = copy.copy(build)
            build_.objects = list(build.objects)
            variables.resolve(build_)
        root = overlays.root_of(identity, build, self.files, wrapper=wrapper, generated=generated)
        self.state.results[identity] = _Result(
            root, sites_.rows(build_, identity, self.state.writers, self.files.inline), build, namer
        )

    def _named(self, naming: Naming, manifests: list[str]) -> None:
        folder = naming.path
        if not self.files.is_folder(folder):
            return
        if naming.argo and f"{folder}/Chart.yaml" in self.files.entries:
            return
        if naming.overlay is None and folder in self.files.kustomizations and folder in self.state.results:
            return
        laid = overlays.laid(self.engine, naming, manifests)
        if laid.plain:
            self._plain(folder, sorted(laid.build.files))
            return
        identity = folder if naming.overlay is None else f"{folder} ({naming.source})" if naming.source else folder
        if naming.overlay is not None and identity in self.state.results:
            identity = f"{folder} ({naming.source} in {naming.file})"
        namer = naming.file if naming.overlay is not None else None
        self._add(identity, folder, laid.build, wrapper=laid.wrapper, generated=laid.generated, namer=namer)

    def _plain(self, folder: str, paths: list[str]) -> None:
        if folder in self.state.results:
            return
        build = Build(folder, files=set(paths), folders={folder})
        old = self.previous.get(folder)
        if old is not None and old.build.files == build.files and self.files.changed.isdisjoint(paths):
            self.state.results[folder] = old
            return
        for path in paths:
            for i, document in enumerate(self.files.documents(path)):
                for item in document if isinstance(document, list) else [document]:
                    build.objects.extend(objects_of(item, path, i))
        root = overlays.plain_root(folder, paths)
        self.state.results[folder] = _Result(
            root, sites_.rows(build, folder, self.state.writers, self.files.inline, plain=True), build
        )

    def _answer(self) -> None:
        results = self.state.results.values()
        rows = {result.root.id: result.rows for result in results}
        for result in results:
            self.problems.update(result.build.problems)
        sites, loose = answers.sites_of(
            rows, {result.root.id: result.build.files for result in results}, self._markers()
        )
        self.state.answer = Provenance(
            tree=self.files.tree.id,
            roots={key: result.root for key, result in self.state.results.items()},
            sites=tuple(sites),
            problems=tuple(sorted(self.problems, key=lambda p: (p.file, p.line or 0, p.reason))),
            loose=tuple(loose),
        )

    def _markers(self) -> list[Marker]:
        found: list[Marker] = []
        for path in sorted(path for path, kind in self.state.kinds.items() if kind & _MARKED):
            key = (path, self.files.entries[path].oid)
            known = self.state.markers.get(key)
            if known is None:
                known = self.state.markers[key] = facts_.find_markers(self.files.tree.read(path), path)
            found.extend(known)
        return found
