"""What can go wrong with a registry, by what happens next.

    RegistryError (Transient)          the old answer stays; ask again later
    ├── RateLimited                    429, or a budget that is nearly spent; `until` says when to come back
    ├── RegistryUnavailable            no connection, TLS, time-out, 5xx, an unexpected status
    ├── InvalidAnswer                  an answer that cannot be trusted: no JSON, a broken Link, a wrong hash
    ├── ListIncomplete                 a cap on pages, bytes or time was hit before the last page
    ├── RepositoryNotFound             404 for the name
    ├── NotARegistry                   404 even for `/v2/`
    ├── TagNotFound                    404 for this tag or digest only
    └── UnsupportedManifest            this tag only: schemaVersion 1, an empty index, a config that is none
    AccessDenied (Terminal)            nothing helps until credentials or rights change
    ├── AuthenticationFailed           401, or no token to be had
    └── PermissionDenied               403

The condition's reason is the class's name. No error carries credentials, tokens, or a signed URL: URLs are cut at `?`,
and words of a server pass through `quoted()`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from image_updater.errors import AccessDenied, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CREDENTIAL = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}")
_SIGNED = re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]+")


class RateLimited(RegistryError):
    reason = "RateLimited"


class RegistryUnavailable(RegistryError):
    """`at_once`: the same request may work within a second (a cut connection), unlike a certificate that is not
    trusted.
    """

    reason = "RegistryUnavailable"
    at_once = True


class ConnectionRefused(RegistryUnavailable):
    """The two sides do not come together, and will not until somebody changes something."""

    at_once = False


class InvalidAnswer(RegistryError):
    reason = "InvalidAnswer"


class ListIncomplete(RegistryError):
    reason = "ListIncomplete"


class RepositoryNotFound(RegistryError):
    reason = "RepositoryNotFound"


class NotARegistry(RegistryError):
    reason = "NotARegistry"


class TagNotFound(RegistryError):
    reason = "TagNotFound"


class UnsupportedManifest(RegistryError):
    reason = "UnsupportedManifest"


class AuthenticationFailed(AccessDenied):
    reason = "AuthenticationFailed"


class PermissionDenied(AccessDenied):
    reason = "PermissionDenied"


def quoted(text: str, *, secrets: Iterable[str] = (), limit: int = 300) -> str:
    """A server's own words, fit for a log line: no control characters, no credentials it echoed, no query of a URL,
    cut.
    """
    for secret in secrets:
        if len(secret) > 3:
            text = text.replace(secret, "***")
    text = _SIGNED.sub(r"\1", _CREDENTIAL.sub(r"\1 ***", _CONTROL.sub(" ", text))).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
