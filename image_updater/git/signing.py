"""Which signer a Secret makes: `git.asc` + `passphrase` is OpenPGP, `identity` + `password` is SSH (Flux's keys)."""

from __future__ import annotations

from image_updater.api.model import Secret
from image_updater.git.commits import Signer
from image_updater.git.errors import SigningFailed
from image_updater.git.openpgp import OpenPgpSigner
from image_updater.git.sshsig import SshSigner


def signer_from_secret(secret: Secret) -> Signer:
    """Read the key, once. Raises SigningFailed when there is none, it cannot sign or its passphrase is wrong."""
    data = secret.data
    if "git.asc" in data and "identity" in data:
        raise SigningFailed(f"Secret {secret.meta.key} has git.asc and identity", remedy="keep the key that is meant")
    try:
        if "git.asc" in data:
            return OpenPgpSigner.load(data["git.asc"], _text(data.get("passphrase")))
        if "identity" in data:
            return SshSigner.load(data["identity"], _text(data.get("password")))
    except UnicodeDecodeError as exc:
        raise SigningFailed(
            f"the passphrase in Secret {secret.meta.key} is not UTF-8", remedy="encode it as UTF-8"
        ) from exc
    raise SigningFailed(
        f"Secret {secret.meta.key} has no signing key", remedy="expected git.asc (OpenPGP) or identity (SSH)"
    )


def _text(raw: bytes | None) -> str | None:
    return raw.decode().strip("\r\n") if raw else None


__all__ = ["OpenPgpSigner", "Signer", "SshSigner", "signer_from_secret"]
