"""One push of one branch, with a lease, and the truth about what came of it.

`push_negotiation` sees the server's current value before anything is uploaded, the server compares it once more when it
updates: together a full lease. libgit2 reports a hook's refusal by no error at all, so only a positive answer for the
branch counts as success. When the connection breaks after the upload began, the server is asked what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pygit2

from image_updater.git import commits, transport
from image_updater.git.errors import (
    GitUnavailable,
    PermissionDenied,
    PushRaced,
    PushRefused,
)

NULL = "0" * 40
# What servers answer when the branch moved between their advertisement and the update.
_RACES = (
    "failed to update ref",
    "cannot lock ref",
    "failed to lock",
    "reference already exists",
    "incorrect old value",
    "fetch first",
    "stale info",
    "non-fast-forward",
    "remote ref does not match",
    "reference conflict",
)
_PROTECTED = (
    "protected branch",
    "protected ref",
    "not allowed to push",
    "GH006",
    "GH013",
    "TF402455",
)


def push(
    repository: pygit2.Repository,
    link: transport.Link,
    commit: str,
    branch: str,
    *,
    expected: str | None,
    lease: Callable[[str], None] | None = None,
    scratch: Callable[[], AbstractContextManager[pygit2.Repository]] | None = None,
) -> None:
    """See `Mirror.push`. Blocking. `lease` judges the server's value instead of `expected`; `scratch` gives a
    repository for looking.
    """
    reference = f"refs/heads/{branch}"
    wanted = expected or NULL

    def compare(current: str) -> None:
        if current != wanted:
            raise PushRaced(_raced(branch, expected, current), remedy="it is planned again on the new state")

    started = False
    try:
        with link.remote(repository, lease=lease or compare) as (remote, callbacks, proxy):
            try:
                # `+`: whether this is an overwrite is judged by the lease, not by what happens to be here.
                remote.push([f"+{commit}:{reference}"], callbacks=callbacks, proxy=proxy)
            finally:
                started = callbacks.started
    except GitUnavailable:
        if started and _landed(repository, scratch, link, commit, reference):
            return
        raise
    if reference in callbacks.refusals:
        raise _refusal(callbacks, callbacks.refusals[reference], branch, expected)
    if reference not in callbacks.accepted and not _landed(repository, scratch, link, commit, reference):
        raise GitUnavailable(f"{callbacks.place} did not say whether it took the push", remedy="it is tried again")


def _landed(
    repository: pygit2.Repository,
    scratch: Callable[[], AbstractContextManager[pygit2.Repository]] | None,
    link: transport.Link,
    commit: str,
    reference: str,
) -> bool:
    """Whether the branch holds the commit now. A server that does not answer raises: then nobody knows."""
    with scratch() if scratch else nullcontext(repository) as place:
        return _look(place, link, commit, reference)


def _look(repository: pygit2.Repository, link: transport.Link, commit: str, reference: str) -> bool:
    with link.remote(repository) as (remote, callbacks, proxy):
        remote.connect(callbacks=callbacks, proxy=proxy)
        callbacks.send_at_once()
        tip = {h.name: str(h.oid) for h in remote.list_heads(connect=False)}.get(reference)
        if tip is None or tip == commit:
            return tip == commit
        if tip not in repository:
            # Someone pushed on, perhaps on top of ours: their history tells.
            remote.fetch([f"+{reference}:refs/mirror/landed"], callbacks=callbacks, proxy=proxy)  # type: ignore[arg-type]
    return commits.contains(repository, tip, commit)


def _raced(branch: str, expected: str | None, current: str) -> str:
    if expected is None:
        return f"the branch {branch} exists already"
    if current == NULL:
        return f"the branch {branch} was deleted"
    return f"the branch {branch} moved from {expected[:12]} to {current[:12]}"


def _refusal(callbacks: transport.Callbacks, message: str, branch: str, expected: str | None) -> Exception:
    words = callbacks.words
    low = f"{message}\n{words}".lower()
    declined = "hook declined" in low
    if not declined and any(text in low for text in _RACES):
        return PushRaced(f"another writer moved {branch} at the same moment ({message})", remedy="it is planned again")
    if not declined and ("permission" in low or "denied to" in low):
        return PermissionDenied(
            f"{callbacks.place} refused {branch}: {message}", remedy="give the account write access"
        )
    said = f"{message}: {words}" if words else message
    protected = any(text.lower() in low for text in _PROTECTED)
    remedy = (
        "let the account push to it, or name another push.branch"
        if protected
        else "the server's rules decide; change the commit or the rule"
    )
    return PushRefused(f"{callbacks.place} refused the push to {branch}: {said}", words=words or message, remedy=remedy)
