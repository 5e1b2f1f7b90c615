"""Version ranges with the meaning that Masterminds/semver gives them (v3.5; Flux and Helm use it).

    range   = group *( "||" group )                          any group
    group   = clause *( ( space | "," ) clause )             every clause
    clause  = [ "=" | "!=" | ">" | "<" | ">=" | "=>" | "<=" | "=<" | "~" | "~>" | "^" ] partial
            | partial " - " partial                          both ends included
    partial = [ "v" ] ( number | "x" | "X" | "*" ) up to three times [ "-" pre-release ] [ "+" build ]

Kept as they are there, because people's ranges were written against it: since 3.4 a pre-release in one clause opens
its whole group for pre-releases (before, every clause needed one); a partial version without operator is a tilde;
`<=1.2` includes 1.2.9 and `>1.2` begins at 1.3.0; `^*` is `=0.0.0` and `<*` is nothing. The expressions run on RE2,
so that a hostile range costs linear time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import re2

from image_updater.policy.versions import Version, is_prerelease, parse_version, prerelease

MAX_LENGTH = 512
MAX_GROUPS = 32

_PART = r"[0-9|xX*]+"
_IDENTIFIERS = r"[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*"
_PARTIAL = rf"v?{_PART}(?:\.{_PART})?(?:\.{_PART})?(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?"
_OPERATORS = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^"
_CLAUSE = rf"(?:{_OPERATORS})\s*{_PARTIAL}"
_GROUP = re2.compile(rf"^\s*{_CLAUSE}\s*(?:(?:\s+|,\s*){_CLAUSE}\s*)*$")
_CLAUSES = re2.compile(_CLAUSE)
_ONE = re2.compile(
    rf"^\s*({_OPERATORS})\s*v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?\s*$"
)
_HYPHEN = re2.compile(rf"\s*({_PARTIAL})\s+-\s+({_PARTIAL})\s*")
_CANONICAL = {"": "=", "=>": ">=", "=<": "<=", "~>": "~"}

_WILDCARDS = frozenset({"x", "X", "*"})
_INFINITY = 2**64
Hull = tuple[tuple[int, int], tuple[int, int]]
"""The least and the greatest (major, minor) that may satisfy, both included."""


class RangeError(ValueError):
    """The text is no range; the message says which part."""


class Written(IntEnum):
    """How much of the clause's version is written; the rest is a wildcard and counts as 0."""

    NOTHING = 0
    MAJOR = 1
    MINOR = 2
    FULL = 3


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison, such as `^1.2`."""

    operator: str
    version: Version
    written: Written

    @property
    def has_prerelease(self) -> bool:
        return is_prerelease(self.version)

    def accepts(self, version: Version) -> bool:
        """By number and pre-release alone; whether pre-releases count at all is the group's to say."""
        match self.operator:
            case "=":
                return version == self.version if self.written is Written.FULL else self._tilde(version)
            case "!=":
                return self._differs(version)
            case ">":
                return self._greater(version)
            case "<":
                return version < self.version
            case ">=":
                return version >= self.version
            case "<=":
                return self._at_most(version)
            case "~":
                return self._tilde(version)
            case _:
                return self._caret(version)

    def _differs(self, version: Version) -> bool:
        match self.written:
            case Written.MAJOR:
                return version[0] != self.version[0]
            case Written.MINOR:
                # Of two equal minors only the pre-releases are compared: `!=1.2` lets 1.2.0-rc.1 through.
                return version[:2] != self.version[:2] or version[3] != self.version[3]
            case _:
                return version != self.version

    def _greater(self, version: Version) -> bool:
        match self.written:
            case Written.MAJOR:
                return version[0] > self.version[0]
            case Written.MINOR:
                return version[:2] > self.version[:2]
            case _:
                return version > self.version

    def _at_most(self, version: Version) -> bool:
        match self.written:
            case Written.FULL:
                return version <= self.version
            case Written.MAJOR:
                return version[0] <= self.version[0]
            case _:
                return version[:2] <= self.version[:2]

    def _tilde(self, version: Version) -> bool:
        if version < self.version:
            return False
        if self.version[:3] == (0, 0, 0) and self.written in (Written.NOTHING, Written.FULL):
            return True
        if self.written is Written.MAJOR:
            return version[0] == self.version[0]
        return version[:2] == self.version[:2]

    def _caret(self, version: Version) -> bool:
        if version < self.version:
            return False
        major, minor, patch, _ = self.version
        if major > 0 or self.written is Written.MAJOR:
            return version[0] == major
        if minor > 0 or self.written is Written.MINOR:
            return version[:2] == (0, minor)
        return version[:3] == (0, 0, patch)

    @property
    def hull(self) -> Hull:
        """No version outside is accepted; some inside may not be. It lets whole minors be left out unread."""
        low = high = self.version[:2]
        top = (_INFINITY, _INFINITY)
        whole_major = (self.version[0], _INFINITY)
        anything = self.version[:3] == (0, 0, 0) and self.written in (Written.NOTHING, Written.FULL)
        match self.operator:
            case "!=":
                return (0, 0), top
            case ">" | ">=":
                return low, top
            case "<":
                return (0, 0), high
            case "<=":
                return (0, 0), whole_major if self.written is Written.MAJOR else high
            case "^":
                return low, whole_major if self.version[0] > 0 or self.written is Written.MAJOR else high
            case "=" if self.written is Written.FULL:
                return low, high
            case _:
                return low, top if anything else whole_major if self.written is Written.MAJOR else high


