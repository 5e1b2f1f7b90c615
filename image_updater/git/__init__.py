"""Git: mirrors, trees, commits, signatures, pushes with a lease, one writer a branch, and local work trees.

Everything else of this room is an implementation detail; pygit2 is imported nowhere else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from image_updater.git import urls

if TYPE_CHECKING:
    from image_updater.git.access import GitAccess, GitHubApp, access_for
    from image_updater.git.address import Field, Place, Role, Value, Version, entry_field, field_at
    from image_updater.git.checkout import Checkout
    from image_updater.git.commits import CommitInfo, Signer
    from image_updater.git.errors import FilesChanged
    from image_updater.git.files import write_files
    from image_updater.git.folder import FileTree, FolderTree
    from image_updater.git.journal import writing_folder
    from image_updater.git.lineage import MAX_COMMITS, Chain, Changed, End, Wanted
    from image_updater.git.mirror import Mirror, Tip
    from image_updater.git.queue import Attempt, Limits, NotLeader, Outcome, Planned, Work, WriterQueue
    from image_updater.git.reading import History
    from image_updater.git.signing import signer_from_secret
    from image_updater.git.trees import GitTree
    from image_updater.git.upstream import Upstream
    from image_updater.git.verify import TrustedKeys, keys_from_secret, verify_commit

__all__ = [
    "MAX_COMMITS",
    "Attempt",
    "Chain",
    "Changed",
    "Checkout",
    "CommitInfo",
    "End",
    "Field",
    "FileTree",
    "FilesChanged",
    "FolderTree",
    "GitAccess",
    "GitHubApp",
    "GitTree",
    "History",
    "Limits",
    "Mirror",
    "NotLeader",
    "Outcome",
    "Place",
    "Planned",
    "Role",
    "Signer",
    "Tip",
    "TrustedKeys",
    "Upstream",
    "Value",
    "Version",
    "Wanted",
    "Work",
    "WriterQueue",
    "access_for",
    "entry_field",
    "field_at",
    "keys_from_secret",
    "signer_from_secret",
    "urls",
    "verify_commit",
    "write_files",
    "writing_folder",
]

_PLACES = {
    "Attempt": "queue",
    "Chain": "lineage",
    "Changed": "lineage",
    "Checkout": "checkout",
    "CommitInfo": "commits",
    "End": "lineage",
    "Field": "address",
    "FileTree": "folder",
    "FilesChanged": "errors",
    "FolderTree": "folder",
    "GitAccess": "access",
    "GitHubApp": "access",
    "GitTree": "trees",
    "History": "reading",
    "Limits": "queue",
    "MAX_COMMITS": "lineage",
    "Mirror": "mirror",
    "NotLeader": "queue",
    "Outcome": "queue",
    "Place": "address",
    "Planned": "queue",
    "Role": "address",
    "Signer": "commits",
    "Tip": "mirror",
    "TrustedKeys": "verify",
    "Upstream": "upstream",
    "Value": "address",
    "Version": "address",
    "Wanted": "lineage",
    "Work": "queue",
    "WriterQueue": "queue",
    "access_for": "access",
    "entry_field": "address",
    "field_at": "address",
    "keys_from_secret": "verify",
    "signer_from_secret": "signing",
    "verify_commit": "verify",
    "write_files": "files",
    "writing_folder": "journal",
}
"""Modules by name: each is imported when it is asked for. A command that only reads a work tree needs no network."""


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value
