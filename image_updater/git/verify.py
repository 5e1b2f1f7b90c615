"""Is a commit or tag signed by someone we trust? Trust is exactly the keys of one Secret: `*.asc` OpenPGP, `*.sshpub`
and `*.pub` SSH.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pygit2
from pygit2.enums import ObjectType

from image_updater.api.model import Secret, VerifyMode
from image_updater.git import openpgp, sshsig
from image_updater.git.errors import MirrorDamaged, SignatureInvalid
from image_updater.git.hostkeys import fingerprint

_SSH = b"-----BEGIN SSH SIGNATURE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKeys:
    """Public keys: SSH in wire format, OpenPGP as files."""

    ssh: tuple[bytes, ...] = field(default=(), repr=False)
    openpgp: tuple[bytes, ...] = field(default=(), repr=False)


def keys_from_secret(secret: Secret) -> TrustedKeys:
    """Every public key of the Secret. Raises SignatureInvalid when it holds none: an empty trust must not read as 'no
    check'.
    """
    ssh = tuple(
        key
        for name, data in sorted(secret.data.items())
        if name.endswith((".sshpub", ".pub"))
        for key in sshsig.public_keys(data)
    )
    pgp = tuple(data for name, data in sorted(secret.data.items()) if name.endswith(".asc"))
    if not ssh and not pgp:
        raise SignatureInvalid(
            f"Secret {secret.meta.key} holds no public key", remedy="add *.asc (OpenPGP) or *.sshpub (SSH)"
        )
    return TrustedKeys(ssh=ssh, openpgp=pgp)


def verify_commit(commit: pygit2.Commit, keys: TrustedKeys) -> str:
    """Who signed it (an SSH fingerprint or an OpenPGP one). Raises SignatureInvalid."""
    armor, payload = commit.gpg_signature
    if not armor:  # pygit2 gives (None, None) for an unsigned commit, whatever its types say
        raise SignatureInvalid(
            f"commit {str(commit.id)[:12]} is not signed", remedy="sign it, or drop spec.verify of the GitRepository"
        )
    return _verify(armor, payload, keys, f"commit {str(commit.id)[:12]}")


def verify_tag(repository: pygit2.Repository, tag: str, keys: TrustedKeys) -> str:
    """Check an annotated tag object by its id. A lightweight tag has nothing to sign. Raises SignatureInvalid."""
    try:
        kind, data = repository.read(tag)
    except (KeyError, ValueError, pygit2.GitError) as exc:
        raise MirrorDamaged(f"tag {tag} cannot be read: {exc}", remedy="the mirror is made anew") from exc
    if kind != ObjectType.TAG:
        raise SignatureInvalid("the tag is not annotated, so it carries no signature", remedy="make it with git tag -s")
    starts = [at for at in (data.find(b"\n" + _SSH), data.find(b"\n" + openpgp.BEGIN)) if at >= 0]
    if not starts:
        raise SignatureInvalid(f"tag {tag[:12]} is not signed", remedy="make it with git tag -s")
    at = min(starts) + 1
    return _verify(data[at:], data[:at], keys, f"tag {tag[:12]}")


def verify_tip(
    repository: pygit2.Repository, *, commit: str, tag: str | None, mode: VerifyMode, keys: TrustedKeys
) -> tuple[str, ...]:
    """Apply a GitRepository's `spec.verify`: HEAD the commit, Tag the tag object, TagAndHEAD both. Raises
    SignatureInvalid.
    """
    signers: list[str] = []
    if mode in (VerifyMode.TAG, VerifyMode.TAG_AND_HEAD):
        if tag is None:
            raise SignatureInvalid(f"spec.verify.mode {mode} needs spec.ref.tag", remedy="use mode HEAD for branches")
        signers.append(verify_tag(repository, tag, keys))
    if mode in (VerifyMode.HEAD, VerifyMode.TAG_AND_HEAD):
        found = repository[commit]
        assert isinstance(found, pygit2.Commit)
        signers.append(verify_commit(found, keys))
    return tuple(signers)


def _verify(armor: bytes, payload: bytes, keys: TrustedKeys, what: str) -> str:
    try:
        if armor.lstrip().startswith(_SSH):
            return fingerprint(sshsig.verify(armor, payload, keys.ssh))
        if armor.lstrip().startswith(openpgp.BEGIN):
            return openpgp.verify(armor, payload, keys.openpgp)
    except SignatureInvalid as exc:
        raise SignatureInvalid(f"{what}: {exc.message}", remedy=exc.remedy) from exc
    raise SignatureInvalid(f"{what} is signed in an unknown way", remedy="sign it with SSH or OpenPGP")
