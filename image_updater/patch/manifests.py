"""A render as objects: its documents, who they are, the images they name. Large renders are parsed where needed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_updater.documents import Mapping, Node, Scalar, get, parse, plain
from image_updater.errors import DocumentError
from image_updater.kustomize import helm, releases
from image_updater.kustomize.model import ObjectId, Path

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Object:
    """One rendered object: its identity, its content as plain values, and its node (for Helm values)."""

    id: ObjectId
    content: Any
    node: Node

    @property
    def labels(self) -> dict[str, Any]:
        metadata = self.content.get("metadata") if isinstance(self.content, dict) else None
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        return labels if isinstance(labels, dict) else {}


def decode(manifests: bytes) -> str:
    """Raises DocumentError: a render is UTF-8, of any size."""
    try:
        return manifests.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise DocumentError("the render is not UTF-8") from exc


def chunks(text: str) -> list[str]:
    """The documents as text, without parsing: a `---` at the start of a line is always a document's end.

    One chunk where directives (`%YAML`) need the line before their document.
    """
    if re.search(r"^%", text, re.MULTILINE):
        return [text]
    pieces = _SEPARATOR.split(text)
    return [piece.strip("\r\n") for piece in pieces if piece.strip()]


def differing(before: bytes, after: bytes) -> tuple[list[Object], list[Object]]:
    """The objects of both renders without those whose text is equal."""
    old, new = chunks(decode(before)), chunks(decode(after))
    common = Counter(old) & Counter(new)
    return objects(_without(old, common)), objects(_without(new, common))


def _without(pieces: list[str], common: Counter[str]) -> list[str]:
    left = Counter(common)
    kept: list[str] = []
    for piece in pieces:
        if left[piece] > 0:
            left[piece] -= 1
        else:
            kept.append(piece)
    return kept


def objects(pieces: list[str]) -> list[Object]:
    """Parses documents; the items of list kinds are objects of their own. Raises DocumentError."""
    found: list[Object] = []
    for piece in pieces:
        for document in parse(piece):
            if document.root is not None:
                found.extend(_expand(document.root, plain(document.root)))
    return found


def _expand(node: Node, content: Any) -> Iterator[Object]:
    if (
        isinstance(content, dict)
        and str(content.get("kind", "")).endswith("List")
        and isinstance(content.get("items"), list)
    ):
        for i, item in enumerate(content["items"]):
            below = get(node, "items", i)
            if below is not None:
                yield from _expand(below, item)
        return
    identity = _identity(content)
    for path in releases.places(identity.kind, identity.group, lambda path: _at(content, path)):
        values = get(node, *path)
        inside = _inside(values) if isinstance(values, Scalar) else None
        if isinstance(inside, Mapping):  # a text of values is compared field by field, as the values it is
            _at(content, path[:-1])[path[-1]] = plain(inside)
    yield Object(identity, content, node)


def _inside(text: Scalar) -> Node | None:
    """The values that a text holds; None where it is no YAML."""
    try:
        documents = parse(text.value)
    except DocumentError:
        return None
    return documents[0].root if documents else None


def _at(content: Any, path: Path) -> Any:
    """What stands at a path of plain values; None for nothing."""
    for step in path:
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            return None
    return content


def _identity(content: Any) -> ObjectId:
    if not isinstance(content, dict):
        return ObjectId(group="", kind="", namespace="", name="")
    group, slash, _ = _text(content.get("apiVersion")).partition("/")
    metadata = content.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return ObjectId(
        group=group if slash else "",
        kind=_text(content.get("kind")),
        namespace=_text(metadata.get("namespace")),
        name=_text(metadata.get("name") if "name" in metadata else metadata.get("generateName")),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def images_of(manifests: bytes) -> list[tuple[ObjectId, Path, str]]:
    """Every image of a render, in its order: containers of any kind at any depth, image volumes, Helm values.

    For Helm values the path is the scalar or the mapping that holds the image. Raises DocumentError.
    """
    found: list[tuple[ObjectId, Path, str]] = []
    # Nothing without the word can name an image: most documents of a large render need no parse.
    for object_ in objects([piece for piece in chunks(decode(manifests)) if "image" in piece]):
        found.extend((object_.id, path, value) for path, value in images(object_).items())
    return found


def images(object_: Object) -> dict[Path, str]:
    """The images of one object by path."""
    found: dict[Path, str] = {}
    if object_.id.kind == "CustomResourceDefinition":
        return found
    _containers(object_.content, (), found)
    for image in helm_images(object_):
        found.pop((*image.path, "image"), None)  # a list of containers whose tags stand beside the image
        found.setdefault(image.path, image.value)
    return found


def helm_images(object_: Object) -> list[helm.HelmImage]:
    """Images in the values of a HelmRelease, or of an Argo CD Application's charts."""
    found: list[helm.HelmImage] = []
    for path in releases.places(object_.id.kind, object_.id.group, lambda path: _at(object_.content, path)):
        values = get(object_.node, *path)
        if isinstance(values, Scalar):
            values = _inside(values)
        found.extend(helm.images(values, file="", document=0, path=path))
    return found


def is_image(path: Path) -> bool:
    """Does a container or an image volume of some pod spec hold its image at this path?"""
    if len(path) >= 3 and path[-1] == "image":
        return path[-3] in _CONTAINERS
    return len(path) >= 4 and path[-2:] == ("image", "reference") and path[-4] == "volumes"


def _containers(value: Any, path: Path, found: dict[Path, str]) -> None:
    if isinstance(value, list):
        for i, item in enumerate(value):
            if isinstance(item, dict | list):
                _containers(item, (*path, i), found)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if not isinstance(item, dict | list):
            continue
        name = str(key)
        if isinstance(item, list) and name in _CONTAINERS:
            for i, container in enumerate(item):
                image = container.get("image") if isinstance(container, dict) else None
                if isinstance(image, str) and image:
                    found[(*path, name, i, "image")] = image
        elif isinstance(item, list) and name == "volumes" and "containers" in value:
            for i, volume in enumerate(item):
                source = volume.get("image") if isinstance(volume, dict) else None
                image = source.get("reference") if isinstance(source, dict) else None
                if isinstance(image, str) and image:
                    found[(*path, name, i, "image", "reference")] = image
        _containers(item, (*path, name), found)
