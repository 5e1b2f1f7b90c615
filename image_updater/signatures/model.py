"""What is found beside an image, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

MAX_FOUND = 32
"""Signatures (and attestations) of one digest that are looked at; the newest of a list where there are more."""

MAX_PAYLOAD = 64 << 10
"""Bytes of a simple signing payload: cosign writes some 250."""

MAX_ATTESTATION = 16 << 20
"""Bytes of a bundle or an envelope: an SBOM may be large."""

MAX_BYTES = 64 << 20
"""Bytes that are read for one digest altogether."""

MAX_TEXT = 64 << 10
"""Characters of one annotation (a certificate, a chain, an entry of a log)."""


class Unverified(Exception):
    """One signature does not count; the text says why, for people. Never leaves this room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What cosign keeps in annotations beside a signature without a key: PEM certificates, an entry of Rekor (JSON)."""

    certificate: str | None = None
    chain: str | None = None
    rekor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleSigning:
    """A layer of `sha256-<hex>.sig`: a payload that names the digest, and its signature (Base64)."""

    payload: bytes = field(repr=False)
    signature: str
    material: Material = field(default_factory=Material, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A layer of `sha256-<hex>.att`: a DSSE envelope (JSON)."""

    data: bytes = field(repr=False)
    material: Material = field(default_factory=Material, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A Sigstore bundle (JSON). `content`: the bytes of what is signed, where the bundle signs them as they are."""

    data: bytes = field(repr=False)
    content: bytes | None = field(default=None, repr=False)


Found = SimpleSigning | Attached | Bundled


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A signed in-toto statement, still unread: `payload` is what was signed."""

    payload_type: str
    payload: bytes = field(repr=False)


class Trust(Protocol):
    """Whose signatures count. Each method says who signed (`key cosign.pub (…)`), or raises Unverified."""

    def simple(self, found: SimpleSigning) -> str: ...
    def attached(self, found: Attached) -> tuple[str, Statement]: ...
    def bundled(self, found: Bundled, digest: str) -> tuple[str, Statement | None]:
        """None: the bundle signs the content itself."""
