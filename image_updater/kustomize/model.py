"""What provenance says: which scalar of which file set each image of each root's render.

`Tree` is the port to files; `Provenance` is the answer. Everything is a frozen value. Paths are repository-relative
with `/`, the repository's top is `.` as a folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Path = tuple["str | int", ...]


class EntryKind(StrEnum):
    FILE = "file"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree. `oid` is its content's Git blob id (hex), whatever kind of tree it is."""

    oid: str
    kind: EntryKind = EntryKind.FILE
    size: int | None = None


def blob_id(data: bytes) -> str:
    """Git's object id of a blob (SHA-1 over `blob <size>\\0<data>`): the content's name, not a security measure."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Tree(Protocol):
    """An immutable set of files: a Git tree, a folder, or values in a test."""

    @property
    def id(self) -> str:
        """Identifies the content (a Git tree id, or a hash over paths and entries)."""

    def files(self) -> Mapping[str, Entry]:
        """All files by path. Git's own folder is not there."""

    def read(self, path: str) -> bytes:
        """A file's bytes; a symlink's target text. Raises KeyError when absent."""


class Part(StrEnum):
    """What a scalar holds of an image reference."""

    IMAGE = "image"  # the whole reference: name[:tag][@digest]
    NAME = "name"  # the name without tag (newName, image.repository with registry inside, …)
    REGISTRY = "registry"  # only the registry
    REPOSITORY = "repository"  # only the repository, beside a REGISTRY
    TAG = "tag"  # the tag; may be `tag@digest` where the format allows
    DIGEST = "digest"


