"""One tree of errors, ordered by what happens next.

    ImageUpdaterError
    ├── Terminal                 nothing helps until the input changes
    │   ├── SpecError            an object, a template or a flag is invalid              InvalidSpec
    │   │   └── SecretNotFound   a Secret that an object names is not there (yet)        SecretNotFound
    │   ├── DocumentError        a file is not what it should be                         InvalidDocument
    │   ├── Refused              an edit that cannot be proved or may not be made        Refused
    │   ├── SignatureError       a commit that must be signed is not                     SignatureInvalid
    │   └── AccessDenied         credentials, host keys or rights are wrong              AccessDenied
    ├── Transient                the same call may work later, at `until` if that is set
    │   ├── RegistryError        (registry/errors.py has the leaves)
    │   ├── GitError             (git/errors.py has the leaves)
    │   └── RenderError          kustomize failed or ran out of its limits               BuildFailed
    └── Waiting                  nothing is wrong: something has to happen first

`reason` is the reason of the condition that the error becomes; `str()` is what a person reads: where, what, and what to
do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place in the user's input.

    File (as the user named it), 1-based line, field path such as `spec.policy.semver.range`, and the object with the
    field (`ImagePolicy apps/web`).
    """

    file: str | None = None
    line: int | None = None
    field: str | None = None
    object: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if place and self.line is not None:
            place += f":{self.line}"
        return ": ".join(part for part in (place, self.object, self.field) if part)


class ImageUpdaterError(Exception):
    """Base of all errors that a user may see: always a message, where it is, and what to do."""

    reason: ClassVar[str] = "Failed"

    def __init__(self, message: str, *, where: Where | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where or Where()
        self.remedy = remedy

    def __str__(self) -> str:
        place = str(self.where)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.remedy})" if self.remedy else text


class Terminal(ImageUpdaterError):
    """Nothing helps until the input changes (condition `Stalled`)."""


class SpecError(Terminal):
    reason = "InvalidSpec"


class SecretNotFound(SpecError):
    """It may come at any time: objects are made in any order. A controller looks for it again, and is not `Stalled`."""

    reason = "SecretNotFound"


class DocumentError(Terminal):
    reason = "InvalidDocument"


class Refused(Terminal):
    reason = "Refused"


class SignatureError(Terminal):
    reason = "SignatureInvalid"


class AccessDenied(Terminal):
    reason = "AccessDenied"


class Transient(ImageUpdaterError):
    """The same call may work later; `until` is the earliest useful time, if the other side said one."""

    def __init__(
        self, message: str, *, until: datetime | None = None, where: Where | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.until = until


class RegistryError(Transient):
    reason = "RegistryFailed"


class GitError(Transient):
    reason = "GitOperationFailed"


class RenderError(Transient):
    reason = "BuildFailed"


class Waiting(ImageUpdaterError):
    """Nothing is wrong, something has to happen first."""

    reason = "Waiting"
