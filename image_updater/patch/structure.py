"""Inserts: a key or an entry that comes, in the layout of what stands around it.

Inserts are one contiguous piece of text. Block style: new lines behind a sibling's line, so comments, blank lines and a
missing final newline stay as they are. Flow style: behind the last member, before the bracket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from image_updater.documents import Alias, Document, Mapping, Node, Scalar, Sequence
from image_updater.errors import Refused, Where
from image_updater.kustomize import markers
from image_updater.kustomize.model import Path, dotted
from image_updater.patch import layout
from image_updater.patch.model import Change, Edit, EditKind
from image_updater.patch.quoting import fresh, replacement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Seq

_NEIGHBOURS = {
    "newName": ("name",),
    "newTag": ("newName", "name"),
    "tag": ("repository", "image"),
    "digest": ("newTag", "tag", "newName", "repository", "name"),
}
"""Behind which key a new one looks natural; else it goes to the end."""
_TELLING = ("newTag", "digest", "tag", "newName", "name")
_T = TypeVar("_T")


@dataclass(slots=True)
class _Place:
    """Where a piece goes: behind the line that ends at `at` (`led`: a line break comes first), or before that line."""

    at: int
    led: bool = True

    def text(self, lines: Iterable[str], eol: str) -> str:
        piece = eol.join(lines)
        return eol + piece if self.led else piece + eol


def inserts(changes: Seq[Change], text: str, documents: Seq[Document], gone: Seq[Node], file: str) -> list[Edit]:
    """The edits of all INSERT changes of a file. The same one twice is one; contradictions are Refused naming both."""
    edits: list[tuple[int, Edit]] = []
    keyed: dict[tuple[int, Path, str], Change] = {}
    appended: dict[tuple[int, Path], list[Change]] = {}
    for change in changes:
        if not change.items:
            raise ValueError(f"nothing to insert: {change}")
        inserter = _Inserter(change, text, documents, gone, file)
        if change.append:
            others = appended.setdefault((change.document, change.parent), [])
            if any(other.items == change.items for other in others):
                continue
            for other in others:
                if other.items[0] == change.items[0]:
                    raise _contradiction(other, change, file)
            created = inserter.node(change.parent) is None
            edits.append((len(change.parent) - created, inserter.append(len(others))))
            others.append(change)
            continue
        for key, value in change.items:
            place = change.document, change.parent, key
            known = keyed.get(place)
            if known is None:
                already = any(other[:2] == place[:2] for other in keyed)
                edits += [(len(change.parent), edit) for edit in inserter.add(key, value, already)]
                keyed[place] = change
            elif dict(known.items)[key] != value:
                raise _contradiction(known, change, file)
    # Behind one line, what belongs deeper comes first.
    return [edit for _, edit in sorted(edits, key=lambda pair: -pair[0])]


def says_nothing(node: Scalar) -> bool:
    """`digest: ""`, `digest:` and `digest: null` are as good as no digest."""
    return not node.value or (not node.style and node.tag is None and node.value in ("~", "null", "Null", "NULL"))


def _contradiction(one: Change, other: Change, file: str) -> Refused:
    def wants(change: Change) -> str:
        return f"{change.policy or change.site} wants {', '.join(f'{key}: {value}' for key, value in change.items)}"

    return Refused(
        f"two inserts contradict each other: {wants(one)}; {wants(other)}",
        where=Where(file=file, field=dotted(one.parent)),
    )


class _Inserter:
    """One INSERT change."""

    def __init__(self, change: Change, text: str, documents: Seq[Document], gone: Seq[Node], file: str) -> None:
        self.change = change
        self.text = text
        self.gone = gone
        self.where = Where(file=file, field=dotted(change.parent))
        if change.document >= max(len(documents), 1):
            raise Refused(f"the file has no document {change.document}", where=self.where)
        self.document = documents[change.document] if documents else Document(0, None, 0, len(text))

    # ------------------------------------------------------------------ a key into a mapping

    def add(self, key: str, value: str, already: bool) -> list[Edit]:
        node = self.node(self.change.parent)
        if not isinstance(node, Mapping):
            raise Refused("there is no mapping to insert into", where=self.where)
        for name, held in node.items:
            if isinstance(name, Scalar) and name.value == key and held not in self.gone:
                if isinstance(held, Scalar) and held.value == value:
                    return []
                if isinstance(held, Scalar) and says_nothing(held):
                    return [self.fill(held, key, value, flow=node.flow)]
                raise Refused(f"it has {key!r} already", where=self.where)
        path = (*self.change.parent, key)
        items = ((path, value),)
        if node.flow:
            after = self.neighbour(node, key)
            at, written = self.into_flow(node, after, self.pair(node, key, value), already)
        else:
            after = self.neighbour(node, key)
            if after is None:
                raise Refused("every key of the mapping goes away", where=self.where)
            place = self.behind(after)
            at = place.at
            written = place.text([" " * node.column + self.pair(node, key, value)], self.eol(at))
        return [self.edit(at, at, written, path, value, items)]

    def fill(self, held: Scalar, key: str, value: str, *, flow: bool) -> Edit:
        """The key is there without a value (`digest: ""`): it gets one."""
        if held.anchor is not None:
            raise Refused(f"{key!r} carries an anchor: it may be used elsewhere", where=self.where)
        new = replacement(held, self.text[held.start : held.end], value, flow=flow)
        if held.start == held.end:
            before = self.text[held.start - 1 : held.start]
            if not self.text[: held.start].rstrip(" \t").endswith(":"):
                raise Refused(f"there is no place for the value of {key!r} that is clear", where=self.where)
            new = new if before in (" ", "\t") else f" {new}"
        path = (*self.change.parent, key)
        return Edit(
            kind=EditKind.SCALAR,
            file=self.change.file,
            line=held.line,
            field=dotted(path),
            old=held.value,
            new=value,
            policy=self.change.policy,
            start=held.start,
            end=held.end,
            text=new,
            site=self.change.site,
            document=self.change.document,
        )

    def neighbour(self, node: Mapping, key: str) -> Node | None:
        """The value behind whose line the new key goes."""
        staying = [(name, value) for name, value in node.items if value not in self.gone]
        for wanted in _NEIGHBOURS.get(key, ()):
            for name, value in staying:
                if isinstance(name, Scalar) and name.value == wanted and isinstance(value, Scalar | Alias):
                    return value
        plain = [value for _, value in staying if not layout.is_block_scalar(layout.last_leaf(value))]
        return plain[-1] if plain else staying[-1][1] if staying else None

    def pair(self, node: Mapping | None, key: str, value: str, *, flow: bool | None = None) -> str:
        quote = layout.key_quote(node) if node is not None else ""
        flow = flow if flow is not None else (node is not None and node.flow)
        style = layout.value_quote(node, key) if node is not None else ""
        if quote == '"' and flow:
            style = '"'  # JSON stays JSON
        return f"{quote}{key}{quote}: {fresh(value, flow=flow, style=style)}"

    # ------------------------------------------------------------------ an entry onto a sequence

    def append(self, already: int) -> Edit:
        """`already`: how many entries other changes append before this one."""
        change = self.change
        node = self.node(change.parent)
        if isinstance(node, Sequence) and (node.items or not node.flow):
            index = len(node.items) + already
        else:
            index = already
        items = tuple(((*change.parent, index, key), value) for key, value in change.items)
        key, value = next(((k, v) for name in _TELLING for k, v in change.items if k == name), change.items[-1])
        start, end, written = self.entry(node, already)
        return self.edit(start, end, written, (*change.parent, index, key), value, items)

    def entry(self, node: Node | None, already: int) -> tuple[int, int, str]:
        if isinstance(node, Sequence):
            like = next((item for item in reversed(node.items) if isinstance(item, Mapping)), None)
            if node.flow:
                last = node.items[-1] if node.items else None
                at, written = self.into_flow(node, last, self.flow_entry(like), already > 0)
                return at, at, written
            place = self.behind(node.items[-1])
            gap = (
                like.column - node.column - 1
                if like is not None and not like.flow and like.line == self.dash(like)
                else 1
            )
            lines = self.block_entry(node.column, gap, like)
            return place.at, place.at, place.text(lines, self.eol(place.at))
        if isinstance(node, Scalar):
            return self.in_place_of_null(node, already)
        if node is not None:
            raise Refused("it is no list", where=self.where)
        return self.new_key(already)

    def dash(self, item: Mapping) -> int:
        """The line of the dash before an item: its own line if a dash stands before it there."""
        head = self.text[layout.line_start(self.text, item.start) : item.start]
        return item.line if head.rstrip(" ").endswith("-") else -1

    def block_entry(self, column: int, gap: int, like: Mapping | None) -> list[str]:
        lines: list[str] = []
        for key, value in self.change.items:
            head = f"{' ' * column}-{' ' * gap}" if not lines else " " * (column + 1 + gap)
            lines.append(head + self.pair(like if like is not None and not like.flow else None, key, value))
        return lines

    def flow_entry(self, like: Mapping | None, *, json: bool = False) -> str:
        pairs: list[str] = []
        for key, value in self.change.items:
            if json:
                pairs.append(f'"{key}": {fresh(value, flow=True, style=chr(34))}')
            else:
                pairs.append(self.pair(like, key, value, flow=True))
        return "{" + ", ".join(pairs) + "}"

    def in_place_of_null(self, node: Scalar, already: int) -> tuple[int, int, str]:
        """`images:` without a value, or with an explicit null."""
        if node.style or node.tag is not None or node.anchor is not None or node.value not in ("", "~", "null"):
            raise Refused("it is no list", where=self.where)
        parent = self.node(self.change.parent[:-1])
        assert isinstance(parent, Mapping)
        if node.value or parent.flow:
            self.only_one(already)
            head = "" if self.text[node.start - 1] in " \t" else " "
            return node.start, node.end, head + "[" + self.flow_entry(None, json=layout.key_quote(parent) == '"') + "]"
        column = parent.column + layout.sequence_indent(self.document.root)
        place = _Place(layout.line_end(self.text, node.end))
        return place.at, place.at, place.text(self.block_entry(column, 1, None), self.eol(place.at))

    def new_key(self, already: int) -> tuple[int, int, str]:
        """The list itself is missing: its key comes at the end of the mapping above, or of the document.

        Where another change of this run has made it `already`, only the entry follows.
        """
        *above, key = self.change.parent
        if not isinstance(key, str):
            raise Refused("there is no such list", where=self.where)
        parent = self.node(tuple(above))
        indent = layout.sequence_indent(self.document.root)
        if parent is None and not above:
            if self.document.root is not None:
                raise Refused("the document is no mapping", where=self.where)
            place = self.end_of_document()
            lines = self.block_entry(indent, 1, None)
            return place.at, place.at, place.text(lines if already else [f"{key}:", *lines], self.eol(place.at))
        if not isinstance(parent, Mapping):
            raise Refused(f"there is no mapping for the key {key!r}", where=self.where)
        quote = layout.key_quote(parent)
        if parent.flow:
            self.only_one(already)
            json = quote == '"'
            piece = f"{quote}{key}{quote}: [{self.flow_entry(None, json=json)}]"
            at, written = self.into_flow(parent, parent.items[-1][1] if parent.items else None, piece, False)
            return at, at, written
        lines = self.block_entry(parent.column + indent, 1, None)
        if not already:
            lines.insert(0, " " * parent.column + f"{quote}{key}{quote}:")
        place = self.behind(parent) if above else self.end_of_document()
        return place.at, place.at, place.text(lines, self.eol(place.at))

    def only_one(self, already: int) -> None:
        if already:
            raise Refused(
                "two new entries for a list in flow style that is not there yet",
                where=self.where,
                remedy="add `images: []`",
            )

    # ------------------------------------------------------------------ places

    def node(self, path: Path) -> Node | None:
        """The node at `path`, as it stands in the file: aliases and merges are not followed."""
        node = self.document.root
        chain: list[Node] = []
        for step in path:
            chain += [node] if node is not None else []
            if isinstance(node, Mapping) and isinstance(step, str):
                node = _last(value for key, value in node.items if isinstance(key, Scalar) and key.value == step)
            elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                return None
        chain += [node] if node is not None else []
        if isinstance(node, Alias) or any(_shared(self.document.root, each) for each in chain):
            raise Refused("it is shared through a YAML alias", where=self.where)
        return node

    def behind(self, node: Node) -> _Place:
        """Behind the last line of a node's content."""
        leaf = layout.last_leaf(node)
        if leaf in self.gone:
            return self.instead(leaf)
        if not layout.is_block_scalar(leaf):
            return _Place(layout.line_end(self.text, leaf.end))
        if "+" in self.text[leaf.start : layout.line_end(self.text, leaf.start)].partition("#")[0]:
            if leaf.end == layout.line_start(self.text, leaf.end):
                return _Place(leaf.end, led=False)
            return _Place(leaf.end)
        at = layout.last_line(self.text, leaf.start, leaf.end)
        return _Place(at if at is not None else leaf.end)

    def instead(self, leaf: Node) -> _Place:
        """Before the line of a key that goes: the removal takes its line break along, or else the one before it."""
        start, end = layout.line_start(self.text, leaf.start), layout.line_end(self.text, leaf.end)
        if layout.after_break(self.text, end) > end or start == 0:
            return _Place(start, led=False)
        return _Place(start - len(layout.line_break(self.text, start)))

    def end_of_document(self) -> _Place:
        """Behind the last line of the document that is not blank, trailing comments included."""
        root = self.document.root
        end = layout.content_end(self.document, self.text)
        at = layout.last_line(self.text, self.document.start, end)
        if at is None:
            start = self.document.start + self.text.startswith("\ufeff", self.document.start)
            return _Place(start, led=False)
        if root is not None:
            if self.open_ended(root):
                # A line break behind it would become part of the text: the new key goes before the last one.
                assert isinstance(root, Mapping)
                return _Place(layout.line_start(self.text, root.items[-1][0].start), led=False)
            place = self.behind(root)
            leaf = layout.last_leaf(root)
            if place.at > at or (leaf in self.gone and at == layout.line_end(self.text, leaf.end)):
                return place
        return _Place(at)

    def open_ended(self, root: Node) -> bool:
        """Does the file end inside a block scalar, without the line break that its value would have?"""
        leaf = layout.last_leaf(root)
        if not isinstance(root, Mapping) or not isinstance(leaf, Scalar) or not layout.is_block_scalar(leaf):
            return False
        header = self.text[leaf.start : layout.line_end(self.text, leaf.start)]
        return (
            leaf.end == len(self.text) and not self.text.endswith(("\n", "\r")) and "-" not in header.partition("#")[0]
        )

    def into_flow(self, node: Mapping | Sequence, after: Node | None, piece: str, already: bool) -> tuple[int, str]:
        """Behind a member, or as the first one; `already`: another change has put one into the empty brackets."""
        if after is None:
            return node.start + 1, f", {piece}" if already else piece
        at = after.end
        rest = self.text[at : layout.line_end(self.text, at)]
        if "#" in rest and markers.mentions(rest):
            raise Refused("a marker stands behind the place where it would go", where=self.where)
        first = after.start
        if isinstance(node, Mapping):
            first = next(key.start for key, value in node.items if value is after)
        head = self.text[layout.line_start(self.text, first) : first]
        if not head.strip(" \t") and first > node.start + 1 and "#" not in rest:
            return at, "," + self.eol(at) + head + piece
        return at, ", " + piece

    def eol(self, at: int) -> str:
        return layout.line_break(self.text, at)

    def edit(
        self, start: int, end: int, text: str, path: Path, value: str, items: tuple[tuple[Path, str], ...]
    ) -> Edit:
        change = self.change
        return Edit(
            kind=EditKind.INSERT,
            file=change.file,
            line=layout.line_number(self.text, start),
            field=dotted(path),
            old=None,
            new=value,
            policy=change.policy,
            start=start,
            end=end,
            text=text,
            site=change.site,
            document=change.document,
            items=items,
        )


def _last(values: Iterable[_T]) -> _T | None:
    found = None
    for found in values:  # noqa: B007 - the last one counts
        pass
    return found


def _shared(root: Node | None, node: Node) -> bool:
    """Is this very node the target of an alias of its document?"""
    if root is None or isinstance(node, Alias) or node.anchor is None:
        return False
    stack: list[Node] = [root]
    while stack:
        each = stack.pop()
        if isinstance(each, Alias):
            if each.target is node:
                return True
        elif isinstance(each, Sequence):
            stack.extend(each.items)
        elif isinstance(each, Mapping):
            stack.extend(value for _, value in each.items)
    return False
