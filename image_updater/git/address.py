"""Where an image stands in a YAML file, told by names: so it is found again in an older version of the file. Pure.

A document is known by kind, namespace and name, an element of a list by its `name` (a container, an entry of
`images:`), an assignment or a resource in a list by what stands before its value. Where there is no name, or nothing
has that name in the other version, the position counts, unless what stands there goes by a name that is known
elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from image_updater.documents import Mapping, Scalar, Sequence, decode, get, parse, resolve, string
from image_updater.errors import DocumentError
from image_updater.images.names import split

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Items

    from image_updater.documents import Document, Node, Path

Identity = tuple[str, str, str]
Span = tuple[int, int]
"""Characters of a text, from and to."""

_WORD = r"[A-Za-z0-9](?:[\w.+@:/=-]*[\w/=-])?"
_SIMPLE = re.compile(rf"({_WORD})|'({_WORD})'|\"({_WORD})\"")
"""A scalar that means what it says, wherever it stands."""
_REF = re.compile(r"[?&](?:ref|version)=([^&]*)")


class Role(StrEnum):
    """What a scalar says of an image."""

    IMAGE = "image"
    NAME = "name"
    TAG = "tag"
    DIGEST = "digest"
    REF = "ref"


@dataclass(frozen=True, slots=True)
class Value:
    """What a place holds. `name` only where nothing but the name is asked for."""

    tag: str | None = None
    digest: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        if self.tag is None and self.digest is None:
            return self.name or "nothing"
        return (self.tag or "") + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class Step:
    """A key of a mapping, or an element of a list: by `key` (the `nth` of them), else by `index`."""

    at: str | int
    key: str | None = None
    nth: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One scalar of a place."""

    role: Role
    document: int
    identity: Identity | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The scalars that together say which image stands somewhere in a file."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A place in one version of a file. `place` is as that version names it; `span` holds all that decides it, None
    where that is not known.
    """

    value: Value | None
    place: Place
    span: Span | None = None
    exact: bool = True
    """Everything was found by its name, nothing by its position alone."""
    texts: tuple[str | None, ...] = ()
    scalars: tuple[Span | None, ...] = ()
    """Of each field what its scalar says, and where it stands, as far as it stands in the file itself."""


class Version:
    """One version of a file: its text, and its documents when they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def text(self) -> str | None:
        """None where it is no text."""
        try:
            return decode(self._data)
        except DocumentError:
            return None

    @cached_property
    def documents(self) -> tuple[Document, ...] | None:
        """None where it is no YAML: nobody knows what it holds."""
        try:
            return tuple(parse(self.text)) if self.text is not None else None
        except DocumentError:
            return None


# ------------------------------------------------------------------------------------------------- naming a place


def field_at(version: Version, role: Role, document: int, path: Path, *, offset: int | None = None) -> Field:
    """The field at a path of this version, with the names that are on the way. What is not there keeps its path.

    `offset`: a character of it, or of what holds it, where that is known: it tells the document.
    """
    documents = version.documents or ()
    there = next((each for each in documents if offset is not None and each.start <= offset < each.end), None)
    there = there or next((each for each in documents if each.index == document), None)
    root = there.root if there is not None else None
    steps: list[Step] = []
    node: Node | None = root
    for at in path:
        opened = _opened(node, at)
        steps.append(_step(opened, at))
        node = get(opened, at)
    return Field(role, there.index if there is not None else document, identity(root), tuple(steps))


def entry_field(version: Version, role: Role, document: int, path: Path, name: str, key: str) -> Field:
    """The field `key` of the element called `name` in the list at `path`; it need not be there."""
    found = field_at(version, role, document, path)
    return Field(role, document, found.identity, (*found.steps, Step(-1, name), Step(key)))


def identity(root: Node | None) -> Identity | None:
    kind = string(get(root, "kind"))
    if kind is None:
        return None
    meta = get(root, "metadata")
    return kind, string(get(meta, "namespace")) or "", string(get(meta, "name")) or ""


def _opened(node: Node | None, at: str | int) -> Node | None:
    """The node below which `at` is looked for: inside an inline text its documents, the first that has it."""
    if node is None:
        return None
    node = resolve(node)
    if not isinstance(node, Scalar) or not node.style:
        return node
    try:
        inner = parse(node.value)
    except DocumentError:
        return None
    roots = [each.root for each in inner if each.root is not None]
    return next((root for root in roots if get(root, at) is not None), roots[0] if roots else None)


