"""`answers/verifying.py` with a registry of values: what is asked for, in which order, and how much at most."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_updater.api.model import Keyless, Meta, ObjectKey, Secret, Verify
from image_updater.errors import AccessDenied, SecretNotFound, SpecError, Where
from image_updater.images import Digest, ImageName, parse_name
from image_updater.pipeline.answers import verifying
from image_updater.pipeline.answers.listing import Source
from image_updater.pipeline.answers.verifying import Verifying
from image_updater.registry import (
    Access,
    Descriptor,
    RegistryUnavailable,
    TagNotFound,
    UnsupportedManifest,
    anonymous,
)
from image_updater.registry.manifests import OCI_MANIFEST, Manifest
from image_updater.signatures import keys, model
from tests.parts import signing

CONTENT = b'{"schemaVersion": 2}'
DIGEST = signing.digest_of(CONTENT)
TAG = signing.tag_of(DIGEST)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
GOOD = signing.simple_layer(KEY, signing.payload(DIGEST))
BAD = signing.simple_layer(OTHER, signing.payload(DIGEST))
SIGNED = signing.bundle_layer(signing.key_bundle(KEY, signing.statement(DIGEST)))
ACCESS = anonymous()
SOURCE = Source(image=parse_name("registry.example.com/acme/app"), access=ACCESS, identity=ACCESS.identity)
VERIFY = Verify(secret_ref="keys")


@dataclass
class Shelf:
    """A registry: `asked` is what was asked of it, in order."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    referring: list[Descriptor] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, reference: str, *layers: signing.Layer, sizes: int | None = None, **annotations: str) -> Digest:
        descriptors = []
        for layer in layers:
            digest = Digest(signing.digest_of(layer.data))
            self.blobs[digest] = layer.data
            size = len(layer.data) if sizes is None else sizes
            descriptors.append(
                Descriptor(media_type=layer.media_type, digest=digest, size=size, annotations=layer.annotations)
            )
        digest = Digest(signing.digest_of(repr((reference, descriptors)).encode()))
        manifest = Manifest(
            digest=digest, media_type=OCI_MANIFEST, layers=tuple(descriptors), annotations=dict(annotations)
        )
        self.manifests[reference] = self.manifests[digest] = manifest
        return digest

    def refer(self, *layers: signing.Layer, kind: str | None = signing.BUNDLE, **annotations: str) -> None:
        digest = self.put(f"referrer-{len(self.referring)}", *layers)
        self.referring.append(
            Descriptor(media_type=OCI_MANIFEST, digest=digest, artifact_type=kind, annotations=annotations)
        )

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.errors:
            raise self.errors[what]

    async def manifest(self, image: ImageName, reference: str, access: Access) -> Manifest:
        self._ask(reference)
        if reference not in self.manifests:
            raise TagNotFound(f"{image}:{reference} is not in the registry")
        return self.manifests[reference]

    async def referrers(self, image: ImageName, digest: str, access: Access) -> tuple[Descriptor, ...]:
        self._ask("referrers")
        return tuple(self.referring)

    async def blob(self, image: ImageName, blob: Descriptor, access: Access, *, limit: int) -> bytes:
        self._ask("blob")
        if blob.digest not in self.blobs:
            raise TagNotFound(f"{image}@{blob.digest} is not in the registry")
        assert len(self.blobs[blob.digest]) <= limit
        return self.blobs[blob.digest]

    async def content(self, image: ImageName, digest: str, access: Access) -> bytes:
        self._ask("content")
        return CONTENT


def secret(name: str = "keys", **data: bytes) -> dict[ObjectKey, Secret]:
    key = ObjectKey("apps", name)
    files = {".".join(file.rsplit("_", 1)): each for file, each in data.items()}
    files = files or {"cosign.pub": signing.public_pem(KEY)}
    return {key: Secret(meta=Meta(key=key), data=files)}


async def verdict(shelf: Shelf, verify: Verify = VERIFY, secrets: dict[ObjectKey, Secret] | None = None) -> Any:
    known = secret() if secrets is None else secrets
    return await Verifying(shelf).verify(SOURCE, DIGEST, verify, secrets=known.get, namespace="apps")


async def test_a_tag_of_cosign_is_enough() -> None:
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD)
    assert (await verdict(shelf)).ok
    assert shelf.asked == [f"{TAG}.sig", "blob"]


async def test_a_bundle_is_looked_for_next() -> None:
    shelf = Shelf()
    shelf.refer(SIGNED)
    assert (await verdict(shelf)).ok
    assert shelf.asked == [f"{TAG}.sig", "referrers", shelf.referring[0].digest, "blob"]


async def test_nothing_there_is_no_lasting_verdict() -> None:
    shelf = Shelf()
    found = await verdict(shelf)
    assert (found.ok, found.lasting, found.reason) == (False, False, "not signed (yet)")
    assert shelf.asked == [f"{TAG}.sig", "referrers"]


