"""What a bench gives: one row a figure, with Flux's figure and the budget beside it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `value` and `budget` are in `unit`, smaller is better; `note` says how it was measured."""

    work: str
    value: float
    unit: str
    budget: float | None = None
    exact: bool = False
    """The budget is met only by this very value (1 commit, 0 bytes)."""
    flux: str = "–"
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.budget is None:
            return "–"
        if self.exact:
            return "ahead" if self.value == self.budget else f"missed: {self.value:g} instead of {self.budget:g}"
        if self.value <= self.budget:
            return "ahead"
        over = number(self.value - self.budget, self.unit)
        return f"missed by {over}" + (f" ({self.value / self.budget:.1f}×)" if self.budget else "")

    @property
    def missed(self) -> bool:
        return self.verdict.startswith("missed")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def number(value: float, unit: str) -> str:
    """A figure as people read it: seconds below one as milliseconds."""
    if unit == "s" and abs(value) < 1:
        text = f"{value * _MILLISECONDS:.3g}" if abs(value) < 0.1 else f"{value * _MILLISECONDS:.0f}"
        return f"{text} ms"
    if unit in ("s", "CPU-s"):
        return f"{value:.2f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    text = f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], unit: str = "s") -> str:
    """`median of 5, 0.9 ms … 1.4 ms`."""
    return f"median of {len(values)}, {number(min(values), unit)} … {number(max(values), unit)}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]
