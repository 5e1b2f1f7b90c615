"""The three forms of docker's credential files, and which entry serves an image."""

from __future__ import annotations

import base64
import json

import pytest

from image_updater.errors import SpecError, Where
from image_updater.registry.dockerconfig import Credentials, DockerConfig, load

LOGIN = Credentials(username="u", password="p")

HERE = Where(file="config.json")
INDEX = "index.docker.io"
HUB = f"https://{INDEX}/v1/"
"""What `docker login` calls Docker Hub."""


def auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("docker.io", "docker.io:443"),
        ("https://docker.io:443", "https://docker.io:443/v1"),
        ("docker.io", INDEX),
        (HUB, "registry-1.docker.io"),
        ("https://r.example", "r.example:443"),
    ],
)
def test_keys_name_the_same_registry(one: str, other: str) -> None:
    for key, host in ((one, other), (other, one)):
        assert DockerConfig(auths={key: LOGIN}).find(_host(host), "acme/app") == (key, LOGIN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("r.example", "r.example:5000"),
        ("r.example:5000", "r.example"),
        ("a.example", "b.example"),
        ("r.example:²", "r.example"),
        (f"r.example:{'9' * 5000}", "r.example"),
    ],
    ids=["no port", "a port", "a host", "a digit that is no number", "a number that is no port"],
)
def test_keys_name_different_registries(one: str, other: str) -> None:
    assert DockerConfig(auths={one: LOGIN}).find(other, "acme/app") is None


def _host(key: str) -> str:
    """As an image names it."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param({"auths": {"r": {"auth": auth("u", "p")}}}, ("u", "p"), id="auth"),
        pytest.param({"auths": {"r": {"username": "u", "password": "p"}}}, ("u", "p"), id="username and password"),
        pytest.param({"r": {"auth": auth("u", "p")}}, ("u", "p"), id="legacy .dockercfg"),
        pytest.param({"r": {"username": "u", "password": "p", "email": "x"}}, ("u", "p"), id="legacy with email"),
        pytest.param({"auths": {"r": {"auth": auth("u", "p:q:r")}}}, ("u", "p:q:r"), id='password with ":"'),
        pytest.param({"auths": {"r": {"auth": auth("u", "p\0\0")}}}, ("u", "p"), id="padded"),
        pytest.param({"auths": {"r": {"auth": auth("ü", "ß")}}}, ("ü", "ß"), id="not ASCII"),
    ],
)
def test_all_forms_are_read(file: object, expected: tuple[str, str]) -> None:
    found = load(json.dumps(file).encode(), where=HERE).find("r", "acme/app")
    assert found is not None
    assert (found[1].username, found[1].password) == expected


def test_identity_and_registry_tokens_are_read() -> None:
    file = {"auths": {"r": {"auth": auth("00000000", ""), "identitytoken": "i"}, "s": {"registrytoken": "t"}}}
    config = load(json.dumps(file).encode(), where=HERE)
    assert config.auths["r"].identity_token == "i"
    assert config.auths["s"].registry_token == "t"


def test_an_empty_entry_is_no_login() -> None:
    """Docker leaves `{}` behind where a helper keeps the credentials."""
    file = {"auths": {"r": {}, "s": {"auth": ""}}, "credsStore": "desktop"}
    config = load(json.dumps(file).encode(), where=HERE, helpers=True)
    assert config.find("r", "x") is None
    assert config.helper("r") == ("desktop", "r")


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"auths": []}',
        b'{"auths": {"r": 1}}',
        b'{"auths": {"r": {"auth": "***"}}}',
        '{"auths": {"r": {"auth": "Gr\u00fc\u00dfe"}}}'.encode(),
        b'{"auths": {"r": {"auth": "bm9jb2xvbg=="}}}',
        b"[" * 100_000,
    ],
    ids=["cut", "list", "binary", "auths is a list", "entry is a number", "no base64", "no ASCII", "no colon", "deep"],
)
def test_a_broken_file_is_an_error_that_shows_nothing_of_it(data: bytes) -> None:
    with pytest.raises(SpecError, match=r"config\.json: ") as caught:
        load(data, where=HERE)
    assert "nocolon" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "host", "repository", "expected"),
    [
        (["ghcr.io"], "ghcr.io", "acme/app", "ghcr.io"),
        (["https://ghcr.io"], "ghcr.io", "acme/app", "https://ghcr.io"),
        (["ghcr.io/v2/"], "ghcr.io", "acme/app", "ghcr.io/v2/"),
        (["ghcr.io", "ghcr.io/acme", "ghcr.io/acme/app"], "ghcr.io", "acme/app", "ghcr.io/acme/app"),
        (["ghcr.io", "ghcr.io/acme/ap"], "ghcr.io", "acme/app", "ghcr.io"),
        (["ghcr.io/other"], "ghcr.io", "acme/app", None),
        ([HUB], "docker.io", "library/nginx", HUB),
        (["docker.io"], "docker.io", "library/nginx", "docker.io"),
        (["registry-1.docker.io"], "docker.io", "library/nginx", "registry-1.docker.io"),
        (["registry:5000"], "registry:5000", "app", "registry:5000"),
        (["registry"], "registry:5000", "app", None),
        (["registry:5001"], "registry:5000", "app", None),
        (["registry:443"], "registry", "app", "registry:443"),
        (["*.example.com"], "r.example.com", "app", "*.example.com"),
        (["*.example.com"], "a.b.example.com", "app", None),
        (["*.example.com", "r.example.com"], "r.example.com", "app", "r.example.com"),
        (["evil-ghcr.io", "ghcr.io.evil.net"], "ghcr.io", "app", None),
        (["GHCR.io"], "ghcr.io", "app", "GHCR.io"),
    ],
)
def test_the_longest_matching_key_serves(keys: list[str], host: str, repository: str, expected: str | None) -> None:
    found = DockerConfig(auths={key: Credentials(password="p") for key in keys}).find(host, repository)
    assert (found[0] if found else None) == expected


def test_helpers_are_for_their_host_and_the_store_for_the_rest() -> None:
    file = {"credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}, "credsStore": "pass"}
    config = load(json.dumps(file).encode(), where=HERE, helpers=True)
    assert config.helper("1.dkr.ecr.eu-west-1.amazonaws.com") == ("ecr-login", "1.dkr.ecr.eu-west-1.amazonaws.com")
    assert config.helper("docker.io") == ("pass", HUB)
    assert config.helper("ghcr.io") == ("pass", "ghcr.io")


def test_a_secrets_helpers_are_never_taken() -> None:
    file = {"credHelpers": {"r": "evil"}, "credsStore": "evil", "auths": {"r": {"auth": auth("u", "p")}}}
    config = load(json.dumps(file).encode(), where=HERE)
    assert config.helper("r") is None


def test_credentials_are_never_printed() -> None:
    login = Credentials(username="u", password="hidden", identity_token="hidden", registry_token="hidden")
    assert "hidden" not in repr(login)
    assert "hidden" not in repr(DockerConfig(auths={"r": login}))
