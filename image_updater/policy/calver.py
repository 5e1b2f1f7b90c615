"""Strategy `calver`: dates and numbers in a format of calver.org's tokens.

    YYYY 2006 · YY 6, 16, 106 · 0Y 06, 16, 106 · MM 1–12 · 0M 01–12 · WW 1–53 · 0W 01–53 · DD 1–31 · 0D 01–31
    MAJOR MINOR MICRO  any number · MODIFIER  letters, digits, `.` and `-`

Between them stand `.`, `-`, `_` and lower case letters or digits, which the tag must have too. Dates must exist:
there is no 2024.02.30 and no week 53 in a year of 52 ISO weeks. Fields compare in the order of the format, except
that the date's own fields compare as year, month or week, day wherever they stand. A MODIFIER and the separator
before it may be missing; without one is newer than with one (it says `rc1`, `dev`), and numbers in it compare as
numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from image_updater.policy.ordering import Best, Key, Passes, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.policy.tagset import TagSet

_SHORT = "[1-9][0-9]?"
_TOKENS = {
    "YYYY": ("year", "[1-9][0-9]{3}"),
    "YY": ("year", "0|[1-9][0-9]{0,2}"),
    "0Y": ("year", "[0-9]{2}|[1-9][0-9]{2}"),
    "MM": ("month", _SHORT),
    "0M": ("month", "[0-9]{2}"),
    "WW": ("week", _SHORT),
    "0W": ("week", "[0-9]{2}"),
    "DD": ("day", _SHORT),
    "0D": ("day", "[0-9]{2}"),
    "MAJOR": ("major", "[0-9]{1,20}"),
    "MINOR": ("minor", "[0-9]{1,20}"),
    "MICRO": ("micro", "[0-9]{1,20}"),
    "MODIFIER": ("modifier", "[0-9A-Za-z][0-9A-Za-z.-]*"),
}
_SPLIT = re.compile(r"(YYYY|YY|0Y|MM|0M|WW|0W|DD|0D|MAJOR|MINOR|MICRO|MODIFIER)|([._-])|([a-z0-9])|(.)", re.DOTALL)
_DATE = ("year", "month", "week", "day")
_RUNS = re.compile(r"([0-9]+)|([^0-9]+)")
_FINAL = (1,)


class FormatError(ValueError):
    """The text is no calver format; the message says why."""


@dataclass(frozen=True, slots=True)
class Calver:
    """`spec.policy.calver`, compiled. `fields` in the order in which they compare."""

    format: str
    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    short_year: bool
    better: str = "newer"
    has_shape: bool = True

    @classmethod
    def compile(cls, text: str) -> Calver:
        """Raises FormatError."""
        fields: list[str] = []
        pieces: list[str] = []
        short_year = False
        for match in _SPLIT.finditer(text):
            token, separator, literal, other = match.groups()
            if other:
                raise FormatError(f"{other!r} in {text!r} is neither a token nor a separator")
            if not token:
                pieces.append(re.escape(separator or literal))
                continue
            name, pattern = _TOKENS[token]
            if name in fields:
                raise FormatError(f"{text!r} names the {name} twice")
            fields.append(name)
            short_year = short_year or token in ("YY", "0Y")
            if name == "modifier":
                bare = not pieces or pieces[-1].startswith("(?P")
                before = "" if bare else pieces.pop()
                pieces.append(f"(?:{before}(?P<modifier>{pattern}))?")
            else:
                pieces.append(f"(?P<{name}>{pattern})")
        _check(text, fields)
        dated = iter([name for name in _DATE if name in fields])
        ordered = tuple(next(dated) if name in _DATE else name for name in fields)
        return cls(text, re.compile("".join(pieces)), ordered, short_year)

    def key(self, value: str) -> Key | str:
        match = self.pattern.fullmatch(value)
        if match is None:
            return f"does not have the format {self.format}"
        found = match.groupdict()
        year = int(found["year"]) + (2000 if self.short_year else 0)
        impossible = _impossible(year, found)
        if impossible:
            return f"not a date: {impossible}"
        return tuple(_modifier(found[name]) if name == "modifier" else int(found[name]) for name in self.fields)

    def refusal(self, key: Key) -> str | None:
        return None

    def best(self, values: TagSet, passes: Passes) -> Best | None:
        return scan(self, values, passes)

    def groups(self, values: TagSet) -> Iterator[list[str]]:
        return iter(())

    def praise(self) -> str:
        return f"the newest by {self.format}"


def _check(text: str, fields: list[str]) -> None:
    if "year" not in fields:
        raise FormatError(f"{text!r} has no year")
    if "week" in fields and ("month" in fields or "day" in fields):
        raise FormatError(f"{text!r} has a week beside a month or day: a date has one or the other")
    if "day" in fields and "month" not in fields:
        raise FormatError(f"{text!r} has a day without a month")
    if "modifier" in fields[:-1]:
        raise FormatError(f"{text!r} has something behind MODIFIER, which must come last")


def _impossible(year: int, found: dict[str, str]) -> str | None:
    try:
        if "week" in found:
            date.fromisocalendar(year, int(found["week"]), 1)
        elif "month" in found:
            date(year, int(found["month"]), int(found.get("day", 1)))
    except ValueError:
        names = [f"{name} {int(found[name])}" for name in _DATE[1:] if name in found]
        return f"there is no {' and '.join(names)} in {year}"
    return None


def _modifier(text: str | None) -> tuple[object, ...]:
    if text is None:
        return _FINAL
    return 0, tuple((0, int(digits)) if digits else (1, word) for digits, word in _RUNS.findall(text))
