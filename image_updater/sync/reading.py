"""Rendered YAML to JSON values, as kubectl reads it (sigs.k8s.io/yaml: go-yaml v2, by YAML 1.1).

Kustomize quotes on its way out whatever YAML 1.1 would not read as a string, so its output says the same in either
version; files that were never rendered say what kubectl takes them for: `yes` is a boolean, `014` and `0o14` are 12,
`1_000` is 1000, `1:30` and `2024-01-01` are strings, integers beyond 64 bits are floats. (Kustomize itself reads a
plain `yes` as a string and writes it quoted: a file may mean another thing with and without a build, there as here.)
Where kubectl is lax, this is not: a key that stands twice, a key that is no scalar and a number that JSON does not have
are errors with their line.

One pass over libyaml's events without nodes between: 5,000 objects are read in about half a second.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from image_updater.documents.parse import place_of
from image_updater.errors import DocumentError, Where

MAX_DEPTH: Final = 500
MAX_NODES: Final = 1_000_000
"""Nodes that one document may have once its aliases are expanded."""

_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final[dict[str, Any]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **{
        form: value
        for words, value in ((("y", "yes", "true", "on"), True), (("n", "no", "false", "off"), False))
        for word in words
        for form in (word, word.capitalize(), word.upper())
    },
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + form: math.inf for sign in ("", "+") for form in (".inf", ".Inf", ".INF")},
    **{"-" + form: -math.inf for form in (".inf", ".Inf", ".INF")},
}
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INTEGER: Final = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]*|[1-9][0-9]*)\Z")
_NUMERIC_START: Final = frozenset("+-.0123456789")
_SURROGATES: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""JSON may write a character beyond 16 bits as two escapes; YAML knows no such pairs."""
_EXACT: Final = 1e21
"""Below it Go writes a whole float64 without an exponent, and so as an integer."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as JSON values, and the 1-based line where it begins."""

    value: Any
    line: int


class _Alien(Exception):
    """A scalar that JSON or Kubernetes has no value for."""


def read(data: bytes, *, file: str | None = None) -> list[Document]:
    """All documents of a stream, empty ones left out. Raises DocumentError with the line."""
    if data.lstrip()[:1] == b"{":
        data = _SURROGATES.sub(_joined, data)
    try:
        return _Reader(data, file).documents()
    except yaml.YAMLError as exc:
        raise _translate(exc, data, file) from exc


def _joined(match: re.Match[bytes]) -> bytes:
    high, low = int(match[2], 16), int(match[3], 16)
    return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()


