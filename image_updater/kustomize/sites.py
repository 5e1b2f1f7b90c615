"""From built objects to sites: for every image of every root, the scalar that wrote it last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from image_updater.documents import Mapping, Node, Scalar, Sequence
from image_updater.errors import DocumentError
from image_updater.kustomize import helm, releases
from image_updater.kustomize.imagetags import Entry, bounds
from image_updater.kustomize.model import (
    MappingRef,
    ObjectId,
    Part,
    Path,
    Problem,
    Pulls,
    ScalarRef,
    Site,
    SiteKind,
    Use,
    dotted,
)
from image_updater.kustomize.objects import OUR_ANNOTATIONS, Obj, container_name, spec_slots
from image_updater.kustomize.paths import REF
from image_updater.kustomize.values import (
    STRING,
    Leaf,
    Map,
    Scalarish,
    Text,
    Value,
    at,
    list_at,
    map_at,
    part_of,
    pieces,
    text_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.kustomize.engine import Build

    Inline = Callable[[Leaf, str], list[Value | None]]
    """Reads the documents written inside a scalar; raises DocumentError."""

_SEVERAL = "the tag is put together from several values"
_SHARED = "it has an anchor inside a text of values: what else uses it is not seen"
_LOCAL = "config.kubernetes.io/local-config"
_POD_LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes")


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """A place that declares an image, without its uses."""

    id: str
    kind: SiteKind
    parts: dict[Part, ScalarRef]
    holder: MappingRef | None
    file: str
    line: int
    field: str
    frozen: str | None = None
    ref: ScalarRef | None = None
    image: str = ""


@dataclass(slots=True)
class Rows:
    """What one root contributes: its uses by writer, and writers that have none (entries that set no tag, remote
    refs)."""

    uses: list[tuple[Writer, Use]] = field(default_factory=list)
    idle: list[Writer] = field(default_factory=list)


class Writers:
    """Writers by the scalar they are, so that all roots share them."""

    def __init__(self) -> None:
        self._by_leaf: dict[tuple[Leaf, str, str | None], Writer] = {}
        self._by_entry: dict[Entry, Writer] = {}

    def __len__(self) -> int:
        return len(self._by_leaf) + len(self._by_entry)

    def of(self, value: Scalarish, path: Path) -> Writer:
        """Who wrote the tag of this reference (else its digest, else its name)?"""
        text = value.value
        name_end, tag_end, digest_start = bounds(text)
        if tag_end > name_end + 1:
            low, high = name_end + 1, tag_end
        elif digest_start < len(text):
            low, high = digest_start, len(text)
        else:
            low, high = 0, name_end
        at_, found = 0, []
        for piece, leaf, offset in pieces(value):
            first, last = max(low - at_, 0), min(high - at_, len(piece))
            if first < last:
                found.append((leaf, offset + first, offset + last))
            at_ += len(piece)
        leaves = [leaf for leaf, _, _ in found if leaf is not None]
        if not leaves:
            leaves = [leaf for _, leaf, _ in pieces(value) if leaf is not None]
        leaf = leaves[-1]  # of several the last one: a suffix, what a replacement put in
        if isinstance(leaf.owner, Entry):
            entry = self.entry(leaf.owner)
            return entry if len(found) == 1 or entry.frozen else replace(entry, frozen=_SEVERAL)
        frozen, part = None, Part.IMAGE
        if len(found) != 1 or found[0][0] is None:
            frozen = _SEVERAL
        else:
            _, start, end = found[0]
            own_name, own_tag, own_digest = bounds(leaf.value)
            if (start, end) == (0, len(leaf.value)) and high - low != len(text):
                part = Part.TAG if low != 0 else Part.NAME
                part = Part.DIGEST if low == digest_start and tag_end <= name_end + 1 and low else part
            elif (start, end) in ((own_name + 1, own_tag), (own_digest, len(leaf.value)), (0, own_name)):
                part = Part.IMAGE if own_name else Part.TAG
            elif start == 0 and leaf.value[end : end + 1] == "@" and leaf.value[:own_name].find("/") < 0:
                part = Part.TAG
            else:
                return self._piece(leaf, start, end, path, low, name_end)
        return self.leaf(leaf, path, part, frozen)

    def _piece(self, leaf: Leaf, start: int, end: int, path: Path, low: int, name_end: int) -> Writer:
        """The tag is some characters of a scalar that is no image itself: `literals: [image=nginx:1.2]`."""
        key = (leaf, f"{start}:{end}", None)
        known = self._by_leaf.get(key)
        if known is None:
            part = (
                Part.NAME
                if low == 0
                else Part.TAG
                if low == name_end + 1 and start and leaf.value[start - 1] != "@"
                else Part.DIGEST
            )
            ref = part_of(leaf, start, end).ref()
            whole = self.leaf(leaf, path, Part.IMAGE)
            known = self._by_leaf[key] = replace(
                whole, id=f"{whole.id}[{start}:{end}]", parts={part: ref}, frozen=ref.frozen, kind=_kind(leaf, path)
            )
        return known

    def leaf(self, leaf: Leaf, path: Path, part: Part, frozen: str | None = None) -> Writer:
        key = (leaf, part.value, frozen)
        known = self._by_leaf.get(key)
        if known is None:
            ref = leaf.ref()
            known = self._by_leaf[key] = Writer(
                id=f"{ref.file}#{ref.document}:{ref.field}",
                kind=_kind(leaf, path),
                parts={part: ref},
                holder=None,
                file=ref.file,
                line=ref.line,
                field=ref.field,
                frozen=frozen or ref.frozen,
            )
        return known

    def entry(self, entry: Entry) -> Writer:
        known = self._by_entry.get(entry)
        if known is None:
            parts = {
                part: leaf.ref()
                for part, leaf in ((Part.NAME, entry.new_name), (Part.TAG, entry.new_tag), (Part.DIGEST, entry.digest))
                if leaf is not None
            }
            main = parts.get(Part.TAG) or parts.get(Part.DIGEST) or parts.get(Part.NAME)
            holder = entry.map.ref()
            name = entry.new_name.value if entry.new_name is not None else entry.name
            image = (
                name
                + (f":{entry.new_tag.value}" if entry.new_tag else "")
                + (f"@{entry.digest.value}" if entry.digest else "")
            )
            known = self._by_entry[entry] = Writer(
                id=entry.id,
                kind=entry.kind,
                parts=parts,
                holder=holder,
                file=holder.file,
                line=main.line if main is not None else holder.line,
                field=dotted((*holder.path, "newTag"))
                if main is None or (Part.TAG not in parts and Part.DIGEST not in parts)
                else main.field,
                frozen=entry.frozen
                or next((ref.frozen for ref in parts.values() if ref.frozen), None)
                or entry.map.origin.frozen,
                image=image,
            )
        return known


def _kind(leaf: Leaf, path: Path) -> SiteKind:
    if leaf.origin.role == "patch":
        return SiteKind.PATCH
    if leaf.path[-len(path) :] == path:
        return SiteKind.CONTAINER
    tail = leaf.path
    if len(tail) >= 3 and tail[-1] == "image" and tail[-3] in ("containers", "initContainers", "ephemeralContainers"):
        return SiteKind.CONTAINER
    return SiteKind.SOURCE


def rows(build: Build, root: str, writers: Writers, inline: Inline, *, plain: bool = False) -> Rows:
    """All images of a root, each with its writer."""
    result = Rows()
    for obj in build.objects:
        if not plain and obj.annotations.get(_LOCAL, "false") != "false":
            continue
        _object_rows(obj, build, root, writers, inline, result)
    for chart in build.charts.values():
        _chart_rows(chart, root, writers, result)
    used = {id(writer) for writer, _ in result.uses}
    result.idle.extend(writer for entry in build.entries if id(writer := writers.entry(entry)) not in used)
    result.idle.extend(_remote(leaf) for leaf in build.remotes)
    return result


def _object_rows(obj: Obj, build: Build, root: str, writers: Writers, inline: Inline, result: Rows) -> None:
    slots = list(obj.slots)
    if build.specs and obj.kind != "CustomResourceDefinition":
        slots += spec_slots(obj, build.specs)
    charts = releases.places(obj.kind, obj.group, lambda path: at(obj.tree, *path))
    if not slots and not charts:
        return
    identity = ObjectId(group=obj.group, kind=obj.kind, namespace=obj.namespace, name=obj.name)
    annotations = {key: value for key, value in obj.annotations.items() if key.startswith(OUR_ANNOTATIONS)}
    releases_ = [release for path in charts if (release := _release(obj, path, build, inline)) is not None]
    in_pieces = {(*image.path, "image") for release in releases_ for image in release.images}
    for slot in slots:
        value = at(obj.tree, *slot.path)
        if not isinstance(value, Leaf | Text) or not value.value or slot.path in in_pieces:
            continue
        mark = obj.marks.get(slot.path) if obj.marks is not None else None
        result.uses.append(
            (
                writers.of(value, slot.path),
                Use(
                    root=root,
                    object=identity,
                    path=slot.path,
                    value=value.value,
                    container=container_name(obj.tree, slot.path),
                    annotations=annotations,
                    before=mark.before.value if mark is not None else None,
                    entry=mark.entry.id if mark is not None and mark.entry is not None else None,
                    overwritten=mark is not None and mark.after is not value,
                    seen_by_images=slot.runs > 0,
                    pulls=_pulls(obj, slot.path) if annotations else None,
                ),
            )
        )
    known = {slot.path for slot in slots}
    for release in releases_:
        _helm_rows(release, known, identity, annotations, root, result)


def _pulls(obj: Obj, path: Path) -> Pulls | None:
    """What the pod around an image says of pulling it."""
    depth = next((i for i, step in enumerate(path) if step in _POD_LISTS), None)
    pod = at(obj.tree, *path[:depth]) if depth is not None else None
    if not isinstance(pod, Map):
        return None
    names = [text_at(each, "name") for each in list_at(pod, "imagePullSecrets")]
    account = text_at(pod, "serviceAccountName") or text_at(pod, "serviceAccount")
    return Pulls(secrets=tuple(name for name in names if name), account=account or None)


def _release(obj: Obj, path: Path, build: Build, inline: Inline) -> _Release | None:
    """The values at a path of an object; None where there are none."""
    values = at(obj.tree, *path)
    text = values if isinstance(values, Leaf) else None
    if text is not None:
        values = _inside(text, build, inline)
    return _Release.of(values, path, inside=text is not None) if isinstance(values, Map) else None


def _inside(text: Leaf, build: Build, inline: Inline) -> Value | None:
    """The values that a text holds; what is no YAML is a problem, unless it is a template."""
    try:
        return next(iter(inline(text, text.origin.role)), None)
    except DocumentError as exc:
        if "{{" not in text.value:
            reason = f"{dotted(text.path)}: {exc.message}"
            build.problems[Problem(file=text.origin.file, line=text.line, reason=reason)] = None
        return None


def _chart_rows(chart: Map, root: str, writers: Writers, result: Rows) -> None:
    values = map_at(chart, "valuesInline")
    if values is not None:
        name = text_at(chart, "releaseName") or text_at(chart, "name") or ""
        identity = ObjectId(group="", kind="HelmChart", namespace=text_at(chart, "namespace") or "", name=name)
        _helm_rows(_Release.of(values, ("valuesInline",)), set(), identity, {}, root, result)


@dataclass(frozen=True, slots=True)
class _Release:
    """The values of a chart. `inside`: they stand in a text, where a scalar can be set and no key added."""

    values: Map
    path: Path
    inside: bool
    images: list[helm.HelmImage]

    @classmethod
    def of(cls, values: Map, path: Path, *, inside: bool = False) -> _Release:
        try:
            images = helm.images(_node(values), file=values.origin.file, document=values.document, path=path)
        except DocumentError:
            images = []
        return cls(values, path, inside, images)


def _helm_rows(
    release: _Release,
    known: set[Path],
    identity: ObjectId,
    annotations: dict[str, str],
    root: str,
    result: Rows,
) -> None:
    """The images of a chart's values, without those `known` as containers' (Kustomize sees such lists anywhere)."""
    values, path, inside = release.values, release.path, release.inside
    for image in release.images:
        if image.path in known:
            continue
        parts = {part: _back(values, path, ref) for part, ref in image.parts.items()}
        leaves = {part: at(values, *ref.path[len(path) :]) for part, ref in image.parts.items()}
        tagged = leaves.get(Part.IMAGE) or leaves.get(Part.TAG) or leaves.get(Part.DIGEST)
        patched = isinstance(tagged, Leaf) and tagged.origin.role == "patch"
        own = at(values, *image.path[len(path) :])
        box = own if isinstance(own, Map) else at(values, *image.holder.path[len(path) :])
        main = (
            parts.get(Part.IMAGE) or parts.get(Part.TAG) or parts.get(Part.DIGEST) or next(iter(parts.values()), None)
        )
        holder = box.ref() if isinstance(box, Map) else image.holder
        place = own.path if isinstance(own, Map | Leaf) else holder.path
        file, document = (main.file, main.document) if main is not None else (holder.file, holder.document)
        tag_path = (*holder.path, "tag")
        has_tag = any(part in parts for part in (Part.IMAGE, Part.TAG, Part.DIGEST))
        writer = Writer(
            id=f"{file}#{document}:{dotted(place)}",
            kind=SiteKind.PATCH if patched else SiteKind.HELM,
            parts=parts,
            holder=None if inside else holder,
            file=file,
            line=main.line if main is not None else holder.line,
            field=main.field if main is not None and has_tag else dotted(tag_path),
            frozen=image.frozen
            or next((ref.frozen for ref in parts.values() if ref.frozen), None)
            or (_SHARED if inside and any(ref.anchored for ref in parts.values()) else None),
        )
        use = Use(
            root=root,
            object=identity,
            path=image.path,
            value=image.value,
            annotations=annotations,
            seen_by_images=False,
        )
        result.uses.append((writer, use))


def _back(values: Map, path: Path, ref: ScalarRef) -> ScalarRef:
    """The scalar's own place: a patch may have put it there."""
    leaf = at(values, *ref.path[len(path) :])
    return leaf.ref() if isinstance(leaf, Leaf) else ref


