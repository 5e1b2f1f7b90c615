"""Git: bare mirrors, commits made on trees, pushes with a lease, local checkouts, and the one writer of each branch.

Everything that speaks pygit2 is in this room; what leaves it are values, trees and errors of `errors.py`.
"""

from image_updater.git.access import GitAccess, access_for
from image_updater.git.checkout import Checkout
from image_updater.git.commits import CommitInfo, Signer
from image_updater.git.errors import (
    BranchNotFound,
    GitAuthenticationFailed,
    GitUnavailable,
    PushRaced,
    PushRefused,
    RepositoryNotFound,
)
from image_updater.git.files import write_files
from image_updater.git.folder import FolderTree
from image_updater.git.mirror import Mirror, Tip
from image_updater.git.queue import Attempt, Outcome, Planned, Work, WriterQueue
from image_updater.git.signing import signer_from_secret
from image_updater.git.trees import GitTree
from image_updater.git.urls import normalise, redact

__all__ = [
    "Attempt",
    "BranchNotFound",
    "Checkout",
    "CommitInfo",
    "FolderTree",
    "GitAccess",
    "GitAuthenticationFailed",
    "GitTree",
    "GitUnavailable",
    "Mirror",
    "Outcome",
    "Planned",
    "PushRaced",
    "PushRefused",
    "RepositoryNotFound",
    "Signer",
    "Tip",
    "Work",
    "WriterQueue",
    "access_for",
    "normalise",
    "redact",
    "signer_from_secret",
    "write_files",
]