def _step(node: Node | None, at: str | int) -> Step:
    if isinstance(at, str) or not isinstance(node, Sequence) or not 0 <= at < len(node.items):
        return Step(at)
    keys = element_keys(node)
    key = keys[at]
    return Step(at) if key is None else Step(at, key, keys[:at].count(key))


@lru_cache(maxsize=16)
def element_keys(node: Sequence) -> tuple[str | None, ...]:
    """What the elements of a list are called. Nodes never change, and one list is asked for many of its elements."""
    return tuple(element_key(item) for item in node.items)


def element_key(node: Node) -> str | None:
    """What an element of a list is called."""
    node = resolve(node)
    if isinstance(node, Scalar):
        before, sign, _ = node.value.partition("=")
        return before if sign else split(node.value)[0] or None
    if isinstance(node, Mapping):
        return string(get(node, "name")) or string(get(node, "path"))
    return None


# ------------------------------------------------------------------------------------------------- reading it


def read(version: Version, place: Place) -> Reading | None:
    """What the place holds in this version; None where the version is no YAML."""
    documents = version.documents
    if documents is None:
        return None
    texts: list[str | None] = []
    scalars: list[Span | None] = []
    fields: list[Field] = []
    spans: list[Span | None] = []
    exact = True
    for field in place.fields:
        root, number, sure = _document(documents, field)
        node, steps, span, named, outside = _follow(root, field.steps)
        exact = exact and sure and named
        texts.append(string(node))
        scalars.append((node.start, node.end) if isinstance(node, Scalar) and outside else None)
        spans.append(span)
        fields.append(Field(field.role, number, identity(root) if root is not None else field.identity, steps))
    known = [span for span in spans if span is not None]
    span = (min(s for s, _ in known), max(e for _, e in known)) if len(known) == len(spans) and known else None
    return Reading(
        _value(zip(place.fields, texts, strict=True)), Place(tuple(fields)), span, exact, tuple(texts), tuple(scalars)
    )


def _document(documents: Items[Document], field: Field) -> tuple[Node | None, int, bool]:
    """The document's root and number, and whether its name led there."""
    same = [each for each in documents if each.root is not None and identity(each.root) == field.identity]
    if same:
        found = next((each for each in same if each.index == field.document), same[0])
        return found.root, found.index, True
    there = next((each for each in documents if each.index == field.document), None)
    return (there.root if there is not None else None), field.document, False


_Followed = tuple["Node | None", tuple[Step, ...], "Span | None", bool, bool]


def _follow(root: Node | None, steps: Items[Step]) -> _Followed:
    """The node at the end of the steps, the steps as they are named here, the span around it, whether every element
    was found by its name, and whether the node stands in the file itself.
    """
    node: Node | None = root
    taken: list[Step] = []
    span: Span | None = None
    inside = False
    named = True
    for number, step in enumerate(steps):
        if node is None:
            return None, (*taken, *steps[number:]), span, named, False
        plain = resolve(node)
        if isinstance(plain, Scalar):
            # An inline text: its own offsets are of no use outside.
            opened = _opened(plain, step.at)
            inside = inside or opened is not plain
            plain = resolve(opened) if opened is not None else plain
        elif not inside and isinstance(plain, Mapping):
            span = (plain.start, plain.end)
        if isinstance(plain, Sequence):
            index, sure = _element(plain, step)
            named = named and sure
            if index is None:
                return None, (*taken, *steps[number:]), (span if not inside else None), named, False
            taken.append(_step(plain, index))
            node = plain.items[index]
        else:
            taken.append(step)
            node = get(plain, step.at)
        if node is not None and not inside:
            found = resolve(node)
            if (isinstance(found, Scalar) and number < len(steps) - 1) or (
                isinstance(found, Scalar) and isinstance(plain, Sequence)
            ):
                span = (found.start, found.end)
            if found is not node:
                span = None
                inside = True
    return node, tuple(taken), span, named, not inside


def _element(node: Sequence, step: Step) -> tuple[int | None, bool]:
    """Where in this list the element is, and whether its name says so."""
    if not isinstance(step.at, int):
        return None, False
    if step.key is None:
        return (step.at if 0 <= step.at < len(node.items) else None), True
    same = [index for index, key in enumerate(element_keys(node)) if key == step.key]
    if same:
        return same[min(step.nth, len(same) - 1)], True
    return None, False


