"""Whether an image can be pulled, asked of a registry that answers as registries in the wild do."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Secret, SemverPolicy
from image_updater.embedded import EmbeddedRegistry
from image_updater.embedded.auth import Auth
from image_updater.embedded.faults import Reply
from image_updater.images import parse_name
from image_updater.pipeline.answers.listing import Source
from image_updater.pipeline.answers.preflight import AT_ONCE, Candidate, Preflight
from image_updater.registry import RegistryClient, access_for, anonymous
from image_updater.registry.errors import AuthenticationFailed, PermissionDenied, RegistryUnavailable
from image_updater.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from image_updater.images import Digest, ImageName
    from image_updater.registry import Access

REPOSITORY = "acme/web"
BOTH = ("linux/amd64", "linux/arm64")


async def no_wait(_: float) -> None:
    return


@asynccontextmanager
async def world(store: Store | None = None) -> AsyncIterator[tuple[EmbeddedRegistry, Preflight, Source]]:
    async with EmbeddedRegistry() as registry, RegistryClient(sleep=no_wait) as client:
        access = anonymous(insecure=True)
        source = Source(image=parse_name(f"{registry.host}/{REPOSITORY}"), access=access, identity=access.identity)
        yield registry, Preflight(client, store or Store.open(None)), source


def layers(registry: EmbeddedRegistry, digest: Digest) -> dict[str, Digest]:
    """The layer of each platform of an image ('' = it has no index)."""
    manifests = registry.contents.repository(REPOSITORY).manifests

    def layer(of: Digest) -> Digest:
        return json.loads(manifests[of].data)["layers"][0]["digest"]

    outer = json.loads(manifests[digest].data)
    if "manifests" not in outer:
        return {"": layer(digest)}
    return {each["platform"]["architecture"]: layer(each["digest"]) for each in outer["manifests"]}


def asked(registry: EmbeddedRegistry) -> list[str]:
    return [f"{each.method} {each.target.split('/')[-2]}" for each in registry.seen]


async def test_every_layer_of_every_platform_is_looked_for_and_a_pass_is_kept() -> None:
    store = Store.open(None)
    async with world(store) as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0", platforms=BOTH, attestations=True)
        candidate = Candidate(source=source, tag="1.0.0", judged=digest)
        assert await preflight.check(candidate) is None
        assert sorted(asked(registry)) == ["GET manifests"] * 3 + ["HEAD blobs"] * 4
        assert await preflight.check(candidate) is None
        assert await preflight.check(Candidate(source=source, tag="1.0.0", digest=digest)) is None
        assert len(registry.seen) == 7
        async with RegistryClient() as other:
            assert await Preflight(other, store).check(candidate) is None
        assert len(registry.seen) == 7
        assert await preflight.check(Candidate(source=source, tag="1.0.0", judged=digest, platforms=BOTH)) is None
        assert len(registry.seen) == 14


async def test_a_tag_that_was_chosen_for_its_bytes_must_have_them_whatever_passed_before() -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0")
        candidate = Candidate(source=source, tag="1.0.0", judged=digest, exact=True)
        assert await preflight.check(candidate) is None
        before = len(registry.seen)
        assert await preflight.check(candidate) is None
        assert asked(registry)[before:] == ["HEAD manifests"]
        other = registry.push(REPOSITORY, "1.0.0", content="other")
        said = f"1.0.0 has other bytes now ({other}) than when it was chosen ({digest})"
        assert await preflight.check(candidate) == await preflight.moved(candidate) == said
        written = Candidate(source=source, tag="1.0.0", digest=digest, exact=True)
        before = len(registry.seen)
        assert await preflight.check(written) is None, "the bytes are written, whatever the tag has"
        assert len(registry.seen) == before
        gone = Candidate(source=source, tag="2.0.0", judged=digest, exact=True)
        assert await preflight.moved(gone) == "tag 2.0.0 answers 404"


async def test_bytes_that_are_written_are_asked_for_by_their_digest() -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0")
        registry.push(REPOSITORY, "1.0.0", content="other")
        written = Candidate(source=source, tag="1.0.0", digest=digest, judged=digest, exact=True)
        assert await preflight.check(written) is None, "the tag has other bytes, and that is nothing to who pulls these"
        assert await preflight.check(written) is None
        assert not [each.target for each in registry.seen if each.target.endswith("/manifests/1.0.0")]


@pytest.mark.parametrize(
    ("platforms", "missing"),
    [((), True), (("linux/arm64",), True), (("linux/amd64",), False)],
    ids=["all", "that-one", "the-other"],
)
async def test_a_layer_that_is_not_there_holds_the_tag(platforms: tuple[str, ...], missing: bool) -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0", platforms=BOTH)
        gone = layers(registry, digest)["arm64"]
        content = registry.contents.blobs.pop(gone)
        candidate = Candidate(source=source, tag="1.0.0", platforms=platforms)
        found = await preflight.check(candidate)
        assert found == (f"layer {gone} of linux/arm64 answers 404" if missing else None)
        registry.contents.blobs[gone] = content
        assert await preflight.check(candidate) is None


async def test_a_platform_whose_manifest_was_never_pushed_holds_the_tag() -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0", platforms=BOTH)
        repository = registry.contents.repository(REPOSITORY)
        entry = json.loads(repository.manifests[digest].data)["manifests"][1]["digest"]
        del repository.manifests[entry]
        found = await preflight.check(Candidate(source=source, tag="1.0.0"))
        assert found == f"manifest {entry} of linux/arm64 answers 404"


async def test_layers_that_stand_elsewhere_by_design_are_not_looked_for() -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "base")
        manifest = json.loads(registry.contents.repository(REPOSITORY).manifests[digest].data)
        nowhere = {"size": 1, "digest": f"sha256:{'0' * 64}"}
        manifest["layers"] += [
            {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", **nowhere},
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "urls": ["https://elsewhere.test/l"], **nowhere},
        ]
        kind = "application/vnd.oci.image.manifest.v1+json"
        registry.put_manifest(REPOSITORY, "1.0.0", json.dumps(manifest).encode(), kind)
        assert await preflight.check(Candidate(source=source, tag="1.0.0")) is None


async def test_a_tag_that_is_gone_or_has_other_bytes_is_not_written() -> None:
    async with world() as (registry, preflight, source):
        assert await preflight.check(Candidate(source=source, tag="1.0.0")) == "tag 1.0.0 answers 404"
        old = registry.push(REPOSITORY, "1.0.0", content="old")
        registry.push(REPOSITORY, "1.0.0", content="new")
        found = await preflight.check(Candidate(source=source, tag="1.0.0", judged=old))
        assert found is not None
        assert "has other bytes now" in found


@pytest.mark.parametrize("status", [405, 501, 400])
async def test_a_registry_that_knows_no_head_for_blobs_is_asked_for_one_byte(status: int) -> None:
    async with world() as (registry, preflight, source):
        digest = registry.push(REPOSITORY, "1.0.0")
        registry.faults.always(r"^HEAD .*/blobs/", Reply(status=status))
        assert await preflight.check(Candidate(source=source, tag="1.0.0")) is None
        registry.contents.blobs.pop(layers(registry, digest)[""])
        found = await preflight.check(Candidate(source=source, tag="1.0.0", platforms=("linux/amd64",)))
        assert found is not None
        assert found.endswith("answers 404")


async def test_a_store_that_signs_its_urls_for_get_alone_is_asked_so_and_sees_no_credentials() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def storage(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.headers.get("Authorization"), request.headers.get("Range")))
        return web.Response(status=403 if request.method == "HEAD" else 206, body=b"x")

    runner = web.ServerRunner(web.Server(storage))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    try:
        async with world() as (registry, preflight, source):
            registry.push(REPOSITORY, "1.0.0")
            port = runner.addresses[0][1]
            registry.faults.blob_redirect = f"http://127.0.0.2:{port}/storage"
            assert await preflight.check(Candidate(source=source, tag="1.0.0")) is None
    finally:
        await runner.cleanup()
    assert {each[0] for each in seen} == {"HEAD", "GET"}
    assert all(authorization is None for _, authorization, _ in seen)
    assert {each[2] for each in seen if each[0] == "GET"} == {"bytes=0-0"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [(Reply(status=503), RegistryUnavailable), (Reply(status=403), PermissionDenied)],
    ids=["down", "forbidden"],
)
async def test_what_cannot_be_said_is_an_error_and_no_pass(reply: Reply, error: type[Exception]) -> None:
    async with world() as (registry, preflight, source):
        registry.push(REPOSITORY, "1.0.0")
        registry.faults.always(r"^(HEAD|GET) .*/blobs/", reply)
        with pytest.raises(error):
            await preflight.check(Candidate(source=source, tag="1.0.0"))
        registry.faults.clear()
        assert await preflight.check(Candidate(source=source, tag="1.0.0")) is None


async def test_a_login_that_is_missing_is_said() -> None:
    async with world() as (registry, preflight, source):
        registry.push(REPOSITORY, "1.0.0")
        registry.faults.auth = Auth(scheme="basic", users={"ada": "secret"})
        with pytest.raises(AuthenticationFailed):
            await preflight.check(Candidate(source=source, tag="1.0.0"))


async def test_all_of_it_is_asked_for_with_the_workloads_own_login_and_a_pass_is_that_logins_alone() -> None:
    async with world() as (registry, preflight, _):
        digest = registry.push(REPOSITORY, "1.0.0", platforms=BOTH)
        registry.faults.auth = Auth(scheme="basic", users={"ada": "secret"})
        ada = Candidate(source=login(registry.host, "ada", "secret"), tag="1.0.0", judged=digest)
        assert await preflight.check(ada) is None
        known = {each.target for each in registry.seen if each.auth == "basic"}
        assert {each.target for each in registry.seen} == known
        assert sum("/blobs/" in target for target in known) == 4
        with pytest.raises(AuthenticationFailed):
            await preflight.check(Candidate(source=login(registry.host, "bob", "guess"), tag="1.0.0", judged=digest))


def login(host: str, name: str, password: str) -> Source:
    """Of a pull secret, as a workload has it."""
    key = ObjectKey("apps", name)
    data = {"username": name, "password": password}
    secret = Secret(meta=Meta(key=key), data={each: value.encode() for each, value in data.items()})
    policy = ImagePolicy(
        meta=Meta(key=ObjectKey("apps", "web")),
        image=f"{host}/{REPOSITORY}",
        strategy=SemverPolicy(range="*"),
        insecure=True,
        secret_ref=name,
    )
    access = access_for(policy, {key: secret}.get, {})
    return Source(image=parse_name(policy.image), access=access, identity=access.identity)


async def test_eight_at_a_time() -> None:
    async with world() as (registry, _, source):
        registry.push(REPOSITORY, "1.0.0", platforms=tuple(f"linux/{name}" for name in ARCHITECTURES))
        async with RegistryClient(sleep=no_wait) as client:
            crowd = Crowd(client)
            assert await Preflight(crowd, Store.open(None)).check(Candidate(source=source, tag="1.0.0")) is None
        assert (crowd.blobs, crowd.most) == (2 * len(ARCHITECTURES), AT_ONCE)
        assert AT_ONCE == 8


ARCHITECTURES = ("386", "amd64", "arm64", "mips64le", "ppc64le", "riscv64", "s390x", "loong64")


class Crowd:
    """Counts how many ask for a blob at the same moment."""

    def __init__(self, client: RegistryClient) -> None:
        self.head, self.manifest = client.head, client.manifest
        self._client = client
        self.now = self.most = self.blobs = 0

    async def has_blob(self, image: ImageName, digest: str, access: Access) -> bool:
        self.now += 1
        self.blobs += 1
        self.most = max(self.most, self.now)
        for _ in range(20):  # everybody who may begin does
            await asyncio.sleep(0)
        try:
            return await self._client.has_blob(image, digest, access)
        finally:
            self.now -= 1
