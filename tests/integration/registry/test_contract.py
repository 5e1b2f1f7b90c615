"""One contract for the embedded registry and two real ones: what the client says of them must be the same."""

from __future__ import annotations

import asyncio
import base64
import itertools
import pathlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pytest

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Secret, SemverPolicy
from image_updater.embedded import Auth, EmbeddedRegistry, Faults
from image_updater.embedded.contents import Contents
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    AuthenticationFailed,
    RegistryClient,
    RegistryUnavailable,
    RepositoryNotFound,
    TagNotFound,
    access_for,
    anonymous,
    manifests,
)
from tests.parts import registries

CREATED = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)
KINDS = ["embedded", "debian", "v3"]
names = itertools.count(1)


@dataclass
class Target:
    kind: str
    host: str
    scheme: str
    context: ssl.SSLContext | None = None
    login: str | None = None

    async def push(
        self, repository: str, tag: str, *, platforms: tuple[str, ...] = ("linux/amd64",), text: str = "x"
    ) -> str:
        """Push over HTTP as any tool does: blobs (monolithic and chunked), manifests, then the tag."""
        contents = Contents()
        top = contents.add_image(repository, text=text, created=CREATED, platforms=platforms, labels={})
        for at, (digest, data) in enumerate(contents.blobs.items()):
            await self._blob(repository, digest, data, chunked=at % 2 == 1)
        manifests = contents.repository(repository).manifests
        for digest, manifest in manifests.items():
            for reference in [digest] if digest != top else [digest, tag]:
                headers = {"Content-Type": manifest.media_type}
                status, _, body = await self._ask(
                    "PUT", f"/v2/{repository}/manifests/{reference}", manifest.data, headers
                )
                assert status == 201, body
        return top

    async def _blob(self, repository: str, digest: str, data: bytes, *, chunked: bool) -> None:
        status, headers, _ = await self._ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202
        location = headers["location"]
        kind = {"Content-Type": "application/octet-stream"}
        if chunked:
            half = len(data) // 2
            for start, part in ((0, data[:half]), (half, data[half:])):
                span = {"Content-Range": f"{start}-{start + len(part) - 1}", **kind}
                status, headers, body = await self._ask("PATCH", location, part, span)
                assert status == 202, body
                location = headers["location"]
            data = b""
        mark = "&" if "?" in location else "?"
        status, _, body = await self._ask("PUT", f"{location}{mark}digest={digest}", data, kind)
        assert status == 201, body

    async def _ask(
        self, method: str, place: str, data: bytes | None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        url = place if "://" in place else f"{self.scheme}://{self.host}{place}"
        sent = dict(headers or {})
        if self.login:
            sent["Authorization"] = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        return await asyncio.to_thread(registries.request, method, url, data, sent, self.context)

    def image(self, repository: str) -> ImageName:
        return parse_name(f"{self.host}/{repository}")

    def repository(self) -> str:
        return f"acme/app{next(names)}"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, registries.RealRegistry]]:
    with (
        registries.running("debian", tmp_path_factory.mktemp("debian")) as debian,
        registries.running("v3", tmp_path_factory.mktemp("v3")) as v3,
    ):
        yield {"debian": debian, "v3": v3}


@pytest.fixture(params=KINDS)
async def target(request: pytest.FixtureRequest, real: dict[str, registries.RealRegistry]) -> AsyncIterator[Target]:
    if request.param == "embedded":
        async with EmbeddedRegistry() as embedded:
            yield Target("embedded", embedded.host, "http")
    else:
        yield Target(request.param, real[request.param].host, "http")


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient() as client:
        yield client


PLAIN = anonymous(insecure=True)


async def test_every_pushed_tag_is_listed(target: Target, client: RegistryClient) -> None:
    repository = target.repository()
    for tag in ("1.0.0", "1.1.0", "latest"):
        await target.push(repository, tag, text=tag)
    found = await client.tags(target.image(repository), PLAIN)
    assert sorted(found.tags) == ["1.0.0", "1.1.0", "latest"]


