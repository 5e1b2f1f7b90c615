"""What must hold before a chosen tag may be written: the gates of an ImagePolicy as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Start(StrEnum):
    """What a policy without memory (a rebuilt cluster) begins with."""

    NEWEST = "newest"
    PROVEN = "proven"


class HoldUntil(StrEnum):
    """What ends the hold of a value that was taken back in Git."""

    NEWER = "untilNewer"
    RESUME = "untilResume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Open for `duration` from each moment that `cron` (five fields) names in `time_zone` (IANA)."""

    cron: str
    duration: timedelta
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyless:
    """Who must have signed, as the certificate says it: whole strings, or RE2 patterns that match wholly."""

    issuer: str | None = None
    subject: str | None = None
    issuer_pattern: str | None = None
    subject_pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """cosign: `secret_ref` names a Secret with public keys (`*.pub`, `*.pem`), or `keyless`; `trust_root` a Secret with
    `trusted_root.json` for a private Sigstore. `attestations` are predicate types that must be there, signed alike.
    """

    secret_ref: str | None = None
    keyless: Keyless | None = None
    trust_root: str | None = None
    attestations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Only tags that policy `name` (of the same namespace) has proven healthy for `soak`. `proven_file`: where it is
    another controller's, the file of the planned branch that says what it has proven.
    """

    name: str
    soak: timedelta = timedelta(0)
    proven_file: str | None = None
