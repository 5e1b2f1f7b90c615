"""Public keys: ECDSA (P-256, P-384, P-521), RSA (PKCS 1 v1.5 and PSS), Ed25519 (and its pre-hashed form).

cosign signs with SHA-256 whatever the curve; later versions take the hash of the curve's size, and a KMS may have one
of its own. So a key's signature counts with each of the hashes that go with it. A log is not asked: the trust is in the
key.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from image_updater.errors import SpecError
from image_updater.signatures import ed25519ph, payloads
from image_updater.signatures.model import Attached, Bundled, SimpleSigning, Statement, Unverified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MAX_KEYS = 64
SUFFIXES = (".pub", ".pem")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_HASHES: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
_CURVES = {"secp256r1": _HASHES[:1], "secp384r1": _HASHES[:2], "secp521r1": (_HASHES[0], _HASHES[2])}
_MIN_RSA, _MAX_RSA = 2048, 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """One key: `name` is its file in the Secret, `fingerprint` the sha256 of its DER form (SubjectPublicKeyInfo)."""

    name: str
    fingerprint: str
    key: PublicKey = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"key {self.name} (sha256:{self.fingerprint[:16]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTrust:
    """A signature by any of these keys counts."""

    keys: tuple[TrustedKey, ...]

    def simple(self, found: SimpleSigning) -> str:
        return self._by(found.payload, payloads.unbase64(found.signature, "the signature"))

    def attached(self, found: Attached) -> tuple[str, Statement]:
        return self._envelope(payloads.envelope(found.data))

    def bundled(self, found: Bundled, digest: str) -> tuple[str, Statement | None]:
        read = payloads.bundle(found.data)
        if read.keyless:
            raise Unverified("it is signed with a certificate, not with a key")
        if isinstance(read.content, payloads.Envelope):
            return self._envelope(read.content)
        if f"sha256:{read.content.digest}" != digest or found.content is None:
            raise Unverified(f"it signs another digest, sha256:{read.content.digest[:64]}")
        return self._by(found.content, read.content.signature), None

    def _envelope(self, envelope: payloads.Envelope) -> tuple[str, Statement]:
        for signature in envelope.signatures:
            for key in self.keys:
                if verifies(key.key, envelope.pae, signature):
                    return str(key), envelope.statement
        raise Unverified(self._nobody)

    def _by(self, message: bytes, signature: bytes) -> str:
        for key in self.keys:
            if verifies(key.key, message, signature):
                return str(key)
        raise Unverified(self._nobody)

    @property
    def _nobody(self) -> str:
        shown = ", ".join(f"{key.name} (sha256:{key.fingerprint[:16]})" for key in self.keys[:3])
        more = f" and {len(self.keys) - 3} more" if len(self.keys) > 3 else ""
        return f"wrong, or by another key than {shown}{more}"


def verifies(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Did the owner of `key` sign `message`, by any scheme that goes with it?"""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _holds(partial(key.verify, signature, message)) or ed25519ph.verifies(
            key.public_bytes_raw(), message, signature
        )
    if isinstance(key, ec.EllipticCurvePublicKey):
        algorithms = _CURVES.get(key.curve.name, ())
        return any(_holds(partial(key.verify, signature, message, ec.ECDSA(each))) for each in algorithms)
    return any(
        _holds(partial(key.verify, signature, message, scheme, each))
        for each in _HASHES
        for scheme in (padding.PKCS1v15(), padding.PSS(mgf=padding.MGF1(each), salt_length=padding.PSS.AUTO))
    )


def load(files: Mapping[str, bytes], name: str) -> KeyTrust:
    """Every key of a Secret (`name`, for its errors): PEM blocks of `*.pub` and `*.pem`.

    Raises SpecError when one cannot be used, or there is none: an empty trust must not read as 'no check'.
    """
    found: list[TrustedKey] = []
    for file, data in sorted(files.items()):
        if file.endswith(SUFFIXES):
            found += _keys(file, data, name)
    if not found:
        raise SpecError(
            f"{name} holds no public key", remedy="put the public keys there as *.pub or *.pem (cosign.pub)"
        )
    if len(found) > MAX_KEYS:
        raise SpecError(f"{name} holds {len(found)} public keys, more than {MAX_KEYS}", remedy="remove some")
    once: dict[str, TrustedKey] = {}
    for key in found:
        once.setdefault(key.fingerprint, key)
    return KeyTrust(keys=tuple(once.values()))


def _keys(file: str, data: bytes, name: str) -> list[TrustedKey]:
    blocks = list(_BLOCK.finditer(data))
    if not blocks:
        raise SpecError(f"{file} of {name} is not PEM", remedy="-----BEGIN PUBLIC KEY----- …")
    return [_key(file, block[0], block[1], name) for block in blocks]


def _key(file: str, pem: bytes, kind: bytes, name: str) -> TrustedKey:
    if b"PRIVATE" in kind:
        raise SpecError(
            f"{file} of {name} holds a private key",
            remedy="put the public key there (cosign public-key), and only that",
        )
    if not kind.endswith(b"PUBLIC KEY"):
        raise SpecError(f"{file} of {name} holds {kind.decode()}, not PUBLIC KEY", remedy="put the public key there")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise SpecError(f"{file} of {name} holds no readable public key", remedy="export it anew") from None
    return TrustedKey(name=file, fingerprint=fingerprint(key), key=usable(key, f"{file} of {name}"))


def usable(key: PublicKeyTypes, what: str) -> PublicKey:
    """Raises SpecError for a kind of key whose signatures are not checked here."""
    remedy = "use ECDSA (P-256, P-384, P-521), RSA of 2048 bits or more, or Ed25519"
    if isinstance(key, ed25519.Ed25519PublicKey):
        if ed25519ph.is_key(key.public_bytes_raw()):
            return key
        raise SpecError(f"{what} is an Ed25519 key of small order, under which anything is signed", remedy=remedy)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            return key
        raise SpecError(f"{what} is a key of the curve {key.curve.name}, which is not supported", remedy=remedy)
    if isinstance(key, rsa.RSAPublicKey):
        if _MIN_RSA <= key.key_size <= _MAX_RSA:
            return key
        raise SpecError(f"{what} is an RSA key of {key.key_size} bits", remedy=remedy)
    kind = type(key).__name__.removesuffix("PublicKey").strip("_")
    raise SpecError(f"{what} is a key of the type {kind}, which is not supported", remedy=remedy)


def fingerprint(key: PublicKeyTypes) -> str:
    """The sha256 of the DER form, hexadecimal: what logs of Sigstore are known by, too."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except InvalidSignature:
        return False
    return True