def resolve(text: str) -> Any:
    """The value of a plain scalar. NaN and infinities come back as floats: `read` refuses them."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    bare = text.replace("_", "")
    if match := _INTEGER.match(bare):
        sign, digits = match.groups()
        value = _integer(digits) if sign != "-" else -_integer(digits)
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.match(bare):
        number = float(bare)
        if math.isinf(number):
            return text
        return int(number) if number.is_integer() and abs(number) < _EXACT else number
    return text


def _integer(digits: str) -> int:
    if digits[0] == "0" and len(digits) > 1 and digits[1].isdigit():
        return int(digits, 8)
    return int(digits, 0) if digits not in ("0o", "0O") else -(2**64)  # out of any range: a string


class _Reader:
    """One stream. What is open stands in three stacks of equal height: the container, its pending key, its merges."""

    def __init__(self, data: bytes, file: str | None) -> None:
        self._loader: Any = yaml.CSafeLoader(data)
        self._file = file
        self._plain: dict[str, Any] = {}
        self._anchors: dict[str, Any] = {}
        self._aliased = False

    def documents(self) -> list[Document]:
        found: list[Document] = []
        next_event = self._loader.get_event
        try:
            while True:
                event = next_event()
                kind = type(event)
                if kind is yaml.DocumentStartEvent:
                    self._anchors.clear()
                    self._aliased = False
                    event = next_event()
                    line = event.start_mark.line + 1
                    value = self._value(event, next_event)
                    if self._aliased:
                        value = self._expanded(value, line)
                    if value is not None:
                        found.append(Document(value, line))
                elif kind is yaml.StreamEndEvent:
                    return found
        finally:
            self._loader.dispose()

    def _value(self, event: Any, next_event: Any) -> Any:
        """The value that begins with `event`: a loop, not a recursion, since it runs for every scalar."""
        scalar_event, mapping_start = yaml.ScalarEvent, yaml.MappingStartEvent
        sequence_start, alias = yaml.SequenceStartEvent, yaml.AliasEvent
        missing = _MISSING
        plain = self._plain
        stack: list[tuple[Any, Any, Any, str | None]] = []
        current: Any = None
        key: Any = missing
        merges: list[dict[str, Any]] | None = None
        anchor: str | None = None
        while True:
            kind = type(event)
            if kind is scalar_event:
                value = event.value
                if event.tag is not None:
                    value = self._tagged(event)
                elif event.implicit[0]:
                    if value == "<<" and type(current) is dict and key is missing:
                        key = _MERGE
                        event = next_event()
                        continue
                    try:
                        value = plain[value]
                    except KeyError:
                        value = plain[value] = resolve(value)
                    if type(value) is float and not math.isfinite(value):
                        raise self._error(f"{event.value} is no number that JSON has", event, "quote it")
                if event.anchor is not None:
                    self._anchors[event.anchor] = value
            elif kind is mapping_start or kind is sequence_start:
                if len(stack) >= MAX_DEPTH:
                    raise self._error(f"nested more than {MAX_DEPTH} levels deep", event, "flatten it")
                if type(current) is dict and key is missing:
                    raise self._error("a key must be a scalar", event)
                stack.append((current, key, merges, anchor))
                current = {} if kind is mapping_start else []
                key, merges, anchor = missing, None, event.anchor
                event = next_event()
                continue
            elif kind is alias:
                self._aliased = True
                try:
                    value = self._anchors[event.anchor]
                except KeyError:
                    raise self._error(f"*{event.anchor} names no anchor before it", event) from None
            else:  # the end of a mapping or a sequence
                value = current
                if merges is not None:
                    for source in merges:
                        for name, inherited in source.items():
                            value.setdefault(name, inherited)
                if anchor is not None:
                    self._anchors[anchor] = value
                current, key, merges, anchor = stack.pop()
            if current is None:
                return value
            if type(current) is list:
                current.append(value)
            elif key is missing:
                key = value if type(value) is str else self._key(value, event)
                if key in current:
                    raise self._error(f"the key {key!r} stands twice in one mapping", event, "keep one of them")
            elif key is _MERGE:
                merges = (merges or []) + self._sources(value, event)
                key = missing
            else:
                current[key] = value
                key = missing
            event = next_event()

    def _tagged(self, event: Any) -> Any:
        text: str = event.value
        name = event.tag.removeprefix(_TAG)
        try:
            match name:
                case "int" | "float":
                    value = resolve(text)
                    if isinstance(value, bool) or not isinstance(value, int if name == "int" else int | float):
                        raise _Alien
                    return value
                case "bool":
                    value = resolve(text)
                    if not isinstance(value, bool):
                        raise _Alien
                    return value
                case "null":
                    if resolve(text) is not None:
                        raise _Alien
                    return None
                case "binary":
                    return base64.b64decode(text.encode(), validate=False).decode("utf-8", "replace")
                case _:
                    return text
        except (_Alien, binascii.Error, ValueError):
            raise self._error(f"not what its tag !!{name} says", event) from None

    def _key(self, value: Any, event: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return repr(value)
        raise self._error("a key must be a scalar that is not null", event)

    def _sources(self, value: Any, event: Any) -> list[dict[str, Any]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise self._error("a merge key (<<) takes a mapping or a list of mappings", event)
        return sources

    def _expanded(self, value: Any, line: int) -> Any:
        """A copy in which no two places share a value. Refuses aliases that expand without end."""
        if _size(value) > MAX_NODES:
            raise DocumentError(
                f"aliases expand to more than {MAX_NODES:,} nodes", where=Where(file=self._file, line=line)
            )
        return json.loads(json.dumps(value))

    def _error(self, message: str, event: Any, remedy: str | None = None) -> DocumentError:
        return DocumentError(message, where=Where(file=self._file, line=event.start_mark.line + 1), remedy=remedy)


_MISSING: Final = object()
_MERGE: Final = object()


def _size(value: Any) -> int:
    """Nodes below and with `value`, each shared one counted as often as it is used, but visited once."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if not isinstance(node, dict | list):
            return 1
        known = sizes.get(id(node))
        if known is None:
            known = 1 + sum(size(child) for child in (node.values() if isinstance(node, dict) else node))
            sizes[id(node)] = known
        return known

    return size(value)


def _translate(exc: yaml.YAMLError, data: bytes, file: str | None) -> DocumentError:
    line = None
    problem = str(exc).splitlines()[0] if str(exc) else "invalid YAML"
    if isinstance(exc, yaml.MarkedYAMLError):
        line, problem = place_of(exc)
    elif isinstance(exc, yaml.reader.ReaderError):
        line = data.count(b"\n", 0, exc.position) + 1
        problem = exc.reason
    return DocumentError(f"not valid YAML: {problem}", where=Where(file=file, line=line))