def _node(value: Value) -> Node:
    """Values as YAML nodes, for what reads nodes."""
    if isinstance(value, Map):
        mapping = Mapping(value.start, value.line, 0, False)
        mapping.end = value.end
        for key, item in value.items():
            mapping.items.append((Scalar(key, value.start, value.start, value.line, 0, '"'), _node(item)))
        return mapping
    if isinstance(value, list):
        sequence = Sequence(0, 1, 0, False)
        sequence.items = [_node(item) for item in value]
        return sequence
    if isinstance(value, Text):
        return Scalar(value.value, 0, 0, 1, 0, '"')
    return Scalar(value.value, value.start, value.end, value.line, 0, value.style or ('"' if _stringly(value) else ""))


def _stringly(leaf: Leaf) -> bool:
    return bool(leaf.bits & STRING) and not leaf.style


def _remote(leaf: Leaf) -> Writer:
    """A remote base; with a `?ref=` its tag may move along."""
    match = REF.search(leaf.value)
    ref = leaf.ref()
    tag = part_of(leaf, match.start(1), match.end(1)).ref() if match is not None else None
    return Writer(
        id=f"{ref.file}#{ref.document}:{ref.field}",
        kind=SiteKind.REF,
        parts={Part.TAG: tag} if tag is not None else {},
        holder=None,
        file=ref.file,
        line=ref.line,
        field=ref.field,
        frozen=tag.frozen if tag is not None else None,
        ref=ref,
        image=leaf.value,
    )


def assemble(writer: Writer, uses: list[Use], roots: list[str]) -> Site:
    """A site from its writer and what all roots say about it."""
    return Site(
        id=writer.id,
        kind=writer.kind,
        file=writer.file,
        line=writer.line,
        field=writer.field,
        image=uses[0].value if uses else writer.image,
        parts=writer.parts,
        holder=writer.holder,
        uses=tuple(uses),
        files=() if uses else tuple(roots),
        frozen=writer.frozen,
        ref=writer.ref,
    )
