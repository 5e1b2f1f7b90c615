"""The history of one commit, read: its commits, who changed what, where it ends. Blocking; no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pygit2

from image_updater.git import commits, dating, lineage
from image_updater.git.address import Version
from image_updater.git.commits import CommitInfo
from image_updater.git.lineage import MAX_COMMITS, Chain, Enough, Wanted
from image_updater.git.trees import GitTree, TreeCache


@dataclass(frozen=True, slots=True)
class History:
    """What came before `tip`, as far as it is here."""

    repository: pygit2.Repository = field(repr=False)
    tip: str
    cache: TreeCache = field(default_factory=TreeCache, repr=False, compare=False)

    def at(self, commit: str) -> History:
        """The same, seen from one of its commits."""
        return replace(self, tip=commit)

    @property
    def tree(self) -> GitTree:
        """The files as the tip has them."""
        return GitTree(self.repository, str(commits.get(self.repository, self.tip).tree_id), self.cache)

    def holds(self, path: str) -> bool:
        """Is this folder or file there at the tip?"""
        return path == "." or lineage.holds(self.repository, self.tip, path)

    def commits(self, *, limit: int = MAX_COMMITS, stop: str | None = None) -> list[CommitInfo]:
        """Newest first; `stop` and what it holds are left out."""
        return commits.history(self.repository, self.tip, limit=limit, stop=stop)

    def contains(self, commit: str) -> bool:
        return commits.contains(self.repository, self.tip, commit)

    def follows(self, newer: str, older: str) -> bool:
        """Was `newer` made on `older`, or is it the same commit? As far as the history is here; times say nothing."""
        return commits.contains(self.repository, newer, older)

    def touched(self, commit: str, path: str) -> bool:
        """Whether that commit changed this file."""
        return dating.touched(self.repository, commit, path)

    def files(self, commit: str) -> frozenset[str] | None:
        """The files that a commit changed; None where it, or its parent, was not fetched."""
        return lineage.files_of(self.repository, commit)

    def version(self, path: str) -> Version | None:
        """A file as the tip has it."""
        return lineage.version_of(self.repository, self.tip, path)

    def trace(
        self,
        wanted: Mapping[str, Wanted],
        *,
        enough: Enough,
        limit: int = MAX_COMMITS,
        versions: Mapping[str, Version] | None = None,
    ) -> dict[str, Chain]:
        """Who changed these places; see `lineage`. `versions`: files that were read already, by blob id."""
        return lineage.trace(self.repository, self.tip, wanted, enough=enough, limit=limit, versions=versions)

    def reaches(self, depth: int) -> bool:
        """Are that many commits here, or all that there are?"""
        return commits.deep_enough(self.repository, self.tip, depth)