def renamed(newer: Version, older: Version, place: Place) -> Place | None:
    """The place by position, where exactly that element or document has another name in the older version, one that
    the newer version does not know. None = there is no such thing.
    """
    before, after = older.documents, newer.documents
    if before is None or after is None:
        return None
    fields = []
    for field in place.fields:
        root, number, sure = _document(before, field)
        if root is None or (not sure and identity(root) in {identity(each.root) for each in after}):
            return None
        now, _, _ = _document(after, field)
        steps = _by_position(now, root, field.steps)
        if steps is None:
            return None
        fields.append(Field(field.role, number, identity(root), steps))
    return Place(tuple(fields))


def _by_position(now: Node | None, then: Node | None, steps: Iterable[Step]) -> tuple[Step, ...] | None:
    taken: list[Step] = []
    for step in steps:
        now, then = _opened(now, step.at), _opened(then, step.at)
        index: str | int = step.at
        if isinstance(then, Sequence) and isinstance(index, int):
            found, _ = _element(then, step)
            if found is None:
                theirs = set(element_keys(now)) if isinstance(now, Sequence) else set()
                if not 0 <= index < len(then.items) or element_keys(then)[index] in theirs:
                    return None
                found = index
            taken.append(_step(then, found))
            now, then = get(now, index), then.items[found]
        else:
            taken.append(step)
            now, then = get(now, index), get(then, index)
    return tuple(taken)


def _value(texts: Iterable[tuple[Field, str | None]]) -> Value | None:
    tag = digest = name = None
    found = False
    for field, text in texts:
        role = field.role
        if text is None:
            continue
        found = True
        held = _assigned(text) if role is not Role.REF else text
        if role is Role.REF:
            match = _REF.search(held)
            tag = match.group(1) if match else tag
        elif role is Role.NAME:
            name = held
        elif role is Role.DIGEST:
            digest = held or digest
        elif role is Role.IMAGE:
            _, tag, digest = split(held)
        else:
            own, _, beside = held.partition("@")
            tag, digest = own or tag, beside or digest
    return Value(tag or None, digest or None, name or None) if found else None


def _assigned(text: str) -> str:
    """What an assignment assigns: `TAG=1.0`, `--image=web:1.0`, `web=acme/web:1.0`."""
    _, sign, held = text.rpartition("=")
    return held if sign else text


# ------------------------------------------------------------------------------------------------- without parsing


def lacks(version: Version, place: Place) -> bool:
    """Is an entry that was looked for by its name surely not there: the text never has that name?"""
    text = version.text
    return text is not None and any(
        step.at == -1 and step.key is not None and step.key not in text
        for field in place.fields
        for step in field.steps
    )


def alike(newer: str, older: str) -> tuple[int, int]:
    """How many characters two texts begin, and then end, alike."""
    head = _common(newer, older)
    return head, _common(newer[head:][::-1], older[head:][::-1])


def carried(span: Span, common: tuple[int, int], newer: int, older: int) -> Span | None:
    """The span in the older text, where the two (of these lengths, and `alike` so far) differ only before it or only
    after it; None where they differ in it or beside it.
    """
    start, end = span
    head, tail = common
    if end < head:
        return span
    if start > newer - tail:
        return start + older - newer, end + older - newer
    return None


def moved(reading: Reading, span: Span) -> Reading:
    """The same, where everything stands at `span` now."""
    assert reading.span is not None
    by = span[0] - reading.span[0]
    if not by:
        return reading
    scalars = tuple(each and (each[0] + by, each[1] + by) for each in reading.scalars)
    return replace(reading, span=span, scalars=scalars)


def substituted(reading: Reading, newer: str, older: str, common: tuple[int, int]) -> Reading | None:
    """The reading of the older text, where nothing but the text of one simple scalar differs; None elsewhere."""
    head, tail = common
    by = len(older) - len(newer)
    at = next(
        (n for n, each in enumerate(reading.scalars) if each and each[0] <= head and len(newer) - tail <= each[1]), -1
    )
    if at < 0 or reading.span is None:
        return None
    start, end = reading.scalars[at] or (0, 0)
    text = _SIMPLE.fullmatch(older[start : end + by])
    if text is None or _SIMPLE.fullmatch(newer[start:end]) is None:
        return None
    texts = tuple(text.group(text.lastindex or 0) if n == at else each for n, each in enumerate(reading.texts))
    scalars = tuple(
        each and (each[0] + by * (each[0] > start), each[1] + by * (each[1] >= end)) for each in reading.scalars
    )
    value = _value(zip(reading.place.fields, texts, strict=True))
    return Reading(value, reading.place, (reading.span[0], reading.span[1] + by), reading.exact, texts, scalars)


def _common(one: str, other: str) -> int:
    """Characters that both begin with."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