class SiteKind(StrEnum):
    CONTAINER = "container"  # image scalar of a container, an image volume, or a field named by `configurations:`
    ENTRY = "entry"  # an entry of `images:` (also Flux's spec.images, Argo CD's kustomize.images)
    PATCH = "patch"  # an image inside a patch, file or inline
    HELM = "helm"  # HelmRelease values, helmCharts[].valuesInline, Helm values files named by a marker
    SOURCE = "source"  # a field of another object that a replacement (or var) copies into an image
    TRANSFORMER = "transformer"  # an ImageTagTransformer listed under transformers:
    MARKER = "marker"  # a scalar with a marker that is part of no other site
    REF = "ref"  # the ?ref= of a remote base


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarRef:
    """One scalar of a file, to the character. `start:end` are offsets of the decoded text, quotes included, anchors
    and tags not.

    A scalar inside an inline patch (`patch: |-`) has offsets of the outer file and `inline` set; where the text
    cannot be mapped back character by character (folded or quoted inline patches) `frozen` says why it cannot be
    edited.
    """

    file: str
    document: int
    path: Path
    line: int
    start: int
    end: int
    value: str
    style: str = ""
    string: bool = True
    """YAML reads it as a string (an unquoted number is not)."""
    inline: bool = False
    anchored: bool = False
    """It carries an anchor or is reached through an alias: others may share it."""
    frozen: str | None = None
    partial: bool = False
    """It is only some characters of a scalar (the ref of a URL, the tag of Argo CD's `name=new:tag`): written as they
    are, without quotes."""

    @property
    def field(self) -> str:
        return dotted(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRef:
    """The mapping that holds a site's scalars, for structural inserts and removals (an `images:` entry, a Helm image
    block)."""

    file: str
    document: int
    path: Path
    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A setter marker read from a comment. `part`: image (no suffix), tag, name or digest. `problem`: a near miss
    that is reported and leaves the value alone."""

    file: str
    line: int
    text: str
    namespace: str | None = None
    name: str | None = None
    part: Part = Part.IMAGE
    scalar: ScalarRef | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectId:
    """A rendered object, named as rendered."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """How a workload's pods get at their images: names in the namespace of the rendered object."""

    secrets: tuple[str, ...] = ()
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One image of one rendered object of one root, set last by the site that holds this use."""

    root: str
    """`Root.id`."""
    object: ObjectId
    path: Path
    """Field of the rendered object, for Helm values the mapping or scalar that holds the image."""
    value: str
    """The whole reference as rendered, e.g. `acme/web:1.2@sha256:…`."""
    container: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    """The rendered object's annotations whose keys start with `image-updater.dev/`."""
    before: str | None = None
    """The reference as it stood just before this root's own `images:` run (kustomize roots only): what an inserted
    entry's `name` must match."""
    entry: str | None = None
    """Id of the last entry of this root's own `images:` that matches this use (it may set only newName), if any: a
    missing newTag goes there."""
    overwritten: bool = False
    """Something that runs after the root's `images:` (replacement, transformer, var) wrote it: an inserted entry
    would have no effect."""
    seen_by_images: bool = True
    """Kustomize's image transformer looks at this field (false for Helm values): an inserted entry can reach it."""
    pulls: Pulls | None = None
    """Of the pod around it, where the object has annotations of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One place that declares an image. `file`, `line` and `field` are those of the scalar that holds the tag (or
    would)."""

    id: str
    """`file#document:dotted.path`, unique in a tree."""
    kind: SiteKind
    file: str
    line: int
    field: str
    image: str
    """The reference this site yields, as the first of its uses renders it."""
    parts: Mapping[Part, ScalarRef]
    holder: MappingRef | None = None
    uses: tuple[Use, ...] = ()
    files: tuple[str, ...] = ()
    """Roots (ids) whose closure holds the file; for sites without uses (markers, Helm values files)."""
    marker: Marker | None = None
    markers: tuple[Marker, ...] = ()
    frozen: str | None = None
    """Why this site cannot be edited by anyone (tagSuffix, folded scalar, submodule, …)."""
    ref: ScalarRef | None = None
    """For kind REF: the resource string; `parts[TAG]` is then a ScalarRef over the characters of the ref alone."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Root ids that render it, in order, without repeats."""
        return tuple(dict.fromkeys(use.root for use in self.uses)) or self.files


class RootKind(StrEnum):
    KUSTOMIZE = "kustomize"  # a folder with a kustomization
    PLAIN = "plain"  # documents outside any kustomization: no build


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Something that is rendered as one. Reports name `id`: the folder, and the naming object where that changes the
    render."""

    id: str
    path: str
    kind: RootKind
    wrapper: str | None = None
    """Text of a kustomization.yaml that is laid over `path` before building (what a Flux Kustomization or an Argo CD
    Application adds); it refers to `path` as resource `../ROOT` literally: the renderer replaces that by the right
    relative path."""
    generated: str | None = None
    """Text of a kustomization.yaml to put into `path` for the build: the folder has none, Flux generates it over the
    manifests below."""
    kustomization: str | None = None
    """Path of the root's own kustomization file, where inserts go; None for plain roots and generated ones."""
    closure: frozenset[str] = frozenset()
    """Every file that the build can read."""
    folders: frozenset[str] = frozenset()
    """Every folder whose listing decides the build (where a kustomization was looked for)."""
    unbuildable: str | None = None
    """Why it cannot be built here (a remote base, a chart that is not vendored, a plugin); None = it should build."""
    complete: str | None = None
    """None when the static argument for an `images:` entry of this root is complete (nothing after it can reach an
    image); else what runs after it (`replacements`, `transformers`, `vars`)."""
    remotes: tuple[str, ...] = ()
    helm: bool = False
    """`helmCharts` are used: needs --enable-helm and a helm binary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file or a place that could not be read, and why."""

    file: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All roots, sites and problems of a tree."""

    tree: str
    roots: Mapping[str, Root] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()
    problems: tuple[Problem, ...] = ()
    loose: tuple[Marker, ...] = ()
    """Markers with a problem that belong to no site."""

    def by_root(self, root: str) -> Iterable[tuple[Site, Use]]:
        for site in self.sites:
            for use in site.uses:
                if use.root == root:
                    yield site, use


def dotted(path: Path) -> str:
    """`("spec", "containers", 0, "image")` → `spec.containers[0].image`; keys with dots or brackets are quoted:
    `data["a.b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif any(c in step for c in ".[]\"' ") or not step:
            text += '["' + step.replace("\\", "\\\\").replace('"', '\\"') + '"]'
        else:
            text += f".{step}" if text else step
    return text
