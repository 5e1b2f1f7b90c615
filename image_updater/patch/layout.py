"""How a file is laid out: line breaks, indentation, where the content of a node ends. Inserts copy what they find."""

from __future__ import annotations

import re

from image_updater.documents import Alias, Document, Mapping, Node, Scalar, Sequence

_BREAK = re.compile(r"\r\n|\r|\n")
_DOCUMENT_END = re.compile(r"(?:^|(?<=[\r\n]))\.\.\.\Z")


def line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def line_end(text: str, at: int) -> int:
    """Where the line that holds `at` ends, before its line break."""
    match = _BREAK.search(text, at)
    return match.start() if match else len(text)


def line_number(text: str, at: int) -> int:
    return len(_BREAK.findall(text, 0, at)) + 1


def after_break(text: str, at: int) -> int:
    """Behind the line break at `at`, if there is one."""
    match = _BREAK.match(text, at)
    return match.end() if match else at


def line_break(text: str, near: int) -> str:
    """The line break that is used next to `near`: the one before it, else the one after, else `\\n`."""
    at = max(text.rfind("\n", 0, near), text.rfind("\r", 0, near))
    if at >= 0:
        return "\r\n" if text[at] == "\n" and at and text[at - 1] == "\r" else text[at]
    match = _BREAK.search(text)
    return match.group() if match else "\n"


def last_leaf(node: Node) -> Scalar | Alias | Mapping | Sequence:
    """What ends the content of `node`: its last scalar or alias, or a flow collection (which ends with its bracket)."""
    while isinstance(node, Mapping | Sequence) and not node.flow and node.items:
        last = node.items[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def is_block_scalar(node: Node) -> bool:
    return isinstance(node, Scalar) and node.style in ("|", ">")


def content_end(document: Document, text: str) -> int:
    """Where a document's content may go on: before a closing `...`, the next `---` or the end of the file."""
    return document.end - 3 if _DOCUMENT_END.search(text, document.start, document.end) else document.end


def last_line(text: str, start: int, end: int) -> int | None:
    """The end (before its break) of the last line in `start:end` that is not blank; None when all are."""
    stripped = text[start:end].rstrip(" \t\r\n")
    return line_end(text, start + len(stripped)) if stripped.strip("\ufeff") else None


def sequence_indent(root: Node | None) -> int:
    """By how many columns the file indents a block sequence below its key (0 or more); 0 when it has none."""
    stack: list[Node] = [root] if root is not None else []
    while stack:
        node = stack.pop(0)
        if isinstance(node, Sequence):
            stack.extend(node.items)
        elif isinstance(node, Mapping):
            for _, value in node.items:
                if isinstance(value, Sequence) and not value.flow and not node.flow:
                    return max(0, value.column - node.column)
            stack.extend(value for _, value in node.items)
    return 0


def key_quote(node: Mapping) -> str:
    """The quotes that all keys of a mapping have, if they all have the same."""
    styles = {key.style for key, _ in node.items if isinstance(key, Scalar)}
    return next(iter(styles)) if len(styles) == 1 and styles <= {"'", '"'} else ""


def value_quote(node: Mapping, key: str = "") -> str:
    """The quotes of the value of `key`; without such a key those that all values of the mapping have."""
    styles = [
        value.style
        for name, value in node.items
        if isinstance(name, Scalar) and isinstance(value, Scalar) and name.value == key
    ]
    if not styles:
        styles = [value.style for _, value in node.items if isinstance(value, Scalar)]
    return styles[-1] if styles and len(set(styles)) == 1 and styles[-1] in ("'", '"') else ""
