"""SSH against a real sshd: host keys are checked for each repository by itself, keys come from memory."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_updater.api.model import Author, VerifyMode
from image_updater.git import hooks, hostkeys, sshsig, transport
from image_updater.git.access import GitAccess
from image_updater.git.errors import (
    GitAuthenticationFailed,
    GitUnavailable,
    HostKeyMismatch,
    PushRefused,
    RepositoryNotFound,
    SignatureInvalid,
)
from image_updater.git.mirror import Mirror
from image_updater.git.verify import TrustedKeys
from tests.parts import gitservers as parts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.SshServer]:
    with parts.ssh_server(tmp_path_factory.mktemp("ssh"), host_key_kinds=("ed25519", "ecdsa", "rsa")) as started:
        parts.bare(started.root / "app.git", files={"a.yaml": "1"})
        yield started


@pytest.fixture
def access(server: parts.SshServer) -> GitAccess:
    return GitAccess(
        identity="secret:default/git",
        ssh_key=server.identity,
        known_hosts=server.known_hosts(),
        timeout=timedelta(seconds=20),
    )


async def change(mirror: Mirror, text: str) -> str:
    tip = await mirror.fetch("main")
    commit = await mirror.commit(tip.commit, {"a.yaml": text.encode()}, "Move a", ME, None, NOW)
    await mirror.push(commit, "main", expected=tip.commit)
    return commit


async def test_a_change_goes_over_ssh_with_a_key_from_memory(
    server: parts.SshServer, access: GitAccess, tmp_path: Path
) -> None:
    with Mirror.open(tmp_path / "m", server.url("app.git"), access) as mirror:
        commit = await change(mirror, "2")
    assert parts.git("rev-parse", "main", cwd=server.root / "app.git") == commit
    for place in tmp_path.rglob("*"):
        assert not place.is_file() or b"PRIVATE KEY" not in place.read_bytes()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_repository_that_knows_one_of_the_hosts_keys_is_shown_that_one(
    server: parts.SshServer, access: GitAccess, tmp_path: Path, kind: str
) -> None:
    with Mirror.open(
        tmp_path / "m", server.url("app.git"), replace(access, known_hosts=server.known_hosts(kind))
    ) as mirror:
        await mirror.fetch("main")


def _hashed(server: parts.SshServer, tmp_path: Path) -> bytes:
    file = tmp_path / "known"
    file.write_bytes(server.known_hosts())
    subprocess.run([parts.binary("ssh-keygen"), "-H", "-f", str(file)], check=True, capture_output=True)
    return file.read_bytes()


def _wrong(server: parts.SshServer, tmp_path: Path) -> bytes:
    return f"[127.0.0.1]:{server.port} {parts.keypair(tmp_path / 'other')[1]}\n".encode()


def _other_port(server: parts.SshServer, tmp_path: Path) -> bytes:
    return server.known_hosts().replace(b"[127.0.0.1]:", b"[127.0.0.1]:1")


def _revoked(server: parts.SshServer, tmp_path: Path) -> bytes:
    return server.known_hosts() + b"".join(b"@revoked * %s\n" % key.encode() for key in server.host_keys.values())


async def test_hashed_known_hosts_work(server: parts.SshServer, access: GitAccess, tmp_path: Path) -> None:
    with Mirror.open(
        tmp_path / "m", server.url("app.git"), replace(access, known_hosts=_hashed(server, tmp_path))
    ) as mirror:
        await mirror.fetch("main")


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (lambda s, t: b"", "is not in"),
        (lambda s, t: None, "is not in"),
        (_wrong, "has other keys"),
        (_other_port, "is not in"),
        (_revoked, "revokes"),
    ],
    ids=["empty", "none", "wrong", "another port", "revoked"],
)
async def test_an_unknown_host_is_refused_before_any_credential(
    server: parts.SshServer, access: GitAccess, tmp_path: Path, known: object, words: str
) -> None:
    lines = known(server, tmp_path)  # type: ignore[operator]
    with (
        Mirror.open(tmp_path / "m", server.url("app.git"), replace(access, known_hosts=lines)) as mirror,
        pytest.raises(HostKeyMismatch, match=words) as caught,
    ):
        await mirror.fetch("main")
    assert "SHA256:" in str(caught.value)


async def test_the_private_structure_of_libgit2_is_the_one_we_read(
    server: parts.SshServer, access: GitAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pin of git2/cert.h: when this fails, look at the layout again before any release."""
    seen: list[bytes] = []
    judge = transport.Callbacks.judge_host_key

    def spy(self: transport.Callbacks, key: bytes) -> None:
        seen.append(key)
        judge(self, key)

    monkeypatch.setattr(transport.Callbacks, "judge_host_key", spy)
    assert hooks.supported()
    with Mirror.open(
        tmp_path / "m", server.url("app.git"), replace(access, known_hosts=server.known_hosts("rsa"))
    ) as mirror:
        await mirror.fetch("main")
    assert hostkeys.key_type(seen[0]) == "ssh-rsa"
    public = tmp_path / "rsa.pub"
    public.write_text(server.host_keys["rsa"] + "\n")
    shown = subprocess.run(
        [parts.binary("ssh-keygen"), "-lf", str(public)], capture_output=True, text=True, check=True
    ).stdout
    assert hostkeys.fingerprint(seen[0]) in shown


async def test_an_unsupported_library_is_refused_not_trusted(
    server: parts.SshServer, access: GitAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "supported", lambda: False)
    with Mirror.open(tmp_path / "m", server.url("app.git"), access) as mirror, pytest.raises(HostKeyMismatch):
        await mirror.fetch("main")


