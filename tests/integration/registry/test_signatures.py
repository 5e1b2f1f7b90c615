"""`spec.verify` against real registries and the embedded one: what tools push there, verified and refused."""

from __future__ import annotations

import asyncio
import pathlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_updater.api.model import Keyless, Meta, ObjectKey, Secret, Verify
from image_updater.embedded import EmbeddedRegistry
from image_updater.images import parse_name
from image_updater.pipeline.answers.listing import Source
from image_updater.pipeline.answers.verifying import Verifying
from image_updater.policy.model import Verified
from image_updater.registry import RegistryClient, anonymous
from tests.parts import registries, signing
from tests.parts.signing import SPDX, Layer

PLAIN = anonymous(insecure=True)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
KINDS = ["embedded", "embedded-referrers", "debian", "v3"]
SIGSTORE = signing.Sigstore()
SECRETS = {
    key: Secret(meta=Meta(key=key), data=data)
    for key, data in {
        ObjectKey("apps", "keys"): {"cosign.pub": signing.public_pem(KEY)},
        ObjectKey("apps", "root"): {"trusted_root.json": SIGSTORE.trusted_root()},
    }.items()
}
BY_KEY = Verify(secret_ref="keys")
BY_IDENTITY = Verify(keyless=Keyless(issuer=signing.ISSUER, subject=signing.SUBJECT), trust_root="root")


@dataclass
class Shelf:
    """One repository of a registry; `api`: it lists referrers itself."""

    url: str
    repository: str
    api: bool

    @property
    def source(self) -> Source:
        image = parse_name(f"{self.url.removeprefix('http://')}/{self.repository}")
        return Source(image=image, access=PLAIN, identity=PLAIN.identity)

    async def image(self, *, index: bool = False) -> str:
        """Push something to sign: an image, or an index over one."""
        inner = await self.push("1.0.0-amd64", [Layer("application/vnd.oci.image.layer.v1.tar", b"layer")])
        if not index:
            return inner
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": inner, "size": 1}
        media_type = "application/vnd.oci.image.index.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
        return await asyncio.to_thread(signing.put, self.url, self.repository, "1.0.0", manifest)

    async def push(self, reference: str | None, layers: list[Layer], subject: str | None = None) -> str:
        kind = signing.BUNDLE if subject is not None else None
        return await asyncio.to_thread(
            signing.push, self.url, self.repository, reference, layers, subject=subject, artifact_type=kind
        )

    async def refer(self, subject: str, *layers: Layer) -> None:
        """Attach bundles to a digest as cosign does: by `subject`, and by the tag where that is not enough."""
        pushed = [await self.push(None, [layer], subject) for layer in layers]
        if not self.api:
            # go-containerregistry names the type of the empty config in that index.
            referrers: list[tuple[str, str | None]] = [(each, "application/vnd.oci.empty.v1+json") for each in pushed]
            await asyncio.to_thread(signing.refer, self.url, self.repository, subject, referrers)

    async def verify(self, client: RegistryClient, digest: str, verify: Verify) -> Verified:
        return await Verifying(client).verify(self.source, digest, verify, secrets=SECRETS.get, namespace="apps")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder: pathlib.Path = tmp_path_factory.mktemp("registries")
    with registries.running("debian", folder / "debian") as debian, registries.running("v3", folder / "v3") as v3:
        yield {"debian": debian.url, "v3": v3.url}


@pytest.fixture(params=KINDS)
async def shelf(request: pytest.FixtureRequest, real: dict[str, str]) -> AsyncIterator[Shelf]:
    repository = f"acme/{re.sub('[^a-z0-9]+', '-', request.node.name).strip('-')}"
    if request.param in real:
        yield Shelf(real[request.param], repository, api=False)
        return
    async with EmbeddedRegistry() as registry:
        registry.faults.referrers = request.param == "embedded-referrers"
        yield Shelf(registry.url, repository, api=registry.faults.referrers)


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient() as client:
        yield client


async def test_an_image_that_is_not_signed(shelf: Shelf, client: RegistryClient) -> None:
    digest = await shelf.image()
    assert await shelf.verify(client, digest, BY_KEY) == Verified(ok=False, reason="not signed (yet)", lasting=False)


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
async def test_a_signature_by_a_key_in_cosigns_tag(shelf: Shelf, client: RegistryClient, index: bool) -> None:
    digest = await shelf.image(index=index)
    layer = signing.simple_layer(KEY, signing.payload(digest))
    await shelf.push(signing.tag_of(digest, ".sig"), [layer])
    found = await shelf.verify(client, digest, BY_KEY)
    assert found.ok
    assert found.reason.startswith("signed by key cosign.pub (sha256:")


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
async def test_a_signature_by_a_key_in_a_bundle(shelf: Shelf, client: RegistryClient, index: bool) -> None:
    digest = await shelf.image(index=index)
    wrong = signing.key_bundle(OTHER, signing.statement(digest))
    good = signing.key_bundle(KEY, signing.statement(digest))
    await shelf.refer(digest, signing.bundle_layer(wrong))
    assert not (await shelf.verify(client, digest, BY_KEY)).ok
    await shelf.refer(digest, signing.bundle_layer(wrong), signing.bundle_layer(good))
    assert (await shelf.verify(client, digest, BY_KEY)).ok


