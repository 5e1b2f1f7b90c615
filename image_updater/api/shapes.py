"""What a field of a status may hold: small shapes from which a value is checked and the server's schema is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from image_updater.api.moments import format_rfc3339

Schema = dict[str, Any]


class UndeclaredStatus(TypeError):
    """A writer's mistake: a field, or a type of value, that the status of this kind does not have."""


class Shape(ABC):
    """What a field of status holds."""

    @abstractmethod
    def schema(self) -> Schema:
        """For the CustomResourceDefinition."""

    @abstractmethod
    def json(self, value: Any, path: str) -> Any:
        """The value as JSON. Raises UndeclaredStatus."""

    @abstractmethod
    def describe(self) -> str:
        """In a word or two, for the reference page."""


@dataclass(frozen=True, slots=True)
class Words(Shape):
    """A string; with `known`, one of these."""

    known: tuple[str, ...] = ()

    def schema(self) -> Schema:
        return {"type": "string", **({"enum": list(self.known)} if self.known else {})}

    def json(self, value: Any, path: str) -> str:
        text = value.value if isinstance(value, Enum) else value
        if not isinstance(text, str):
            raise _wrong(path, "a string", value)
        if self.known and text not in self.known:
            raise UndeclaredStatus(f"{path}: {text!r} is not one of {', '.join(self.known)}")
        return str(text)

    def describe(self) -> str:
        return " | ".join(f"`{word}`" for word in self.known) or "string"


@dataclass(frozen=True, slots=True)
class Count(Shape):
    """A whole number, 0 or more."""

    def schema(self) -> Schema:
        return {"type": "integer", "format": "int64", "minimum": 0}

    def json(self, value: Any, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _wrong(path, "a whole number", value)
        return value

    def describe(self) -> str:
        return "number"


@dataclass(frozen=True, slots=True)
class Moment(Shape):
    """An RFC 3339 time in UTC; values are aware datetimes, or such text. Parts of a second are cut."""

    def schema(self) -> Schema:
        return {"type": "string", "format": "date-time"}

    def json(self, value: Any, path: str) -> str:
        if isinstance(value, str):
            return value
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise _wrong(path, "a time with a zone", value)
        return format_rfc3339(value)

    def describe(self) -> str:
        return "time"


@dataclass(frozen=True, slots=True)
class Many(Shape):
    """A list, written as a whole. The first `most` items are kept."""

    item: Shape
    most: int | None = None

    def schema(self) -> Schema:
        result: Schema = {"type": "array", "items": self.item.schema(), "x-kubernetes-list-type": "atomic"}
        if self.most is not None:
            result["maxItems"] = self.most
        return result

    def json(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise _wrong(path, "a list", value)
        return [self.item.json(each, f"{path}[{i}]") for i, each in enumerate(value[: self.most])]

    def describe(self) -> str:
        what = "list" if isinstance(self.item, Record) else f"list of {self.item.describe()}s"
        return what if self.most is None else f"{what}, at most {self.most}"


@dataclass(frozen=True, slots=True)
class Counts(Shape):
    """Whole numbers by name."""

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": Count().schema(), "x-kubernetes-map-type": "atomic"}

    def json(self, value: Any, path: str) -> dict[str, int]:
        if not isinstance(value, Mapping):
            raise _wrong(path, "a mapping", value)
        return {
            Words().json(name, path): Count().json(each, f"{path}.{name}")
            for name, each in sorted(value.items(), key=lambda pair: str(pair[0]))
        }

    def describe(self) -> str:
        return "numbers by name"


@dataclass(frozen=True, slots=True)
class At:
    """One field of a record. Absent and None are the same; a `needed` one is always there."""

    name: str
    shape: Shape
    doc: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Record(Shape):
    fields: tuple[At, ...]

    def schema(self) -> Schema:
        result: Schema = {
            "type": "object",
            "properties": {
                each.name: {**each.shape.schema(), "description": each.doc[:1].upper() + each.doc[1:] + "."}
                for each in self.fields
            },
        }
        needed = [each.name for each in self.fields if each.needed]
        if needed:
            result["required"] = needed
        return result

    def json(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(path, "a mapping", value)
        known = {each.name for each in self.fields}
        if unknown := sorted(set(value) - known):
            raise UndeclaredStatus(f"{path}: {', '.join(unknown)} is not declared in api/status.py")
        result = {}
        for each in self.fields:
            given = value.get(each.name)
            if given is not None:
                result[each.name] = each.shape.json(given, f"{path}.{each.name}")
            elif each.needed:
                raise UndeclaredStatus(f"{path}.{each.name} is missing")
        return result

    def describe(self) -> str:
        return "object"


def _wrong(path: str, wanted: str, value: Any) -> UndeclaredStatus:
    return UndeclaredStatus(f"{path} takes {wanted}, not {type(value).__name__}")


# ------------------------------------------------------------------------------------------- what every kind has
