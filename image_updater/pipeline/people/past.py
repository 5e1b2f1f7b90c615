"""What came before the tree that is planned on: the record of its branch, who changed which value, the last commits.

Nothing is read before it is asked for, and what was read of a commit is kept as long as the process (`Memory`). A first
fetch takes 50 commits; before the first move that a process plans on a branch `ready()` takes 1,000, so that neither a
person's revert nor a quarantine is overlooked because it is old. A branch that nothing moves on costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from image_updater.git import MAX_COMMITS
from image_updater.pipeline.people.memory import Memory
from image_updater.pipeline.people.record import OURS, Record, squashed

if TYPE_CHECKING:
    from image_updater.git import Chain, CommitInfo, History, Version, Wanted
    from image_updater.git.lineage import Changed
    from image_updater.images import ImageName

ROLLBACK: Final = "Rollback"

REACH: Final = 50
"""Commits that are read for fights: as many as a first fetch brings."""


@dataclass(slots=True, kw_only=True)
class Past:
    """The past of one commit, on one branch.

    `deepen` fetches MAX_COMMITS of its history; None: what is here is all that can be had (a checkout). `proposed()`:
    commits of ours that are not part of it yet (a push branch that waits to be merged).
    """

    history: History
    branch: str
    memory: Memory = field(default_factory=Memory)
    deepen: Callable[[], Awaitable[History]] | None = None
    proposed: Callable[[], Sequence[CommitInfo]] = tuple

    def recent(self) -> Sequence[CommitInfo]:
        """The last commits, newest first, at most REACH."""
        return self.history.commits(limit=REACH)

    def at(self, commit: str) -> Past:
        """As it was at one of its commits."""
        return replace(self, history=self.history.at(commit))

    def touched(self, commit: str, path: str) -> bool:
        """Whether that commit changed this file."""
        return self.history.touched(commit, path)

    @property
    def _place(self) -> tuple[str, str]:
        return self.history.repository.path, self.branch

    def record(self) -> Record:
        """What the commits say that are here. Blocking; only what is new since the last time is read."""
        known = self.memory.records.get(self._place)
        if known is not None and known[0] == self.history.tip:
            return known[1]
        if known is not None and self.history.contains(known[0]):
            found = known[1].on(self.history.commits(stop=known[0]), self.history.files)
        else:
            found = Record().on(self.history.commits(), self.history.files)
        self.memory.records[self._place] = (self.history.tip, found)
        return found

    def wrote(self, image: ImageName) -> frozenset[str]:
        """The files that commits of ours changed which moved this image, and maybe others. Blocking."""
        found: set[str] = set()
        for commit in self.record().moved(image):
            files = self.memory.files.get((self.history.repository.path, commit))
            if files is None:
                files = self.history.files(commit) or frozenset()
                self.memory.files[self.history.repository.path, commit] = files
            found |= files
        return frozenset(found)

    async def ready(self) -> bool:
        """See to it that as much is here as a move needs; once a process and branch. True: the record is another one
        now. Raises what a fetch raises.
        """
        if self._place in self.memory.deep:
            return False
        before = self.record()
        if self.deepen is not None and not await asyncio.to_thread(self.history.reaches, MAX_COMMITS):
            self.history = await self.deepen()
            self.memory.records.pop(self._place, None)
        self.memory.deep.add(self._place)
        return await asyncio.to_thread(self.record) != before

    async def chains(
        self, wanted: Iterable[Wanted], versions: Mapping[str, Version] | None = None
    ) -> Mapping[Wanted, Chain]:
        """Who changed these places, each back to the newest commit of ours that did and is no rollback. `versions`:
        files that were read already, by blob id.
        """
        known = self.memory.chains(self.history.repository.path, self.history.tip)
        missing = {str(number): each for number, each in enumerate(dict.fromkeys(wanted)) if each not in known}
        if missing:
            found = await asyncio.to_thread(self.history.trace, missing, enough=_decided, versions=versions)
            known |= {missing[name]: chain for name, chain in found.items()}
        return known


def is_ours(commit: CommitInfo) -> bool:
    """Does it have our trailers?"""
    return any(key in OURS for key, _ in commit.trailers)


def is_from_us(change: Changed) -> bool:
    """Did we set this value: by a commit of ours, or by a pull request of ours that was merged under another name, with
    our trailers somewhere in its text?
    """
    return is_ours(change.commit) or _squashed(change)


def rollback_of(change: Changed) -> str | None:
    """Why a commit of ours, merged under whatever name, took a value back; None = it did not."""
    if not is_from_us(change):
        return None
    said = change.commit.trailers if is_ours(change.commit) else squashed(change.commit)
    return next((value for key, value in said if key == ROLLBACK), None)


def _squashed(change: Changed) -> bool:
    after = change.after
    text = change.commit.message
    if after is None or "Image-Policy:" not in text or "New:" not in text:
        return False
    said: dict[str, set[str]] = {}
    for key, value in squashed(change.commit):
        said.setdefault(key, set()).add(value)
    return after.tag in said.get("New", ()) or (after.digest is not None and after.digest in said.get("Digest", ()))


def _decided(_: str, changes: Sequence[Changed]) -> bool:
    """What was before a rollback of ours still counts."""
    return is_from_us(changes[-1]) and rollback_of(changes[-1]) is None
