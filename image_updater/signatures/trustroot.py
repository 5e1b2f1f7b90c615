"""A `trusted_root.json` (Sigstore's protobuf specs, `TrustedRoot`), as far as certificates in annotations need it.

Bundles are judged by the sigstore library with the same file; it keeps what it reads to itself.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from image_updater.errors import SpecError
from image_updater.signatures.keys import PublicKey, fingerprint, usable

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ROOT = 4 << 20
_REMEDY = "put Sigstore's trusted_root.json there, as it is (cosign trusted-root create)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """When an authority or a log was in use; both ends count."""

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A Fulcio: its certificates, from the one that issues to the root."""

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    period: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log of signatures (Rekor) or of certificates: `id` is the sha256 of its key."""

    id: bytes
    key: PublicKey = field(repr=False)
    period: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    authorities: tuple[Authority, ...]
    rekor: tuple[Log, ...]
    certificate_logs: tuple[Log, ...]


def read(data: bytes, name: str) -> TrustRoot:
    """`name` is where it comes from. Raises SpecError when it is none, or trusts nobody."""
    if len(data) > MAX_ROOT:
        raise SpecError(f"{name} is larger than {MAX_ROOT >> 20} MiB", remedy=_REMEDY)
    try:
        value = json.loads(data)
        root = TrustRoot(
            authorities=tuple(_authority(each) for each in value["certificateAuthorities"]),
            rekor=tuple(log for each in value["tlogs"] if (log := _log(each, name)) is not None),
            certificate_logs=tuple(log for each in value["ctlogs"] if (log := _log(each, name)) is not None),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnsupportedAlgorithm) as error:
        raise SpecError(f"{name} is no trust root of Sigstore: {type(error).__name__}", remedy=_REMEDY) from None
    for what, found in (
        ("certificateAuthorities", root.authorities),
        ("tlogs", root.rekor),
        ("ctlogs", root.certificate_logs),
    ):
        if not found:
            raise SpecError(f"{name} has no {what} that can be used", remedy=_REMEDY)
    return root


def _authority(value: Mapping[str, Mapping[str, list[Mapping[str, str]]]]) -> Authority:
    certificates = value["certChain"]["certificates"]
    return Authority(
        certificates=tuple(
            x509.load_der_x509_certificate(base64.b64decode(each["rawBytes"], validate=True)) for each in certificates
        ),
        period=_period(value.get("validFor")),
    )


def _log(value: Mapping[str, Mapping[str, str]], name: str) -> Log | None:
    """None for a log whose kind of key is not supported: newer roots may have such beside the ones that are."""
    key = serialization.load_der_public_key(base64.b64decode(value["publicKey"]["rawBytes"], validate=True))
    try:
        known = usable(key, name)
    except SpecError:
        return None
    return Log(id=bytes.fromhex(fingerprint(key)), key=known, period=_period(value["publicKey"].get("validFor")))


def _period(value: object) -> Period:
    if not isinstance(value, dict):
        return Period()
    return Period(start=_moment(value.get("start")), end=_moment(value.get("end")))


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("a time is a string")
    found = datetime.fromisoformat(value)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