async def test_a_wrong_signature_does_not_hide_a_right_one() -> None:
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", BAD, signing.Layer(signing.SIMPLE, b"junk"))
    assert not (await verdict(shelf)).ok
    assert (await verdict(shelf)).lasting
    shelf.refer(SIGNED)
    assert (await verdict(shelf)).ok


async def test_the_newest_is_looked_at_first_and_the_same_payload_by_two_is_two() -> None:
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", BAD, GOOD)
    assert (await verdict(shelf)).ok
    assert shelf.asked.count("blob") == 1
    shelf.asked.clear()
    shelf.put(f"{TAG}.sig", GOOD, BAD, BAD, BAD)
    assert (await verdict(shelf)).ok
    assert shelf.asked.count("blob") == 2


async def test_a_bundle_over_the_manifest_has_the_manifest_fetched() -> None:
    shelf = Shelf()
    shelf.refer(signing.bundle_layer(signing.message_bundle(KEY, CONTENT)))
    assert (await verdict(shelf)).ok
    assert shelf.asked[-1] == "content"


@pytest.mark.parametrize(
    ("kind", "looked"),
    [
        (signing.BUNDLE, True),
        ("application/vnd.dev.cosign.artifact.sig.v1+json", True),
        ("application/vnd.oci.empty.v1+json", True),
        (None, True),
        ("application/spdx+json", False),
        ("application/vnd.cncf.notary.signature", False),
    ],
)
async def test_only_what_may_hold_a_signature_is_looked_at(kind: str | None, looked: bool) -> None:
    shelf = Shelf()
    shelf.refer(GOOD, kind=kind)
    assert (await verdict(shelf)).ok is looked
    assert ("blob" in shelf.asked) is looked


async def test_attestations_are_read_from_bundles_and_from_cosigns_tag() -> None:
    verify = Verify(secret_ref="keys", attestations=(signing.PROVENANCE, signing.SPDX))
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD)
    scan = signing.statement(DIGEST, "https://cosign.sigstore.dev/attestation/vuln/v1")
    named = {"dev.sigstore.bundle.predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1"}
    shelf.refer(signing.bundle_layer(signing.key_bundle(KEY, scan)), **named)
    shelf.refer(signing.bundle_layer(signing.key_bundle(KEY, signing.statement(DIGEST, signing.SPDX))))
    found = await verdict(shelf, verify)
    assert not found.ok
    assert found.reason.endswith(f"but not attested: {signing.PROVENANCE}")
    shelf.asked.clear()
    other = signing.attached_layer(KEY, scan)
    shelf.put(f"{TAG}.att", signing.attached_layer(KEY, signing.statement(DIGEST, signing.PROVENANCE)), other)
    assert (await verdict(shelf, verify)).ok
    # The scans are not read: nobody asks for them.
    assert shelf.asked == [f"{TAG}.sig", "blob", "referrers", shelf.referring[1].digest, "blob", f"{TAG}.att", "blob"]


# ------------------------------------------------------------------------------------------------ bounds


async def test_too_much_is_not_read() -> None:
    shelf = Shelf()
    big = signing.Layer(signing.SIMPLE, bytes(model.MAX_PAYLOAD + 1), {"dev.cosignproject.cosign/signature": "eA=="})
    shelf.put(f"{TAG}.sig", big)
    shelf.refer(signing.Layer(signing.BUNDLE, bytes(model.MAX_ATTESTATION + 1)))
    found = await verdict(shelf)
    assert "blob" not in shelf.asked
    assert not found.ok
    assert "one was not read (65,537 bytes, of which at most 65,536 are read)" in found.reason


async def test_no_more_than_so_many_are_looked_at() -> None:
    shelf = Shelf()
    many = [signing.simple_layer(OTHER, signing.payload(DIGEST) + b" " * n) for n in range(50)]
    shelf.put(f"{TAG}.sig", GOOD, *many)
    for n in range(50):
        shelf.refer(signing.bundle_layer({**signing.key_bundle(OTHER, b"{}"), "n": n}))
    found = await verdict(shelf)
    assert shelf.asked.count("blob") == model.MAX_FOUND
    assert not found.ok
    assert f"51 signatures in {TAG}.sig, of which the last {model.MAX_FOUND} were looked at" in found.reason


async def test_the_bytes_of_one_digest_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", len(BAD.data) + 10)
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD, BAD)
    found = await verdict(shelf)
    assert shelf.asked.count("blob") == 1
    assert "of which at most 10 are read" in found.reason


# ------------------------------------------------------------------------------------------------ what is broken


async def test_what_cannot_be_read_is_refused() -> None:
    shelf = Shelf(errors={f"{TAG}.sig": UnsupportedManifest("the manifest is not JSON")})
    found = await verdict(shelf)
    assert (found.ok, found.lasting) == (False, True)
    assert "the manifest is not JSON" in found.reason


