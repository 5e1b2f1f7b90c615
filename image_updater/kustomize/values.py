"""Values that remember where they came from: what the engine merges instead of plain strings.

A tree is `Map` (a dict with its place in a file), `list`, and at the ends `Leaf` (one scalar of one file) or `Text`
(a string put together from pieces of scalars: an image after `images:` ran, the value of a replacement). Trees are
never changed in place: `assign` and `without` copy along the path, so that a base is shared by all its overlays.
"""

from __future__ import annotations

from typing import TypeAlias

from image_updater.documents import Mapping, Node, Scalar, resolve
from image_updater.documents.nodes import Alias, Sequence
from image_updater.documents.values import implicit_tag, is_string
from image_updater.errors import DocumentError, Where
from image_updater.kustomize.model import MappingRef, Path, ScalarRef

STRING, ANCHORED, INLINE, NULL, PARTIAL = 1, 2, 4, 8, 16

MAX_NODES = 400_000
"""Nodes that a file may have once its aliases are expanded (a billion-laughs guard)."""


class Origin:
    """The place that the scalars of one reading of a file share: the file, and what the reading was for (`role`)."""

    __slots__ = ("file", "frozen", "role")

    def __init__(self, file: str, role: str = "", frozen: str | None = None) -> None:
        self.file = file
        self.role = role
        self.frozen = frozen


class Leaf:
    """One scalar of one file."""

    __slots__ = ("bits", "document", "end", "line", "origin", "owner", "path", "start", "style", "value")

    def __init__(
        self,
        value: str,
        start: int,
        end: int,
        line: int,
        style: str,
        bits: int,
        origin: Origin,
        document: int,
        path: Path,
    ) -> None:
        self.value = value
        self.start = start
        self.end = end
        self.line = line
        self.style = style
        self.bits = bits
        self.origin = origin
        self.document = document
        self.path = path
        self.owner: object = None

    def ref(self) -> ScalarRef:
        return ScalarRef(
            file=self.origin.file,
            document=self.document,
            path=self.path,
            line=self.line,
            start=self.start,
            end=self.end,
            value=self.value,
            style=self.style,
            string=bool(self.bits & STRING),
            inline=bool(self.bits & INLINE),
            anchored=bool(self.bits & ANCHORED),
            partial=bool(self.bits & PARTIAL),
            frozen=self.origin.frozen or _block(self.style),
        )

    def __repr__(self) -> str:
        return f"Leaf({self.value!r}, {self.origin.file}:{self.line})"


class Map(dict[str, "Value"]):
    """A mapping and its place."""

    __slots__ = ("document", "end", "line", "origin", "path", "start")

    line: int
    start: int
    end: int
    origin: Origin
    document: int
    path: Path

    def clone(self) -> Map:
        other = Map(self)
        other.line, other.start, other.end = self.line, self.start, self.end
        other.origin, other.document, other.path = self.origin, self.document, self.path
        return other

    def ref(self) -> MappingRef:
        return MappingRef(
            file=self.origin.file,
            document=self.document,
            path=self.path,
            line=self.line,
            start=self.start,
            end=self.end,
        )


class Text:
    """A string in pieces: `pieces` are (text, leaf or None, offset in the leaf's value)."""

    __slots__ = ("pieces", "value")

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self.pieces = pieces
        self.value = "".join(piece[0] for piece in pieces)

    def __repr__(self) -> str:
        return f"Text({self.value!r})"


Piece: TypeAlias = "tuple[str, Leaf | None, int]"
Value: TypeAlias = "Map | list[Value] | Leaf | Text"
Scalarish: TypeAlias = "Leaf | Text"


def _block(style: str) -> str | None:
    return "the value is a block scalar" if style in ("|", ">") else None


def pieces(value: Scalarish) -> tuple[Piece, ...]:
    return value.pieces if isinstance(value, Text) else ((value.value, value, 0),)


def join(parts: list[Scalarish | str]) -> Scalarish:
    """The pieces one after the other; neighbours of one scalar grow together, a whole scalar becomes itself again."""
    found: list[Piece] = []
    for part in parts:
        for text, leaf, offset in ((part, None, 0),) if isinstance(part, str) else pieces(part):
            if not text:
                continue
            if found and found[-1][1] is leaf and (leaf is None or found[-1][2] + len(found[-1][0]) == offset):
                found[-1] = (found[-1][0] + text, leaf, found[-1][2])
            else:
                found.append((text, leaf, offset))
    if len(found) == 1 and found[0][1] is not None and found[0][0] == found[0][1].value:
        return found[0][1]
    return Text(tuple(found))


def cut(value: Scalarish, start: int, end: int) -> Scalarish:
    """The characters `start:end` with their origins."""
    if start == 0 and end == len(value.value):
        return value
    found: list[Piece] = []
    at = 0
    for text, leaf, offset in pieces(value):
        low, high = max(start - at, 0), min(end - at, len(text))
        if low < high:
            found.append((text[low:high], leaf, offset + low))
        at += len(text)
    return Text(tuple(found))


def part_of(leaf: Leaf, start: int, end: int) -> Leaf:
    """Some characters of a scalar as a scalar of their own; frozen where they do not map to the file one by one."""
    length = leaf.end - leaf.start
    quotes = 1 if leaf.style in ("'", '"') else 0
    origin = leaf.origin
    if leaf.style in ("|", ">") or length != len(leaf.value) + 2 * quotes:
        origin = Origin(
            origin.file,
            origin.role,
            origin.frozen or "only a part of this scalar is meant, and it is written with escapes or line breaks",
        )
        first, last = leaf.start, leaf.end
    else:
        first, last = leaf.start + quotes + start, leaf.start + quotes + end
    return Leaf(
        leaf.value[start:end],
        first,
        last,
        leaf.line,
        leaf.style,
        leaf.bits | STRING | PARTIAL,
        origin,
        leaf.document,
        leaf.path,
    )