async def test_a_signature_of_the_image_is_none_of_its_index(shelf: Shelf, client: RegistryClient) -> None:
    digest = await shelf.image(index=True)
    inner = (await client.manifest(shelf.source.image, digest, PLAIN)).entries[0].digest
    layer = signing.simple_layer(KEY, signing.payload(inner))
    await shelf.push(signing.tag_of(inner, ".sig"), [layer])
    assert (await shelf.verify(client, inner, BY_KEY)).ok
    assert not (await shelf.verify(client, digest, BY_KEY)).ok
    # Nor does it become one by lying there.
    await shelf.push(signing.tag_of(digest, ".sig"), [layer])
    found = await shelf.verify(client, digest, BY_KEY)
    assert (found.ok, found.lasting) == (False, True)
    assert f"it signs another digest, '{inner}'" in found.reason


async def test_an_identity_signs_in_both_formats(shelf: Shelf, client: RegistryClient) -> None:
    digest = await shelf.image()
    signer, stranger = SIGSTORE.signer(), SIGSTORE.signer(subject="https://example.com/evil")
    payload = signing.payload(digest)
    wrong = Layer(signing.SIMPLE, payload, stranger.simple(payload))
    await shelf.push(signing.tag_of(digest, ".sig"), [wrong])
    found = await shelf.verify(client, digest, BY_IDENTITY)
    assert (found.ok, found.lasting) == (False, True)
    assert "it is by another identity: https://example.com/evil" in found.reason
    await shelf.push(signing.tag_of(digest, ".sig"), [Layer(signing.SIMPLE, payload, signer.simple(payload)), wrong])
    expected = f"signed by identity {signing.SUBJECT} ({signing.ISSUER})"
    assert (await shelf.verify(client, digest, BY_IDENTITY)).reason == expected
    await shelf.push(signing.tag_of(digest, ".sig"), [wrong])
    await shelf.refer(digest, signing.bundle_layer(signer.bundle(signing.statement(digest))))
    assert (await shelf.verify(client, digest, BY_IDENTITY)).reason == expected


@pytest.mark.parametrize("how", ["tag", "bundle"])
async def test_attestations_are_signed_alike(shelf: Shelf, client: RegistryClient, how: str) -> None:
    digest = await shelf.image()
    await shelf.push(signing.tag_of(digest, ".sig"), [signing.simple_layer(KEY, signing.payload(digest))])
    verify = replace(BY_KEY, attestations=(SPDX,))
    body = signing.statement(digest, SPDX)
    for key, ok in ((OTHER, False), (KEY, True)):
        if how == "tag":
            await shelf.push(signing.tag_of(digest, ".att"), [signing.attached_layer(key, body)])
        else:
            await shelf.refer(digest, signing.bundle_layer(signing.key_bundle(key, body)))
        found = await shelf.verify(client, digest, verify)
        assert (found.ok, found.lasting) == (ok, ok)
        assert ok or f"not attested: {SPDX}: wrong, or by another key" in found.reason


async def test_what_lies_where_a_signature_should_be(shelf: Shelf, client: RegistryClient) -> None:
    """Junk of all kinds: never an error, never a yes."""
    digest = await shelf.image()
    junk = [
        Layer(signing.SIMPLE, b"\0" * 100_000, {"dev.cosignproject.cosign/signature": "eA=="}),
        Layer(signing.SIMPLE, b"[" * 60_000, {"dev.cosignproject.cosign/signature": "eA=="}),
        Layer(signing.SIMPLE, signing.payload(digest)),
        Layer("application/vnd.oci.image.layer.v1.tar", b"tar"),
    ]
    await shelf.push(signing.tag_of(digest, ".sig"), junk)
    await shelf.refer(digest, Layer(signing.BUNDLE, b"{"), Layer(signing.BUNDLE, b"[" * 100_000))
    found = await shelf.verify(client, digest, BY_KEY)
    assert (found.ok, found.lasting) == (False, True)
    assert found.reason.startswith("none of its 4 signatures counts: ")
    assert "one was not read (100,000 bytes" in found.reason
