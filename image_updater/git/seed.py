"""A small bare repository made from values: for the demo, and for whoever wants to try something without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import FileMode

from image_updater.git import userconfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from image_updater.api.model import Author


def create_repository(
    path: Path, files: Mapping[str, bytes], *, author: Author, when: datetime, message: str, branch: str = "main"
) -> str:
    """A new bare repository at `path` with one commit of `files` on `branch`, which HEAD names. Gives its id."""
    userconfig.pass_over_unreadable()
    repository = pygit2.init_repository(str(path), bare=True, initial_head=branch)
    try:
        tree = _tree(repository, files)
        signature = pygit2.Signature(author.name, author.email, int(when.timestamp()), 0)
        return str(repository.create_commit(f"refs/heads/{branch}", signature, signature, message, tree, []))
    finally:
        repository.free()


def _tree(repository: pygit2.Repository, files: Mapping[str, bytes]) -> pygit2.Oid:
    folders: dict[str, dict[str, bytes]] = {}
    builder = repository.TreeBuilder()
    for path, data in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = data
        else:
            builder.insert(head, repository.create_blob(data), FileMode.BLOB)
    for name, inner in folders.items():
        builder.insert(name, _tree(repository, inner), FileMode.TREE)
    return builder.write()


def show_commit(path: Path, branch: str = "main") -> tuple[str, str]:
    """(message, unified diff) of the newest commit of a branch."""
    repository = pygit2.Repository(str(path))
    try:
        commit = repository.branches.local[branch].peel(pygit2.Commit)
        parents = commit.parents
        if not parents:
            return commit.message, ""
        return commit.message, repository.diff(parents[0], commit).patch or ""
    finally:
        repository.free()
