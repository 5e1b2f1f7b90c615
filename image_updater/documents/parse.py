"""Text to nodes. Refuses what go-yaml refuses, and what would cost unbounded memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from image_updater.documents.nodes import Alias, Document, Mapping, Node, Scalar, Sequence
from image_updater.errors import DocumentError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 8 * 1024 * 1024
"""Largest file that is read. Manifests are kilobytes; the largest CRD bundles in the wild are about 5 MB."""

MAX_DEPTH = 500

_ANCHOR = re.compile(r"&[-\w]+")
_TAG = re.compile(r"!<[^>\s]*>|![^\s,\[\]{}]*")
_SPACE = re.compile(r"(?:[ \t]+|\r\n|\r|\n|(?<=[ \t\r\n])#[^\r\n]*)*")
_BREAK = re.compile(r"\r\n|\r|\n")
_BOM = "\ufeff"

_OPENED = ("while scanning a quoted scalar", "while parsing a flow sequence", "while parsing a flow mapping")


def decode(data: bytes, *, file: str | None = None) -> str:
    """Bytes of a file to text; a byte order mark stays as `\\ufeff`. Raises DocumentError: too large, not UTF-8."""
    if len(data) > MAX_BYTES:
        raise DocumentError(
            f"the file has {len(data):,} bytes, more than the limit of {MAX_BYTES:,}",
            where=Where(file=file),
            remedy="split it, or exclude it",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise DocumentError(
            f"not UTF-8 (byte {data[exc.start]:#04x})",
            where=Where(file=file, line=line),
            remedy="save the file as UTF-8",
        ) from exc


def parse(text: str, *, file: str | None = None) -> list[Document]:
    """All documents of a file, in order. Raises DocumentError with the line."""
    try:
        return _compose(text, file)
    except yaml.YAMLError as exc:
        raise _translate(exc, text, file) from exc
    except RecursionError as exc:
        raise DocumentError(
            f"nested more than {MAX_DEPTH} levels deep", where=Where(file=file), remedy="flatten it"
        ) from exc


def check(text: str, *, file: str | None = None) -> None:
    """Raises DocumentError where `parse` would find no YAML, at a third of its cost."""
    try:
        for _ in parse_events(text):
            pass
    except yaml.YAMLError as exc:
        raise _translate(exc, text, file) from exc


def parse_events(text: str) -> Iterator[Any]:
    """The parser's events, for comparing two versions of a file. Raises yaml.YAMLError."""
    return yaml.parse(text, Loader=yaml.CSafeLoader)


def place_of(exc: yaml.MarkedYAMLError) -> tuple[int | None, str]:
    """The line of an error (1-based), and its words. A quote or bracket that nothing closes is wrong where it opens:
    the parser sees it only where the text ends.
    """
    opened = exc.context in _OPENED and exc.context_mark is not None
    mark = exc.context_mark if opened else exc.problem_mark or exc.context_mark
    words = str(exc.problem or exc.context or "invalid YAML")
    if opened:
        words += f" {exc.context} that begins here"
    return mark.line + 1 if mark is not None else None, words


def _translate(exc: yaml.YAMLError, text: str, file: str | None) -> DocumentError:
    line = None
    problem = str(exc).splitlines()[0] if str(exc) else "invalid YAML"
    if isinstance(exc, yaml.MarkedYAMLError):
        line, problem = place_of(exc)
    elif isinstance(exc, yaml.reader.ReaderError):
        character = chr(exc.character) if isinstance(exc.character, int) else str(exc.character)
        line = text.count("\n", 0, max(text.find(character), 0)) + 1
        problem = f"character {character!r} is not allowed: {exc.reason}"
    return DocumentError(f"not valid YAML: {problem}", where=Where(file=file, line=line))


