"""Fields that hold a whole number or a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.api.decode import At, kind_of
from image_updater.api.fields import Type
from image_updater.api.moments import parse_rfc3339
from image_updater.documents import Node, Scalar, resolve

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.decode import Invalid

_WHOLE: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Type):
    """A whole number within bounds, in decimal digits and without quotes."""

    minimum: int = 0
    maximum: int

    def read(self, node: Node, at: At) -> int | Invalid:
        target = resolve(node)
        remedy = f"write one from {self.minimum} to {self.maximum}"
        if not isinstance(target, Scalar):
            return at.fail(f"must be a whole number, not {kind_of(node)}", node=node, remedy=remedy)
        if target.style or target.tag is not None or not _WHOLE.match(target.value):
            said = "a string" if target.style else repr(target.value[:80])
            return at.fail(f"must be a whole number, not {said}", node=node, remedy=remedy)
        value = int(target.value)
        if not self.minimum <= value <= self.maximum:
            return at.fail(f"{value} is not from {self.minimum} to {self.maximum}", node=node, remedy=remedy)
        return value

    def describe(self) -> str:
        return f"number from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant(Type):
    """An RFC 3339 time, with or without quotes."""

    def read(self, node: Node, at: At) -> datetime | Invalid:
        target = resolve(node)
        remedy = "such as 2024-05-01T12:00:00Z, or with an offset: 2024-05-01T12:00:00+02:00"
        if not isinstance(target, Scalar):
            return at.fail(f"must be a time, not {kind_of(node)}", node=node, remedy=remedy)
        try:
            return parse_rfc3339(target.value)
        except ValueError as exc:
            return at.fail(str(exc)[:200], node=node, remedy=remedy)

    def describe(self) -> str:
        return "time (RFC 3339)"
