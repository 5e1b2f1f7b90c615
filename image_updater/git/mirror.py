"""A bare copy of one repository, kept between runs: fetched by difference, written to by pushes with a lease, made anew
when damaged.

    folder/lock           flock of the process that uses it; another process gets `folder.1`, …
    folder/current        name of the repository in use
    folder/repository-N   the repository; the one before stays until the next swap, for readers that are still in it

No remote is configured in it, so neither URL nor credentials are ever on disk. All blocking work runs in one thread at
a time per mirror; reads (`tree`, `history`) may run beside it. A fetch takes 50 commits at first, later the difference;
`depth` deepens.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pygit2

from image_updater.api.model import Author, VerifyMode
from image_updater.errors import SpecError
from image_updater.git import commits, dating, missing, pushing, transport, urls, userconfig, verify
from image_updater.git.access import GitAccess
from image_updater.git.commits import CommitInfo, Signer
from image_updater.git.errors import GitUnavailable, MirrorDamaged, PushRaced, RevisionNotFound
from image_updater.git.reading import History
from image_updater.git.trees import GitTree, TreeCache

FIRST_DEPTH = 50
_EVERYTHING = 2147483647
"""Git's own number for `--unshallow`."""
MAX_PACKS = 50
MAX_LOOSE = 6000
_SIBLINGS = 16
_THREADS = ThreadPoolExecutor(256, thread_name_prefix="git")
"""Of their own, made as they are needed: a server that does not answer keeps one for a whole time-out, and the few that
asyncio has look up names and read files for everybody.
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """The state of a branch (or tag) as fetched. `tag` is the annotated tag's object id."""

    commit: str
    tree: GitTree = field(repr=False)
    branch: str
    tag: str | None = None


