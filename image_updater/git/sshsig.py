"""SSH signatures as Git uses them (OpenSSH PROTOCOL.sshsig), on `cryptography` alone: no ssh-keygen, no agent, no key
on disk.

Namespace `git`, hash SHA-512. RSA signs with rsa-sha2-512; security keys (sk-…) cannot sign without their hardware, but
verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from image_updater.git.errors import SignatureInvalid, SigningFailed

MAGIC = b"SSHSIG"
NAMESPACE = b"git"
BEGIN = "-----BEGIN SSH SIGNATURE-----"
END = "-----END SSH SIGNATURE-----"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_CURVES: dict[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1, hashes.SHA256),
    "nistp384": (ec.SECP384R1, hashes.SHA384),
    "nistp521": (ec.SECP521R1, hashes.SHA512),
}
MIN_RSA_BITS = 2048

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(value: int) -> bytes:
    return _string(value.to_bytes((value.bit_length() + 8) // 8, "big") if value else b"")


class _Reader:
    """The strings of an SSH message. Raises SignatureInvalid where it ends early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise SignatureInvalid("the SSH signature is cut short", remedy="sign the commit again")
        self.at += count
        return self.data[self.at - count : self.at]

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))


def _signed_data(message: bytes, hash_name: bytes) -> bytes:
    digest = _HASHES[hash_name](message).digest()
    return MAGIC + _string(NAMESPACE) + _string(b"") + _string(hash_name) + _string(digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSigner:
    """Signs with a private key held in memory."""

    key: PrivateKey = field(repr=False)

    @classmethod
    def load(cls, identity: bytes, passphrase: str | None) -> SshSigner:
        """Read an OpenSSH or PEM private key. Raises SigningFailed (no key, wrong passphrase, kind that
        cannot sign).
        """
        data = identity.replace(b"\r\n", b"\n").strip() + b"\n"
        secret = passphrase.encode() if passphrase else None
        try:
            if b"BEGIN OPENSSH PRIVATE KEY" in data:
                key: object = serialization.load_ssh_private_key(data, secret)
            else:
                key = serialization.load_pem_private_key(data, secret)
        except TypeError as exc:
            needs = "needs a passphrase" if secret is None else "is not encrypted, but a passphrase was given"
            raise SigningFailed(
                f"the SSH signing key {needs}", remedy="check identity and password of the Secret"
            ) from exc
        except (ValueError, UnsupportedAlgorithm) as exc:
            if "bcrypt" in str(exc):
                raise SigningFailed(
                    "encrypted OpenSSH keys need the package bcrypt", remedy="install cryptography[ssh]"
                ) from exc
            # `cryptography` never repeats key material in its messages.
            hint = "is encrypted" if "encrypt" in str(exc) and secret is None else "cannot be read (wrong passphrase?)"
            raise SigningFailed(
                f"the SSH signing key {hint}: {exc}", remedy="check identity and password of the Secret"
            ) from exc
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
            raise SigningFailed(
                f"the RSA signing key has only {key.key_size} bits", remedy=f"use at least {MIN_RSA_BITS}"
            )
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise SigningFailed(f"a {type(key).__name__} cannot sign commits", remedy="use ed25519, ecdsa or rsa")
        return cls(key=key)

    @property
    def public(self) -> bytes:
        """The public key's wire format."""
        line = self.key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return base64.b64decode(line.split()[1])

    def sign(self, payload: bytes) -> str:
        """The armored signature of a commit's bytes."""
        data = _signed_data(payload, b"sha512")
        blob = (
            MAGIC
            + (1).to_bytes(4, "big")
            + _string(self.public)
            + _string(NAMESPACE)
            + _string(b"")
            + _string(b"sha512")
        )
        text = base64.b64encode(blob + _string(self._signature(data))).decode()
        lines = [text[i : i + 70] for i in range(0, len(text), 70)]
        return "\n".join([BEGIN, *lines, END])

    def _signature(self, data: bytes) -> bytes:
        key = self.key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return _string(b"ssh-ed25519") + _string(key.sign(data))
        if isinstance(key, rsa.RSAPrivateKey):
            return _string(b"rsa-sha2-512") + _string(key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
        curve = {256: "nistp256", 384: "nistp384", 521: "nistp521"}[key.curve.key_size]
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_CURVES[curve][1]())))
        return _string(f"ecdsa-sha2-{curve}".encode()) + _string(_mpint(r) + _mpint(s))


