"""A whole answer as bytes, so that a new process need not find it again for a tree that it has seen.

Plain nested values through `marshal`, never pickles: what is read back can be nothing but the values of model.py.
"""

from __future__ import annotations

import hashlib
import marshal
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from image_updater.kustomize.facts import VERSION
from image_updater.kustomize.model import (
    MappingRef,
    Marker,
    ObjectId,
    Part,
    Problem,
    Provenance,
    Pulls,
    Root,
    RootKind,
    ScalarRef,
    Site,
    SiteKind,
    Use,
)

if TYPE_CHECKING:
    from image_updater.kustomize.facts import FactCache

_CLASSES: tuple[type[Any], ...] = (ScalarRef, MappingRef, Marker, ObjectId, Pulls, Use, Site, Root, Problem, Provenance)
_NAMES = {cls: tuple(field.name for field in fields(cls)) for cls in _CLASSES}
_NUMBERS = {cls: i for i, cls in enumerate(_CLASSES)}
_ENUMS: tuple[type[StrEnum], ...] = (Part, SiteKind, RootKind)
_MEMBERS = tuple(member for enum in _ENUMS for member in enum)
_ENUM, _SET = len(_CLASSES), len(_CLASSES) + 1
_SHAPE = hashlib.sha256(repr([(cls.__name__, names) for cls, names in _NAMES.items()]).encode()).digest()[:8]
"""Answers of another shape of the model are not ours."""


def key(tree: str, named: str) -> str:
    """Where the answer for a tree and the roots named from outside is kept."""
    return "answer-" + hashlib.sha256(f"{tree}\0{named}".encode()).hexdigest()


def load(cache: FactCache, name: str) -> Provenance | None:
    """The kept answer; None when there is none, or it is not ours or damaged."""
    data = cache.get(name)
    head = VERSION + _SHAPE
    if data is None or not data.startswith(head):
        return None
    try:
        answer = _unpack(marshal.loads(data[len(head) :]))  # noqa: S302 - our own cache, beside our own state
    except (ValueError, EOFError, TypeError, IndexError):
        return None
    return answer if isinstance(answer, Provenance) else None


def save(cache: FactCache, name: str, answer: Provenance) -> None:
    cache.put(name, VERSION + _SHAPE + marshal.dumps(_pack(answer)))


def _pack(value: Any) -> Any:
    cls = type(value)
    number = _NUMBERS.get(cls)
    if number is not None:
        return (number, *(_pack(getattr(value, name)) for name in _NAMES[cls]))
    if isinstance(value, StrEnum):
        return (_ENUM, _MEMBERS.index(value))
    if isinstance(value, tuple):
        return [_pack(item) for item in value]
    if isinstance(value, frozenset):
        return (_SET, *value)
    if isinstance(value, dict):
        return {_pack(k): _pack(v) for k, v in value.items()}
    return value


def _unpack(value: Any) -> Any:
    cls = type(value)
    if cls is list:
        return tuple([item if type(item) is str else _unpack(item) for item in value])
    if cls is dict:
        return {_unpack(k): _unpack(v) for k, v in value.items()}
    if cls is not tuple:
        return value
    number = value[0]
    if number == _ENUM:
        return _MEMBERS[value[1]]
    if number == _SET:
        return frozenset(value[1:])
    known = _CLASSES[number]
    return known(**dict(zip(_NAMES[known], map(_unpack, value[1:]), strict=True)))