def _compose(text: str, file: str | None) -> list[Document]:
    shift = 1 if text.startswith(_BOM) else 0  # libyaml does not count the mark
    loader: Any = yaml.CSafeLoader(text)  # one loop over events, hot: its declared type knows less than it keeps
    get_event = loader.get_event
    documents: list[Document] = []
    anchors: dict[str, Node] = {}
    stack: list[Mapping | Sequence] = []
    keys: list[Node | None] = []  # the pending key of each open mapping
    root: Node | None = None
    doc_start = 0
    try:
        while True:
            event = get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                start_mark = event.start_mark
                start, end = start_mark.index + shift, event.end_mark.index + shift
                line, column = start_mark.line + 1, start_mark.column
                anchor, tag = event.anchor, event.tag
                style = event.style or ""
                if anchor is not None or tag is not None:
                    start, line, column = _skip_properties(text, start, end, line, column, event)
                node: Node = Scalar(event.value, start, end, line, column, style, tag, anchor)
                if anchor is not None:
                    anchors[anchor] = node
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                mark = event.start_mark
                start, line, column = mark.index + shift, mark.line + 1, mark.column
                if event.anchor is not None or event.tag is not None:
                    start, line, column = _skip_properties(text, start, len(text), line, column, event)
                cls = Mapping if kind is yaml.MappingStartEvent else Sequence
                node = cls(start, line, column, bool(event.flow_style), event.tag, event.anchor)
                if event.anchor is not None:
                    anchors[event.anchor] = node
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                done = stack.pop()
                keys.pop()
                done.end = event.end_mark.index + shift
                continue
            elif kind is yaml.AliasEvent:
                target = anchors.get(event.anchor)
                mark = event.start_mark
                if target is None:
                    raise DocumentError(
                        f"alias *{event.anchor} has no anchor before it", where=Where(file=file, line=mark.line + 1)
                    )
                node = Alias(
                    event.anchor, target, mark.index + shift, event.end_mark.index + shift, mark.line + 1, mark.column
                )
                if isinstance(target, Mapping | Sequence) and target in stack:
                    raise DocumentError(
                        f"alias *{event.anchor} contains itself", where=Where(file=file, line=mark.line + 1)
                    )
            elif kind is yaml.DocumentStartEvent:
                root = None
                anchors = {}
                doc_start = event.start_mark.index + shift
                continue
            elif kind is yaml.DocumentEndEvent:
                if (
                    isinstance(root, Scalar)
                    and root.value == ""
                    and root.style == ""
                    and root.tag is None
                    and root.anchor is None
                ):
                    root = None
                documents.append(Document(len(documents), root, doc_start, event.end_mark.index + shift))
                continue
            elif kind is yaml.StreamEndEvent:
                return documents
            else:
                continue

            # Attach the node to what is open.
            if stack:
                parent = stack[-1]
                if isinstance(parent, Sequence):
                    parent.items.append(node)
                else:
                    key = keys[-1]
                    if key is None:
                        keys[-1] = node
                    else:
                        parent.items.append((key, node))
                        keys[-1] = None
            else:
                root = node
            if kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(stack) >= MAX_DEPTH:
                    raise DocumentError(
                        f"nested more than {MAX_DEPTH} levels deep",
                        where=Where(file=file, line=event.start_mark.line + 1),
                    )
                assert isinstance(node, Mapping | Sequence)
                stack.append(node)
                keys.append(None)
    finally:
        loader.dispose()


def _skip_properties(text: str, start: int, end: int, line: int, column: int, event: Any) -> tuple[int, int, int]:
    """Event spans include `&anchor` and `!tag`; the value begins behind those that the event has.

    Not behind more: in `&map\\n&key a: b` the second anchor is the first key's.
    """
    at = start
    wanted = {_ANCHOR: event.anchor is not None, _TAG: event.tag is not None}
    while True:
        for pattern, due in wanted.items():
            match = pattern.match(text, at, end) if due else None
            if match is not None:
                wanted[pattern] = False
                space = _SPACE.match(text, match.end(), end)
                at = space.end() if space is not None else match.end()
                break
        else:
            break
    breaks = list(_BREAK.finditer(text, start, at))
    if not breaks:
        return at, line, column + at - start
    return at, line + len(breaks), at - breaks[-1].end()