def split(value: Scalarish, delimiter: str) -> list[Scalarish]:
    """`str.split` with origins."""
    found: list[Scalarish] = []
    at = 0
    for part in value.value.split(delimiter):
        found.append(cut(value, at, at + len(part)))
        at += len(part) + len(delimiter)
    return found


# --- reading --------------------------------------------------------------------------------------------------------


def pack(node: Node | None, file: str | None = None) -> object:
    """A document as nested plain tuples, lists and dicts, for the cache: (value, start, end, line, style, bits),
    (line, start, end, dict) or a list. Aliases are expanded, merge keys applied. Raises DocumentError when that
    explodes."""
    budget = [MAX_NODES]

    def visit(node: Node, shared: int) -> object:
        budget[0] -= 1
        if budget[0] < 0:
            raise DocumentError(f"aliases expand to more than {MAX_NODES:,} nodes", where=Where(file=file))
        if type(node) is Alias:
            node, shared = resolve(node), ANCHORED
        if node.anchor is not None:  # type: ignore[union-attr]
            shared = ANCHORED
        if type(node) is Scalar:
            bits = shared
            if node.style == "" and node.tag is None:
                tag = implicit_tag(node.value)
                bits |= STRING if tag.endswith(":str") else NULL if tag.endswith(":null") else 0
            elif is_string(node):
                bits |= STRING
            return (node.value, node.start, node.end, node.line, node.style, bits)
        if type(node) is Sequence:
            return [visit(item, shared) for item in node.items]
        assert type(node) is Mapping
        members: dict[str, object] = {}
        merged: list[object] = []
        for key, value in node.items:
            name = key.value if type(key) is Scalar else str(key)
            if name == "<<" and type(key) is Scalar and key.style == "":
                source = visit(value, ANCHORED)
                merged.extend(source if isinstance(source, list) else [source])
            else:
                members[name] = visit(value, shared)
        for source in merged:
            if isinstance(source, tuple) and len(source) == 4:
                for name, value_ in source[3].items():
                    members.setdefault(name, value_)
        return (node.line, node.start, node.end, members)

    return None if node is None else visit(node, 0)


def unpack(packed: object, origin: Origin, document: int, path: Path = ()) -> Value:
    """What `pack` made, as values of one file."""
    if type(packed) is list:
        return [unpack(item, origin, document, (*path, i)) for i, item in enumerate(packed)]
    assert type(packed) is tuple
    if len(packed) == 4:
        node = Map()
        node.line, node.start, node.end, members = packed
        node.origin, node.document, node.path = origin, document, path
        for key, member in members.items():
            if type(member) is tuple and len(member) == 6:
                node[key] = Leaf(*member, origin, document, (*path, key))
            else:
                node[key] = unpack(member, origin, document, (*path, key))
        return node
    value, start, end, line, style, bits = packed
    return Leaf(value, start, end, line, style, bits, origin, document, path)


# --- looking and changing -------------------------------------------------------------------------------------------


def at(value: Value | None, *path: str | int) -> Value | None:
    """The value at `path`, or None."""
    for step in path:
        if type(value) is Map:
            value = value.get(step)  # type: ignore[arg-type]  # an index is no key, and finds nothing
        elif type(value) is list and type(step) is int and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: Value | None, *path: str | int) -> str | None:
    """The text of the scalar at `path`; None for null and for anything else."""
    found = at(value, *path)
    if type(found) is Leaf:
        return None if found.bits & NULL else found.value
    return found.value if type(found) is Text else None


def map_at(value: Value | None, *path: str | int) -> Map | None:
    found = at(value, *path)
    return found if isinstance(found, Map) else None


def list_at(value: Value | None, *path: str | int) -> list[Value]:
    found = at(value, *path)
    return found if isinstance(found, list) else []


def assign(value: Value, path: Path, new: Value) -> Value:
    """A copy in which `path` (which must exist but for its last step) is `new`."""
    if not path:
        return new
    step = path[0]
    if isinstance(value, Map):
        copy = value.clone()
        copy[str(step)] = assign(value[str(step)], path[1:], new) if len(path) > 1 else new
        return copy
    assert isinstance(value, list)
    assert isinstance(step, int)
    items = list(value)
    items[step] = assign(items[step], path[1:], new)
    return items


def made(value: str, like: Map) -> Leaf:
    """A scalar that no file holds as such (a prefixed name, a common label), placed at `like`."""
    leaf = Leaf(value, like.start, like.start, like.line, "", STRING, like.origin, like.document, like.path)
    leaf.origin = Origin(like.origin.file, like.origin.role, "the value is generated")
    return leaf


def empty_map(like: Map) -> Map:
    copy = like.clone()
    copy.clear()
    return copy


def texts(value: Value | None) -> list[Leaf]:
    """The scalars of a list (or the scalar itself), nulls left out."""
    if isinstance(value, Leaf):
        return [] if value.bits & NULL else [value]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, Leaf) and not item.bits & NULL]
    return []


def plain(value: Value | None) -> dict[str, str]:
    """A mapping of scalars as strings (labels, annotations)."""
    if not isinstance(value, Map):
        return {}
    return {key: item.value for key, item in value.items() if isinstance(item, Leaf | Text)}
