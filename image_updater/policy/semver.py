"""Strategy `semver`: the newest version in a range.

A list of 100,000 tags is not parsed: the joined text is asked which (major, minor) it holds, and only the lines of
the greatest of them that the range may hold are read, going down until one has a winner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.policy.ordering import Best, Key, Passes, scan
from image_updater.policy.ranges import Range, parse_range
from image_updater.policy.versions import Version, parse_version

if TYPE_CHECKING:
    from image_updater.api.model import SemverPolicy
    from image_updater.policy.tagset import TagSet

_FEW_MAJORS = 16
_MANY_LINES = 512
_BATCHES = (1, 2, 5, 12)
"""Minors looked at together, best first; when these have no winner, everything is read."""


@dataclass(frozen=True, slots=True)
class Semver:
    """`spec.policy.semver`."""

    range: Range
    loose: bool
    better: str = "newer"
    has_shape: bool = True

    @classmethod
    def compile(cls, spec: SemverPolicy) -> Semver:
        """Raises RangeError."""
        return cls(parse_range(spec.range, prereleases=spec.prereleases), spec.loose)

    def key(self, value: str) -> Version | str:
        return parse_version(value, loose=self.loose)

    def refusal(self, key: Key) -> str | None:
        return self.range.refusal(key)

    def best(self, values: TagSet, passes: Passes) -> Best | None:
        for lines in self.groups(values):
            found = scan(self, lines, passes)
            if found is not None:
                return found
        return scan(self, values, passes)

    def groups(self, values: TagSet) -> Iterator[list[str]]:
        if len(values.source) > _MANY_LINES:
            yield from self._greatest_first(values.text)

    def praise(self) -> str:
        return f"the newest version in {self.range.text.strip()}"

    def _greatest_first(self, text: str) -> Iterator[list[str]]:
        """Lines in groups: everything in a group is greater than what the groups behind it hold."""
        minors = self._minors(text)
        start = 0
        for size in _BATCHES:
            batch = minors[start : start + size]
            if not batch:
                return
            start += size
            if len(batch) == 1:
                yield _greatest_patches(*batch[0], text)
            found: list[str] = re.findall(rf"\n({self._begins(batch)}[^\n]*)", text)
            yield found

    def _minors(self, text: str) -> list[tuple[int, int]]:
        """The (major, minor) that stand in the text and that the range may hold, greatest first."""
        majors = self.range.majors(_FEW_MAJORS)
        if majors == []:
            return []
        major = "[0-9]{1,20}" if majors is None else f"(?:{'|'.join(map(str, majors))})"
        pattern = (
            rf"\nv?0*({major}(?:\.[0-9]{{1,20}})?)(?![0-9])" if self.loose else rf"\nv?0*({major}\.[0-9]{{1,20}})\."
        )
        return sorted(filter(self.range.may_hold, map(_pair, set(re.findall(pattern, text)))), reverse=True)

    def _begins(self, minors: Iterable[tuple[int, int]]) -> str:
        if not self.loose:
            return f"v?(?:{'|'.join(rf'0*{major}[.]0*{minor}[.]' for major, minor in minors)})"
        whole = (rf"0*{major}[.]0*{minor}(?![0-9])" for major, minor in minors)
        short = (rf"0*{major}(?![0-9.])" for major, minor in minors if minor == 0)
        return f"v?(?:{'|'.join((*whole, *short))})"


def _greatest_patches(major: int, minor: int, text: str) -> list[str]:
    """The lines with the ten greatest patches of a minor that has very many (build numbers, say); else nothing."""
    begins = f"v?0*{major}[.]0*{minor}[.]0*"
    patches: list[str] = re.findall(rf"\n{begins}([0-9]{{1,20}})", text)
    if len(patches) <= _MANY_LINES:
        return []
    digits = max(map(len, patches))
    if digits == 1:
        return []  # Among them is 0, which `loose` also writes as nothing: 1.2 ties with 1.2.0.
    longest = [patch for patch in patches if len(patch) == digits]
    found: list[str] = re.findall(rf"\n({begins}{max(longest)[:-1]}[0-9](?![0-9])[^\n]*)", text)
    return found


def _pair(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)
