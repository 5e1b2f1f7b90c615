"""Semantic versions as sortable tuples (semver.org 2.0, sections 2, 9, 10 and 11).

What Flux accepts is accepted here: a leading `v`, leading zeros in the three numbers. `loose` also takes `1` and
`1.2`, with the missing numbers as 0 (Masterminds' `NewVersion`); four numbers are never a version. Build metadata is
read and ignored in the order.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Prerelease: TypeAlias = tuple[tuple[int, int | str] | int, ...]
Version: TypeAlias = tuple[int, int, int, Prerelease]
"""Major, minor, patch, pre-release. Python's own order of these tuples is the order of section 11."""

RELEASE: Prerelease = (1,)
"""Sorts behind every pre-release, which begins with 0."""

MAX_LENGTH = 256
"""As in Masterminds; it also bounds what `int` is asked to read."""

_MAX_NUMBER = 2**64 - 1
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_TAIL = rf"(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?"
_STRICT = re.compile(rf"v?([0-9]+)\.([0-9]+)\.([0-9]+){_TAIL}")
_LOOSE = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{_TAIL}")

_NOT_STRICT = "not a version: needs three numeric parts"
_NOT_LOOSE = "not a version: needs one to three numeric parts"


def parse_version(text: str, *, loose: bool = False) -> Version | str:
    """The version, or the reason why it is none."""
    if len(text) > MAX_LENGTH:
        return f"not a version: longer than {MAX_LENGTH} characters"
    match = (_LOOSE if loose else _STRICT).fullmatch(text)
    if match is None:
        if loose:
            return _NOT_LOOSE
        return f"{_NOT_STRICT} (loose: true would take it)" if _LOOSE.fullmatch(text) else _NOT_STRICT
    major, minor, patch, pre = match.groups()
    if len(major) + len(minor or "") + len(patch or "") > 19:
        numbers = [part.lstrip("0") or "0" for part in (major, minor or "0", patch or "0")]
        if any(len(part) > 20 or int(part) > _MAX_NUMBER for part in numbers):
            return "not a version: a number is larger than 64 bits"
        major, minor, patch = numbers
    if pre is None:
        return int(major), int(minor or 0), int(patch or 0), RELEASE
    key = prerelease(pre)
    if isinstance(key, str):
        return key
    return int(major), int(minor or 0), int(patch or 0), key


def prerelease(text: str) -> Prerelease | str:
    """The sortable form of `rc.1` (numbers sort before words, section 11.4), or why it is none (section 9)."""
    parts: list[tuple[int, int | str] | int] = [0]
    for identifier in text.split("."):
        if identifier.isdigit():
            if identifier[0] == "0" and len(identifier) > 1:
                return f"not a version: the number {identifier} of its pre-release begins with 0"
            parts.append((0, int(identifier)))
        else:
            parts.append((1, identifier))
    return tuple(parts)


def is_prerelease(version: Version) -> bool:
    return version[3] is not RELEASE and version[3][0] == 0
