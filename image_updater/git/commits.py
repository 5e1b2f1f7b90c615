"""Commit objects: made from a tree, signed, read back with their messages. No work tree, no index, no ref is touched
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

import pygit2
from pygit2.enums import SortMode

from image_updater.api.model import Author
from image_updater.errors import SpecError
from image_updater.git import trees
from image_updater.git.errors import MirrorDamaged, RevisionNotFound


class Signer(Protocol):
    """Signs a commit's bytes; the armor goes into the commit's `gpgsig` header (SSH and OpenPGP alike)."""

    def sign(self, payload: bytes) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInfo:
    """One commit of a history. `boundary`: its parents were not fetched, so it says nothing about who wrote what is in
    it.
    """

    id: str
    tree: str
    parents: tuple[str, ...]
    message: str
    author: Author
    when: datetime
    """The committer's time, with its zone."""
    boundary: bool = False

    @property
    def subject(self) -> str:
        return self.message.split("\n", 1)[0]

    @property
    def trailers(self) -> tuple[tuple[str, str], ...]:
        """`Key: value` lines of the last paragraph (git-interpret-trailers), in order; () when it is not
        all trailers.
        """
        paragraphs = [p for p in self.message.replace("\r\n", "\n").strip().split("\n\n") if p.strip()]
        if len(paragraphs) < 2:
            return ()
        found: list[tuple[str, str]] = []
        for line in paragraphs[-1].strip().split("\n"):
            key, colon, value = line.partition(":")
            if line[:1] in " \t" and found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
            elif colon and key and all(c.isalnum() or c == "-" for c in key):
                found.append((key, value.strip()))
            else:
                return ()
        return tuple(found)


def signature(author: Author, when: datetime) -> pygit2.Signature:
    """Git's name, mail, seconds and zone. Raises SpecError for a name that Git cannot write."""
    if when.tzinfo is None:
        raise ValueError("a commit's time needs a zone")
    name, email = author.name.strip(), author.email.strip()
    if not name or not email or any(c in "<>\n\r\0" for c in name + email) or not trees.encodable(name + email):
        raise SpecError(
            f"the author {name!r} {email!r} cannot be written to a commit",
            remedy="no <, > or line breaks, and none of them empty",
        )
    offset = when.utcoffset() or timedelta(0)
    return pygit2.Signature(name, email, int(when.timestamp()), int(offset.total_seconds() // 60), "utf-8")


def create(
    repository: pygit2.Repository,
    *,
    tree: str,
    parents: tuple[str, ...],
    message: str,
    author: Author,
    when: datetime,
    signer: Signer | None = None,
    committer: Author | None = None,
) -> str:
    """Write a commit object and return its id. Raises SpecError (author, message), SigningFailed."""
    if "\0" in message or not message.strip() or not trees.encodable(message):
        raise SpecError(
            "the commit message is empty, or holds a NUL or half a character", remedy="check messageTemplate"
        )
    text = message if message.endswith("\n") else message + "\n"
    who, made_by = signature(author, when), signature(committer or author, when)
    if signer is None:
        return str(repository.create_commit(None, who, made_by, text, tree, list(parents)))
    payload = str(repository.create_commit_string(who, made_by, text, tree, list(parents)))
    return str(repository.create_commit_with_signature(payload, signer.sign(payload.encode()), "gpgsig"))


def on_tree(
    repository: pygit2.Repository,
    parent: str,
    files: Mapping[str, bytes | None],
    message: str,
    author: Author,
    signer: Signer | None,
    when: datetime,
) -> str:
    """A commit on `parent` with `files` written; `parent` itself when they change nothing: there are no
    empty commits.
    """
    before = str(get(repository, parent).tree_id)
    after = trees.edited(repository, before, files)
    if after == before:
        return parent
    return create(repository, tree=after, parents=(parent,), message=message, author=author, when=when, signer=signer)


def get(repository: pygit2.Repository, commit: str) -> pygit2.Commit:
    """The commit object. Raises RevisionNotFound for what is absent, MirrorDamaged for what cannot be read."""
    try:
        found = repository[commit]
    except KeyError as exc:
        raise RevisionNotFound(f"there is no commit {commit}", remedy="fetch more history, or check the id") from exc
    except (pygit2.GitError, ValueError) as exc:
        raise MirrorDamaged(f"commit {commit} cannot be read: {exc}", remedy="the mirror is made anew") from exc
    if not isinstance(found, pygit2.Commit):
        raise RevisionNotFound(f"{commit} is no commit", remedy="name a commit")
    return found


def info(commit: pygit2.Commit, *, boundary: bool = False) -> CommitInfo:
    zone = timezone(timedelta(minutes=commit.commit_time_offset)) if commit.commit_time_offset else UTC
    try:
        message = commit.message
    except (UnicodeDecodeError, LookupError):
        message = commit.raw_message.decode("utf-8", errors="replace")
    raw = commit.author
    return CommitInfo(
        id=str(commit.id),
        tree=str(commit.tree_id),
        parents=tuple(str(p) for p in commit.parent_ids),
        message=message,
        author=Author(
            name=raw.raw_name.decode("utf-8", errors="replace"), email=raw.raw_email.decode("utf-8", errors="replace")
        ),
        when=datetime.fromtimestamp(commit.commit_time, zone),
        boundary=boundary,
    )


def history(
    repository: pygit2.Repository, commit: str, *, limit: int = 1000, stop: str | None = None
) -> list[CommitInfo]:
    """Newest first along the first parents' line and merges (topological), at most `limit`; `stop` and what it holds
    are left out.
    """
    get(repository, commit)
    boundaries = shallow(repository)
    walker = repository.walk(pygit2.Oid(hex=commit), SortMode.TOPOLOGICAL | SortMode.TIME)
    if stop is not None and stop in repository:
        walker.hide(pygit2.Oid(hex=stop))
    found: list[CommitInfo] = []
    try:
        for item in walker:
            found.append(info(item, boundary=str(item.id) in boundaries))
            if len(found) >= limit:
                break
    except (KeyError, pygit2.GitError) as exc:
        raise MirrorDamaged(f"the history of {commit} cannot be read: {exc}", remedy="the mirror is made anew") from exc
    return found


def shallow(repository: pygit2.Repository) -> frozenset[str]:
    """Ids of the commits whose parents were not fetched."""
    try:
        with open(f"{repository.path}shallow", encoding="ascii") as file:
            return frozenset(line.strip() for line in file if line.strip())
    except FileNotFoundError:
        return frozenset()


def deep_enough(repository: pygit2.Repository, tip: str, depth: int) -> bool:
    """Does the history of `tip` hold `depth` commits (0 = all), or all that there are?"""
    if not shallow(repository):
        return True
    if depth == 0 or tip not in repository:
        return False
    known = history(repository, tip, limit=depth)
    return len(known) >= depth or not any(each.boundary for each in known)


def contains(repository: pygit2.Repository, tip: str, commit: str) -> bool:
    """Whether `commit` is `tip` or one of its ancestors, as far as the history is here."""
    if tip == commit:
        return True
    if tip not in repository or commit not in repository:
        return False
    try:
        return bool(repository.descendant_of(tip, commit))
    except (KeyError, pygit2.GitError) as exc:
        raise MirrorDamaged(f"the history of {tip} cannot be read: {exc}", remedy="the mirror is made anew") from exc
