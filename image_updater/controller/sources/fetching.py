"""One fetch for all GitRepositories that are one: the same repository, read with the same login, at the same ref.

No network where none is needed: a commit that is pinned is fetched once, and what we have pushed ourselves is in the
mirror already.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from image_updater.errors import ImageUpdaterError
from image_updater.git import Tip, urls
from image_updater.git.errors import BranchNotFound, RevisionNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from image_updater.api.model import GitRef, ObjectKey
    from image_updater.git import GitAccess, GitTree, Mirror
    from image_updater.pipeline.mirrors import Mirrors

DEFAULT_BRANCH_FOR: Final = 3600.0
"""Seconds that the server's default branch is taken as known."""

LAG: Final = 60.0
"""Seconds after our own push in which a server may still show the branch as it was before (replicas)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What a GitRepository points to, fetched and (where it asks for it) verified."""

    repository: ObjectKey
    commit: str
    branch: str
    """Or the tag; "" for a pinned commit."""
    tree: GitTree = field(repr=False, compare=False)
    committed: datetime | None = field(default=None, compare=False)
    line: str = field(default="", compare=False)
    """Names the repository, the login and the ref: trees of one line follow each other."""
    read_at: float = field(default=-math.inf, compare=False)
    """When the server was last asked and named it still: the moment before the question, by the monotonic clock."""
    seen_at: float = field(default=-math.inf, compare=False)
    """When it was there for the first time: whoever asks the server later is told of it, or of a newer one."""

    def __str__(self) -> str:
        return f"{self.branch}@sha1:{self.commit}" if self.branch else f"sha1:{self.commit}"


FetchKey = tuple[str, str, str]
"""Normalised URL, identity, ref."""


def fetch_key(url: str, access: GitAccess, ref: GitRef) -> FetchKey:
    name = f"commit {ref.commit}" if ref.commit else f"tag {ref.tag}" if ref.tag else f"branch {ref.branch or ''}"
    return urls.normalise(url), access.identity, name


class Fetch:
    """One repository, login and ref. `tip` is the last one seen."""

    def __init__(
        self, key: FetchKey, url: str, access: GitAccess, ref: GitRef, *, monotonic: Callable[[], float]
    ) -> None:
        self.key = key
        self.url = url
        self.access = access
        self.ref = ref
        self.members: set[ObjectKey] = set()
        self.tip: Tip | None = None
        self.read_at = -math.inf
        """The moment before the last question that the server has answered."""
        self.seen_at = -math.inf
        """The moment when `tip` was known for the first time."""
        self.failing_since: float | None = None
        """Since when no question was answered."""
        self.busy = self.again = False
        """A fetch is under way; somebody has asked for one since it began."""
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._default: tuple[str, float] | None = None
        self._pushed_at = -LAG

    @property
    def branch(self) -> str | None:
        """The branch that is read, as far as it is known."""
        return self.ref.branch or (self._default[0] if self._default is not None else None)

    async def fetch(self, mirrors: Mirrors) -> tuple[Mirror, Tip]:
        """Ask the server. Raises GitError, AccessDenied, GitInputError, SpecError."""
        async with self._lock:
            began = self._monotonic()
            try:
                mirror = await mirrors.open(self.url, self.access)
                began = self._monotonic()
                tip = await self._read(mirror)
            except ImageUpdaterError:
                self.failing_since = began if self.failing_since is None else self.failing_since
                raise
            self.read_at, self.failing_since = began, None
            if self._is_behind(mirror, tip):
                assert self.tip is not None
                return mirror, self.tip
            self._see(tip)
            return mirror, tip

    async def take(self, mirrors: Mirrors, branch: str, commit: str) -> tuple[Mirror, Tip] | None:
        """We have pushed `commit` to `branch`: its files are in the mirror. None when they are not (another login)."""
        async with self._lock:
            mirror = await mirrors.open(self.url, self.access)
            try:
                tree = await asyncio.to_thread(mirror.tree, commit)
            except RevisionNotFound:
                return None
            self._pushed_at = self._monotonic()
            tip = Tip(commit=commit, tree=tree, branch=branch)
            self._see(tip)
            return mirror, tip

    def _see(self, tip: Tip) -> None:
        if self.tip is None or self.tip.commit != tip.commit:
            self.seen_at = self._monotonic()
        self.tip = tip

    def _is_behind(self, mirror: Mirror, tip: Tip) -> bool:
        """A replica that does not know our own push yet. Later it is a person who set the branch back."""
        known = self.tip
        return (
            known is not None
            and tip.commit != known.commit
            and self._monotonic() - self._pushed_at < LAG
            and mirror.contains(known.commit, tip.commit)
        )

    async def _read(self, mirror: Mirror) -> Tip:
        ref = self.ref
        if ref.commit is not None:
            return await self._pinned(mirror, ref.commit)
        if ref.tag is not None:
            return await mirror.fetch_tag(ref.tag)
        if ref.branch:
            return await mirror.fetch(ref.branch)
        try:
            return await mirror.fetch(await self._default_branch(mirror))
        except BranchNotFound:
            if self._default is None or self._default[1] == self._monotonic():
                raise
            self._default = None  # it was renamed
            return await mirror.fetch(await self._default_branch(mirror))

    async def _default_branch(self, mirror: Mirror) -> str:
        if self._default is None or self._monotonic() - self._default[1] >= DEFAULT_BRANCH_FOR:
            self._default = (await mirror.default_branch(), self._monotonic())
        return self._default[0]

    async def _pinned(self, mirror: Mirror, commit: str) -> Tip:
        try:
            return Tip(commit=commit, tree=await asyncio.to_thread(mirror.tree, commit), branch="")
        except RevisionNotFound:
            await mirror.fetch(await self._default_branch(mirror), depth=0)
        return Tip(commit=commit, tree=await asyncio.to_thread(mirror.tree, commit), branch="")
