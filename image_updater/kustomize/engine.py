"""A small Kustomize on values that remember their origin: which objects a folder yields, in the binary's own order.

resources → configurations → generators → components → patchesStrategicMerge → patches → namespace → prefix → suffix →
labels → annotations → patchesJson6902 → images → replacements → transformers, then the parent; vars last of all. A
folder is built once and shared by every kustomization above it. Only objects that can bear an image are built, unless
something (a replacement, a patch whose target is not among them) needs the others.

What cannot be done never stops the rest: the first reason a build would fail is kept in `Build.broken`, and the
engine goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.errors import DocumentError
from image_updater.kustomize import imagetags, patches, replacements, sources, transformers
from image_updater.kustomize.imagetags import Entry
from image_updater.kustomize.merge import NeedAll
from image_updater.kustomize.model import EntryKind, Problem
from image_updater.kustomize.objects import FieldSpec, Obj, field_spec, objects_of
from image_updater.kustomize.paths import inside, is_remote, join, looks_like_host
from image_updater.kustomize.values import Leaf, Map, Value, at, empty_map, list_at, map_at, text_at, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.kustomize.files import Files

MAX_DEPTH = 64
"""Kustomizations that may stand above each other."""

MAX_OBJECTS = 10_000
"""Objects of one build."""


@dataclass(slots=True)
class Build:
    """What a folder yields, and what it read to get there."""

    folder: str
    objects: list[Obj] = field(default_factory=list)
    specs: tuple[FieldSpec, ...] = ()
    variables: dict[int, Value] = field(default_factory=dict)
    """By identity, as the next ones: what comes along two roads counts once."""
    references: tuple[FieldSpec, ...] = ()
    """Fields in which `vars` are resolved, beyond the binary's own (which hold no image)."""
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    entries: dict[Entry, None] = field(default_factory=dict)
    remotes: dict[Leaf, None] = field(default_factory=dict)
    charts: dict[int, Map] = field(default_factory=dict)
    """`helmCharts` entries."""
    broken: str | None = None
    unbuildable: str | None = None
    helm: bool = False
    after: str | None = None
    """What runs after this folder's own `images:` and may reach an image."""
    kustomization: str | None = None
    component: bool = False
    all: bool = False
    partial: bool = False
    """A cycle or the depth limit cut it short: what it is depends on where the walk began, so the next tree builds it
    anew."""
    wrapping: bool = False
    """A wrapper's own `images:` leave the marks of the folder below, where inserts go."""
    problems: dict[Problem, None] = field(default_factory=dict)

    def absorb(self, other: Build) -> None:
        """Another folder's result joins this one."""
        self.objects.extend(other.objects)
        self.specs = tuple(dict.fromkeys((*self.specs, *other.specs)))
        self.variables.update(other.variables)
        self.references = tuple(dict.fromkeys((*self.references, *other.references)))
        self.files |= other.files
        self.folders |= other.folders
        self.entries.update(other.entries)
        self.remotes.update(other.remotes)
        self.charts.update(other.charts)
        self.broken = self.broken or other.broken
        self.unbuildable = self.unbuildable or other.unbuildable
        self.helm = self.helm or other.helm
        self.partial = self.partial or other.partial
        self.problems.update(other.problems)


