"""The cheap half of the proof, always made: old and new text are parsed and walked side by side.

Exactly the intended scalars differ, exactly the intended keys and entries come and go; every anchor, tag, style,
comment and byte elsewhere is equal. Nothing here trusts `write`: an edit is judged by what the parser reads.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from image_updater.documents import Alias, Document, Mapping, Node, Scalar, Sequence, parse
from image_updater.documents.values import is_string
from image_updater.errors import DocumentError, Refused, Where
from image_updater.kustomize.model import Path, dotted
from image_updater.patch.inline import open_block
from image_updater.patch.layout import line_number
from image_updater.patch.model import Edit, EditKind
from image_updater.patch.splice import splice

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

_BREAK = re.compile(r"\r\n|\r|\n")
_BLANK_END = re.compile(r"[ \t]+(?=[\r\n]|\Z)")
_GLUE = frozenset(" \r\n-:,{}[]")
"""What inserted text may hold beside its scalars."""


def verify_parse(old: str, new: str, edits: Seq[Edit], file: str | None = None) -> None:
    """Raises Refused with the first difference that no edit explains, or the first edit that had no effect."""
    expected = splice(old, edits)
    if expected != new:
        at = next(
            (i for i, (a, b) in enumerate(zip(expected, new, strict=False)) if a != b), min(len(expected), len(new))
        )
        raise Refused(
            "the new text differs outside the edits", where=Where(file=file, line=line_number(new, min(at, len(new))))
        )
    before = parse(old, file=file)
    try:
        after = parse(new, file=file)
    except DocumentError as exc:
        raise Refused(f"the file would no longer be YAML: {exc.message}", where=exc.where) from exc
    _Walk(old, new, edits, file).documents(before, after)


class _Walk:
    def __init__(self, old: str, new: str, edits: Seq[Edit], file: str | None) -> None:
        self.old = old
        self.new = new
        self.file = file
        self.edits = list(edits)
        self.used: set[int] = set()
        self.added: dict[tuple[int, Path], str] = {}
        self.expected: dict[tuple[int, Path], str] = {}
        for edit in edits:
            for path, value in edit.items:
                self.expected[edit.document, path] = value
        self.document = 0

    # ------------------------------------------------------------------ documents

    def documents(self, before: list[Document], after: list[Document]) -> None:
        if len(before) != len(after) and not (not before and len(after) == 1 and self.expected):
            self.refuse(f"the file would hold {len(after)} documents, not {len(before)}", None)
        for i, new in enumerate(after):
            self.document = i
            self.nodes(before[i].root if before else None, new.root, ())
        for i, edit in enumerate(self.edits):
            if edit.kind is not EditKind.INSERT and i not in self.used:
                raise Refused(
                    f"the edit of {edit.field} changes nothing that YAML reads there",
                    where=Where(file=self.file, line=edit.line, field=edit.field),
                )
        if self.added != self.expected:
            missing = next(iter(self.expected.keys() - self.added.keys()), None)
            place = missing or next(key for key in self.added if self.added[key] != self.expected.get(key))
            self.refuse(
                f"the insert reads as {self.added.get(place)!r}, not {self.expected.get(place)!r}", None, place[1]
            )
        if any(edit.kind is EditKind.INSERT for edit in self.edits):
            self.inserted_text(after)

    def inserted_text(self, after: list[Document]) -> None:
        """Inserted text is scalars and the glue between them: no comment, no blanks at the ends of lines."""
        spans: list[tuple[int, int]] = []
        for document in after:
            _spans(document.root, spans)
        spans.sort()
        shift = 0
        for edit in sorted(self.edits, key=lambda e: (e.start, e.end)):
            start, end = edit.start + shift, edit.start + shift + len(edit.text)
            shift += len(edit.text) - (edit.end - edit.start)
            if edit.kind is not EditKind.INSERT:
                continue
            rest: list[str] = []
            at = start
            for begin, finish in spans:
                if finish > at and begin < end and begin >= start:
                    rest.append(self.new[at:begin])
                    at = finish
            rest.append(self.new[at:end])
            if not set("".join(rest)) <= _GLUE or _BLANK_END.search(edit.text) or at > end:
                self.refuse(f"the insert of {edit.field} holds more than its values", None)

    def removed_text(self, edit: Edit, key: Node, value: Scalar) -> None:
        """A removal takes the pair, its separator, a comment behind it and at most one line break."""
        around = self.old[edit.start : key.start] + self.old[value.end : edit.end]
        ragged = self.old[edit.end - 1 : edit.end] in (" ", "\t") and edit.end not in self.starts()
        if len(_BREAK.findall(around)) > 1 or ragged:
            self.refuse(f"the removal of {edit.field} takes more than its line", value)

    def starts(self) -> set[int]:
        spans: list[tuple[int, int]] = []
        for document in parse(self.old, file=self.file):
            _spans(document.root, spans)
        return {start for start, _ in spans}

    # ------------------------------------------------------------------ nodes

    def nodes(self, old: Node | None, new: Node | None, path: Path) -> None:
        if old is None or new is None:
            if new is not None:
                self.collect(new, path)
            elif old is not None:
                self.refuse("it would be gone", old, path)
            return
        if isinstance(old, Scalar) and isinstance(new, Scalar):
            self.scalars(old, new, path)
            return
        if type(old) is not type(new):
            if (
                isinstance(old, Scalar)
                and isinstance(new, Sequence)
                and old.value in ("", "~", "null")
                and not old.style
            ):
                self.collect(new, path)
                return
            self.refuse(f"it would turn from {_name(old)} to {_name(new)}", old, path)
        if isinstance(old, Alias) and isinstance(new, Alias):
            if old.name != new.name:
                self.refuse(f"the alias *{old.name} would become *{new.name}", old, path)
            return
        assert isinstance(old, Mapping | Sequence)
        assert isinstance(new, Mapping | Sequence)
        if (old.anchor, old.tag, old.flow) != (new.anchor, new.tag, new.flow):
            self.refuse("its anchor, tag or style would change", old, path)
        if isinstance(old, Sequence) and isinstance(new, Sequence):
            self.sequences(old, new, path)
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            self.mappings(old, new, path)

    def sequences(self, old: Sequence, new: Sequence, path: Path) -> None:
        if len(new.items) < len(old.items):
            self.refuse(f"the list would have {len(new.items)} entries, not {len(old.items)}", old, path)
        for i, item in enumerate(new.items):
            if i < len(old.items):
                self.nodes(old.items[i], item, (*path, i))
            else:
                self.collect(item, (*path, i))

    def mappings(self, old: Mapping, new: Mapping, path: Path) -> None:
        at = 0
        for key, value in new.items:
            while at < len(old.items) and not self.same_key(old.items[at][0], key) and self.removed(old, at, path):
                at += 1
            if at < len(old.items) and self.same_key(old.items[at][0], key):
                if isinstance(key, Scalar):
                    self.nodes(old.items[at][1], value, (*path, key.value))
                else:
                    self.nodes(old.items[at][1], value, (*path, "?"))
                at += 1
            else:
                if not isinstance(key, Scalar):
                    self.refuse("a key that is no scalar would appear", new, path)
                self.collect(value, (*path, key.value))
        while at < len(old.items):
            if not self.removed(old, at, path):
                self.refuse("it would be gone", old.items[at][0], (*path, _key(old.items[at][0])))
            at += 1

    def same_key(self, old: Node, new: Node) -> bool:
        if isinstance(old, Scalar) and isinstance(new, Scalar):
            return (old.value, old.style, old.tag, old.anchor) == (new.value, new.style, new.tag, new.anchor)
        return _shape(old) == _shape(new)

    def removed(self, mapping: Mapping, at: int, path: Path) -> bool:
        key, value = mapping.items[at]
        for i, edit in enumerate(self.edits):
            if edit.kind is not EditKind.REMOVE or i in self.used or edit.document != self.document:
                continue
            if edit.field != dotted((*path, _key(key))) or not isinstance(value, Scalar) or value.value != edit.old:
                continue
            if edit.start <= key.start and value.end <= edit.end:
                self.used.add(i)
                self.removed_text(edit, key, value)
                return True
        return False

    def collect(self, node: Node, path: Path) -> None:
        """Everything below a node that was not there."""
        if isinstance(node, Alias) or node.anchor is not None or node.tag is not None:
            self.refuse("an alias, an anchor or a tag would appear", node, path)
        if isinstance(node, Scalar):
            if not is_string(node):
                self.refuse(f"{node.value!r} would be read as something else than a string", node, path)
            if (self.document, path) in self.added or (self.document, path) not in self.expected:
                self.refuse(f"{node.value!r} would appear", node, path)
            self.added[self.document, path] = node.value
        elif isinstance(node, Sequence):
            for i, item in enumerate(node.items):
                self.collect(item, (*path, i))
        else:
            for key, value in node.items:
                self.collect(value, (*path, _key(key)))

    # ------------------------------------------------------------------ scalars

    def scalars(self, old: Scalar, new: Scalar, path: Path) -> None:
        if (old.anchor, old.tag) != (new.anchor, new.tag):
            self.refuse("its anchor or tag would change", old, path)
        mine = [
            (i, edit)
            for i, edit in enumerate(self.edits)
            if edit.kind is EditKind.SCALAR and i not in self.used and old.start <= edit.start and edit.end <= old.end
        ]
        if not mine:
            if (old.value, old.style) != (new.value, new.style):
                self.refuse(f"{old.value!r} would become {new.value!r}", old, path)
            return
        self.used.update(i for i, _ in mine)
        if old.style in ("|", ">"):
            self.inline(old, new, [edit for _, edit in mine], path)
            return
        if new.style != old.style and (old.style or new.style != '"'):
            self.refuse("its quotes would change", old, path)
        whole = [edit for _, edit in mine if (edit.start, edit.end) == (old.start, old.end)]
        if whole:
            edit = whole[0]
            wanted = edit.new
            text = edit.text.removeprefix(" ") if edit.start == edit.end else edit.text
            if len(mine) > 1 or old.value != edit.old or self.new[new.start : new.end] != text:
                self.refuse(f"the edit {edit.text!r} is not the new value's text", old, path)
        else:
            raw, at = "", old.start
            for _, edit in sorted(mine, key=lambda pair: pair[1].start):
                if self.old[edit.start : edit.end] != edit.old or edit.text != edit.new:
                    self.refuse(f"the edit {edit.text!r} is not the new value's text", old, path)
                raw += self.old[at : edit.start] + edit.text
                at = edit.end
            raw += self.old[at : old.end]
            wanted = raw[1:-1] if old.style else raw
        if new.value != wanted:
            self.refuse(f"{old.value!r} would become {new.value!r}, not {wanted!r}", old, path)
        if not is_string(new):
            self.refuse(f"{new.value!r} would be read as something else than a string", old, path)

    def inline(self, old: Scalar, new: Scalar, edits: list[Edit], path: Path) -> None:
        """Inside a literal block scalar (an inline patch) the same rules hold, for the text inside."""
        before, after = open_block(self.old, old), open_block(self.new, new)
        if before is None or after is None or old.style != new.style:
            self.refuse("the text inside the block scalar does not map back to the file", old, path)
        inner: list[Edit] = []
        for edit in edits:
            start, end = before.inner(edit.start), before.inner(edit.end)
            if start is None or end is None:
                self.refuse("the edit reaches out of the block scalar's text", old, path)
            inner.append(replace(edit, start=start, end=end, document=0))
        try:
            verify_parse(before.text, after.text, inner, self.file)
        except DocumentError as exc:
            raise Refused(
                f"the text inside is no YAML: {exc.message}", where=Where(file=self.file, line=old.line)
            ) from exc

    def refuse(self, why: str, node: Node | None, path: Path = ()) -> NoReturn:
        raise Refused(
            f"the edit would change more than it may: {why}",
            where=Where(file=self.file, line=node.line if node is not None else None, field=dotted(path) or None),
        )


def _key(node: Node) -> str:
    return node.value if isinstance(node, Scalar) else "?"


def _name(node: Node) -> str:
    return {Scalar: "a value", Mapping: "a mapping", Sequence: "a list", Alias: "an alias"}[type(node)]


def _shape(node: Node) -> object:
    """A key that is no scalar, for comparing."""
    if isinstance(node, Scalar):
        return node.value, node.style, node.tag, node.anchor
    if isinstance(node, Alias):
        return "*", node.name
    if isinstance(node, Sequence):
        return [_shape(item) for item in node.items]
    return [(_shape(key), _shape(value)) for key, value in node.items]


def _spans(node: Node | None, spans: list[tuple[int, int]]) -> None:
    if isinstance(node, Scalar):
        if node.end > node.start:
            spans.append((node.start, node.end))
    elif isinstance(node, Sequence):
        for item in node.items:
            _spans(item, spans)
    elif isinstance(node, Mapping):
        for key, value in node.items:
            _spans(key, spans)
            _spans(value, spans)
