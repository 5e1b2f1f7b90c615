"""What Git can answer, by what happens next. Messages never hold credentials: URLs pass through `urls.redact`.

    GitError (Transient)            the same call may work later
    ├── GitUnavailable              no connection, time-out, 5xx, cut in mid-push
    │   └── MirrorDamaged           our own cache lost an object: the next fetch makes it anew
    ├── PushRaced                   another writer was first: fetch and plan again
    ├── PushRefused                 the server said no, in its own words (hook, protected branch)
    └── FileTrouble                 a local file changed while it was read, or cannot be written (disk full, rights)
    AccessDenied (Terminal)         nothing helps until the credentials or rights change
    ├── GitAuthenticationFailed     no credentials, or the server refuses them
    ├── HostKeyMismatch             the server's SSH key is not the one that known_hosts names
    ├── CertificateUntrusted        the server's TLS certificate does not verify
    └── PermissionDenied            we are known, but may not do this (HTTP 403)
    GitInputError (Terminal)        what was asked for is not there
    ├── RepositoryNotFound, BranchNotFound, RevisionNotFound
    ├── CheckoutError               a local work tree that cannot be committed to (detached, dirty, bare)
    └── TreeRefused                 a path that may not be written (symlink, submodule, outside)
    SignatureInvalid (SignatureError), SigningFailed (SpecError)

`PushRefused` is Transient in the tree because a hook may change its mind, but the queue never pushes the same work
twice in one run.
"""

from __future__ import annotations

from image_updater.errors import AccessDenied, GitError, Refused, SignatureError, SpecError, Terminal


class GitUnavailable(GitError):
    reason = "GitUnavailable"


class MirrorDamaged(GitUnavailable):
    reason = "MirrorDamaged"


class PushRaced(GitError):
    reason = "PushRaced"


class PushRefused(GitError):
    """`words` are the server's, without the transport's decoration."""

    reason = "PushRefused"

    def __init__(self, message: str, *, words: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.words = words


class FileTrouble(GitError):
    reason = "FileTrouble"


class FilesChanged(FileTrouble):
    """Somebody else wrote a file between the plan and its writing; a plan on what stands there now is right."""

    reason = "FilesChanged"


class GitAuthenticationFailed(AccessDenied):
    reason = "AuthenticationFailed"


class PermissionDenied(AccessDenied):
    reason = "PermissionDenied"


class HostKeyMismatch(AccessDenied):
    reason = "HostKeyMismatch"


class CertificateUntrusted(AccessDenied):
    reason = "CertificateUntrusted"


class GitInputError(Terminal):
    reason = "InvalidGitInput"


class RepositoryNotFound(GitInputError):
    reason = "RepositoryNotFound"


class BranchNotFound(GitInputError):
    reason = "BranchNotFound"


class RevisionNotFound(GitInputError):
    reason = "RevisionNotFound"


class CheckoutError(GitInputError):
    reason = "CheckoutUnsuitable"


class TreeRefused(Refused):
    reason = "PathRefused"


class SignatureInvalid(SignatureError):
    reason = "SignatureInvalid"


class SigningFailed(SpecError):
    reason = "SigningKeyInvalid"


__all__ = [
    "AccessDenied",
    "BranchNotFound",
    "CertificateUntrusted",
    "CheckoutError",
    "FileTrouble",
    "FilesChanged",
    "GitAuthenticationFailed",
    "GitError",
    "GitInputError",
    "GitUnavailable",
    "HostKeyMismatch",
    "MirrorDamaged",
    "PermissionDenied",
    "PushRaced",
    "PushRefused",
    "RepositoryNotFound",
    "RevisionNotFound",
    "SignatureInvalid",
    "SigningFailed",
    "TreeRefused",
]
