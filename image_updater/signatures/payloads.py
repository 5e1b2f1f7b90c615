"""What a signature is over: simple signing payloads, DSSE envelopes (PAE), in-toto statements, Sigstore bundles.

Pure: bytes in, values out; whatever is not as the formats have it is Unverified. A payload is read only after its
signature was found good, by the callers.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from image_updater.signatures.model import MAX_TEXT, Statement, Unverified

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle"
"""How the media types of all versions begin."""

IN_TOTO = "application/vnd.in-toto+json"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/"
_COSIGN = "cosign container image signature"
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A DSSE envelope: what is signed is `pae`."""

    payload_type: str
    payload: bytes = field(repr=False)
    signatures: tuple[bytes, ...]

    @property
    def pae(self) -> bytes:
        """Pre-authentication encoding (DSSE 1.0, protocol.md)."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)

    @property
    def statement(self) -> Statement:
        return Statement(payload_type=self.payload_type, payload=self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A bundle's `messageSignature`: over the content itself, whose sha256 is `digest` (hex)."""

    digest: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A Sigstore bundle as far as a public key needs it. `keyless`: it carries a certificate."""

    content: Envelope | Message
    keyless: bool


def simple_signing(payload: bytes, digest: str) -> None:
    """Does a payload speak of `digest`? Raises Unverified."""
    critical = _mapping(_json(payload, "the payload"), "critical", "the payload")
    kind = critical.get("type")
    if kind != _COSIGN:
        raise Unverified(f"the payload is {_shown(kind)}, not {_COSIGN!r}")
    signed = _mapping(critical, "image", "the payload").get("docker-manifest-digest")
    if signed != digest:
        raise Unverified(f"it signs another digest, {_shown(signed)}")


def statement(found: Statement, digest: str) -> str:
    """The predicate type of a statement about `digest`. Raises Unverified."""
    if found.payload_type != IN_TOTO:
        raise Unverified(f"the envelope holds {_shown(found.payload_type)}, not {IN_TOTO}")
    value = _json(found.payload, "the statement")
    of = value.get("_type")
    if not isinstance(of, str) or of not in _STATEMENTS:
        raise Unverified(f"the statement is {_shown(of)}, no in-toto statement")
    algorithm, _, wanted = digest.partition(":")
    subjects = value.get("subject")
    named = [
        each["digest"].get(algorithm)
        for each in (subjects if isinstance(subjects, list) else [])
        if isinstance(each, dict) and isinstance(each.get("digest"), dict)
    ]
    if wanted not in named:
        first = f", {algorithm}:" + _shown(named[0]).strip("'")[:80] if named else ""
        raise Unverified(f"it signs another digest{first}")
    kind = value.get("predicateType")
    if not isinstance(kind, str) or not kind:
        raise Unverified("the statement has no predicateType")
    return kind


def envelope(data: bytes) -> Envelope:
    """Raises Unverified."""
    return _envelope(_json(data, "the envelope"))


def bundle(data: bytes) -> Bundle:
    """Raises Unverified. What proves a certificate's signature is not read here."""
    value = _json(data, "the bundle")
    kind = value.get("mediaType")
    if not isinstance(kind, str) or not kind.startswith(BUNDLE):
        raise Unverified(f"the bundle is {_shown(kind)}")
    material = _mapping(value, "verificationMaterial", "the bundle")
    keyless = "certificate" in material or "x509CertificateChain" in material
    if "dsseEnvelope" in value:
        return Bundle(content=_envelope(_mapping(value, "dsseEnvelope", "the bundle")), keyless=keyless)
    message = _mapping(value, "messageSignature", "the bundle")
    said = _mapping(message, "messageDigest", "the bundle")
    if said.get("algorithm") != "SHA2_256":
        raise Unverified(f"the bundle's digest is {_shown(said.get('algorithm'))}, not SHA2_256")
    digest = unbase64(said.get("digest"), "the bundle's digest").hex()
    signature = unbase64(message.get("signature"), "the bundle's signature")
    return Bundle(content=Message(digest=digest, signature=signature), keyless=keyless)


def wants_content(data: bytes) -> bool:
    """Does a bundle sign the content itself, so that its bytes are needed?"""
    try:
        return isinstance(bundle(data).content, Message)
    except Unverified:
        return False  # and it is said again, where it is judged


def unbase64(text: object, what: str) -> bytes:
    """Standard Base64, nothing else. Raises Unverified."""
    if not isinstance(text, str):
        raise Unverified(f"{what} is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unverified(f"{what} is not Base64") from None


def json_object(text: str | bytes, what: str) -> Mapping[str, object]:
    """Raises Unverified, for what is too long as well."""
    if len(text) > MAX_TEXT:
        raise Unverified(f"{what} is longer than {MAX_TEXT:,} characters")
    return _json(text, what)


def mapping(value: Mapping[str, object], key: str, what: str) -> Mapping[str, object]:
    """The object under `key`. Raises Unverified."""
    return _mapping(value, key, what)


def _envelope(value: Mapping[str, object]) -> Envelope:
    kind = value.get("payloadType")
    signatures = value.get("signatures")
    if not isinstance(kind, str) or not kind:
        raise Unverified("the envelope has no payloadType")
    if not kind.isascii():
        # JSON can hold what has no bytes at all (half a surrogate pair); a media type is ASCII.
        raise Unverified(f"the envelope holds {_shown(kind)}, which is no media type")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= 8:
        raise Unverified("the envelope has no signature, or more than 8")
    return Envelope(
        payload_type=kind,
        payload=unbase64(value.get("payload"), "the envelope's payload"),
        signatures=tuple(
            unbase64(each.get("sig") if isinstance(each, dict) else None, "the envelope's signature")
            for each in signatures
        ),
    )


def _json(data: str | bytes, what: str) -> Mapping[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Unverified(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise Unverified(f"{what} is not a JSON object")
    return value


def _mapping(value: Mapping[str, object], key: str, what: str) -> Mapping[str, object]:
    inner = value.get(key)
    if not isinstance(inner, dict):
        raise Unverified(f"{what} has no {key}")
    return inner


def _shown(value: object) -> str:
    """Somebody else's words, fit for one line."""
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= 100 else text[:99] + "…"
