"""How a value is written where another one stood: in its style, and never so that a reader takes it for a number.

Quotes that are there stay. A plain value stays plain unless YAML 1.1 or 1.2 would read the new text as something else
than that string (`1.10`, `012`, `1e5`, `on`, `2024-01-01`, `~`), or the text is not legal without quotes: then it gets
double ones.
"""

from __future__ import annotations

from image_updater.documents import Mapping, Node, Scalar, Sequence, parse
from image_updater.documents.values import reads_as_string
from image_updater.errors import DocumentError, Refused, Where

_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\t": "\\t"}


def replacement(node: Scalar, text: str, value: str, *, flow: bool, file: str | None = None) -> str:
    """The text that replaces `text` (the span of `node`) so that the scalar's value becomes `value`.

    `flow`: the scalar stands inside `{…}` or `[…]`. Raises Refused for block scalars, plain scalars over several lines
    and tags that are not strings.
    """
    where = Where(file=file, line=node.line)
    if node.style in ("|", ">"):
        raise Refused("the value is a block scalar, which is never edited", where=where, remedy="write it on one line")
    if not node.style and ("\n" in text or "\r" in text):
        raise Refused("the value is a plain scalar over several lines", where=where, remedy="write it on one line")
    if node.tag is not None and node.tag not in _STRING_TAGS:
        raise Refused(
            f"the value carries the tag {node.tag!r}, which is no string", where=where, remedy="remove the tag"
        )
    if not value.isprintable():
        raise Refused(f"{value!r} has characters that cannot be written in one line", where=where)
    if node.style == "'":
        return single(value)
    if node.style == '"':
        return double(value)
    if is_legal_plain(value, flow=flow) and (node.tag is not None or reads_as_string(value)):
        return value
    return double(value)


def fresh(value: str, *, flow: bool, style: str = "") -> str:
    """The text of a new scalar; `style` is the quotes that its neighbours use."""
    if not value.isprintable():
        raise Refused(f"{value!r} has characters that cannot be written in one line")
    if style == "'":
        return single(value)
    if style == '"' or not reads_as_string(value) or not is_legal_plain(value, flow=flow):
        return double(value)
    return value


def single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def double(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'


def is_legal_plain(value: str, *, flow: bool) -> bool:
    """Does this text stand as a plain scalar and mean itself? The parser is asked, for both places."""
    if not value or value != value.strip():
        return False
    samples = (f"{{k: {value}, l: m}}", f"[{value}, m]") if flow else (f"k: {value}\n", f"- {value}\n")
    for sample in samples:
        try:
            documents = parse(sample)
        except DocumentError:
            return False
        if len(documents) != 1 or not _holds(documents[0].root, value, 2 if flow else 1):
            return False
    return True


def _holds(root: Node | None, value: str, size: int) -> bool:
    if isinstance(root, Mapping):
        first = root.items[0][1] if len(root.items) == size else None
    elif isinstance(root, Sequence):
        first = root.items[0] if len(root.items) == size else None
    else:
        return False
    return (
        isinstance(first, Scalar)
        and not first.style
        and first.value == value
        and first.tag is None
        and first.anchor is None
    )
