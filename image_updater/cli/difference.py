"""Unified diffs that `git apply` and `patch -p1` take: CRLF stays, a missing last line break is marked."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def unified(files: Mapping[str, tuple[str | None, str]]) -> str:
    """`files`: path → (old text, new text); None = the file did not exist. Unchanged files are left out."""
    return "".join("".join(_file(path, old, new)) for path, (old, new) in sorted(files.items()) if old != new)


def _file(path: str, old: str | None, new: str) -> Iterator[str]:
    before, after = _name("a/", path), _name("b/", path)
    yield f"diff --git {before} {after}\n"
    if old is None:
        yield "new file mode 100644\n"
    source = "/dev/null" if old is None else before + _end(before)
    yield f"--- {source}\n+++ {after}{_end(after)}\n"
    lines = difflib.unified_diff(_lines(old or ""), _lines(new), n=3)
    next(lines, None)
    next(lines, None)
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """Split at LF alone: `str.splitlines` would also split at form feeds and Unicode separators."""
    pieces = text.split("\n")
    lines = [f"{piece}\n" for piece in pieces[:-1]]
    return [*lines, pieces[-1]] if pieces[-1] else lines


def _name(prefix: str, path: str) -> str:
    """Git quotes names that hold quotes, backslashes or control characters, as C does; what is not printable (it could
    drive a terminal) goes as octal bytes.
    """
    text = prefix + path
    if all(c not in _ESCAPES and c.isprintable() for c in text):
        return text
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _octal(c)) for c in text) + '"'


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def _end(name: str) -> str:
    """A name with blanks ends with a tab, so that `patch` sees where it ends."""
    return "\t" if " " in name else ""
