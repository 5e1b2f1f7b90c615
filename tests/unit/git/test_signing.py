"""Signatures against the real git and ssh-keygen, both ways."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pygit2
import pytest

from image_updater.api.model import Author, Meta, ObjectKey, Secret, VerifyMode
from image_updater.git import commits, sshsig, verify
from image_updater.git.errors import SignatureInvalid, SigningFailed
from image_updater.git.signing import signer_from_secret
from tests.parts.gitservers import binary, git, keypair

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")


def secret(**data: bytes) -> Secret:
    return Secret(meta=Meta(key=ObjectKey("default", "keys")), data={k.replace("__", "."): v for k, v in data.items()})


@pytest.fixture
def repository(tmp_path: Path) -> pygit2.Repository:
    return pygit2.init_repository(str(tmp_path / "r"), bare=True)


def signed(repository: pygit2.Repository, key: Secret) -> str:
    tree = str(repository.TreeBuilder().write())
    message = "Ünïcode subject\n\nAutomation: x\n"
    return commits.create(
        repository, tree=tree, parents=(), message=message, author=ME, when=NOW, signer=signer_from_secret(key)
    )


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("passphrase", ["", "open sesame"], ids=["plain", "encrypted"])
def test_git_verifies_our_ssh_signatures_and_we_do(
    repository: pygit2.Repository, tmp_path: Path, kind: str, passphrase: str
) -> None:
    private, public = keypair(tmp_path / "key", kind, passphrase)
    made = signed(repository, secret(identity=private, password=passphrase.encode()))
    allowed = tmp_path / "allowed"
    allowed.write_text(f"updater@example.com {public}\n")
    git("-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", made, cwd=Path(repository.path))
    git("fsck", "--strict", cwd=Path(repository.path))
    commit = commits.get(repository, made)
    keys = verify.keys_from_secret(secret(author__sshpub=public.encode()))
    assert verify.verify_commit(commit, keys).startswith("SHA256:")
    other = verify.TrustedKeys(ssh=sshsig.public_keys(keypair(tmp_path / "other", kind)[1].encode()))
    with pytest.raises(SignatureInvalid, match="not trusted"):
        verify.verify_commit(commit, other)


def test_a_changed_commit_does_not_verify(repository: pygit2.Repository, tmp_path: Path) -> None:
    private, public = keypair(tmp_path / "key")
    commit = commits.get(repository, signed(repository, secret(identity=private)))
    armor, payload = commit.gpg_signature
    keys = sshsig.public_keys(public.encode())
    sshsig.verify(armor, payload, keys)
    with pytest.raises(SignatureInvalid, match="does not fit"):
        sshsig.verify(armor, payload + b"x", keys)
    with pytest.raises(SignatureInvalid):
        sshsig.verify(armor[:200] + armor[-40:], payload, keys)
    with pytest.raises(SignatureInvalid, match="no SSH"):
        sshsig.verify(b"x", payload, keys)


def test_a_signature_made_for_something_else_is_refused(tmp_path: Path) -> None:
    _, public = keypair(tmp_path / "key")
    (tmp_path / "data").write_bytes(b"payload")
    command = [
        binary("ssh-keygen"),
        "-q",
        "-Y",
        "sign",
        "-f",
        str(tmp_path / "key"),
        "-n",
        "file",
        str(tmp_path / "data"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(SignatureInvalid, match="not for Git"):
        sshsig.verify((tmp_path / "data.sig").read_bytes(), b"payload", sshsig.public_keys(public.encode()))


def test_what_git_signs_we_verify_commits_and_tags(tmp_path: Path) -> None:
    _, public = keypair(tmp_path / "key")
    root = tmp_path / "w"
    git("init", "-q", "-b", "main", root)
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path / 'key'}"]
    git(*options, "commit", "-q", "-S", "--allow-empty", "-m", "x", cwd=root)
    git(*options, "tag", "-s", "v1", "-m", "one", cwd=root)
    git("tag", "-a", "v2", "-m", "two", cwd=root)
    repository = pygit2.Repository(str(root))
    keys = verify.keys_from_secret(secret(me__pub=public.encode()))
    head, tag, plain = (git("rev-parse", r, cwd=root) for r in ("HEAD", "v1", "v2"))
    assert len(verify.verify_tip(repository, commit=head, tag=tag, mode=VerifyMode.TAG_AND_HEAD, keys=keys)) == 2
    with pytest.raises(SignatureInvalid, match="not signed"):
        verify.verify_tip(repository, commit=head, tag=plain, mode=VerifyMode.TAG, keys=keys)
    with pytest.raises(SignatureInvalid, match="not annotated"):
        verify.verify_tag(repository, head, keys)
    with pytest.raises(SignatureInvalid, match=r"needs spec\.ref\.tag"):
        verify.verify_tip(repository, commit=head, tag=None, mode=VerifyMode.TAG, keys=keys)
    git("commit", "-q", "--allow-empty", "-m", "y", cwd=root)
    with pytest.raises(SignatureInvalid, match="not signed"):
        verify.verify_tip(
            repository, commit=git("rev-parse", "HEAD", cwd=root), tag=None, mode=VerifyMode.HEAD, keys=keys
        )


def test_openpgp_signs_and_verifies(repository: pygit2.Repository, tmp_path: Path) -> None:
    import pysequoia

    key = pysequoia.Tsk.generate(user_id="Updater <updater@example.com>")
    private = str(key).encode()
    public = str(key.extract_certificate()).encode()
    made = signed(repository, secret(git__asc=private))
    keys = verify.keys_from_secret(secret(author__asc=public))
    assert verify.verify_commit(commits.get(repository, made), keys)
    other = pysequoia.Tsk.generate(user_id="Other <o@example.com>").extract_certificate()
    with pytest.raises(SignatureInvalid):
        verify.verify_commit(commits.get(repository, made), verify.TrustedKeys(openpgp=(str(other).encode(),)))
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    environment = {"GNUPGHOME": str(home)}
    subprocess.run(
        [binary("gpg"), "--batch", "--quiet", "--import"],
        input=public,
        check=True,
        env={"GNUPGHOME": str(home), "PATH": "/usr/bin"},
    )
    git("verify-commit", made, cwd=Path(repository.path), env=environment)


def test_openpgp_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysequoia", None)
    with pytest.raises(SigningFailed, match="needs the optional package"):
        signer_from_secret(secret(git__asc=b"x"))


def test_keys_that_cannot_sign_are_refused(tmp_path: Path) -> None:
    private, _ = keypair(tmp_path / "key", passphrase="s3cret")
    for data, words in [
        ({}, "no signing key"),
        ({"identity": b"garbage"}, "cannot be read"),
        ({"identity": private}, "passphrase"),
        ({"identity": private, "password": b"wr0ng"}, "passphrase"),
        ({"identity": private, "git__asc": b"x"}, "and identity"),
        ({"git__asc": b"garbage"}, "cannot be used"),
    ]:
        with pytest.raises(SigningFailed, match=words) as caught:
            signer_from_secret(secret(**data))
        assert "wr0ng" not in str(caught.value)
    with pytest.raises(SignatureInvalid, match="no public key"):
        verify.keys_from_secret(secret(other=b"x"))
