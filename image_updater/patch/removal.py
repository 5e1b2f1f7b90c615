"""Removals: a key that goes, with its line where that is its own, with its comma in flow style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.documents import Mapping, Node
from image_updater.errors import Refused, Where
from image_updater.patch import layout
from image_updater.patch.model import Change, Edit, EditKind

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from image_updater.kustomize.model import ScalarRef
    from image_updater.patch.write import Found


def removal(change: Change, ref: ScalarRef, text: str, found: Found, gone: Seq[Node]) -> tuple[Edit, Node]:
    """The edit that takes out `key: value`, and the value's node. `gone`: nodes that other removals take."""
    where = Where(file=ref.file, line=ref.line, field=ref.field)
    node = found.node
    if not found.parents or not isinstance(found.parents[-1], Mapping) or found.source is not text:
        raise Refused("only a key of a mapping of the file itself can be removed", where=where)
    mapping = found.parents[-1]
    if node.anchor is not None:
        raise Refused("the value carries an anchor: it may be used elsewhere", where=where)
    at = next(i for i, (_, value) in enumerate(mapping.items) if value is node)
    key = mapping.items[at][0]
    if not any(value is not node and value not in gone for _, value in mapping.items):
        raise Refused("it is the only key of its mapping", where=where, remedy="remove the entry by hand")
    if mapping.flow:
        start, end = _flow_span(text, mapping, at)
    else:
        start, end = _block_span(text, mapping, at, where)
    edit = Edit(
        kind=EditKind.REMOVE,
        file=ref.file,
        line=layout.line_number(text, key.start),
        field=ref.field,
        old=ref.value,
        new=None,
        policy=change.policy,
        start=start,
        end=end,
        text="",
        site=change.site,
        document=ref.document,
    )
    return edit, node


def _flow_span(text: str, mapping: Mapping, at: int) -> tuple[int, int]:
    key, value = mapping.items[at]
    if at == 0:
        return key.start, mapping.items[1][0].start
    before = layout.last_leaf(mapping.items[at - 1][1]).end
    if "#" not in text[before : key.start]:
        return before, value.end
    # A comment stands behind the comma before: both stay, the comma as a trailing one.
    if at + 1 < len(mapping.items) and "#" not in text[value.end : mapping.items[at + 1][0].start]:
        return key.start, mapping.items[at + 1][0].start
    return key.start, value.end


def _block_span(text: str, mapping: Mapping, at: int, where: Where) -> tuple[int, int]:
    key, value = mapping.items[at]
    start = layout.line_start(text, key.start)
    end = layout.line_end(text, value.end)
    if not text[start : key.start].strip(" \ufeff"):
        start += text.startswith("\ufeff", start)
        behind = layout.after_break(text, end)
        if behind > end or start == 0:
            return start, behind
        # The last line of a file without final newline: the break before it goes instead.
        return start - len(layout.line_break(text, start)), end
    if at == 0 and not text[start : key.start].strip(" -") and len(mapping.items) > 1:
        following = mapping.items[1][0]
        if not text[layout.after_break(text, end) : following.start].strip(" \r\n"):
            return key.start, following.start
    raise Refused("its line holds more than this key", where=where, remedy="remove it by hand")
