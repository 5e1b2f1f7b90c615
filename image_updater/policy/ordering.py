"""What the strategies that order tags by themselves have in common (semver, numerical, alphabetical, calver).

An ordering reads one value (the tag, or what `filterTags.extract` made of it). `best` may be as clever as it likes,
but must give what `scan` gives: of all values that pass, those with the greatest key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from image_updater.policy.tagset import TagSet

Key: TypeAlias = tuple[Any, ...]
"""Sortable; a greater key is the better tag, whatever `order` says."""

Passes: TypeAlias = Callable[[str], bool]

Best: TypeAlias = tuple[Key, list[str]]
"""The greatest key, and every value that has it."""


class Ordering(Protocol):
    """One strategy: pure, and the same for every tag list."""

    @property
    def better(self) -> str:
        """What the winner is, compared with another: `newer`."""

    @property
    def has_shape(self) -> bool:
        """Do values without a place tell that a tag is of another kind? (Every string has a place in byte order.)"""

    def key(self, value: str) -> Key | str:
        """The place of a value in the order, or the reason why it has none."""

    def refusal(self, key: Key) -> str | None:
        """Why a value that has a place may not win (it is outside the range); None when it may."""

    def best(self, values: TagSet, passes: Passes) -> Best | None:
        """The winners among the values that pass; `passes` is asked for as few as possible."""

    def groups(self, values: TagSet) -> Iterator[list[str]]:
        """Some of the values, where they are found without reading all: none that is left out, or in a later group,
        is greater than one of a group. Values may come twice."""

    def praise(self) -> str:
        """What the winner is: `the newest version in ^1.2`."""


def scan(ordering: Ordering, values: Iterable[str], passes: Passes) -> Best | None:
    """The winners, by reading every value."""
    best: Key | None = None
    winners: list[str] = []
    key_of, refusal = ordering.key, ordering.refusal
    for value in values:
        key = key_of(value)
        if isinstance(key, str) or (best is not None and key < best):
            continue
        if refusal(key) is None and passes(value):
            if key == best:
                winners.append(value)
            else:
                best, winners = key, [value]
    return None if best is None else (best, winners)
