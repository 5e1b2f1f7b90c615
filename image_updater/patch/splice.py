"""Edits into text: the spans are replaced, every other character stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import Refused, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.patch.model import Edit


def splice(text: str, edits: Sequence[Edit]) -> str:
    """The text after all `edits` of its file; inserts at one point keep their order. Refuses edits that overlap."""
    pieces: list[str] = []
    at = 0
    for edit in ordered(edits):
        if edit.start < at or edit.end < edit.start or edit.end > len(text):
            raise Refused(
                f"the edit of {edit.field} overlaps another one, or lies outside the text",
                where=Where(file=edit.file, line=edit.line, field=edit.field),
            )
        pieces.append(text[at : edit.start])
        pieces.append(edit.text)
        at = edit.end
    pieces.append(text[at:])
    return "".join(pieces)


def ordered(edits: Sequence[Edit]) -> list[Edit]:
    """By place; at one place inserts first, in the order given."""
    return sorted(edits, key=lambda edit: (edit.start, edit.end))
