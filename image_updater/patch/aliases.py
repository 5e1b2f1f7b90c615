"""An anchored scalar changes everywhere it is used: it is edited only if every user of it is meant."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from image_updater.documents import Alias, Mapping, Node, Scalar, Sequence, parse
from image_updater.errors import Refused, Where
from image_updater.patch.model import EditKind

if TYPE_CHECKING:
    from collections.abc import Sequence as Items

    from image_updater.patch.model import Change


def check_aliases(text: str, changes: Items[Change]) -> None:
    """Raises Refused when a change sets an anchored scalar that something uses which no change here means."""
    meant: Counter[int] = Counter()
    first: dict[int, Change] = {}
    for change in dict.fromkeys(changes):
        scalar = change.scalar
        if change.kind is EditKind.SCALAR and scalar is not None and scalar.anchored and not scalar.inline:
            meant[scalar.start] += 1
            first.setdefault(scalar.start, change)
    if not meant:
        return
    used: Counter[int] = Counter()
    for document in parse(text):
        if document.root is not None:
            _count(document.root, used)
    for start, count in meant.items():
        if used[start] > count:
            change = first[start]
            assert change.scalar is not None
            raise Refused(
                f"a YAML alias shares this value with {used[start] - count} other place(s) that no policy means",
                where=Where(file=change.file, line=change.scalar.line, field=change.scalar.field),
                remedy="write the value out where it is meant to differ",
            )


def _count(node: Node, used: Counter[int]) -> None:
    """Counts for each scalar how often it is used: where it stands, and by every alias of it or of what holds it."""
    stack: list[Node] = [node]
    budget = 1_000_000
    while stack:
        budget -= 1
        if budget < 0:
            raise Refused("aliases expand to more than 1,000,000 nodes")
        item = stack.pop()
        while isinstance(item, Alias):
            item = item.target
        if isinstance(item, Scalar):
            used[item.start] += 1
        elif isinstance(item, Mapping):
            stack.extend(value for _, value in item.items)
        elif isinstance(item, Sequence):
            stack.extend(item.items)