class Mirror:
    """See the module. Made by `Mirror.open`; close it (or use `with`) to let another process have its folder."""

    def __init__(self, folder: Path, lock: int, url: str, access: GitAccess) -> None:
        self.folder = folder
        self.url = urls.redact(url)
        self.key = urls.normalise(url)
        self.access = access
        self._address = urls.parse(url)
        self._lock = lock
        self._busy = asyncio.Lock()
        self._cache = TreeCache()
        self._trees: weakref.WeakSet[GitTree] = weakref.WeakSet()
        self._damaged = False
        self._closed = False
        self._commits = 0
        self._repository = self._open_current()

    # -- life

    @classmethod
    def open(cls, folder: Path, url: str, access: GitAccess) -> Mirror:
        """Open or make the mirror in `folder`. No network. Raises SpecError (URL), GitUnavailable (no folder)."""
        urls.parse(url)
        userconfig.pass_over_unreadable()
        for number in range(_SIBLINGS):
            place = folder if number == 0 else folder.with_name(f"{folder.name}.{number}")
            try:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                raise GitUnavailable(
                    f"the cache folder {place} cannot be used: {exc.strerror}", remedy="check its rights"
                ) from exc
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            try:
                os.utime(descriptor)  # when it was used last
                with _own_disk(place):
                    return cls(place, descriptor, url, access)
            except BaseException:
                os.close(descriptor)
                raise
        raise GitUnavailable(
            f"{folder} and its {_SIBLINGS - 1} siblings are in use by other processes", remedy="end some of them"
        )

    def close(self) -> None:
        """Give the folder back; at the end of an operation that was left to itself, where one still runs."""
        self._closed = True
        if self._lock >= 0 and not self._busy.locked():
            self._repository.free()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_current(self) -> pygit2.Repository:
        """The repository in use; a new one when there is none, it is another URL's, or it cannot be opened."""
        current = self.folder / "current"
        try:
            name, key = current.read_text().splitlines()
            path = self.folder / name
            if key == self.key and name.startswith("repository-") and "/" not in name:
                self._unlock(path)
                return pygit2.Repository(str(path))
        except (OSError, ValueError, pygit2.GitError):
            # Nothing there yet, or nothing usable: it is a cache, so it is made anew.
            pass
        return self._swap(self._fresh())

    @staticmethod
    def _unlock(path: Path) -> None:
        """Remove what a killed process left: we hold the folder, so no lock or half pack in it has an owner."""
        for pattern in (
            "*.lock",
            "refs/**/*.lock",
            "objects/pack/*.lock",
            "objects/pack/pack_git2_*",
            "objects/pack/tmp_*",
        ):
            for stale in path.glob(pattern):
                stale.unlink(missing_ok=True)

    def _fresh(self) -> Path:
        taken = [int(p.name[11:]) for p in self.folder.glob("repository-*") if p.name[11:].isdigit()]
        path = self.folder / f"repository-{max(taken, default=0) + 1}"
        transport.guard(pygit2.init_repository(str(path), bare=True))
        return path

    def _swap(self, path: Path) -> pygit2.Repository:
        """Make `path` the one in use. The one before it stays for its readers; older ones go."""
        repository = pygit2.Repository(str(path))
        before = getattr(self, "_repository", None)
        keep = {path.name, Path(before.path).name if before is not None else ""}
        fresh = self.folder / "current.new"
        with fresh.open("w") as file:
            file.write(f"{path.name}\n{self.key}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / "current")
        for old in self.folder.glob("repository-*"):
            if old.name not in keep:
                shutil.rmtree(old, ignore_errors=True)
        self._repository = repository
        self._cache = TreeCache()
        self._damaged = False
        return repository

    # -- running blocking work

    async def _run(self, work: Callable[[], T], budget: timedelta, what: str) -> T:
        """`work` in a thread, one at a time. After a time-out the thread is left to end by its own deadline; the mirror
        stays busy until then.
        """
        limit = budget.total_seconds() + 2.0
        try:
            async with asyncio.timeout(limit):
                await self._busy.acquire()
        except TimeoutError as exc:
            raise GitUnavailable(
                f"{self.url}: {what} waited {limit:g} s for another operation", remedy="it is tried again"
            ) from exc
        task = asyncio.ensure_future(_in_thread(work))
        task.add_done_callback(self._release)
        done, _ = await asyncio.wait({task}, timeout=limit)
        if not done:
            raise GitUnavailable(f"{self.url}: {what} took longer than {limit:g} s", remedy="see spec.timeout")
        with _own_disk(self.folder):
            return task.result()

    def _release(self, task: asyncio.Task[T]) -> None:
        self._busy.release()
        if self._closed:
            self.close()
        if not task.cancelled():
            # Retrieved here too, so that an abandoned operation's error is not reported as never retrieved.
            task.exception()

    def _link(self, access: GitAccess | None) -> transport.Link:
        return transport.Link(address=self._address, access=access or self.access)

    # -- reading

    async def fetch(self, branch: str, *, depth: int | None = None, access: GitAccess | None = None) -> Tip:
        """The branch's tip. `depth`: at least that many commits of history (0 = all).

        Raises BranchNotFound, RepositoryNotFound, GitUnavailable, AccessDenied. Damage of the mirror heals itself,
        once.
        """
        return await self._fetch(_reference("heads", branch), branch, depth, access)

    async def fetch_tag(self, tag: str, *, depth: int | None = None, access: GitAccess | None = None) -> Tip:
        """A tag's commit, with the tag object's id when it is annotated."""
        return await self._fetch(_reference("tags", tag), tag, depth, access)

    async def default_branch(self, *, access: GitAccess | None = None) -> str:
        """The branch that the server's HEAD names. Raises BranchNotFound: an empty repository, or a HEAD that names
        none; else as `fetch`.
        """
        link = self._link(access)

        def work() -> str:
            with link.remote(self._repository) as (remote, callbacks, proxy):
                remote.connect(callbacks=callbacks, proxy=proxy)
                advertised = remote.list_heads(connect=False)
            for head in advertised:
                target = head.symref_target if head.name == "HEAD" else None
                if target and target.startswith("refs/heads/"):
                    return target.removeprefix("refs/heads/")
            raise missing.no_default(self.url, {head.name: str(head.oid) for head in advertised})

        return await self._run(work, link.access.timeout, "asking for the default branch")

    async def _fetch(self, reference: str, name: str, depth: int | None, access: GitAccess | None) -> Tip:
        link = self._link(access)

        def work() -> Tip:
            if self._damaged or self._cache.damaged or self._crowded():
                self._swap(self._fresh())
            try:
                return self._fetch_once(link, reference, name, depth)
            except (MirrorDamaged, RevisionNotFound):
                self._swap(self._fresh())
                return self._fetch_once(link, reference, name, depth)

        return await self._run(work, link.access.timeout, f"fetching {name}")

    def _fetch_once(self, link: transport.Link, reference: str, name: str, depth: int | None) -> Tip:
        repository = self._repository
        local = "refs/mirror/" + reference.removeprefix("refs/")
        with link.remote(repository) as (remote, callbacks, proxy):
            remote.connect(callbacks=callbacks, proxy=proxy)
            callbacks.send_at_once()
            heads = {head.name: str(head.oid) for head in remote.list_heads(connect=False)}
            if reference not in heads:
                raise missing.no_branch(self.url, name, heads)
            wanted = heads[reference]
            if wanted != self._resolve(local):
                # The same connection is used on purpose: what it advertised is what is fetched, and a
                # handshake is saved.
                self._get(remote, callbacks, proxy, f"+{reference}:{local}", self._first_depth(depth))
        if depth is not None and not commits.deep_enough(self._repository, wanted, depth):
            with link.remote(repository) as (remote, callbacks, proxy):
                self._get(remote, callbacks, proxy, f"+{reference}:{local}", depth or _EVERYTHING)
            # libgit2 keeps the commit that was the boundary in memory, without the parents that it has now.
            self._repository = pygit2.Repository(repository.path)
        return self._tip(wanted, name)

    def _get(
        self,
        remote: pygit2.Remote,
        callbacks: transport.Callbacks,
        proxy: str | bool | None,
        refspec: str,
        depth: int,
    ) -> None:
        # libgit2's local transport knows no depth: a path or file:// comes whole.
        remote.fetch(
            [refspec], callbacks=callbacks, proxy=proxy, depth=0 if self._address.local else depth  # type: ignore[arg-type]
        )  # fmt: skip

    def _first_depth(self, depth: int | None) -> int:
        """Of an empty mirror. Later 0, which keeps the boundary: any other number would cut what is deeper already, for
        every branch.
        """
        if any(name.startswith("refs/mirror/") for name in self._repository.references):
            return 0
        return FIRST_DEPTH if depth is None else depth or _EVERYTHING

    def _tip(self, oid: str, name: str) -> Tip:
        found = self._repository.get(oid)
        tag = oid if isinstance(found, pygit2.Tag) else None
        try:
            commit = found.peel(pygit2.Commit) if found is not None else None
        except (pygit2.GitError, KeyError) as exc:
            raise MirrorDamaged(f"{name} cannot be read: {exc}", remedy="the mirror is made anew") from exc
        if commit is None:
            raise MirrorDamaged(f"{name} ({oid}) is not there after the fetch", remedy="the mirror is made anew")
        tree = self._tree(str(commit.tree_id))
        try:
            self._cache.listing(self._repository, tree.id)
        except MirrorDamaged:
            self._damaged = True
            raise
        return Tip(commit=str(commit.id), tree=tree, branch=name, tag=tag)

    def _resolve(self, reference: str) -> str | None:
        try:
            return str(self._repository.references[reference].target)
        except (KeyError, ValueError, pygit2.GitError):
            # Absent or unreadable: either way it is fetched.
            return None

    def _tree(self, tree_id: str) -> GitTree:
        self._trees.add(tree := GitTree(self._repository, tree_id, self._cache))
        return tree

    def tree(self, commit: str) -> GitTree:
        """A fetched commit's files. Raises RevisionNotFound, MirrorDamaged."""
        return self._tree(str(commits.get(self._repository, commit).tree_id))

    def history(self, commit: str, *, limit: int = 1000, stop: str | None = None) -> list[CommitInfo]:
        """Newest first; ends at a commit with `boundary` where no more was fetched."""
        return commits.history(self._repository, commit, limit=limit, stop=stop)

    def reading(self, commit: str) -> History:
        """The history of a fetched commit, to be asked more than once."""
        return History(self._repository, commit)

    def known(self, branch: str) -> str | None:
        """The commit that a branch had when it was fetched last; None = it never was."""
        return self._resolve(f"refs/mirror/heads/{branch}")

    def contains(self, tip: str, commit: str) -> bool:
        """Whether `commit` is part of `tip`'s history."""
        return commits.contains(self._repository, tip, commit)

    def when_written(self, commit: str, path: str, value: str) -> datetime | None:
        """Since when `path` holds `value`; None where the fetched history does not tell."""
        return dating.when_written(self._repository, commit, path, value)

    def touched(self, commit: str, path: str) -> bool:
        """Whether that commit changed this file."""
        return dating.touched(self._repository, commit, path)

    def verify(self, tip: Tip, keys: verify.TrustedKeys, mode: VerifyMode) -> tuple[str, ...]:
        """Who signed what `mode` asks for. Raises SignatureInvalid."""
        return verify.verify_tip(self._repository, commit=tip.commit, tag=tip.tag, mode=mode, keys=keys)

    # -- writing

    async def commit(
        self,
        parent: str,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        signer: Signer | None,
        when: datetime,
    ) -> str:
        """A commit on `parent`, local until pushed; `parent` itself when nothing changes. Raises TreeRefused,
        SpecError, SigningFailed.
        """

        def work() -> str:
            self._commits += 1
            return commits.on_tree(self._repository, parent, files, message, author, signer, when)

        return await self._run(work, self.access.timeout, "committing")

    async def push(
        self,
        commit: str,
        branch: str,
        *,
        expected: str | None,
        access: GitAccess | None = None,
        force: bool = False,
    ) -> None:
        """Move the branch from `expected` (None: it must not exist) to `commit`, or raise and leave it.

        Without `force` the commit must follow `expected`. After a cut connection the server is asked whether it took
        the commit, so an error means it did not, except for GitUnavailable: then nobody knows yet, and `contains` on
        the next fetch tells. Raises PushRaced, PushRefused, AccessDenied, GitUnavailable.
        """
        link = self._link(access)
        _reference("heads", branch)

        def work() -> None:
            if expected is not None and not force and not commits.contains(self._repository, commit, expected):
                raise PushRaced(f"{commit[:12]} does not follow {expected[:12]}", remedy="fetch and plan again")
            pushing.push(self._repository, link, commit, branch, expected=expected)
            with contextlib.suppress(pygit2.GitError, OSError, ValueError):
                # Only spares the next fetch a look; the server has the commit whatever happens here.
                self._repository.references.create(f"refs/mirror/heads/{branch}", commit, force=True)

        await self._run(work, link.access.timeout * 2, f"pushing {branch}")

    # -- care

    @property
    def held(self) -> bool:
        """Is something under way in it, or does somebody have a tree of it?"""
        return self._busy.locked() or len(self._trees) > 0

    def suspect(self) -> None:
        """Call when something read from here was damaged: the next fetch makes the mirror anew."""
        self._damaged = True

    def _crowded(self) -> bool:
        """libgit2 cannot repack: many packs or loose objects make every look-up slow, so it is fetched anew."""
        objects = Path(self._repository.path) / "objects"
        if sum(1 for _ in (objects / "pack").glob("*.pack")) > MAX_PACKS:
            return True
        if self._commits < 500:
            return False
        self._commits = 0
        return sum(1 for _ in objects.glob("??/*")) > MAX_LOOSE


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


@contextlib.contextmanager
def _own_disk(folder: Path) -> Iterator[None]:
    """What fails outside of `transport.translated` is our own folder: a full disk, taken rights."""
    try:
        yield
    except (pygit2.GitError, OSError) as exc:
        raise GitUnavailable(
            f"the cache folder {folder} cannot be used: {exc}", remedy="check disk space and rights, or see --cache"
        ) from exc


def _reference(kind: str, name: str) -> str:
    """The full name. Raises SpecError for what is no name: `a:b` or `x*` would be read as more than one reference."""
    full = f"refs/{kind}/{name}"
    if "*" in name or not pygit2.reference_is_valid_name(full):
        raise SpecError(f"{name!r} is no name of a branch or tag", remedy="see git check-ref-format")
    return full