async def test_a_list_of_many_pages_is_complete(target: Target) -> None:
    repository = target.repository()
    tags = [f"1.0.{number}" for number in range(11)]
    for tag in tags:
        await target.push(repository, tag)
    async with RegistryClient(page_size=3) as client:
        found = await client.tags(target.image(repository), PLAIN)
        assert sorted(found.tags) == sorted(tags)
        # Debian's registry 2.8 does not paginate: everything comes at once.
        assert client.metrics.total == (1 if target.kind == "debian" else 4)


async def test_an_equal_list_is_the_previous_object_and_a_new_tag_ends_that(
    target: Target, client: RegistryClient
) -> None:
    repository = target.repository()
    await target.push(repository, "1.0.0")
    first = await client.tags(target.image(repository), PLAIN)
    assert await client.tags(target.image(repository), PLAIN, previous=first) is first
    await target.push(repository, "1.0.1")
    second = await client.tags(target.image(repository), PLAIN, previous=first)
    assert sorted(second.tags) == ["1.0.0", "1.0.1"]


@pytest.mark.parametrize("platforms", [("linux/amd64",), ("linux/amd64", "linux/arm64/v8")], ids=["image", "index"])
async def test_head_and_describe_agree_with_what_was_pushed(
    target: Target, client: RegistryClient, platforms: tuple[str, ...]
) -> None:
    repository = target.repository()
    pushed = await target.push(repository, "1.0.0", platforms=platforms)
    image = target.image(repository)
    assert await client.head(image, "1.0.0", PLAIN) == pushed
    for reference in ("1.0.0", pushed):
        facts = await client.describe(image, reference, PLAIN)
        assert (facts.digest, facts.created, facts.platforms) == (pushed, CREATED, platforms)


async def test_a_moved_tag_has_the_new_digest(target: Target, client: RegistryClient) -> None:
    repository = target.repository()
    first = await target.push(repository, "latest", text="one")
    second = await target.push(repository, "latest", text="two")
    assert first != second
    assert await client.head(target.image(repository), "latest", PLAIN) == second


async def test_what_is_not_there_is_told_apart(target: Target, client: RegistryClient) -> None:
    repository = target.repository()
    await target.push(repository, "1.0.0")
    with pytest.raises(TagNotFound):
        await client.head(target.image(repository), "2.0.0", PLAIN)
    with pytest.raises(TagNotFound):
        await client.describe(target.image(repository), "2.0.0", PLAIN)
    with pytest.raises(RepositoryNotFound):
        await client.tags(target.image("acme/nothing"), PLAIN)


async def test_without_a_referrers_api_the_tag_scheme_is_asked(target: Target, client: RegistryClient) -> None:
    repository = target.repository()
    digest = await target.push(repository, "1.0.0")
    image = target.image(repository)
    assert await client.referrers(image, digest, PLAIN) == ()
    platforms = ("linux/amd64", "linux/arm64")
    index = await target.push(repository, digest.replace(":", "-"), platforms=platforms, text="signatures")
    found = await client.referrers(image, digest, PLAIN)
    assert [entry.platform for entry in found] == list(platforms)
    manifest = await client.manifest(image, index, PLAIN)
    assert manifest.entries == found
    assert manifests.digest_of(await client.content(image, index, PLAIN)) == index


# ---------------------------------------------------------------------------------------------- basic login


def access(
    host: str, *, password: str = registries.PASSWORD, insecure: bool = True, cert: dict[str, bytes] | None = None
) -> Access:
    policy = ImagePolicy(
        meta=Meta(key=ObjectKey("default", "app")),
        image=f"{host}/acme/app",
        strategy=SemverPolicy(range="*"),
        secret_ref="login",
        cert_secret_ref="tls" if cert else None,
        insecure=insecure,
    )
    secrets = {
        ObjectKey("default", "login"): Secret(
            meta=Meta(key=ObjectKey("default", "login")),
            data={"username": registries.USER.encode(), "password": password.encode()},
        ),
        ObjectKey("default", "tls"): Secret(meta=Meta(key=ObjectKey("default", "tls")), data=cert or {}),
    }
    return access_for(policy, secrets.get, {})


