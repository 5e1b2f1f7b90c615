"""Secrets become an access, or an error that names what is missing; nothing of them is ever printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_updater.api.model import GitRepository, Meta, ObjectKey, Secret, Source
from image_updater.errors import SpecError
from image_updater.git import access as access_module
from image_updater.git.access import GitAccess, access_for

PEM = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def repository(url: str = "https://host/o/r", **more: str) -> GitRepository:
    meta = Meta(key=ObjectKey("default", "fleet"), source=Source(file="objects.yaml"))
    return GitRepository(meta=meta, url=url, **more)  # type: ignore[arg-type]


def made(data: dict[str, bytes], url: str = "https://host/o/r", **more: dict[str, bytes]) -> GitAccess:
    found = {"main": data, **more}
    secrets = {
        ObjectKey("default", name): Secret(meta=Meta(key=ObjectKey("default", name)), data=value)
        for name, value in found.items()
    }
    refs = {"secret_ref": "main"} | {f"{kind}_secret_ref": kind for kind in more}
    return access_for(
        repository(url, **refs), secrets.get, {"HOME": "/nonexistent", "GIT_USERNAME": "x", "GIT_PASSWORD": "y"}
    )


def test_basic_bearer_and_app() -> None:
    basic = made({"username": b"bot", "password": b"s3cret\n"})
    assert (basic.username, basic.password, basic.identity) == ("bot", "s3cret", "secret:default/main")
    assert made({"bearerToken": b"s3cret"}).bearer == "s3cret"
    app = made(
        {
            "githubAppID": b"1",
            "githubAppInstallationID": b"2",
            "githubAppPrivateKey": b"s3cret",
            "githubAppBaseURL": b"https://g/api/v3/",
        }
    )
    assert app.app is not None
    assert (app.app.app_id, app.app.installation_id, app.app.base_url) == ("1", "2", "https://g/api/v3")
    with_token = app.with_token("s3cret-token")
    assert (with_token.username, with_token.identity) == ("x-access-token", app.identity)
    for access in (basic, app, with_token, made({"bearerToken": b"s3cret"})):
        assert "s3cret" not in repr(access)


def test_ssh_ca_and_proxy() -> None:
    ssh = made({"identity": b"s3cret-key", "known_hosts": b"h ssh-rsa x", "password": b"s3cret"}, "ssh://git@host/o/r")
    assert (ssh.ssh_key, ssh.ssh_passphrase, ssh.known_hosts) == (b"s3cret-key", "s3cret", b"h ssh-rsa x")
    assert not ssh.ssh_agent
    assert "s3cret" not in repr(ssh)
    other = made(
        {"username": b"u", "password": b"p"},
        cert={"ca.crt": PEM},
        proxy={"address": b"http://proxy:3128", "username": b"m e", "password": b"s3cret"},
    )
    assert other.ca == PEM
    assert other.proxy == "http://m%20e:s3cret@proxy:3128"
    assert other.identity != "secret:default/main"
    assert "s3cret" not in repr(other)
    assert made({"caFile": PEM}).ca == PEM


@pytest.mark.parametrize(
    ("data", "url", "words"),
    [
        ({}, "https://host/o/r", "no credentials"),
        ({"username": b"u"}, "https://host/o/r", "no password"),
        ({"bearerToken": b"t", "password": b"p"}, "https://host/o/r", "bearerToken and"),
        ({"githubAppID": b"1"}, "https://host/o/r", "githubAppInstallationID and githubAppPrivateKey"),
        ({"identity": b"k"}, "ssh://git@host/o/r", "no known_hosts"),
        ({"known_hosts": b"k"}, "git@host:o/r", "no identity"),
        ({"password": b"a\nb"}, "https://host/o/r", "control characters"),
        ({"password": b"\xff"}, "https://host/o/r", "not UTF-8"),
        ({"ca.crt": b"no pem"}, "https://host/o/r", "no PEM"),
    ],
)
def test_what_is_missing_is_named(data: dict[str, bytes], url: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        made(data, url)
    assert caught.value.where.file == "objects.yaml"
    assert caught.value.remedy


def test_a_missing_secret_is_invalid_input() -> None:
    with pytest.raises(SpecError, match="there is no Secret default/gone"):
        access_for(repository(secret_ref="gone"), lambda key: None, {})


def test_without_a_secret_the_environment_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "SYSTEM_KNOWN_HOSTS", tmp_path / "system")
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "known_hosts").write_text("h ssh-rsa x")
    (ssh / "id_ed25519").write_text("k")
    environment = {
        "HOME": str(tmp_path),
        "SSH_AUTH_SOCK": "/x",
        "GIT_USERNAME": "me",
        "GIT_PASSWORD": "s3cret",
        "HTTPS_PROXY": "http://p",
    }
    access = access_for(None, lambda key: None, environment)
    assert (access.username, access.password, access.ssh_agent, access.proxy) == ("me", "s3cret", True, "auto")
    assert access.ssh_key_files == (str(ssh / "id_ed25519"),)
    assert access.known_hosts == b"h ssh-rsa x"
    assert "s3cret" not in repr(access)
    assert access_for(repository(), lambda key: None, environment).identity == "environment:me"
    (tmp_path / "system").write_text("s ssh-rsa y")
    assert access_for(None, lambda key: None, environment).known_hosts == b"h ssh-rsa x\ns ssh-rsa y"
    (tmp_path / "system").unlink()
    assert access_for(None, lambda key: None, {}) == GitAccess(
        identity="environment", known_hosts_source="~/.ssh/known_hosts"
    )
