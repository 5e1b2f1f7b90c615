"""Go's durations (`time.ParseDuration`): `1h30m`, `100ms`, `1.5h`. Kubernetes and Flux write them so, and so do we."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Final

_UNITS: Final = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "μs": Fraction(1),
    "ms": Fraction(1_000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
}
"""Microseconds of each unit; both spellings of micro are legal in Go."""

_PART = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>ns|us|µs|μs|ms|s|m|h)")
_MAX = Fraction(2**63 - 1, 1000)
"""Go keeps nanoseconds in 64 bits: about 292 years."""

_LONG = 64
"""Longest text that is looked at; `2562047h47m16.854775807s`, the longest sensible value, has 24 characters."""


def parse_duration(text: str) -> timedelta:
    """Parse a Go duration. Raises ValueError that says what is wrong; below a microsecond is rounded."""
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return timedelta(0)
    if len(text) > _LONG:
        raise ValueError("is too long for a duration")
    if not body:
        raise ValueError("is not a duration")
    total = Fraction(0)
    at = 0
    while at < len(body):
        match = _PART.match(body, at)
        if match is None:
            rest = body[at:]
            if re.fullmatch(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", rest):
                raise ValueError("has a number without a unit")
            unit = re.fullmatch(r"(?:[0-9.]+)([^0-9.]+).*", rest)
            if unit:
                raise ValueError(f"has the unknown unit {unit.group(1)!r}")
            raise ValueError("is not a duration")
        number = match["number"].rstrip(".") or "0"
        total += Fraction(number) * _UNITS[match["unit"]]
        at = match.end()
    if total > _MAX:
        raise ValueError("is longer than 292 years")
    return timedelta(microseconds=sign * round(total))


def format_duration(value: timedelta) -> str:
    """The shortest Go duration: `1h30m`, `5m`, `1.5s`, `0s`. Parses back to the same value."""
    microseconds = round(value / timedelta(microseconds=1))
    if microseconds == 0:
        return "0s"
    sign = "-" if microseconds < 0 else ""
    rest = abs(microseconds)
    if rest < 1_000:
        return f"{sign}{rest}us"
    if rest < 1_000_000:
        return f"{sign}{_decimal(rest, 1_000)}ms"
    hours, rest = divmod(rest, 3_600_000_000)
    minutes, rest = divmod(rest, 60_000_000)
    parts = [
        f"{hours}h" if hours else "",
        f"{minutes}m" if minutes else "",
        f"{_decimal(rest, 1_000_000)}s" if rest else "",
    ]
    return sign + "".join(parts)


def _decimal(amount: int, unit: int) -> str:
    whole, part = divmod(amount, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}d}".rstrip("0").rstrip(".") if part else str(whole)
