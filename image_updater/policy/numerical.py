"""Strategy `numerical`: tags as float64, read as Go's `strconv.ParseFloat` reads decimal text.

Underscores may stand between digits (`20261125_1`); no hexadecimal, no infinity, no NaN. A tag that is no number is
rejected alone (in Flux it fails them all).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.model import Order
from image_updater.policy.ordering import Best, Key, Passes, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.api.model import NumericalPolicy
    from image_updater.policy.tagset import TagSet

_DIGITS = "[0-9]+(?:_[0-9]+)*"
_DECIMAL = re.compile(rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")


@dataclass(frozen=True, slots=True)
class Numerical:
    """`spec.policy.numerical`."""

    sign: int
    better: str
    has_shape: bool = True

    @classmethod
    def compile(cls, spec: NumericalPolicy) -> Numerical:
        return cls(1, "higher") if spec.order is Order.ASC else cls(-1, "lower")

    def key(self, value: str) -> tuple[float] | str:
        if not _DECIMAL.fullmatch(value):
            return "not a decimal number"
        number = float(value)
        return "not a number of 64 bits: too large" if math.isinf(number) else (self.sign * number,)

    def refusal(self, key: Key) -> str | None:
        return None

    def best(self, values: TagSet, passes: Passes) -> Best | None:
        return scan(self, values, passes)

    def groups(self, values: TagSet) -> Iterator[list[str]]:
        return iter(())

    def praise(self) -> str:
        return "the highest number" if self.sign > 0 else "the lowest number"