@dataclass(frozen=True, slots=True)
class Group:
    """Clauses that must all accept."""

    clauses: tuple[Clause, ...]
    has_prerelease: bool
    hull: Hull

    @classmethod
    def of(cls, clauses: tuple[Clause, ...]) -> Group:
        hulls = [clause.hull for clause in clauses]
        hull = max(low for low, _ in hulls), min(high for _, high in hulls)
        return cls(clauses, any(clause.has_prerelease for clause in clauses), hull)


@dataclass(frozen=True, slots=True)
class Range:
    """A parsed range. With `prereleases` every group takes pre-releases, within its numbers."""

    text: str
    groups: tuple[Group, ...]
    prereleases: bool = False

    def accepts(self, version: Version) -> bool:
        return self._accepts(version, prereleases=self.prereleases)

    def refusal(self, version: Version) -> str | None:
        """Why the version is not in the range; None when it is."""
        if self._accepts(version, prereleases=self.prereleases):
            return None
        if not self.prereleases and is_prerelease(version) and self._accepts(version, prereleases=True):
            return f"a pre-release, and the range {self.text} has none"
        return f"outside {self.text}"

    def _accepts(self, version: Version, *, prereleases: bool) -> bool:
        released = not is_prerelease(version)
        return any(
            (released or prereleases or group.has_prerelease)
            and all(clause.accepts(version) for clause in group.clauses)
            for group in self.groups
        )

    def may_hold(self, minor: tuple[int, int]) -> bool:
        """Can any version with this major and minor be in the range?"""
        return any(low <= minor <= high for low, high in (group.hull for group in self.groups))

    def majors(self, limit: int) -> list[int] | None:
        """All majors that may be in the range, if these are few."""
        found: set[int] = set()
        for (low, _), (high, _) in (group.hull for group in self.groups):
            if high - low > limit:
                return None
            found.update(range(low, high + 1))
        return sorted(found) if len(found) <= limit else None


def parse_range(text: str, *, prereleases: bool = False) -> Range:
    """Raises RangeError."""
    if len(text.encode()) > MAX_LENGTH:
        raise RangeError(f"the range is longer than {MAX_LENGTH} bytes")
    rewritten = text
    for match in list(_HYPHEN.finditer(text)):
        rewritten = rewritten.replace(match.group(0), f">= {match.group(1)}, <= {match.group(2)} ", 1)
    parts = rewritten.split("||")
    if len(parts) > MAX_GROUPS:
        raise RangeError(f"more than {MAX_GROUPS} alternatives")
    return Range(text, tuple(_group(part, text) for part in parts), prereleases)


def _group(text: str, whole: str) -> Group:
    if not _GROUP.search(text):
        place = f"{text.strip()!r} in {whole!r}" if text.strip() != whole.strip() else repr(whole)
        raise RangeError(f"{place} is not a version range")
    return Group.of(tuple(_clause(match.group(0)) for match in _CLAUSES.finditer(text)))


def _clause(text: str) -> Clause:
    match = _ONE.search(text)
    if not match:
        raise RangeError(f"{text!r} is not a version range")
    operator, *numbers, pre = match.groups()
    written = next((Written(n) for n, part in enumerate(numbers) if part is None or part in _WILDCARDS), Written.FULL)
    version = parse_version(".".join([*numbers[:written], *["0"] * (3 - written)]))
    if isinstance(version, str):
        raise RangeError(f"{text!r} is not a version range: {version}")
    if pre:
        key = prerelease(pre)
        if isinstance(key, str):
            raise RangeError(f"{text!r} is not a version range: {key}")
        version = (*version[:3], key)
    return Clause(_CANONICAL.get(operator, operator), version, written)