class Engine:
    """Builds folders of one tree; `memo` holds what was built, by (folder, all objects?)."""

    def __init__(self, files: Files, memo: dict[tuple[str, bool], Build] | None = None) -> None:
        self.files = files
        self.memo = {} if memo is None else memo
        self._active: list[str] = []

    # --- folders ----------------------------------------------------------------------------------------------------

    def kustomization(self, build: Build, folder: str) -> tuple[str | None, Map | None, str | None]:
        """The kustomization of a folder: its path, its tree, or why there is none."""
        names = self.files.kustomizations.get(folder, [])
        if not names:
            return None, None, f"no kustomization in {folder}"
        if len(names) > 1:
            reason = f"two kustomizations in one folder: {', '.join(sorted(names))}"
            note(build, sorted(names)[1], None, reason)
            return None, None, reason
        path = names[0]
        if self.files.entries[path].kind is EntryKind.SYMLINK:
            resolved = self.files.resolve(path, build.files)
            if resolved is None or resolved not in self.files.entries or not inside(folder, resolved):
                note(build, path, None, "the kustomization is a link that leads out of its folder")
                return None, None, f"{path}: a link that leads out of its folder"
            path = resolved
            build.files.add(path)
        documents = [doc for doc in self.files.documents(path, full=True) if doc is not None]
        if not documents or not isinstance(documents[0], Map):
            error = self.files.facts(path, full=True).error
            reason = f"{path}: {error[0] if error else 'the kustomization is empty'}"
            note(build, path, error[1] if error else None, error[0] if error else "the kustomization is empty")
            return path, None, reason
        return path, documents[0], None

    def build(self, folder: str, *, everything: bool = False) -> Build:
        """The build of a folder with a kustomization; never raises for what the repository holds."""
        known = self.memo.get((folder, everything))
        if known is not None:
            return known
        build = Build(folder, folders={folder}, all=everything)
        if folder in self._active:
            cycle = " → ".join([*self._active[self._active.index(folder) :], folder])
            build.broken, build.partial = f"cycle: {cycle}", True
            note(build, (self.files.kustomizations.get(folder) or [folder])[0], None, build.broken)
            return build
        if len(self._active) >= MAX_DEPTH:
            build.broken, build.partial = f"more than {MAX_DEPTH} kustomizations above each other", True
            return build
        build.files.update(self.files.kustomizations.get(folder, ()))
        path, tree, reason = self.kustomization(build, folder)
        self._active.append(folder)
        try:
            if tree is None or path is None:
                build.broken = reason
            else:
                build.component = text_at(tree, "kind") == "Component"
                build = self._complete(build, path, tree)
        finally:
            self._active.pop()
        self.memo[(folder, everything)] = build
        return build

    def overlay(self, build: Build, tree: Map, path: str, below: Callable[[bool], Build]) -> Build:
        """What a wrapper (a Flux Kustomization, an Argo CD Application) makes of `below(all objects?)`."""
        for everything in (_needs_all(tree), True):
            current = Build(build.folder, files=set(build.files), folders=set(build.folders), all=everything)
            current.wrapping = True
            try:
                base = below(everything)
                current.absorb(base)
                current.kustomization, current.after = base.kustomization, base.after
                self._transform(current, build.folder, path, tree)
            except NeedAll:
                continue
            return current
        raise AssertionError("a build of all objects needs no others")

    def _complete(self, start: Build, path: str, tree: Map) -> Build:
        """`_run`, again with all objects when it turns out that they are needed."""
        for everything in (start.all or _needs_all(tree), True):
            build = Build(start.folder, files=set(start.files), folders=set(start.folders), all=everything)
            build.kustomization, build.component = path, start.component
            build.problems.update(start.problems)
            try:
                self._run(build, start.folder, path, tree)
            except NeedAll:
                continue
            return build
        raise AssertionError("a build of all objects needs no others")

    def _run(self, build: Build, folder: str, path: str, tree: Map) -> None:
        if not tree.keys() - {"apiVersion", "kind", "metadata"}:
            self.fail(build, path, None, "the kustomization is empty")
        for key in ("resources", "bases"):
            for leaf in texts(tree.get(key)):
                self.resource(build, folder, path, leaf)
        self._collide(build, path)
        self._transform(build, folder, path, tree)

    def _transform(self, build: Build, folder: str, path: str, tree: Map) -> None:
        """Everything of a kustomization that comes after its resources."""
        self._configurations(build, folder, path, tree)
        sources.generators(self, build, folder, path, tree)
        for leaf in texts(tree.get("components")):
            self._component(build, folder, path, leaf)
        patches.strategic_list(self, build, folder, path, tree)
        patches.patch_list(self, build, folder, path, tree)
        _names(build, tree)
        _metadata(build, tree)
        patches.json6902_list(self, build, folder, path, tree)
        entries = imagetags.entries_of([*list_at(tree, "imageTags"), *list_at(tree, "images")])
        build.entries.update(dict.fromkeys(entries))
        for entry in entries:
            if imagetags.pattern(entry.name) is None:
                self.fail(build, path, entry.map.line, f"images: name {entry.name!r} is no regular expression")
            elif entry.unquoted is not None:
                leaf = entry.unquoted
                self.fail(
                    build, path, leaf.line, f"{leaf.path[-1]} {leaf.value} needs quotes: YAML does not read it as text"
                )
            elif entry.frozen is not None and entry.tag_suffix is None:
                note(build, path, entry.map.line, entry.frozen)
        imagetags.run(build, entries, keep_marks=build.wrapping)
        after = replacements.run(self, build, folder, path, tree)
        after = transformers.run(self, build, folder, path, tree) or after
        build.after = after or (build.after if build.wrapping else None)
        build.variables.update({id(item): item for item in list_at(tree, "vars")})

    # --- reading ----------------------------------------------------------------------------------------------------

    def fail(self, build: Build, file: str, line: int | None, reason: str) -> None:
        """The binary would fail here: kept as the build's reason and as a problem."""
        note(build, file, line, reason)
        build.broken = build.broken or f"{file}: {reason}"

    def file(self, build: Build, folder: str, path: str, leaf: Leaf, text: str | None = None) -> str | None:
        """The file that a kustomization names, in its closure from now on; None (and a reason) when there is none to
        read."""
        text = leaf.value if text is None else text
        if is_remote(text):
            build.remotes[leaf] = None
            build.unbuildable = build.unbuildable or f"{path}:{leaf.line}: remote {text}"
            return None
        target = join(folder, text)
        if target is None:
            self.fail(build, path, leaf.line, f"{text} leaves the repository")
            return None
        resolved = self.files.resolve(target, build.files)
        build.files.add(target)
        if resolved is None:
            self.fail(build, path, leaf.line, f"{text} is a link that leads out of the repository")
            return None
        if not self.files.exists(resolved):
            if self.files.in_submodule(resolved):
                build.unbuildable = build.unbuildable or f"{path}:{leaf.line}: {text} lies in a submodule"
                note(build, path, leaf.line, f"{text} lies in a submodule: its files are not here")
                return None
            self.fail(build, path, leaf.line, f"{text} does not exist")
            return None
        build.files.add(resolved)
        if not inside(folder, resolved):
            self.fail(
                build,
                path,
                leaf.line,
                f"{text} is not below the folder of its kustomization, Kustomize refuses to read it",
            )
        return resolved

    def resource(self, build: Build, folder: str, path: str, leaf: Leaf) -> None:
        """An entry of `resources` or `bases`."""
        text = leaf.value
        target = None if is_remote(text) else join(folder, text)
        resolved = None if target is None else self.files.resolve(target, build.files)
        if resolved is not None and self.files.is_folder(resolved):
            child = self.build(resolved, everything=build.all)
            if child.component:
                self.fail(build, path, leaf.line, f"{text} is a Component: list it under components")
            if child.broken is not None and resolved not in self.files.kustomizations:
                self.fail(build, path, leaf.line, child.broken)
            build.absorb(child)
            if len(build.objects) > MAX_OBJECTS:
                self.fail(build, path, leaf.line, f"more than {MAX_OBJECTS:,} objects")
                build.objects.clear()
            return
        if resolved is None or not self.files.exists(resolved):
            if is_remote(text) or (looks_like_host(text) and target is not None):
                build.remotes[leaf] = None
                build.unbuildable = build.unbuildable or f"{path}:{leaf.line}: remote {text}"
                return
            if target is not None:
                build.folders.add(target)
        found = self.file(build, folder, path, leaf)
        if found is not None:
            self.load(build, found)

    def _collide(self, build: Build, path: str) -> None:
        """Two objects of one identity: the binary refuses to add the second."""
        seen: set[tuple[str, str, str, str]] = set()
        for obj in build.objects:
            identity = (obj.api_version, obj.kind, obj.namespace, obj.name)
            if identity in seen:
                self.fail(build, path, None, f"{obj.kind} {obj.name} is there twice")
            seen.add(identity)

    def load(self, build: Build, file: str) -> None:
        """The objects of a file."""
        facts = self.files.facts(file)
        if facts.error is not None:
            note(build, file, facts.error[1], facts.error[0])
            build.broken = build.broken or f"{file}: {facts.error[0]}"
            return
        for i, document in enumerate(self.files.documents(file, full=build.all)):
            found = objects_of(document, file, i)
            build.objects.extend(found)
            if document is not None and not found and not _is_empty(document):
                self.fail(
                    build, file, getattr(document, "line", None), "a document that is no object (apiVersion, kind)"
                )
            for obj in found:
                if not obj.name:
                    self.fail(build, file, obj.tree.line, f"metadata.name of {obj.kind} is missing")

    def documents(self, build: Build, path: str, leaf: Leaf, file: str | None, role: str) -> list[Value]:
        """The documents of a patch or a configuration: of a file, or inline when `file` is None."""
        if file is not None:
            facts = self.files.facts(file, full=True)
            if facts.error is not None:
                self.fail(build, file, facts.error[1], facts.error[0])
                return []
            return [doc for doc in self.files.documents(file, full=True, role=role) if doc is not None]
        try:
            return [doc for doc in self.files.inline(leaf, role) if doc is not None]
        except DocumentError as exc:
            self.fail(build, path, leaf.line, f"inline text: {exc.message}")
            return []

    def _component(self, build: Build, folder: str, path: str, leaf: Leaf) -> None:
        text = leaf.value
        if is_remote(text):
            build.remotes[leaf] = None
            build.unbuildable = build.unbuildable or f"{path}:{leaf.line}: remote {text}"
            return
        target = join(folder, text)
        resolved = None if target is None else self.files.resolve(target, build.files)
        if resolved is None:
            self.fail(build, path, leaf.line, f"{text} leaves the repository")
            return
        build.folders.add(resolved)
        build.files.update(self.files.kustomizations.get(resolved, ()))
        file, tree, reason = self.kustomization(build, resolved)
        if tree is None or file is None:
            self.fail(build, path, leaf.line, reason or "no kustomization")
            return
        if text_at(tree, "kind") != "Component":
            self.fail(build, path, leaf.line, f"{text} is not a Component")
            return
        if resolved in self._active or len(self._active) >= MAX_DEPTH:
            build.partial = True
            self.fail(build, path, leaf.line, f"cycle: component {resolved} contains itself")
            return
        if _needs_all(tree) and not build.all:
            raise NeedAll
        self._active.append(resolved)
        try:
            self._run(build, resolved, file, tree)
        finally:
            self._active.pop()

    def _configurations(self, build: Build, folder: str, path: str, tree: Map) -> None:
        specs: list[FieldSpec] = []
        references: list[FieldSpec] = []
        for leaf in texts(tree.get("configurations")):
            file = self.file(build, folder, path, leaf)
            if file is None:
                continue
            for document in self.documents(build, path, leaf, file, ""):
                specs.extend(spec for item in list_at(document, "images") if (spec := field_spec(item)) is not None)
                references.extend(
                    spec for item in list_at(document, "varReference") if (spec := field_spec(item)) is not None
                )
        if (specs or references) and not build.all:
            raise NeedAll
        if references:
            build.references = tuple(dict.fromkeys((*build.references, *references)))
        if specs:
            build.specs = tuple(dict.fromkeys((*build.specs, *specs)))
        for key in ("crds", "validators"):
            for leaf in texts(tree.get(key)):
                if "\n" not in leaf.value:
                    sources.any_path(self, build, folder, path, leaf)
        openapi = at(tree, "openapi", "path")
        if isinstance(openapi, Leaf):
            self.file(build, folder, path, openapi)