async def test_another_key_is_refused_once(server: parts.SshServer, access: GitAccess, tmp_path: Path) -> None:
    other, _ = parts.keypair(tmp_path / "other")
    with (
        Mirror.open(tmp_path / "m", server.url("app.git"), replace(access, ssh_key=other)) as mirror,
        pytest.raises(GitAuthenticationFailed, match="Secret default/git"),
    ):
        await mirror.fetch("main")
    with (
        Mirror.open(tmp_path / "n", server.url("app.git"), replace(access, ssh_key=None)) as mirror,
        pytest.raises(GitAuthenticationFailed, match="there are none"),
    ):
        await mirror.fetch("main")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_encrypted_keys_of_every_kind(tmp_path: Path, kind: str) -> None:
    with parts.ssh_server(tmp_path / "s", kind=kind, passphrase="open sesame", host_key_kinds=("ed25519",)) as server:
        parts.bare(server.root / "app.git", files={"a.yaml": "1"})
        right = GitAccess(
            ssh_key=server.identity,
            ssh_passphrase="open sesame",
            known_hosts=server.known_hosts(),
            timeout=timedelta(seconds=20),
        )
        with Mirror.open(tmp_path / "m", server.url("app.git"), right) as mirror:
            await change(mirror, "2")
        with (
            Mirror.open(tmp_path / "n", server.url("app.git"), replace(right, ssh_passphrase="wrong")) as mirror,
            pytest.raises(GitAuthenticationFailed) as caught,
        ):
            await mirror.fetch("main")
        assert "sesame" not in str(caught.value)


async def test_keys_of_the_home_folder(server: parts.SshServer, access: GitAccess, tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").write_bytes(server.identity)
    own = replace(access, ssh_key=None, ssh_key_files=(str(tmp_path / "id_ed25519"),))
    with Mirror.open(tmp_path / "m", server.url("app.git"), own) as mirror:
        await mirror.fetch("main")


async def test_a_missing_repository_and_a_refusing_hook(
    server: parts.SshServer, access: GitAccess, tmp_path: Path
) -> None:
    with Mirror.open(tmp_path / "m", server.url("none.git"), access) as mirror, pytest.raises(RepositoryNotFound):
        await mirror.fetch("main")
    parts.bare(server.root / "hook.git", files={"a.yaml": "1"}, hook="#!/bin/sh\necho 'not today' >&2\nexit 1\n")
    with Mirror.open(tmp_path / "n", server.url("hook.git"), access) as mirror, pytest.raises(PushRefused) as caught:
        await change(mirror, "2")
    assert "not today" in caught.value.words


async def test_a_silent_server_runs_into_the_time_limit(access: GitAccess, tmp_path: Path) -> None:
    with parts.TcpProxy(target=1, stall=True) as proxy:
        url = f"ssh://git@127.0.0.1:{proxy.port}/x/y"
        with (
            Mirror.open(tmp_path / "m", url, replace(access, timeout=timedelta(seconds=0.5))) as mirror,
            pytest.raises(GitUnavailable),
        ):
            await mirror.fetch("main")


async def test_two_repositories_with_different_keys_of_one_host_at_once(
    server: parts.SshServer, access: GitAccess, tmp_path: Path
) -> None:
    errors: list[BaseException] = []

    def run(n: int, kind: str) -> None:
        import asyncio

        async def fetch() -> None:
            with Mirror.open(
                tmp_path / f"m{n}", server.url("app.git"), replace(access, known_hosts=server.known_hosts(kind))
            ) as m:
                for _ in range(3):
                    await m.fetch("main")

        try:
            asyncio.run(fetch())
        except BaseException as exc:
            errors.append(exc)

    threads = [
        threading.Thread(target=run, args=(n, kind)) for n, kind in enumerate(["ed25519", "rsa", "ecdsa", "rsa"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def listens(path: str) -> bool:
    """A socket is there a moment before anybody listens on it."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


async def test_keys_of_the_agent(
    server: parts.SshServer, access: GitAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(server.identity)
    (tmp_path / "key").chmod(0o600)
    place = str(tmp_path / "agent")
    agent = subprocess.Popen(
        [parts.binary("ssh-agent"), "-D", "-a", place], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not listens(place):
            assert agent.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", place)
        subprocess.run([parts.binary("ssh-add"), "-q", str(tmp_path / "key")], check=True, stdin=subprocess.DEVNULL)
        with Mirror.open(
            tmp_path / "m", server.url("app.git"), replace(access, ssh_key=None, ssh_agent=True)
        ) as mirror:
            await mirror.fetch("main")
    finally:
        parts.stop(agent)


async def test_a_signed_tag_is_fetched_and_verified(server: parts.SshServer, access: GitAccess, tmp_path: Path) -> None:
    _, public = parts.keypair(tmp_path / "sign")
    parts.git("clone", "-q", server.root / "app.git", tmp_path / "w")
    sign = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path / 'sign'}"]
    parts.git(*sign, "tag", "-s", "v1", "-m", "one", cwd=tmp_path / "w")
    parts.git("push", "-q", "origin", "v1", cwd=tmp_path / "w")
    keys = TrustedKeys(ssh=sshsig.public_keys(public.encode()))
    with Mirror.open(tmp_path / "m", server.url("app.git"), access) as mirror:
        tip = await mirror.fetch_tag("v1")
        assert mirror.verify(tip, keys, VerifyMode.TAG)
        with pytest.raises(SignatureInvalid, match="not signed"):
            mirror.verify(tip, keys, VerifyMode.TAG_AND_HEAD)
