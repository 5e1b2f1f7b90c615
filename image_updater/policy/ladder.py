"""The best tags of a list in order, read as far down as somebody looks.

Most policies choose their best tag and never look further. Where gates hold the best ones back, the next are wanted,
again with every new list: what was read stays, and moves on with the tags that came and went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from image_updater.policy.ordering import Key

Rung = tuple[Key, str]
"""Place and tag: a greater one is the better tag."""

Read = Callable[[int], tuple[list[Rung], bool]]
"""More than so many of the best rungs, best first, and whether they are all there are."""


class Ladder:
    """Every tag that has no rung ranks below the last rung; with `complete` there is none."""

    __slots__ = ("complete", "rungs")

    def __init__(self, rungs: list[Rung] | None = None, *, complete: bool = False) -> None:
        self.rungs = rungs or []
        self.complete = complete

    def rung(self, index: int, read: Read) -> Rung | None:
        """The rung at `index`, 0 = the best; `read` is asked for more when these do not reach so far."""
        while index >= len(self.rungs) and not self.complete:
            self.rungs, self.complete = read(len(self.rungs))
        return self.rungs[index] if index < len(self.rungs) else None

    def moved(self, added: Iterable[Rung], removed: Iterable[str]) -> Ladder:
        """The ladder of the next list."""
        if not self.rungs:
            return Ladder()
        gone = set(removed)
        last = self.rungs[-1]
        came = [rung for rung in added if self.complete or rung > last]
        if not came and not gone:
            return Ladder(self.rungs, complete=self.complete)
        known = {tag for _, tag in came}
        rungs = [rung for rung in self.rungs if rung[1] not in gone and rung[1] not in known]
        return Ladder(sorted((*rungs, *came), reverse=True), complete=self.complete)
