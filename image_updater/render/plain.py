"""The render of plain manifests: their own documents, one after the other. No build, no binary.

A document is an object when it has `apiVersion` and `kind` (a `List` counts); the rest of a file (values,
configuration, templates that are no YAML) is no part of what gets applied. Locate reports unreadable files as
problems; here they are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from image_updater.documents import decode, parse
from image_updater.documents.nodes import Mapping, Scalar, Sequence, resolve
from image_updater.errors import DocumentError
from image_updater.kustomize.model import EntryKind
from image_updater.render.cache import MemoryCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.documents.nodes import Node
    from image_updater.kustomize.model import Root, Tree

_SUFFIXES = (".yaml", ".yml", ".json")
_KEPT = MemoryCache(32 * 1024**2)
"""Objects of files by blob id, joined by what no YAML may hold."""
_BETWEEN = "\0"
_VISIBLE = re.compile(r"[^\r\n]")


def concatenate(tree: Tree, root: Root) -> bytes:
    """The objects of a plain root in the order of their paths, joined by `---`."""
    files = tree.files()
    parts: list[str] = []
    for path in sorted(root.closure):
        entry = files.get(path)
        if entry is not None and entry.kind is EntryKind.FILE and path.endswith(_SUFFIXES):
            parts.extend(_objects_of(entry.oid, tree, path))
    return "".join(_joined(parts)).encode()


def manifests(tree: Tree, root: Root) -> tuple[tuple[str, bytes], ...]:
    """The files of a plain root with their objects at their own lines; what is no object is blank."""
    files = tree.files()
    found = []
    for path in sorted(root.closure):
        entry = files.get(path)
        if entry is not None and entry.kind is EntryKind.FILE and path.endswith(_SUFFIXES):
            found.append((path, _blanked(tree.read(path))))
    return tuple(found)


def _blanked(data: bytes) -> bytes:
    """Raises DocumentError."""
    text = decode(data)
    pieces, at = [], 0
    for document in parse(text):
        if document.root is not None and not _is_object(document.root):
            pieces += [text[at : document.start], _VISIBLE.sub(" ", text[document.start : document.end])]
            at = document.end
    return "".join([*pieces, text[at:]]).encode()


def _joined(parts: list[str]) -> Iterator[str]:
    for index, part in enumerate(parts):
        if part.startswith("%"):
            yield "...\n" if index else ""  # directives may only follow an explicit end
        elif index and not part.startswith("---"):
            yield "---\n"
        yield part


def _objects_of(oid: str, tree: Tree, path: str) -> list[str]:
    kept = _KEPT.get(oid)
    if kept is None:
        kept = _BETWEEN.join(objects(tree.read(path))).encode()
        _KEPT.put(oid, kept)
    return kept.decode().split(_BETWEEN) if kept else []


def objects(data: bytes) -> list[str]:
    """The objects of one file, as text; none when it is no YAML."""
    try:
        text = decode(data)
        documents = parse(text)
    except DocumentError:
        return []
    parts: list[str] = []
    for document in documents:
        if document.root is None or not _is_object(document.root):
            continue
        start = document.start
        while start > 0 and text[start - 1] in " \t":
            start -= 1  # the first line's own indentation
        body = text[start : document.end]
        if body.rstrip().endswith("\n..."):
            body = body.rstrip()[:-3]
        parts.append(body if body.endswith("\n") else body + "\n")
    return parts


def _is_object(node: Node) -> bool:
    node = resolve(node)
    if isinstance(node, Sequence):
        return bool(node.items) and all(_is_object(item) for item in node.items)
    if not isinstance(node, Mapping):
        return False
    keys = {key.value for key, _ in node.items if isinstance(key, Scalar)}
    return {"apiVersion", "kind"} <= keys