@pytest.fixture(params=KINDS)
async def guarded(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[Target]:
    login = f"{registries.USER}:{registries.PASSWORD}"
    if request.param == "embedded":
        auth = Auth(scheme="basic", users={registries.USER: registries.PASSWORD})
        async with EmbeddedRegistry(faults=Faults(auth=auth)) as embedded:
            yield Target("embedded", embedded.host, "http", login=login)
    else:
        with registries.running(request.param, tmp_path, login=True) as real:
            yield Target(request.param, real.host, "http", login=login)


async def test_basic_credentials_open_the_registry_and_wrong_ones_do_not(
    guarded: Target, client: RegistryClient
) -> None:
    await guarded.push("acme/app", "1.0.0")
    image = guarded.image("acme/app")
    assert (await client.tags(image, access(guarded.host))).tags == ("1.0.0",)
    assert await client.head(image, "1.0.0", access(guarded.host))
    with pytest.raises(AuthenticationFailed) as wrong:
        await client.tags(
            parse_name(f"{guarded.host}/acme/app"), access(guarded.host, password="other-password"), fresh=True
        )
    assert "other-password" not in str(wrong.value)


async def test_no_credentials_are_an_error_with_the_remedy(guarded: Target, client: RegistryClient) -> None:
    with pytest.raises(AuthenticationFailed, match=r"spec\.secretRef"):
        await client.tags(guarded.image("acme/app"), PLAIN)


# ---------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> registries.Authority:
    return registries.Authority()


Mode = Literal["tls", "mtls"]


@pytest.fixture(params=[(kind, mode) for kind in KINDS for mode in ("tls", "mtls")], ids=lambda p: "-".join(p))
async def secured(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, authority: registries.Authority
) -> AsyncIterator[tuple[Target, Mode]]:
    kind, mode = request.param
    mutual = mode == "mtls"
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    pair = authority.issue("tests", client=True)
    (tmp_path / "client.pem").write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(tmp_path / "client.pem")
    if kind == "embedded":
        async with EmbeddedRegistry(tls=authority.server_context(tmp_path, clients=mutual)) as embedded:
            yield Target(kind, embedded.host, "https", context), mode
    else:
        with registries.running(kind, tmp_path, tls=authority, client_certificates=mutual) as real:
            yield Target(kind, real.host, "https", context), mode


async def test_a_private_ca_and_a_client_certificate_open_the_registry(
    secured: tuple[Target, Mode], client: RegistryClient, authority: registries.Authority
) -> None:
    target, mode = secured
    digest = await target.push("acme/app", "1.0.0")
    image = target.image("acme/app")
    pair = authority.issue("client", client=True)
    cert = {"ca.crt": authority.certificate}
    with pytest.raises(RegistryUnavailable, match=r"certificate.*certSecretRef"):
        await client.tags(image, access(target.host, insecure=False))
    if mode == "mtls":
        with pytest.raises(RegistryUnavailable):
            await client.tags(image, access(target.host, insecure=False, cert=cert))
        cert |= {"tls.crt": pair.certificate, "tls.key": pair.key}
    own = access(target.host, insecure=False, cert=cert)
    assert (await client.tags(image, own)).tags == ("1.0.0",)
    assert await client.head(image, "1.0.0", own) == digest
    assert "PRIVATE" not in repr(own)


async def test_plain_http_is_never_chosen_silently(target: Target, client: RegistryClient) -> None:
    with pytest.raises(RegistryUnavailable, match=r"does not speak TLS.*spec\.insecure: true"):
        await client.tags(target.image("acme/app"), anonymous())
