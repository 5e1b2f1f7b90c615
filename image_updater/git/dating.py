"""When a value was written: the commit that brought it into a file, for tags that no registry lists any more."""

from __future__ import annotations

from datetime import UTC, datetime

import pygit2

from image_updater.git.commits import shallow

MAX_COMMITS = 1000


def when_written(repository: pygit2.Repository, commit: str, path: str, value: str) -> datetime | None:
    """The time of the commit, at most 1,000 back along first parents, since which `path` holds `value`.

    None when the file does not hold it in `commit`, or when the history ends before that commit is found: a shallow
    boundary dates nothing.
    """
    needle = value.encode()
    boundaries = shallow(repository)
    current = repository.get(commit)
    if not isinstance(current, pygit2.Commit):
        return None
    blob = _blob(current, path)
    if blob is None or needle not in blob.data:
        return None
    for _ in range(MAX_COMMITS):
        if str(current.id) in boundaries:
            return None
        if not current.parents:
            return datetime.fromtimestamp(current.commit_time, UTC)
        parent = current.parents[0]
        before = _blob(parent, path)
        if before is None or (before.id != blob.id and needle not in before.data):
            return datetime.fromtimestamp(current.commit_time, UTC)
        current, blob = parent, before
    return None


def touched(repository: pygit2.Repository, commit: str, path: str) -> bool:
    """Whether a commit changed this file, compared with its first parent. False where the parent was not fetched."""
    found = repository.get(commit)
    if not isinstance(found, pygit2.Commit) or commit in shallow(repository):
        return False
    after = _blob(found, path)
    before = _blob(found.parents[0], path) if found.parents else None
    return (after.id if after is not None else None) != (before.id if before is not None else None)


def _blob(commit: pygit2.Commit, path: str) -> pygit2.Blob | None:
    try:
        found = commit.tree[path]
    except KeyError:
        return None
    return found if isinstance(found, pygit2.Blob) else None
