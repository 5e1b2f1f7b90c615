"""What commands print: JSON on stdout, or text through rich; progress on stderr, only where a person watches."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from json.encoder import encode_basestring
from typing import IO, TYPE_CHECKING, Any

from image_updater.pipeline.report import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.text import Text

_ACTIVE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What JSON leaves as it is and a terminal obeys: DEL, C1, bidirectional controls. All of it stands inside strings."""
WIDE = 100_000
"""Columns of a "terminal" that is a file or a pipe: scripts get whole lines, never a wrapped or cut one."""


def coloured(color: str, stream: IO[Any]) -> bool:
    """`--color`; auto = on a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is dumb."""
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def print_json(document: object) -> None:
    """One document, readable, in UTF-8 whatever the locale is; what drives a terminal is escaped beyond JSON's need."""
    text = _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", dumps(document))
    write_bytes((text + "\n").encode("utf-8", "backslashreplace"))


def dumps(value: object, pad: str = "") -> str:
    """`json.dumps(value, indent=2, ensure_ascii=False)` in a third of its time (a hundred thousand tags have as many
    objects): the library's own C encoder does not indent.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict) and value:
        inner = f"{pad}  "
        rows = [f"{inner}{encode_basestring(key)}: {dumps(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list | tuple) and value:
        inner = f"{pad}  "
        return "[\n" + ",\n".join([inner + dumps(each, inner) for each in value]) + f"\n{pad}]"
    return json.dumps(value)


def write_bytes(data: bytes) -> None:
    """To stdout without any translation (diffs of CRLF files, manifests)."""
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(data.decode("utf-8", "replace"))
    else:
        binary.write(data)
        binary.flush()


def print_diff(text: str) -> None:
    """A diff, byte for byte; on a terminal the control characters of the files show as escapes."""
    if sys.stdout.isatty():
        text = "\n".join(printable(line.replace("\t", "    ")) for line in text.split("\n"))
    write_bytes(text.encode("utf-8", "surrogateescape"))


def console(color: str) -> Console:
    """A rich console on stdout: colours by `--color`, the terminal's width or none, no markup in what users wrote."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    on = coloured(color, sys.stdout)
    return Console(
        file=sys.stdout,
        force_terminal=on or None,
        no_color=not on,
        color_system="auto" if on else None,
        width=None if terminal else WIDE,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=not terminal,
    )


def table(out: Console, rows: Sequence[Sequence[str | Text]], *, indent: int = 2, styles: Sequence[str] = ()) -> None:
    """Aligned columns without borders. Where the terminal is too narrow for them, each row flows over several lines
    instead, cell by cell: a path or an image that is cut in the middle cannot be copied.
    """
    if not rows:
        return
    from rich.text import Text

    columns = max(len(row) for row in rows)
    cells = [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]
    widths = [max((row[i].cell_len for row in cells if i < len(row)), default=0) for i in range(columns)]
    fits = indent + sum(widths) + 2 * (columns - 1) <= out.width
    for row in cells:
        pieces = [cell.copy() for cell in row]
        for piece, style in zip(pieces, styles, strict=False):
            if style:
                piece.stylize(style)
        if fits:
            line = Text(" " * indent)
            for piece, width in zip(pieces, widths, strict=False):
                line.append_text(piece).append(" " * (width - piece.cell_len + 2))
            line.rstrip()
            out.print(line, soft_wrap=True)
        else:
            for line in _flowed(pieces, indent, out.width):
                out.print(line, soft_wrap=True)


def _flowed(pieces: Sequence[Text], indent: int, width: int) -> list[Text]:
    """One row as lines of at most `width`, the later ones indented; a cell is broken between its words at most."""
    from rich.text import Text

    lines = [Text(" " * indent)]
    hanging = indent + 4
    start = True
    for piece in pieces:
        if not piece.plain:
            continue
        if not start and lines[-1].cell_len + 2 + piece.cell_len <= width:
            lines[-1].append("  ").append_text(piece)
            continue
        if start:
            lines[-1].append_text(piece)
            start = False
            continue
        room = max(width - hanging, 1)
        length = 0
        line = Text(" " * hanging)
        for word in piece.split(" "):
            if length and length + 1 + word.cell_len > room:
                lines.append(line)
                line, length = Text(" " * hanging), 0
            if length:
                line.append(" ")
                length += 1
            line.append_text(word)
            length += word.cell_len
        lines.append(line)
    return lines


def printable(text: str) -> str:
    """Control characters (a hostile tag or file name may hold escape sequences) as visible escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A spinner with the last message on stderr; nothing at all when stderr is not a terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield silent
        return
    from rich.console import Console

    screen = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with screen.status(title) as status:
        yield lambda text: status.update(printable(text))
