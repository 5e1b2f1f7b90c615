"""The node tree: scalars, mappings, sequences and aliases, each with its place in the text."""

from __future__ import annotations

from typing import TypeAlias

Path: TypeAlias = tuple["str | int", ...]
"""A place inside a document: keys and 0-based indexes, `("spec", "containers", 0, "image")`."""


class Scalar:
    """A scalar. `start:end` is its text with quotes but without anchor and tag; `value` is the string that YAML reads.

    `style` is `''` (plain), `'`, `"`, `|` or `>`. `tag` is an explicit tag or None; the implicit type is
    `values.implicit_tag`. `line` is 1-based, `column` 0-based. An empty value (`key:`) is a plain scalar of no length.
    """

    __slots__ = ("anchor", "column", "end", "line", "start", "style", "tag", "value")

    def __init__(
        self,
        value: str,
        start: int,
        end: int,
        line: int,
        column: int,
        style: str,
        tag: str | None = None,
        anchor: str | None = None,
    ) -> None:
        self.value = value
        self.start = start
        self.end = end
        self.line = line
        self.column = column
        self.style = style
        self.tag = tag
        self.anchor = anchor

    def __repr__(self) -> str:
        return f"Scalar({self.value!r}, line={self.line})"


class Mapping:
    """A mapping. `items` keeps the file's order and duplicates; `flow` is `{…}`."""

    __slots__ = ("anchor", "column", "end", "flow", "items", "line", "start", "tag")

    def __init__(
        self, start: int, line: int, column: int, flow: bool, tag: str | None = None, anchor: str | None = None
    ) -> None:
        self.items: list[tuple[Node, Node]] = []
        self.start = start
        self.end = start
        self.line = line
        self.column = column
        self.flow = flow
        self.tag = tag
        self.anchor = anchor

    def __repr__(self) -> str:
        return f"Mapping({len(self.items)} items, line={self.line})"


class Sequence:
    """A sequence. `column` is the column of the first dash (block) or bracket (flow)."""

    __slots__ = ("anchor", "column", "end", "flow", "items", "line", "start", "tag")

    def __init__(
        self, start: int, line: int, column: int, flow: bool, tag: str | None = None, anchor: str | None = None
    ) -> None:
        self.items: list[Node] = []
        self.start = start
        self.end = start
        self.line = line
        self.column = column
        self.flow = flow
        self.tag = tag
        self.anchor = anchor

    def __repr__(self) -> str:
        return f"Sequence({len(self.items)} items, line={self.line})"


class Alias:
    """`*name`; `target` is the anchored node itself, shared."""

    __slots__ = ("column", "end", "line", "name", "start", "target")

    def __init__(self, name: str, target: Node, start: int, end: int, line: int, column: int) -> None:
        self.name = name
        self.target = target
        self.start = start
        self.end = end
        self.line = line
        self.column = column

    def __repr__(self) -> str:
        return f"Alias({self.name!r}, line={self.line})"


Node: TypeAlias = Scalar | Mapping | Sequence | Alias


class Document:
    """One document of a file: index (0-based, empty ones count), root (None when empty), extent in the text."""

    __slots__ = ("end", "index", "root", "start")

    def __init__(self, index: int, root: Node | None, start: int, end: int) -> None:
        self.index = index
        self.root = root
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"Document({self.index}, {self.root!r})"


def resolve(node: Node) -> Scalar | Mapping | Sequence:
    """The node itself, or what an alias stands for."""
    while isinstance(node, Alias):
        node = node.target
    return node
