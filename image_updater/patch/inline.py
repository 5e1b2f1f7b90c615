"""Inside a literal block scalar: its text as a file of its own, with the way back to the outer one by character."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from image_updater.documents import Scalar

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


@dataclass(frozen=True, slots=True)
class Inline:
    """`text` is what stands in the block, its indentation taken off; line breaks are as in the file."""

    text: str
    offsets: tuple[tuple[int, int, int], ...]
    """For each line: its start in `text`, its start in the outer text, its length with the break."""

    def inner(self, outer: int) -> int | None:
        """The place in `text` of an offset of the outer text; None in the indentation or outside."""
        for start, outer_start, length in self.offsets:
            if outer_start <= outer < outer_start + length or (
                outer == outer_start + length and start + length == len(self.text)
            ):
                return start + outer - outer_start
        return None


def open_block(text: str, node: Scalar) -> Inline | None:
    """The inside of a literal block scalar of `text`; None where the two do not correspond (folded, quoted, plain)."""
    if node.style != "|":
        return None
    header = _LINE.match(text, node.start)
    if header is None:
        return None
    indent: int | None = None
    pieces: list[str] = []
    length = 0
    offsets: list[tuple[int, int, int]] = []
    at = header.end()
    explicit = re.match(r"\|[+-]?([1-9])", header.group())
    lines: list[tuple[int, str]] = []
    while at < node.end:
        match = _LINE.match(text, at, node.end)
        if match is None or not match.group():
            break
        lines.append((at, match.group()))
        at = match.end()
    if explicit is not None:
        # The indicator counts from the parent's indentation, which the value itself tells: its first line lacks it.
        first = next((line for _, line in lines if line.strip()), "")
        shown = next((line for line in node.value.split("\n") if line.strip()), "")
        indent = len(first.rstrip("\r\n")) - len(shown)
    for start, line in lines:
        if not line.strip(" \r\n"):
            cut = min(len(line.rstrip("\r\n")), indent or 0) if indent is not None else len(line.rstrip("\r\n"))
        else:
            if indent is None:
                indent = len(line) - len(line.lstrip(" "))
            cut = indent
        offsets.append((length, start + cut, len(line) - cut))
        pieces.append(line[cut:])
        length += len(line) - cut
    inner = "".join(pieces)
    if inner.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") != node.value.rstrip("\n"):
        return None
    return Inline(inner, tuple(offsets))
