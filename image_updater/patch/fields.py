"""Two values side by side: which fields differ. Order of mappings does not count, order of lists does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.patch.model import Difference

if TYPE_CHECKING:
    from image_updater.kustomize.model import ObjectId, Path

SHORT = 200
"""Longest text of one side in a Difference, in characters."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Field:
    """A field that differs, with its whole values; ABSENT on the side that lacks it."""

    path: Path
    old: Any
    new: Any

    def difference(self, object_: ObjectId) -> Difference:
        old, new = self.old, self.new
        if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
            old, new = _first_line(old, new)
        return Difference(object=object_, path=self.path, old=_short(old), new=_short(new))


def fields(old: Any, new: Any, path: Path = ()) -> list[Field]:
    """The fields that differ, in the old value's order, then the new one's."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[Field] = []
        for key in dict.fromkeys((*old, *new)):
            a, b = old.get(key, ABSENT), new.get(key, ABSENT)
            if a is ABSENT or b is ABSENT:
                found.append(Field((*path, str(key)), a, b))
            else:
                found.extend(fields(a, b, (*path, str(key))))
        return found
    if isinstance(old, list) and isinstance(new, list):
        return _lists(old, new, path)
    if type(old) is type(new) and old == new:
        return []
    return [Field(path, old, new)]


def _lists(old: list[Any], new: list[Any], path: Path) -> list[Field]:
    if len(old) != len(new):
        named = _by_name(old), _by_name(new)
        if named[0] is not None and named[1] is not None:
            return _named(named[0], named[1], path)
    found: list[Field] = []
    for i in range(max(len(old), len(new))):
        a = old[i] if i < len(old) else ABSENT
        b = new[i] if i < len(new) else ABSENT
        if a is ABSENT or b is ABSENT:
            found.append(Field((*path, i), a, b))
        else:
            found.extend(fields(a, b, (*path, i)))
    return found


def _by_name(items: list[Any]) -> dict[str, tuple[int, Any]] | None:
    """Containers, variables, ports: the items by `name`, if all have one of their own."""
    found: dict[str, tuple[int, Any]] = {}
    for i, item in enumerate(items):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = (i, item)
    return found


def _named(old: dict[str, tuple[int, Any]], new: dict[str, tuple[int, Any]], path: Path) -> list[Field]:
    found: list[Field] = []
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            found.append(Field((*path, old[name][0]), old[name][1], ABSENT))
        elif name not in old:
            found.append(Field((*path, new[name][0]), ABSENT, new[name][1]))
        else:
            found.extend(fields(old[name][1], new[name][1], (*path, new[name][0])))
    shared_old = [name for name in old if name in new]
    shared_new = [name for name in new if name in old]
    if shared_old != shared_new:
        found.append(Field(path, shared_old, shared_new))
    return found


def _first_line(old: str, new: str) -> tuple[str, str]:
    """Of two long texts the first line that differs, numbered."""
    left, right = old.split("\n"), new.split("\n")
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))

    def line(lines: list[str]) -> str:
        return f"line {at + 1}: {lines[at]}" if at < len(lines) else f"{len(lines)} lines"

    return line(left), line(right)


def _short(value: Any) -> str | None:
    if value is ABSENT:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
