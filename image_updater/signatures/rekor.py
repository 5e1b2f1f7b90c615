"""An entry of Rekor as cosign keeps it in `dev.sigstore.cosign/bundle`.

The log's promise must be signed (SET), and the entry must be of this very signature. Such an annotation has no proof of
inclusion: the promise is what proves it, and what gives the moment of signing.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509

from image_updater.signatures import payloads
from image_updater.signatures.keys import verifies
from image_updater.signatures.model import Unverified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.signatures.trustroot import TrustRoot

_WHAT = "its entry of the log"
_MAX_TIME = 1 << 34
"""Seconds; beyond is the year 2514."""


def promised(text: str | None, root: TrustRoot) -> tuple[datetime, Mapping[str, object]]:
    """When the log took the entry, and the entry's body. Raises Unverified."""
    if not text:
        raise Unverified("it stands in no log (there is no annotation dev.sigstore.cosign/bundle)")
    value = payloads.json_object(text, _WHAT)
    entry = payloads.mapping(value, "Payload", _WHAT)
    signature = payloads.unbase64(value.get("SignedEntryTimestamp"), "the log's promise")
    body = payloads.unbase64(entry.get("body"), "the body of the log's entry")
    integrated, index, log_id = (entry.get(key) for key in ("integratedTime", "logIndex", "logID"))
    if not _number(integrated, _MAX_TIME) or not _number(index, 1 << 63) or not isinstance(log_id, str):
        raise Unverified(f"{_WHAT} has no time, index or log")
    assert isinstance(integrated, int)
    made = datetime.fromtimestamp(integrated, tz=UTC)
    # RFC 8785, which for these four values is JSON with sorted keys and no spaces.
    signed = json.dumps(
        {"body": entry["body"], "integratedTime": integrated, "logID": log_id, "logIndex": index},
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    if not any(
        log.id.hex() == log_id and made in log.period and verifies(log.key, signed, signature) for log in root.rekor
    ):
        raise Unverified("the promise of its log is wrong, or of a log that the trust root does not have")
    return made, payloads.json_object(body, "the body of the log's entry")


def is_of(body: Mapping[str, object], certificate: x509.Certificate, payload: bytes, signature: bytes) -> None:
    """Is the entry of this signature, by this certificate, over this payload? Raises Unverified.

    hashedrekord 0.0.1 (simple signing), dsse 0.0.1 and intoto 0.0.1 and 0.0.2 (envelopes).
    """
    kind, version = body.get("kind"), body.get("apiVersion")
    spec = payloads.mapping(body, "spec", _WHAT)
    digest = hashlib.sha256(payload).hexdigest()
    match kind, version:
        case "hashedrekord", "0.0.1":
            made = payloads.mapping(spec, "signature", _WHAT)
            by = payloads.mapping(made, "publicKey", _WHAT).get("content")
            hashed = payloads.mapping(payloads.mapping(spec, "data", _WHAT), "hash", _WHAT)
            same = payloads.unbase64(made.get("content"), "the entry's signature") == signature
        case "dsse", "0.0.1":
            hashed = payloads.mapping(spec, "payloadHash", _WHAT)
            listed = _one(spec.get("signatures"))
            by = listed.get("verifier")
            same = payloads.unbase64(listed.get("signature"), "the entry's signature") == signature
        case "intoto", "0.0.1":
            # It holds no signature, only what was signed and by whom.
            hashed = payloads.mapping(payloads.mapping(spec, "content", _WHAT), "payloadHash", _WHAT)
            by, same = spec.get("publicKey"), True
        case "intoto", "0.0.2":
            content = payloads.mapping(spec, "content", _WHAT)
            hashed = payloads.mapping(content, "payloadHash", _WHAT)
            listed = _one(payloads.mapping(content, "envelope", _WHAT).get("signatures"))
            by = listed.get("publicKey")
            # Base64 of the Base64 that the envelope has.
            inner = payloads.unbase64(listed.get("sig"), "the entry's signature").decode("ascii", "replace")
            same = payloads.unbase64(inner, "the entry's signature") == signature
        case _:
            raise Unverified(f"its entry of the log is {str(kind)[:40]!r} {str(version)[:20]!r}, which is not known")
    if hashed.get("algorithm") != "sha256" or hashed.get("value") != digest or not same:
        raise Unverified("its entry of the log is of another signature")
    if _certificate(by) != certificate:
        raise Unverified("its entry of the log is of another certificate")


def _one(value: object) -> Mapping[str, object]:
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        raise Unverified("its entry of the log has not exactly one signature")
    return value[0]


def _certificate(value: object) -> x509.Certificate:
    data = payloads.unbase64(value, "the certificate of the log's entry")
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise Unverified("its entry of the log has no certificate") from None


def _number(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit
