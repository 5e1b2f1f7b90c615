"""Who asks: Secrets, the local docker config and its helpers, certificates, proxies, and the identity of all that."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Provider, Secret, SemverPolicy, Source
from image_updater.embedded import Auth, EmbeddedRegistry, Faults
from image_updater.errors import SpecError, Where
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    AuthenticationFailed,
    Proxies,
    RegistryClient,
    RegistryUnavailable,
    access_for,
    anonymous,
)
from image_updater.registry.access import local_config
from image_updater.registry.helpers import get
from tests.parts.registries import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.unit.registry.conftest import FakeTime

KEY = ObjectKey("default", "it")


def policy(image: str = "ghcr.io/acme/app", **fields: object) -> ImagePolicy:
    source = Source(file="objects.yaml", where=lambda field: Where(file="objects.yaml", line=7, field=field))
    return ImagePolicy(
        meta=Meta(key=ObjectKey("default", "app"), source=source),
        image=image,
        strategy=SemverPolicy(range="*"),
        **fields,  # type: ignore[arg-type]
    )


def secret(**data: bytes | str) -> Secret:
    return Secret(
        meta=Meta(key=KEY),
        data={key: value.encode() if isinstance(value, str) else value for key, value in data.items()},
    )


def config(*hosts: str, user: str = "u", password: str = "p") -> str:
    return json.dumps({"auths": {host: {"username": user, "password": password} for host in hosts}})


def made(found: Secret | None = None, environment: Mapping[str, str] | None = None, **fields: object) -> Access:
    return access_for(policy(**fields), lambda key: found if key == KEY else None, environment or {})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ Secrets


@pytest.mark.parametrize(
    "data",
    [
        {".dockerconfigjson": config("ghcr.io")},
        {".dockercfg": json.dumps({"ghcr.io": {"username": "u", "password": "p"}})},
        {"config.json": config("ghcr.io")},
        {"username": "u", "password": "p"},
    ],
    ids=[".dockerconfigjson", ".dockercfg", "config.json", "username and password"],
)
def test_a_secret_gives_the_login(data: dict[str, str]) -> None:
    entry = made(secret(**data), secret_ref="it").config.find("ghcr.io", "acme/app")
    assert entry is not None
    assert (entry[1].username, entry[1].password) == ("u", "p")


@pytest.mark.parametrize(
    ("found", "fields", "message"),
    [
        (None, {"secret_ref": "it"}, r"objects\.yaml:7: spec\.secretRef: there is no Secret default/it"),
        (secret(token="x"), {"secret_ref": "it"}, "holds no registry login"),
        (secret(**{".dockerconfigjson": config("quay.io")}), {"secret_ref": "it"}, "no login for ghcr.io.*quay.io"),
        (secret(**{".dockerconfigjson": "{"}), {"secret_ref": "it"}, r"spec\.secretRef: the docker config is not JSON"),
        (None, {"cert_secret_ref": "it"}, r"spec\.certSecretRef"),
        (secret(other="x"), {"cert_secret_ref": "it"}, "neither ca.crt nor tls.crt"),
        (secret(**{"ca.crt": "x"}), {"cert_secret_ref": "it"}, "ca.crt of Secret default/it holds no PEM"),
        (secret(**{"tls.crt": "x"}), {"cert_secret_ref": "it"}, "together"),
        (secret(address="socks5://x"), {"proxy_secret_ref": "it"}, r"spec\.proxySecretRef.*`address`"),
    ],
    ids=[
        "missing",
        "no login in it",
        "another host",
        "no JSON",
        "no cert secret",
        "no cert",
        "no PEM",
        "half a pair",
        "socks",
    ],
)
def test_a_secret_that_does_not_hold_what_it_should_is_invalid(
    found: Secret | None, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        made(found, **fields)  # type: ignore[arg-type]


def test_the_secret_may_be_missing_an_entry_where_a_cloud_gives_one() -> None:
    access = made(secret(**{".dockerconfigjson": config("quay.io")}), secret_ref="it", provider=Provider.AWS)
    assert access.provider is Provider.AWS


# ------------------------------------------------------------------------------------------ identity


def test_the_identity_is_stable_and_of_who_asks() -> None:
    def login(**fields: str) -> Access:
        return made(secret(**{".dockerconfigjson": config("ghcr.io", **fields)}), secret_ref="it")

    base = login()
    assert base.identity == login().identity
    assert base.identity == login(password="rotated").identity, "a rotated password keeps what was seen"
    assert base.identity != login(user="other").identity
    others = {made().identity, made(insecure=True).identity, made(provider=Provider.AWS).identity, base.identity}
    assert len(others) == 4
    assert made(environment={"A": "b"}).identity == made(timeout=timedelta(seconds=5)).identity


def test_what_is_trusted_is_part_of_the_identity() -> None:
    one, other = (Authority(name).certificate for name in ("one", "other"))
    identities = {made(secret(**{"ca.crt": ca}), cert_secret_ref="it").identity for ca in (one, other)}
    assert len(identities | {made().identity}) == 3


def test_nothing_secret_is_printed() -> None:
    pair = Authority().issue("client", client=True)
    held: dict[str, bytes | str] = {
        ".dockerconfigjson": config("ghcr.io", password="hidden"),
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "address": "http://proxy:3128",
        "username": "u",
        "password": "hidden",
    }
    found = secret(**held)
    access = made(
        found, {"AWS_SECRET_ACCESS_KEY": "hidden"}, secret_ref="it", cert_secret_ref="it", proxy_secret_ref="it"
    )
    assert access.proxies.https == "http://u:hidden@proxy:3128"
    text = f"{access!r} {access.wire('https://ghcr.io')!r} {access.proxies!r}"
    assert "hidden" not in text
    assert "PRIVATE" not in text


# ------------------------------------------------------------------------------------------ the local docker config


def test_the_local_config_is_read_where_no_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    file = tmp_path / ".docker/config.json"
    file.write_text(config("ghcr.io"))
    access = made(environment={"HOME": str(tmp_path)})
    assert access.config.find("ghcr.io", "acme/app") is not None
    assert access.identity != anonymous().identity
    file.write_text(config("ghcr.io", user="somebody-else"))
    entry = made(environment={"HOME": str(tmp_path)}).config.find("ghcr.io", "acme/app")
    assert entry is not None
    assert entry[1].username == "somebody-else"


@pytest.mark.parametrize(
    ("variable", "place"),
    [("DOCKER_CONFIG", "config.json"), ("XDG_RUNTIME_DIR", "containers/auth.json"), ("HOME", ".docker/config.json")],
)
def test_the_local_config_is_found(tmp_path: Path, variable: str, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(config("ghcr.io"))
    assert local_config({variable: str(tmp_path)}).find("ghcr.io", "x") is not None


def test_no_local_config_is_nobody(tmp_path: Path) -> None:
    assert made(environment={"HOME": str(tmp_path)}).identity == anonymous().identity


def test_a_broken_local_config_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SpecError, match=str(tmp_path)):
        local_config({"DOCKER_CONFIG": str(tmp_path)})


def test_with_a_secret_the_local_config_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "evil"}))
    access = made(secret(username="u", password="p"), {"DOCKER_CONFIG": str(tmp_path)}, secret_ref="it")
    assert access.config.helper("quay.io") is None


# ------------------------------------------------------------------------------------------ credential helpers


def helper(folder: Path, script: str, name: str = "test") -> dict[str, str]:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("""read url; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$url" "$url" """, ("ghcr.io", "s", "")),
        ("""printf '{"Username":"<token>","Secret":"identity"}'""", ("", "", "identity")),
        ("echo 'credentials not found in native keychain'; exit 1", None),
        ("""printf '{"Username":"","Secret":""}'""", None),
    ],
    ids=["user and secret", "identity token", "not found", "empty"],
)
async def test_a_helper_is_asked(tmp_path: Path, script: str, expected: tuple[str, str, str] | None) -> None:
    found = await get("test", "ghcr.io", environment=helper(tmp_path, script))
    assert (found and (found.username, found.password, found.identity_token)) == expected


@pytest.mark.parametrize(
    ("name", "script", "error", "message"),
    [
        ("test", "echo locked; exit 1", RegistryUnavailable, "failed: locked"),
        ("test", "echo not json", RegistryUnavailable, "form that is not known"),
        ("test", "exec sleep 60", RegistryUnavailable, r"within 0\.2 s"),
        ("absent", "", SpecError, "docker-credential-absent is not on PATH"),
        ("../evil", "", SpecError, "not the name of a credential helper"),
    ],
    ids=["fails", "no JSON", "hangs", "not installed", "a path"],
)
async def test_a_helper_that_does_not_help_says_why(
    tmp_path: Path, name: str, script: str, error: type[Exception], message: str
) -> None:
    environment = helper(tmp_path, script)
    with pytest.raises(error, match=message):
        await get(name, "ghcr.io", environment=environment, timeout=0.2 if "sleep" in script else 10.0)


async def test_a_helper_that_is_no_program_says_so(tmp_path: Path) -> None:
    environment = helper(tmp_path, "")
    (tmp_path / "docker-credential-test").write_bytes(b"\x7fELF for another machine")
    with pytest.raises(RegistryUnavailable, match="cannot be started"):
        await get("test", "ghcr.io", environment=environment)


async def test_the_helper_of_the_local_config_logs_in_and_is_asked_once(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, tmp_path: Path, fake_time: FakeTime
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.auth = Auth(scheme="basic", users={"robot": "s3cret"})
    log = tmp_path / "log"
    script = f"""cat >> {log}; printf '{{"Username":"robot","Secret":"s3cret"}}'"""
    environment = helper(tmp_path, script) | {"DOCKER_CONFIG": str(tmp_path)}
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "test"}}))
    access = access_for(policy(str(image), insecure=True), lambda _: None, environment)
    for _ in range(2):
        await client.tags(image, access)
    assert log.read_text() == f"{registry.host}\n"
    fake_time.passed += 301
    await client.tags(image, access)
    assert log.read_text() == f"{registry.host}\n" * 2


async def test_refused_credentials_of_a_helper_are_fetched_once_more(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, tmp_path: Path
) -> None:
    registry.push("acme/app", "1.0.0")
    auth = registry.faults.auth = Auth(scheme="basic", users={"robot": "one"})
    script = f"""printf '{{"Username":"robot","Secret":"%s"}}' "$(cat {tmp_path}/password)" """
    (tmp_path / "password").write_text("one")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "test"}))
    environment = helper(tmp_path, script) | {"DOCKER_CONFIG": str(tmp_path)}
    access = access_for(policy(str(image), insecure=True), lambda _: None, environment)
    await client.tags(image, access)
    auth.users = {"robot": "two"}
    (tmp_path / "password").write_text("two")
    await client.tags(image, access)
    (tmp_path / "password").write_text("wrong")
    auth.users = {"robot": "three"}
    before = registry.requests.total()
    with pytest.raises(AuthenticationFailed):
        await client.tags(image, access)
    assert registry.requests.total() == before + 2


# ------------------------------------------------------------------------------------------ proxies


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://ghcr.io/v2/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://ghcr.io/v2/", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://ghcr.io/v2/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://r:5000/v2/", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://r:5000/v2/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://ghcr.io/v2/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ghcr.io"}, "https://ghcr.io/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example.com, x"}, "https://r.example.com/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "https://r.example.com/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "https://badexample.com/v2/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "r:5000"}, "https://r:5000/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "r:5001"}, "https://r:5000/v2/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://ghcr.io/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::12"}, "https://[fd00::12]/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "https://[fd00::12]:5000/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "[fd00::12]:5000"}, "https://[fd00::12]:5000/v2/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "[fd00::12]:5001"}, "https://[fd00::12]:5000/v2/", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:5000/v2/", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://169.254.169.254/latest", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://metadata.google.internal/x", None),
    ],
)
def test_the_environments_proxies_are_used(environment: dict[str, str], url: str, expected: str | None) -> None:
    assert Proxies.from_environment(environment).for_url(url) == expected


class Proxy:
    """Counts and forwards: CONNECT for TLS, absolute URLs for plain HTTP."""

    def __init__(self, password: str | None = None) -> None:
        self.lines: list[str] = []
        self.authorized = password is None
        self.headers: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.lines.append(line.decode())
        self.headers.append(rest)
        method, target, _ = line.decode().split()
        place = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = place.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = target.split(place, 1)[1]
            up_writer.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode() + rest)
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()


async def test_an_explicit_proxy_carries_plain_http(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName
) -> None:
    registry.push("acme/app", "1.0.0")
    async with Proxy() as proxy:
        found = secret(address=proxy.url, username="us er", password="p:w")
        access = access_for(policy(str(image), insecure=True, proxy_secret_ref="it"), lambda _: found, {})
        assert (await client.tags(image, access)).tags == ("1.0.0",)
        assert proxy.lines == [f"GET http://{registry.host}/v2/acme/app/tags/list?n=10000 HTTP/1.1"]
        assert b"\r\nProxy-Authorization: Basic dXMgZXI6cDp3\r\n" in proxy.headers[0]


async def test_an_explicit_proxy_tunnels_tls(client: RegistryClient, tmp_path: Path) -> None:
    authority = Authority()
    async with EmbeddedRegistry(tls=authority.server_context(tmp_path), faults=Faults()) as registry, Proxy() as proxy:
        registry.push("acme/app", "1.0.0")
        image = parse_name(f"{registry.host}/acme/app")
        held: dict[str, bytes | str] = {"address": proxy.url, "username": "us er", "password": "p:w"}
        found = secret(**held, **{"ca.crt": authority.certificate})
        access = access_for(policy(str(image), proxy_secret_ref="it", cert_secret_ref="it"), lambda _: found, {})
        assert (await client.tags(image, access)).tags == ("1.0.0",)
        assert proxy.lines == [f"CONNECT {registry.host} HTTP/1.1"]
        assert b"Proxy-Authorization: Basic dXMgZXI6cDp3" in proxy.headers[0]
        await client.aclose()


async def test_a_proxy_that_is_down_is_named_as_the_cause(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName
) -> None:
    found = secret(address="http://127.0.0.1:9", username="u", password="hidden")
    access = access_for(policy(str(image), insecure=True, proxy_secret_ref="it"), lambda _: found, {})
    with pytest.raises(RegistryUnavailable, match="proxy") as caught:
        await client.tags(image, access)
    assert "hidden" not in str(caught.value)
