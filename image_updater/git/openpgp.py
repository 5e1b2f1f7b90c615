"""OpenPGP signatures through the optional `pysequoia` (extra `openpgp`): keys stay in memory, there is no gpg agent and
no home folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from image_updater.git.errors import SignatureInvalid, SigningFailed

BEGIN = b"-----BEGIN PGP"
_REMEDY = "install image-updater[openpgp]"


def _library() -> Any:
    """The module, imported when first needed: most installations sign with SSH or not at all. Raises SigningFailed
    without it.
    """
    try:
        import pysequoia
    except ImportError as exc:
        raise SigningFailed("OpenPGP needs the optional package pysequoia", remedy=_REMEDY) from exc
    return pysequoia


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPgpSigner:
    """Signs with the first usable signing key of a secret key file."""

    signer: Any = field(repr=False)

    @classmethod
    def load(cls, secret_key: bytes, passphrase: str | None) -> OpenPgpSigner:
        """Read `git.asc`. Raises SigningFailed for what is no secret key, cannot sign, or has another passphrase."""
        library = _library()
        try:
            key = library.Tsk.from_bytes(secret_key)
            signer = key.signer(passphrase) if passphrase else key.signer()
            library.sign(signer, b"probe", mode=library.SignatureMode.DETACHED)
        except Exception as exc:
            # The library raises bare RuntimeErrors; none of them repeats key material.
            raise SigningFailed(
                f"the OpenPGP signing key cannot be used: {exc}", remedy="check git.asc and passphrase of the Secret"
            ) from exc
        return cls(signer=signer)

    def sign(self, payload: bytes) -> str:
        library = _library()
        try:
            armor = library.sign(self.signer, payload, mode=library.SignatureMode.DETACHED)
        except Exception as exc:
            raise SigningFailed(f"the OpenPGP key did not sign: {exc}", remedy="check that it has not expired") from exc
        return bytes(armor).decode("ascii").replace("\r\n", "\n").rstrip("\n")


def verify(armor: bytes, payload: bytes, certificates: tuple[bytes, ...]) -> str:
    """Check a detached signature; fingerprint of the certificate that made it. Raises SignatureInvalid."""
    library = _library()
    trusted: list[Any] = []
    for data in certificates:
        try:
            trusted += library.Cert.split_bytes(data)
        except Exception as exc:
            raise SignatureInvalid(
                f"a trusted OpenPGP key cannot be read: {exc}", remedy="check the .asc keys of the Secret"
            ) from exc
    usable = [cert for cert in trusted if not cert.is_revoked]
    if not usable:
        raise SignatureInvalid(
            "no usable OpenPGP key is trusted", remedy="add the author's public key as *.asc to the Secret"
        )
    try:
        result = library.verify(bytes=payload, store=lambda _ids: usable, signature=library.Sig.from_bytes(armor))
        signatures = list(result.valid_sigs)
    except Exception as exc:
        raise SignatureInvalid(
            f"the OpenPGP signature is wrong, or by a key that is not trusted: {exc}",
            remedy="add the author's public key as *.asc to the Secret, or have the commit signed again",
        ) from exc
    if not signatures:
        raise SignatureInvalid(
            "the OpenPGP signature was made by no trusted key", remedy="add the author's public key as *.asc"
        )
    return str(signatures[0].certificate)
