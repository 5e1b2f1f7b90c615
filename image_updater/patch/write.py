"""Changes of meaning to edits of text: the one place where characters are decided.

`write` never dumps YAML. A scalar's span gets new text in its own style; inserts copy the layout around them
(`structure`); removals take the whole line (`removal`). Everything else of a file stays, byte by byte, and `verify`
proves it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from image_updater.documents import Alias, Document, Mapping, Node, Scalar, Sequence, parse
from image_updater.errors import Refused, Where
from image_updater.kustomize.model import ScalarRef
from image_updater.patch.inline import open_block
from image_updater.patch.model import Change, Edit, EditKind
from image_updater.patch.quoting import is_legal_plain, replacement
from image_updater.patch.removal import removal
from image_updater.patch.structure import inserts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping as Map
    from collections.abc import Sequence as Seq

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@:/+")


def write(texts: Map[str, str], changes: Seq[Change]) -> list[Edit]:
    """The edits for `changes`, in the order of files and places. `texts`: the decoded text of every file that is named.

    The same change wanted twice is one edit. Raises Refused (DocumentError for a file that is no YAML) when a change
    cannot be written, or when two of them contradict each other or overlap.
    """
    by_file: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_file[change.file].append(change)
    edits: list[Edit] = []
    for file in sorted(by_file):
        edits += _write_file(file, texts[file], by_file[file])
    return edits


def _write_file(file: str, text: str, changes: list[Change]) -> list[Edit]:
    documents = parse(text, file=file)
    index = _Index(text, documents)
    edits: list[Edit] = []
    scalars: dict[tuple[int, int], Change] = {}
    removed: dict[tuple[int, int], Change] = {}
    added: list[Change] = []
    for change in changes:
        if change.kind is EditKind.INSERT:
            added.append(change)
            continue
        if change.scalar is None or (change.value is None) == (change.kind is EditKind.SCALAR):
            raise ValueError(f"incomplete change: {change}")
        place = change.scalar.start, change.scalar.end
        table, other = (scalars, removed) if change.kind is EditKind.SCALAR else (removed, scalars)
        known = table.get(place) or other.get(place)
        if known is None:
            table[place] = change
        elif (known.kind, known.value) != (change.kind, change.value):
            raise _contradiction(known, change, file)
    edits += [_scalar_edit(change, text, index) for change in scalars.values()]
    gone: list[Node] = []
    for change in removed.values():
        assert change.scalar is not None
        edit, node = removal(change, change.scalar, text, index.found(change.scalar), gone)
        edits.append(edit)
        gone.append(node)
    edits += inserts(added, text, documents, gone, file)
    edits.sort(key=lambda edit: (edit.start, edit.end))
    for before, after in pairwise(edits):
        if after.start < before.end:
            raise Refused(
                f"the edits of {before.field} (for {before.policy}) and {after.field} (for {after.policy}) overlap",
                where=Where(file=file, line=after.line, field=after.field),
            )
    return edits


def _contradiction(one: Change, other: Change, file: str) -> Refused:
    scalar = one.scalar
    assert scalar is not None

    def wants(change: Change) -> str:
        what = f"{change.value!r}" if change.kind is EditKind.SCALAR else "it removed"
        return f"{change.policy or change.site} wants {what}"

    return Refused(
        f"two changes contradict each other: {wants(one)}, {wants(other)}",
        where=Where(file=file, line=scalar.line, field=scalar.field),
    )


def _scalar_edit(change: Change, text: str, index: _Index) -> Edit:
    scalar, value = change.scalar, change.value
    assert scalar is not None
    assert value is not None
    found = index.found(scalar)
    node, flow, source = found.node, found.flow, found.source
    where = Where(file=scalar.file, line=scalar.line, field=scalar.field)
    old = source[found.start : found.end]
    try:
        if (found.start, found.end) == (node.start, node.end):
            if node.value != scalar.value:
                raise Refused(f"the file holds {node.value!r} here, not {scalar.value!r}")
            new = replacement(node, old, value, flow=flow)
        else:
            new = _part(node, source, found.start, found.end, value, flow)
    except Refused as exc:
        raise Refused(exc.message, where=where, remedy=exc.remedy) from exc
    if found.start == found.end:
        new = _into_nothing(source, found.start, new, node, where)
    return Edit(
        kind=EditKind.SCALAR,
        file=scalar.file,
        line=scalar.line,
        field=scalar.field,
        old=scalar.value,
        new=value,
        policy=change.policy,
        start=scalar.start,
        end=scalar.end,
        text=new,
        site=change.site,
        document=scalar.document,
    )


def _part(node: Scalar, text: str, start: int, end: int, value: str, flow: bool) -> str:
    """A value that is a piece of a scalar (the ref of a remote base): only where the text reads as it is written."""
    if node.style in ("|", ">"):
        raise Refused("the value is part of a block scalar, which is never edited")
    quote = 1 if node.style else 0
    if text[node.start + quote : node.end - quote] != node.value or not set(value) <= _SAFE:
        raise Refused(
            "the value is part of a scalar that is not written as it reads",
            remedy="write it on one line, without escapes",
        )
    whole = text[node.start : start] + value + text[end : node.end]
    if not node.style and not is_legal_plain(whole, flow=flow):
        raise Refused(f"{whole!r} would need quotes", remedy="quote the value")
    return value


def _into_nothing(text: str, at: int, new: str, node: Scalar, where: Where) -> str:
    """An empty value has no text: what is written needs a blank before it, and a place that is really its own."""
    before = text[at - 1 : at]
    head = text[:at].rstrip(" \t")
    if before in ("", "\n", "\r") or not (head.endswith((":", "-")) or node.tag is not None or node.anchor is not None):
        raise Refused("there is no value whose place is clear", where=where, remedy='write "" where the value belongs')
    return new if before in (" ", "\t") else f" {new}"


class Found:
    """A scalar, what it stands in, and the text that its offsets belong to (the inner one for inline patches)."""

    __slots__ = ("end", "flow", "node", "parents", "source", "start")

    def __init__(
        self, node: Scalar, parents: tuple[Mapping | Sequence, ...], source: str, start: int, end: int
    ) -> None:
        self.node = node
        self.parents = parents
        self.source = source
        self.start = start
        self.end = end
        self.flow = any(parent.flow for parent in parents)


class _Index:
    """Looks scalars up by their place."""

    def __init__(self, text: str, documents: Iterable[Document]) -> None:
        self.text = text
        self.leaves: list[tuple[Scalar, tuple[Mapping | Sequence, ...]]] = []
        for document in documents:
            if document.root is not None:
                self._collect(document.root, ())
        self.exact = {(node.start, node.end): (node, parents) for node, parents in self.leaves}

    def _collect(self, node: Node, parents: tuple[Mapping | Sequence, ...]) -> None:
        if isinstance(node, Scalar):
            self.leaves.append((node, parents))
        elif isinstance(node, Sequence):
            for item in node.items:
                self._collect(item, (*parents, node))
        elif isinstance(node, Mapping):
            for _, value in node.items:
                self._collect(value, (*parents, node))
        else:
            assert isinstance(node, Alias)

    def found(self, ref: ScalarRef) -> Found:
        """The node of a reference. Raises Refused when there is none, or the reference is `frozen`."""
        where = Where(file=ref.file, line=ref.line, field=ref.field)
        if ref.frozen is not None:
            raise Refused(ref.frozen, where=where)
        exact = self.exact.get((ref.start, ref.end))
        if exact is not None:
            return Found(*exact, self.text, ref.start, ref.end)
        for node, parents in self.leaves:
            if node.start <= ref.start and ref.end <= node.end and ref.start < ref.end:
                if node.style == "|" and ref.inline:
                    return self._inside(node, ref, where)
                return Found(node, parents, self.text, ref.start, ref.end)
        raise Refused(f"the file has no value {ref.value!r} at this place", where=where, remedy="read the file again")

    def _inside(self, node: Scalar, ref: ScalarRef, where: Where) -> Found:
        inline = open_block(self.text, node)
        start = inline.inner(ref.start) if inline else None
        end = inline.inner(ref.end) if inline else None
        if inline is None or start is None or end is None:
            raise Refused("the text inside this block scalar does not map back to the file", where=where)
        inner = _Index(inline.text, parse(inline.text, file=ref.file))
        return inner.found(replace(ref, start=start, end=end, inline=False))