async def test_a_payload_that_is_not_there_may_still_come() -> None:
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD)
    shelf.blobs.clear()
    found = await verdict(shelf)
    assert (found.ok, found.lasting) == (False, False)
    assert "the registry has no blob sha256:" in found.reason


@pytest.mark.parametrize("where", [f"{TAG}.sig", "referrers", "blob"])
@pytest.mark.parametrize("error", [RegistryUnavailable("cut"), AccessDenied("no")], ids=["unavailable", "denied"])
async def test_what_the_registry_cannot_answer_is_an_error_and_no_verdict(where: str, error: Exception) -> None:
    shelf = Shelf(errors={where: error})
    if where == "blob":
        shelf.put(f"{TAG}.sig", GOOD)
    with pytest.raises(type(error)):
        await verdict(shelf)


# ------------------------------------------------------------------------------------------------ Secrets


@pytest.mark.parametrize(
    ("verify", "secrets", "kind", "field"),
    [
        (VERIFY, {}, SecretNotFound, "spec.verify.secretRef"),
        (VERIFY, secret(other_txt=b"x"), SpecError, "spec.verify.secretRef"),
        (Verify(), {}, SpecError, "spec.verify"),
        (
            Verify(keyless=Keyless(issuer="a", subject="b"), trust_root="root"),
            {},
            SecretNotFound,
            "spec.verify.trustRootSecretRef",
        ),
        (
            Verify(keyless=Keyless(issuer="a", subject="b"), trust_root="root"),
            secret("root", a_json=b"{}"),
            SpecError,
            "spec.verify.trustRootSecretRef",
        ),
        (
            Verify(keyless=Keyless(issuer="a", subject="b"), trust_root="root"),
            secret("root", trusted_root_json=b"{}"),
            SpecError,
            "spec.verify.trustRootSecretRef",
        ),
        (Verify(keyless=Keyless(issuer="a")), {}, SpecError, "spec.verify.keyless"),
    ],
    ids=["no-secret", "no-key", "nothing", "no-root", "other-root", "broken-root", "no-subject"],
)
async def test_a_spec_that_cannot_be_used_says_where(
    verify: Verify, secrets: dict[ObjectKey, Secret], kind: type[SpecError], field: str
) -> None:
    shelf = Shelf()
    place = Where(file="policies.yaml", line=3, object="ImagePolicy apps/app")
    with pytest.raises(SpecError) as caught:
        await Verifying(shelf).verify(SOURCE, DIGEST, verify, secrets=secrets.get, namespace="apps", where=place)
    assert type(caught.value) is kind
    assert caught.value.where == Where(file="policies.yaml", line=3, object="ImagePolicy apps/app", field=field)
    assert caught.value.remedy
    assert shelf.asked == []


async def test_keys_are_parsed_once_for_a_content(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    load = keys.load

    def counted(files: Any, name: str) -> keys.KeyTrust:
        parsed.append(name)
        return load(files, name)

    monkeypatch.setattr(verifying.keys, "load", counted)
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD)
    by = Verifying(shelf)
    for known in (secret(), secret(), secret(a_pub=signing.public_pem(OTHER)), secret()):
        await by.verify(SOURCE, DIGEST, VERIFY, secrets=known.get, namespace="apps")
    assert len(parsed) == 2


async def test_a_key_that_was_taken_away_does_not_count_any_more() -> None:
    shelf = Shelf()
    shelf.put(f"{TAG}.sig", GOOD)
    by = Verifying(shelf)
    assert (await by.verify(SOURCE, DIGEST, VERIFY, secrets=secret().get, namespace="apps")).ok
    changed = secret(cosign_pub=signing.public_pem(OTHER))
    assert not (await by.verify(SOURCE, DIGEST, VERIFY, secrets=changed.get, namespace="apps")).ok


async def test_a_signature_without_a_key_is_verified_by_the_trust_root_of_a_secret() -> None:
    own = signing.Sigstore()
    signer = own.signer()
    verify = Verify(keyless=Keyless(issuer=signing.ISSUER, subject=signing.SUBJECT), trust_root="root")
    key = ObjectKey("apps", "root")
    secrets = {key: Secret(meta=Meta(key=key), data={"trusted_root.json": own.trusted_root()})}
    shelf = Shelf()
    payload = signing.payload(DIGEST)
    shelf.put(f"{TAG}.sig", signing.Layer(signing.SIMPLE, payload, signer.simple(payload)))
    found = await verdict(shelf, verify, secrets)
    assert found.reason == f"signed by identity {signing.SUBJECT} ({signing.ISSUER})"
    shelf.put(f"{TAG}.sig")
    shelf.refer(signing.Layer(signing.BUNDLE, json.dumps(signer.bundle(signing.statement(DIGEST))).encode()))
    assert (await verdict(shelf, verify, secrets)) == found
    public = Verify(keyless=verify.keyless)
    assert not (await verdict(shelf, public, secrets)).ok