def _is_empty(document: Value) -> bool:
    """`kind: List` without items, an empty mapping: the binary passes over them."""
    return isinstance(document, Map) and (not document or (text_at(document, "kind") or "").endswith("List"))


def note(build: Build, file: str, line: int | None, reason: str) -> None:
    build.problems[Problem(file=file, line=line, reason=reason)] = None


def _needs_all(tree: Map) -> bool:
    """Does this kustomization look at objects that bear no image?"""
    return any(key in tree for key in ("replacements", "vars", "transformers"))


def _names(build: Build, tree: Map) -> None:
    """namespace, namePrefix, nameSuffix."""
    namespace = text_at(tree, "namespace")
    if namespace:
        build.objects = [obj.moved(namespace) for obj in build.objects]
    for key in ("namePrefix", "nameSuffix"):
        text = text_at(tree, key)
        if text:
            prefix, suffix = (text, "") if key == "namePrefix" else ("", text)
            build.objects = [obj.prefixed(prefix, suffix) for obj in build.objects]


def _metadata(build: Build, tree: Map) -> None:
    """Labels and annotations of the objects themselves (selectors and templates bear no image)."""
    labels = dict(map_at(tree, "commonLabels") or {})
    for item in list_at(tree, "labels"):
        labels.update(map_at(item, "pairs") or {})
    for key, values in (("labels", labels), ("annotations", dict(map_at(tree, "commonAnnotations") or {}))):
        if values:
            build.objects = [_with(obj, key, values) for obj in build.objects]


def _with(obj: Obj, key: str, values: dict[str, Value]) -> Obj:
    other = obj.with_marks(obj.marks or {})
    other.tree = _annotated(obj.tree, key, values)
    return other


def _annotated(tree: Map, key: str, values: dict[str, Value]) -> Map:
    result = tree.clone()
    metadata = map_at(tree, "metadata")
    changed = metadata.clone() if metadata is not None else empty_map(tree)
    old = map_at(changed, key)
    members = old.clone() if old is not None else empty_map(tree)
    members.update(values)
    changed[key] = members
    result["metadata"] = changed
    return result
