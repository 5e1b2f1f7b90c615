"""A person's local work tree: read as it stands, committed to without touching anything that is not ours.

A commit holds exactly the files named: what else is staged stays staged and uncommitted, what is modified stays
modified, a dirty file is refused. The order is files, index, branch: a process killed in between leaves what looks like
an edit, never a commit that the files deny. libgit2 runs neither hooks nor external filters (LFS, git-crypt) nor SSH
aliases; where that matters the error says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import RepositoryState

from image_updater.api.model import Author
from image_updater.git import commits, dating, folder, journal, trees, upstream, urls, userconfig
from image_updater.git.access import GitAccess
from image_updater.git.commits import CommitInfo, Signer
from image_updater.git.errors import (
    CheckoutError,
    FileTrouble,
    GitUnavailable,
    PermissionDenied,
    PushRaced,
    RevisionNotFound,
    TreeRefused,
)
from image_updater.git.files import sweep, write_files
from image_updater.git.folder import BlobIds, FileTree
from image_updater.git.reading import History
from image_updater.git.trees import GitTree, TreeCache
from image_updater.git.upstream import Upstream
from image_updater.git.worktree import WorkTree
from image_updater.kustomize.model import Entry

if TYPE_CHECKING:
    from image_updater.git import transport


@contextlib.contextmanager
def _scratch() -> Iterator[pygit2.Repository]:
    """A repository of our own to look at a server from: nothing is written to the user's, and its settings do not
    apply.
    """
    from image_updater.git import transport

    with tempfile.TemporaryDirectory(prefix="image-updater-") as place:
        repository = pygit2.init_repository(place, bare=True)
        transport.guard(repository)
        yield repository


class Checkout:
    """See the module. `root` is the work tree's top folder."""

    def __init__(self, repository: pygit2.Repository, ids: BlobIds = folder.SHARED) -> None:
        self._repository = repository
        self._cache = TreeCache(remedy="see git fsck; what a partial clone lacks comes with git fetch --refetch")
        self.root = Path(repository.workdir).resolve()
        self._work = WorkTree(repository, self.root, ids)

    @classmethod
    def open(cls, path: Path) -> Checkout | None:
        """The work tree that `path` is in; None outside Git. Raises CheckoutError (bare, unreadable), PermissionDenied
        (another owner).
        """
        userconfig.pass_over_unreadable()
        try:
            found = pygit2.discover_repository(str(path))
            if found is None:
                return None
            repository = pygit2.Repository(found)
        except (pygit2.GitError, KeyError, ValueError) as exc:
            text = str(exc.args[0]) if exc.args else str(exc)
            if "not owned by current user" in text:
                raise PermissionDenied(
                    f"{path} belongs to another user",
                    remedy=f"git config --global --add safe.directory {path}, if you trust it",
                ) from exc
            raise CheckoutError(f"{path} cannot be opened as a Git work tree: {text}", remedy="see git status") from exc
        if repository.is_bare or not repository.workdir:
            raise CheckoutError(
                f"{path} is a bare repository", remedy=f"give it as a URL: file://{Path(path).resolve()}"
            )
        return cls(repository)

    # -- where we are

    @property
    def branch(self) -> str | None:
        """Short name of the branch checked out; None with a detached HEAD."""
        if self._repository.head_is_detached:
            return None
        target = self._repository.references["HEAD"].target if "HEAD" in self._repository.references else None
        text = str(target) if target is not None else self._repository.lookup_reference("HEAD").raw_target
        name = text.decode() if isinstance(text, bytes) else str(text)
        return name.removeprefix("refs/heads/")

    @property
    def head(self) -> str | None:
        """Commit id of HEAD; None before the first commit."""
        return None if self._repository.head_is_unborn else str(self._repository.head.target)

    @property
    def shallow(self) -> bool:
        """A depth-limited clone: its history ends early."""
        return bool(commits.shallow(self._repository)) or self._repository.is_shallow

    def require_branch(self) -> str:
        """The branch, or the reason why nothing can be committed here: CheckoutError."""
        branch = self.branch
        if branch is None:
            raise CheckoutError(
                "HEAD is detached: there is no branch to commit to",
                remedy="git switch <branch> (in CI: check the branch out by name)",
            )
        state = self._repository.state()
        if state != RepositoryState.NONE:
            raise CheckoutError(
                f"a {state.name.lower().replace('_', ' ')} is in progress", remedy="finish or abort it first"
            )
        return branch

    # -- reading

    def dirty(self) -> frozenset[str]:
        """Paths that differ from HEAD: modified, staged, deleted, untracked (ignored ones are not)."""
        return self._work.dirty()

    def tree(self) -> FileTree:
        """The files as they stand: tracked and untracked ones that exist, ignored ones not. Ids are those of the bytes
        on disk.
        """
        return self._work.tree(self.head_tree)

    def head_tree(self) -> GitTree:
        """The files of HEAD; empty before the first commit."""
        head = self.head
        if head is None:
            return GitTree(self._repository, str(self._repository.TreeBuilder().write()), self._cache)
        return self.revision_tree(head)

    def revision_tree(self, revision: str) -> GitTree:
        """The files of any revision that Git understands (`HEAD~1`, a tag, a branch). Raises RevisionNotFound."""
        try:
            found = self._repository.revparse_single(revision).peel(pygit2.Tree)
        except (KeyError, ValueError, pygit2.GitError) as exc:
            raise RevisionNotFound(f"{revision!r} is no revision of this repository", remedy="see git log") from exc
        return GitTree(self._repository, str(found.id), self._cache)

    def history(self, *, limit: int = 1000, stop: str | None = None) -> list[CommitInfo]:
        """HEAD's commits, newest first; () before the first."""
        head = self.head
        return [] if head is None else commits.history(self._repository, head, limit=limit, stop=stop)

    def reading(self, commit: str) -> History:
        """The history of a commit, to be asked more than once."""
        return History(self._repository, commit)

    def when_written(self, commit: str, path: str, value: str) -> datetime | None:
        """Since when `path` holds `value`; None where the history here does not tell."""
        return dating.when_written(self._repository, commit, path, value)

    def touched(self, commit: str, path: str) -> bool:
        """Whether that commit changed this file."""
        return dating.touched(self._repository, commit, path)

    def tree_of(self, commit: str) -> GitTree:
        """A commit's files."""
        return GitTree(self._repository, str(commits.get(self._repository, commit).tree_id), self._cache)

    # -- writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only image-updater that writes here, on what the last one left whole: what a killed one had begun is
        undone first. Blocking. Raises CheckoutError, FileTrouble.
        """
        with journal.writing(self._git):
            sweep(self.root)
            self._recover()
            yield

    @property
    def _git(self) -> Path:
        return Path(self._repository.path)

    def _recover(self) -> None:
        note = journal.read(self._git)
        if note is not None:
            now, then = self.head_tree().files(), self._files_at(note.parent)
            # What is in a commit by now, whoever made it, is done.
            begun = {path: pair for path, pair in note.files.items() if now.get(path) == then.get(path)}
            journal.undo(self._repository, self.root, begun)
        journal.end(self._git)

    def _files_at(self, commit: str | None) -> Mapping[str, Entry]:
        try:
            return self.tree_of(commit).files() if commit is not None else {}
        except RevisionNotFound:
            return {}

    def commit(
        self,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        signer: Signer | None = None,
        when: datetime | None = None,
        *,
        expected: Mapping[str, bytes | None] | None = None,
    ) -> str:
        """Write the files, stage them alone and move the branch to a commit of them alone. Returns its id.

        `expected`: what each file must hold still. Raises CheckoutError (detached, merge in progress, locked),
        TreeRefused (dirty, ignored, filtered, symlink), FilesChanged, FileTrouble, SigningFailed.
        """
        branch = self.require_branch()
        self._check_unlocked()
        repository = self._repository
        parent = self.head
        reference = repository.references[f"refs/heads/{branch}"] if parent is not None else None
        for path in files:
            self._work.check_writable(path)
        begun = {path: (self._work.original(path), data) for path, data in files.items()}
        # Before anything is touched: these refuse paths, authors and keys that cannot be.
        commits.signature(author, when or datetime.now(UTC))
        base = self.head_tree().id
        try:
            trees.edited(repository, base, files)
        except (OSError, pygit2.GitError) as exc:
            raise CheckoutError(f"{self._git} cannot be written: {exc}", remedy="check disk space and rights") from exc
        journal.begin(self._git, journal.Note(parent=parent, files=begun))
        try:
            write_files(self.root, files, expected=expected or {path: old for path, (old, _) in begun.items()})
            index = repository.index
            index.read(True)
            for path, data in files.items():
                if data is None:
                    index.remove(path)
                else:
                    index.add(path)
            # What Git stores is not always what is on disk (line ends): it is read back from the index.
            stored = {p: None if d is None else self._blob(index[p].id) for p, d in files.items()}
            tree = trees.edited(repository, base, stored)
            made = commits.create(
                repository,
                tree=tree,
                parents=(parent,) if parent else (),
                message=message,
                author=author,
                when=when or datetime.now(UTC),
                signer=signer,
            )
            index.write()
        except BaseException as exc:
            self._give_up(begun)
            if isinstance(exc, pygit2.GitError | OSError | KeyError | ValueError):
                raise CheckoutError(
                    f"the index cannot be written: {exc}", remedy="is another Git command running?"
                ) from exc
            raise
        try:
            self._move(reference, branch, made, message)
        except (pygit2.GitError, ValueError, KeyError, OSError) as exc:
            self._give_up(begun)
            what = "moved meanwhile" if "reference value does not match" in str(exc) else "cannot be moved"
            raise CheckoutError(f"the branch {branch} {what}: {exc}", remedy="run again") from exc
        journal.end(self._git)
        return made

    def _check_unlocked(self) -> None:
        """Git's own lock: better now than when the files are written already."""
        lock = self._git / "index.lock"
        if os.path.lexists(lock):
            raise CheckoutError(
                f"another Git command is running here, or was killed: {lock} is there",
                remedy="wait for it; if none is running, remove that file",
            )

    def _move(self, reference: pygit2.Reference | None, branch: str, made: str, message: str) -> None:
        if reference is None:
            self._repository.references.create(f"refs/heads/{branch}", made)
        else:
            # libgit2 compares with the value that was looked up: a commit made by a person meanwhile is not lost.
            reference.set_target(made, "commit: " + message.split("\n", 1)[0])

    def _blob(self, oid: pygit2.Oid) -> bytes:
        return self._repository.read(oid)[1]

    def _give_up(self, begun: Mapping[str, tuple[bytes | None, bytes | None]]) -> None:
        """Put everything back as it was; the error that made it necessary is on its way to the user."""
        with contextlib.suppress(FileTrouble, TreeRefused):
            journal.undo(self._repository, self.root, begun)
            journal.end(self._git)

    # -- pushing

    def upstream(self) -> Upstream:
        """Where this branch is pushed. Raises CheckoutError: detached, no upstream."""
        return upstream.find(self._repository, self.require_branch())

    def unpushed(self) -> list[CommitInfo]:
        """The commits of HEAD that the upstream was not seen to have, newest first; () when it was never seen."""
        upstream = self.upstream()
        name = f"refs/remotes/{upstream.remote}/{upstream.branch}"
        try:
            seen = str(self._repository.references[name].target)
        except (KeyError, ValueError, pygit2.GitError):
            return []
        return self.history(stop=seen)

    async def push(self, access: GitAccess) -> None:
        """Push HEAD to the upstream branch, with a lease on what is there. Raises PushRaced when that holds what HEAD
        does not.
        """
        from image_updater.git import transport  # whoever only reads a work tree needs no network

        target = self.upstream()
        head = self.head
        if head is None:
            raise CheckoutError("there is no commit to push", remedy="commit first")
        address = urls.parse(target.url)
        link = transport.Link(address=address, access=upstream.with_header(self._repository, address, access))
        limit = access.timeout.total_seconds() * 2 + 2
        work = asyncio.ensure_future(asyncio.to_thread(self._push, link, head, target))
        # An abandoned push ends by its own deadline; nobody is left to hear of its error.
        work.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait({work}, timeout=limit)
        if not done:
            raise GitUnavailable(
                f"pushing to {urls.redact(target.url)} took longer than {limit:g} s",
                remedy="see git status, run again",
            )
        work.result()

    def _push(self, link: transport.Link, head: str, target: Upstream) -> None:
        from image_updater.git import pushing

        def lease(current: str) -> None:
            if current != pushing.NULL and not commits.contains(self._repository, head, current):
                raise PushRaced(
                    f"{target.remote}/{target.branch} holds commits that are not here",
                    remedy="git pull, then run again",
                )

        pushing.push(self._repository, link, head, target.branch, expected=None, lease=lease, scratch=_scratch)
        tracking = f"refs/remotes/{target.remote}/{target.branch}"
        with contextlib.suppress(pygit2.GitError, ValueError, KeyError, OSError):
            # Only what `git status` compares with; the push itself is done.
            self._repository.references.create(tracking, head, force=True)