def public_keys(text: bytes) -> tuple[bytes, ...]:
    """Wire formats of the keys in a `.pub`, authorized_keys or allowed_signers text: the field after a key type,
    wherever it stands.
    """
    found = []
    for line in text.decode("utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        for kind, value in itertools.pairwise(words):
            try:
                key = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                continue
            if len(key) > 4 and key[4 : 4 + int.from_bytes(key[:4], "big")] == kind.encode():
                found.append(key)
                break
    return tuple(found)


def verify(armor: bytes, payload: bytes, keys: tuple[bytes, ...]) -> bytes:
    """Check a signature; the key (wire format) that made it. Raises SignatureInvalid when it is wrong or by a key not
    in `keys`.
    """
    text = armor.decode("ascii", errors="replace").strip()
    if not (text.startswith(BEGIN) and text.endswith(END)):
        raise SignatureInvalid("this is no SSH signature", remedy="sign the commit with an SSH key")
    try:
        blob = base64.b64decode("".join(text[len(BEGIN) : -len(END)].split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise SignatureInvalid("the SSH signature is not base64", remedy="sign the commit again") from exc
    reader = _Reader(blob)
    if reader.take(6) != MAGIC or int.from_bytes(reader.take(4), "big") != 1:
        raise SignatureInvalid("the SSH signature has an unknown version", remedy="sign the commit with a current Git")
    public, namespace = reader.string(), reader.string()
    reader.string()
    hash_name, signature = reader.string(), reader.string()
    if namespace != NAMESPACE:
        raise SignatureInvalid(
            f"the SSH signature was made for {namespace!r}, not for Git", remedy="sign the commit again"
        )
    if hash_name not in _HASHES:
        raise SignatureInvalid(f"the SSH signature uses the hash {hash_name!r}", remedy="use sha256 or sha512")
    if public not in keys:
        shown = "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")
        raise SignatureInvalid(
            f"signed by the SSH key {shown}, which is not trusted", remedy="add its public key to the Secret"
        )
    try:
        _check(public, signature, _signed_data(payload, hash_name))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm, KeyError) as exc:
        raise SignatureInvalid(
            "the SSH signature does not fit the commit", remedy="the commit was changed after signing"
        ) from exc
    return public


def _check(public: bytes, signature: bytes, data: bytes) -> None:
    reader = _Reader(signature)
    algorithm, value = reader.string(), reader.string()
    kind = _Reader(public).string()
    if kind.startswith(b"sk-"):
        _check_security_key(kind, public, value, reader, data)
        return
    key = serialization.load_ssh_public_key(kind + b" " + base64.b64encode(public))
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        key.verify(value, data)
    elif isinstance(key, rsa.RSAPublicKey) and algorithm in (b"rsa-sha2-256", b"rsa-sha2-512"):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError("short RSA key")
        key.verify(value, data, padding.PKCS1v15(), hashes.SHA512() if algorithm.endswith(b"512") else hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == kind:
        numbers = _Reader(value)
        r, s = (int.from_bytes(numbers.string(), "big") for _ in range(2))
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(_CURVES[kind.decode().rpartition("-")[2]][1]()))
    else:
        raise ValueError("algorithm and key differ")


def _check_security_key(kind: bytes, public: bytes, value: bytes, rest: _Reader, data: bytes) -> None:
    """FIDO keys sign over the application, flags and a counter (OpenSSH PROTOCOL.u2f); user presence is required."""
    fields = _Reader(public)
    fields.string()
    flags, counter = rest.take(1), rest.take(4)
    if not flags[0] & 1:
        raise ValueError("nobody touched the key")
    if kind == b"sk-ssh-ed25519@openssh.com":
        raw, application = fields.string(), fields.string()
        signed = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(value, signed)
    elif kind == b"sk-ecdsa-sha2-nistp256@openssh.com":
        fields.string()
        point, application = fields.string(), fields.string()
        signed = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
        numbers = _Reader(value)
        r, s = (int.from_bytes(numbers.string(), "big") for _ in range(2))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    else:
        raise ValueError("unknown security key")
