"""One document of an objects file: is it ours, is its metadata sound, and the object it stands for.

Foreign kinds are nobody's business here, Flux's included. A document that was meant to be ours (a mistyped apiVersion,
a kind that is planned, a misspelt key) is an error: a policy that is silently ignored looks like one that has nothing
to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.decode import (
    INVALID,
    At,
    Lines,
    Report,
    did_you_mean,
    is_null,
    is_text,
    kind_of,
    members,
    suggest,
)
from image_updater.api.fields import (
    Field,
    Ignored,
    MapOf,
    Struct,
    Text,
    check_label_key,
    check_label_value,
    check_name,
    check_namespace,
)
from image_updater.api.kinds import KINDS, LATER_KINDS
from image_updater.api.kinds.secret import SECRET, build_secret
from image_updater.api.model import API_VERSION, GROUP, Meta, ObjectKey, Secret, Source
from image_updater.api.scalars import Instant
from image_updater.documents import Mapping, Node, Scalar, Sequence, resolve, string

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.api.kinds import Kind
    from image_updater.api.model import (
        Freeze,
        GitRepository,
        ImagePolicy,
        ImageUpdateAutomation,
        Kustomization,
        Quarantine,
    )

    OurObject = ImagePolicy | GitRepository | ImageUpdateAutomation | Kustomization | Freeze | Quarantine
    AnyObject = OurObject | Secret

MAX_OBJECTS: Final = 100_000
"""Documents of one file with its lists expanded; aliases could make any number of them."""

_BEGIN: Final = f"objects begin with apiVersion: {API_VERSION}"
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")

METADATA: Final = Struct(
    fields=(
        Field(name="name", type=Text(name="object name", check=check_name), required=True, doc="name of the object"),
        Field(
            name="namespace",
            type=Text(name="namespace", check=check_namespace),
            default="default",
            doc="namespace of the object",
        ),
        Field(
            name="labels",
            type=MapOf(
                value=Text(name="label value", check=check_label_value, empty=True), key=Text(check=check_label_key)
            ),
            default={},
            doc="labels, for selectors",
        ),
        Field(
            name="annotations",
            type=MapOf(value=Text(empty=True), key=Text(check=check_label_key)),
            default={},
            doc="annotations",
        ),
        Field(name="creationTimestamp", type=Instant(), doc="written by the server"),
        *(
            Field(name=name, type=Ignored(), doc="written by the server, not used")
            for name in (
                "deletionGracePeriodSeconds",
                "deletionTimestamp",
                "finalizers",
                "generation",
                "managedFields",
                "ownerReferences",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """A Secret that SOPS encrypted: known by name, its data is not."""

    key: ObjectKey


def expand(root: Node, report: Report) -> Iterator[Mapping]:
    """The objects of a document: itself, or the items of a `kind: List` (nested ones too)."""
    stack = [root]
    count = 0
    while stack:
        node = resolve(stack.pop())
        count += 1
        if count > MAX_OBJECTS:
            report.add(f"has more than {MAX_OBJECTS:,} objects", line=root.line, remedy="split the file")
            return
        if not isinstance(node, Mapping):
            report.add(f"must be a Kubernetes object, not {kind_of(node)}", line=node.line, remedy=_BEGIN)
            continue
        kind = _text(node, "kind") or ""
        version = _text(node, "apiVersion") or ""
        items = _value(node, "items")
        if items is None or not kind.endswith("List") or not (version == "v1" or version.partition("/")[0] == GROUP):
            yield node
            continue
        target = resolve(items)
        if isinstance(target, Sequence):
            stack.extend(reversed(target.items))
        elif not is_null(target):
            report.add(
                f"must be a list, not {kind_of(target)}",
                line=items.line,
                path="items",
                label=kind,
                remedy="write a list of objects",
            )


def read_object(node: Mapping, report: Report, *, folder: bool) -> AnyObject | Encrypted | None:
    """The object of a mapping; None for foreign kinds and after reporting errors.

    In a `folder`, documents that are no Kubernetes objects at all (values files, kustomizations) are ignored too.
    """
    if not _belongs(node, report, folder=folder):
        return None
    kind_name = _text(node, "kind") or ""
    name = string(_find(_value(node, "metadata"), "name"))
    namespace = string(_find(_value(node, "metadata"), "namespace"))
    ours = KINDS.get(kind_name)
    place = "" if ours is not None and ours.cluster else f"{namespace or 'default'}/"
    label = f"{kind_name} {place}{name}" if name else kind_name
    at = At(report=report, label=label, line=node.line)
    before = at.count
    if kind_name == "Secret":
        return _read_secret(node, at)
    kind = KINDS[kind_name]
    given = members(node, at)
    for field, (key, _) in given.items():
        if field not in _TOP:
            at.child(field, key).fail("unknown field", node=key, remedy=_top_hint(field, kind))
    meta = _read_meta(node, at, kind)
    spec = given.get("spec")
    if spec is None or is_null(spec[1]):
        fields = ", ".join(f.name for f in kind.spec.fields if f.required) or kind.spec.fields[0].name
        at.fail("is required", node=spec[0] if spec else None, field="spec", remedy=f"write spec with {fields}")
        return None
    values = kind.spec.read(spec[1], at.child("spec", spec[1]))
    if meta is None or at.count > before:
        return None
    if kind.check is not None:
        kind.check(meta, values, at)
        if at.count > before:
            return None
    built: OurObject = kind.build(meta, values)
    return built


def _top_hint(field: str, kind: Kind) -> str:
    if field in {f.name for f in kind.spec.fields}:
        return f"it belongs under spec: spec.{field}"
    return did_you_mean(field, _TOP, what="known fields")


def _read_meta(node: Mapping, at: At, kind: Kind | None = None) -> Meta | None:
    metadata = _value(node, "metadata")
    if metadata is None or is_null(metadata):
        at.fail("is required", node=metadata, field="metadata", remedy="give the object a name: metadata: {name: …}")
        return None
    values: Any = METADATA.read(metadata, at.child("metadata", metadata))
    if values is INVALID:
        return None
    namespace = values["namespace"]
    if kind is not None and kind.cluster:
        given = _value(metadata, "namespace") if isinstance(metadata := resolve(metadata), Mapping) else None
        if given is not None and not is_null(given):
            at.fail(
                "has no namespace: it is for the whole cluster",
                node=given,
                field="metadata.namespace",
                remedy=f"remove it, or write kind: {kind.name.removeprefix('Cluster')}",
            )
            return None
        namespace = ""
    return Meta(
        key=ObjectKey(namespace=namespace, name=values["name"]),
        labels=values["labels"],
        annotations=values["annotations"],
        created=values["creationTimestamp"],
        source=Source(file=at.report.file, line=node.line, where=Lines(node, file=at.report.file, label=at.label)),
    )


def _read_secret(node: Mapping, at: At) -> Secret | Encrypted | None:
    meta = _read_meta(node, at)
    if meta is None:
        return None
    if _value(node, "sops") is not None:
        return Encrypted(key=meta.key)
    values: Any = SECRET.read(node, at)
    return None if values is INVALID else build_secret(meta, values)


def _belongs(node: Mapping, report: Report, *, folder: bool) -> bool:
    """Is this document ours to read? Reports those that were meant to be ours."""
    version, kind = _text(node, "apiVersion"), _text(node, "kind")
    line = node.line
    if version is None or kind is None:
        return _misses_type(node, report, version=version, kind=kind, folder=folder)
    if version == API_VERSION:
        if kind in KINDS:
            return True
        if kind in LATER_KINDS:
            report.add(
                "this kind is not built yet",
                line=line,
                path="kind",
                label=kind,
                remedy="remove it until a later version supports it",
            )
        elif kind == "ImageRepository":
            report.add(
                "unknown kind",
                line=line,
                path="kind",
                label=kind,
                remedy="an ImagePolicy names its image itself: spec.image",
            )
        else:
            report.add(
                f"unknown kind {kind!r}", line=line, path="kind", remedy=did_you_mean(kind, KINDS, what="known kinds")
            )
        return False
    if version == "v1" and kind == "Secret":
        return True
    if _meant_ours(version, kind):
        report.add(
            f"unknown apiVersion {version!r}",
            line=_line(node, "apiVersion"),
            path="apiVersion",
            label=kind,
            remedy=f"did you mean {API_VERSION!r}?",
        )
    return False


def _meant_ours(version: str, kind: str) -> bool:
    """An apiVersion that can only be a slip: our group in another version, nearly our group, or no group with a kind
    of ours.
    """
    group, slash, _ = version.partition("/")
    if group == GROUP:
        return True
    ours = kind in KINDS or kind in LATER_KINDS or suggest(kind, KINDS) is not None
    if not slash:
        return kind in KINDS
    nearly = (
        group.split(".")[0] in ("image-updater", "imageupdater", "image-update", "image_updater")
        or suggest(group, [GROUP]) is not None
    )
    return ours and nearly


def _misses_type(node: Mapping, report: Report, *, version: str | None, kind: str | None, folder: bool) -> bool:
    keys = [key for pair in node.items if (key := string(pair[0])) is not None]
    if not keys:
        return False
    missing = "apiVersion" if version is None else "kind"
    slip = next(
        (key for key in keys if key not in _TOP and suggest(key, ["apiVersion", "kind"]) == missing and len(key) > 3),
        None,
    )
    if version is not None:
        ours = version.partition("/")[0] == GROUP
    else:  # Kustomize lets its own file leave the apiVersion out
        ours = kind in KINDS and (kind != "Kustomization" or "spec" in keys)
    if folder and not slip and not ours:
        return False
    label = kind if kind is not None else None
    if version is None and kind is None and not slip:
        report.add(
            "is not a Kubernetes object: it has no apiVersion and no kind",
            line=node.line,
            remedy=_BEGIN,
        )
    elif version is None and kind is not None and kind not in KINDS and not slip:
        report.add("is required", line=node.line, path="apiVersion", label=label, remedy=_BEGIN)
    else:
        remedy = (
            f"{slip!r} is misspelt"
            if slip
            else (f"write apiVersion: {API_VERSION}" if version is None else f"one of {', '.join(KINDS)}")
        )
        report.add("is required", line=node.line, path=missing, label=label, remedy=remedy)
    return False


def _value(node: Mapping, name: str) -> Node | None:
    return next((value for key, value in node.items if string(key) == name), None)


def _find(node: Node | None, name: str) -> Node | None:
    target = resolve(node) if node is not None else None
    return _value(target, name) if isinstance(target, Mapping) else None


def _text(node: Mapping, name: str) -> str | None:
    value = _value(node, name)
    target = resolve(value) if value is not None else None
    return target.value if isinstance(target, Scalar) and is_text(target) and target.value else None


def _line(node: Mapping, name: str) -> int:
    value = _value(node, name)
    return value.line if value is not None else node.line
