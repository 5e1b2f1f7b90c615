"""Nodes to plain values, and looking things up by path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from image_updater.documents.nodes import Alias, Mapping, Node, Path, Scalar, Sequence, resolve
from image_updater.errors import DocumentError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NODES = 1_000_000
"""Nodes that one document may have once its aliases are expanded (a billion-laughs guard)."""

_RESOLVER: Any = yaml.resolver.Resolver()
_STR = "tag:yaml.org,2002:str"
_YAML12_NUMBER = re.compile(r"0o[0-7]+\Z|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")

_GO_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?:[Tt ]|\Z)")
"""go-yaml reads shorter dates than YAML 1.1 has: `2024-1-2`."""
_GO_BOOL = frozenset("yYnN")
"""YAML 1.1 has them, go-yaml v2 (kubectl, helm) reads them as booleans, PyYAML does not."""


def implicit_tag(value: str) -> str:
    """The YAML 1.1 tag of a plain scalar with this text: `tag:yaml.org,2002:` and str, int, float, null, …"""
    return str(_RESOLVER.resolve(yaml.ScalarNode, value, (True, False)))


def reads_as_string(value: str) -> bool:
    """Would a plain scalar of this text be a string in YAML 1.1 and in YAML 1.2 alike (so that it needs no quotes)?"""
    if implicit_tag(value) != _STR or value in _GO_BOOL:
        return False
    return _YAML12_NUMBER.match(value.replace("_", "")) is None and _GO_DATE.match(value) is None


def is_string(node: Scalar) -> bool:
    """Does YAML read this scalar as a string?"""
    if node.style:
        return node.tag in (None, "!", _STR)
    if node.tag is not None:
        return node.tag in ("!", _STR)
    return implicit_tag(node.value) == _STR


def string(node: Node | None) -> str | None:
    """The text of a scalar, whatever its type; None for anything else."""
    if node is None:
        return None
    node = resolve(node)
    return node.value if isinstance(node, Scalar) else None


def get(node: Node | None, *path: str | int) -> Node | None:
    """The node at `path` below `node` (aliases followed, merge keys honoured), or None."""
    for step in path:
        if node is None:
            return None
        node = resolve(node)
        if isinstance(node, Mapping):
            node = _member(node, str(step))
        elif isinstance(node, Sequence) and isinstance(step, int) and -len(node.items) <= step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def _member(node: Mapping, key: str) -> Node | None:
    merged = None
    found = None
    for k, v in node.items:
        if isinstance(k, Scalar):
            if k.value == key:
                found = v  # of duplicates the last one counts, as in most readers
            elif k.value == "<<" and k.style == "":
                merged = v
    if found is not None or merged is None:
        return found
    source = resolve(merged)
    if isinstance(source, Mapping):
        return _member(source, key)
    if isinstance(source, Sequence):
        for item in source.items:
            target = resolve(item)
            if isinstance(target, Mapping):
                found = _member(target, key)
                if found is not None:
                    return found
    return None


def find(node: Node | None, path: Path) -> Node | None:
    """`get` with the path as one value."""
    return get(node, *path)


def walk(node: Node | None, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node in document order with its path. Aliases are yielded and not entered; keys are not yielded."""
    if node is None:
        return
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items:
            name = key.value if isinstance(key, Scalar) else str(key)
            yield from walk(value, (*path, name))
    elif isinstance(node, Sequence):
        for i, value in enumerate(node.items):
            yield from walk(value, (*path, i))


def plain(node: Node | None, *, file: str | None = None) -> Any:
    """A node as Python values by YAML 1.1's rules; timestamps stay strings. Raises DocumentError for an alias bomb."""
    budget = [MAX_NODES]

    def build(node: Node) -> Any:
        budget[0] -= 1
        if budget[0] < 0:
            raise DocumentError(f"aliases expand to more than {MAX_NODES:,} nodes", where=Where(file=file))
        if isinstance(node, Alias):
            return build(node.target)
        if isinstance(node, Scalar):
            return _scalar(node)
        if isinstance(node, Sequence):
            return [build(item) for item in node.items]
        result: dict[Any, Any] = {}
        merged: list[dict[Any, Any]] = []
        for key, value in node.items:
            k = build(key)
            if isinstance(key, Scalar) and key.value == "<<" and key.style == "":
                source = build(value)
                merged.extend(s for s in (source if isinstance(source, list) else [source]) if isinstance(s, dict))
                continue
            if isinstance(k, list | dict):
                k = str(k)
            result[k] = build(value)
        for source in merged:
            for k, v in source.items():
                result.setdefault(k, v)
        return result

    return None if node is None else build(node)


_BOOL = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False, "y": True, "n": False}


def _scalar(node: Scalar) -> Any:
    tag = (
        node.tag
        if node.tag not in (None, "!")
        else (_STR if node.style or node.tag == "!" else implicit_tag(node.value))
    )
    text = node.value
    kind = tag.rpartition(":")[2] if tag else "str"
    try:
        if kind == "int":
            return _integer(text.replace("_", ""))
        if kind == "float":
            return _float(text.replace("_", "").lower())
    except ValueError:
        return text
    if kind == "bool":
        return _BOOL.get(text.lower(), text)
    if kind == "null":
        return None
    return text


def _integer(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    if ":" in body:
        total = 0
        for part in body.split(":"):
            total = total * 60 + int(part)
        return sign * total
    lowered = body.lower()
    if lowered.startswith("0b"):
        return sign * int(body, 0)
    if lowered.startswith("0x"):
        return sign * int(body, 0)
    if lowered.startswith("0o"):
        return sign * int(body, 0)
    if len(body) > 1 and body.startswith("0"):
        return sign * int(body, 8)
    return sign * int(body)


def _float(text: str) -> float:
    if text.endswith(".inf"):
        return float("-inf") if text.startswith("-") else float("inf")
    if text == ".nan":
        return float("nan")
    if ":" in text:
        raise ValueError(text)
    return float(text)
