"""facts/registries.md, "manifest": each line."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime

import pytest

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.embedded.contents import OCI_INDEX, OCI_MANIFEST
from image_updater.images import Digest, ImageName
from image_updater.registry import (
    Access,
    InvalidAnswer,
    RegistryClient,
    TagNotFound,
    UnsupportedManifest,
)
from image_updater.registry.manifests import media_type, parse, rfc3339

CREATED = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)
DIGEST = Digest("sha256:" + "a" * 64)


async def test_the_digest_comes_from_head_and_no_pull_is_counted(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    assert await client.head(image, "1.0.0", nobody) == digest
    assert dict(registry.requests) == {"HEAD manifests": 1}


@pytest.mark.parametrize("fault", ["no header", "HEAD refused"])
async def test_without_a_digest_header_the_body_is_hashed(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fault: str
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    registry.faults.digest_header = False
    registry.faults.head = fault != "HEAD refused"
    assert await client.head(image, "1.0.0", nobody) == digest
    assert registry.requests["GET manifests"] == 1


async def test_media_type_parameters_are_ignored(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0", created=CREATED, platforms=("linux/amd64", "linux/arm64"))
    registry.faults.manifest_type = lambda kind: f"{kind}; charset=utf-8"
    facts = await client.describe(image, "1.0.0", nobody)
    assert (facts.digest, facts.media_type) == (digest, OCI_INDEX)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("application/vnd.oci.image.index.v1+json; charset=utf-8", "application/vnd.oci.image.index.v1+json"),
        (" Application/JSON ", "application/json"),
        (None, ""),
    ],
)
def test_a_media_type_is_read(header: str | None, expected: str) -> None:
    assert media_type(header) == expected


async def test_attestations_are_neither_a_platform_nor_a_date(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0", created=CREATED, platforms=("linux/arm64",), attestations=True)
    facts = await client.describe(image, "1.0.0", nobody)
    assert (facts.platforms, facts.created) == (("linux/arm64",), CREATED)


async def test_the_digest_is_that_of_the_index_and_platforms_are_its_images(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0", created=CREATED, platforms=("linux/amd64", "linux/arm64"))
    facts = await client.describe(image, "1.0.0", nobody)
    assert facts.digest == digest == await client.head(image, "1.0.0", nobody)
    assert facts.platforms == ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize("strange", ["\ud800", "\x1b[2J", "arm\n64", "x" * 65, "größe"])
def test_a_platform_of_no_name_can_be_written_everywhere(strange: str) -> None:
    entry = {"digest": DIGEST, "platform": {"os": "linux", "architecture": strange}}
    body = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    assert parse(body, content_type=OCI_INDEX, digest=DIGEST).entries[0].platform == "linux/?"


def test_a_strange_media_type_is_cut() -> None:
    with pytest.raises(UnsupportedManifest) as caught:
        parse(json.dumps({"mediaType": "\ud800" * 1000}).encode(), content_type=None, digest=DIGEST)
    assert len(caught.value.message) < 800
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("manifest", "kind", "message"),
    [
        pytest.param({"schemaVersion": 2, "manifests": []}, OCI_INDEX, "lists no manifests", id="index: no manifests"),
        pytest.param(
            {"schemaVersion": 1, "name": "x", "fsLayers": []},
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "schemaVersion 1",
            id="schemaVersion 1",
        ),
        pytest.param({"schemaVersion": 2}, OCI_MANIFEST, "no image manifest", id="no config"),
        pytest.param({"config": {"digest": "latest"}}, OCI_MANIFEST, "valid digest", id="a config without digest"),
        pytest.param(
            {
                "schemaVersion": 2,
                "manifests": [{"digest": DIGEST, "platform": {"os": "unknown", "architecture": "unknown"}}],
            },
            OCI_INDEX,
            "no entry that is an image",
            id="index: attestations only",
        ),
    ],
)
async def test_a_manifest_that_is_none_is_an_error_of_this_tag_only(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    manifest: object,
    kind: str,
    message: str,
) -> None:
    registry.push("acme/app", "good", created=CREATED)
    registry.put_manifest("acme/app", "bad", json.dumps(manifest).encode(), kind)
    with pytest.raises(UnsupportedManifest) as caught:
        await client.describe(image, "bad", nobody)
    assert message in str(caught.value)
    assert (await client.describe(image, "good", nobody)).created == CREATED


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"<html>", b"\xff\xfe", b"[" * 100_000], ids=["cut", "list", "html", "binary", "deep"]
)
def test_a_manifest_that_is_no_json_object_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedManifest):
        parse(data, content_type=OCI_MANIFEST, digest=DIGEST)


@pytest.mark.parametrize("config", [b"{broken", b"[]"], ids=["invalid JSON", "a list"])
async def test_a_broken_config_is_an_error_of_this_tag_only(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, config: bytes
) -> None:
    digest = registry.contents.add_blob(config)
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)},
        "layers": [],
    }
    registry.put_manifest("acme/app", "bad", json.dumps(manifest).encode(), OCI_MANIFEST)
    with pytest.raises(UnsupportedManifest, match="config is not"):
        await client.describe(image, "bad", nobody)


async def test_no_created_means_no_date(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0", created="")
    facts = await client.describe(image, "1.0.0", nobody)
    assert facts.created is None
    assert not facts.warnings


@pytest.mark.parametrize(
    ("created", "label", "expected", "warned"),
    [
        ("", "20190523", None, True),
        ("", "2019-05-23", None, True),
        ("", "2019-05-23T10:00:00Z", datetime(2019, 5, 23, 10, tzinfo=UTC), False),
        ("1970-01-01T00:00:00Z", "2019-05-23T10:00:00Z", datetime(2019, 5, 23, 10, tzinfo=UTC), False),
        ("1970-01-01T00:00:00Z", None, datetime(1970, 1, 1, tzinfo=UTC), False),
        ("2020-01-01T00:00:00Z", "2019-05-23T10:00:00Z", datetime(2020, 1, 1, tzinfo=UTC), False),
        ("2020-01-01T00:00:00Z", "20190523", datetime(2020, 1, 1, tzinfo=UTC), False),
        ("yesterday", None, None, True),
    ],
    ids=[
        "label: 20190523",
        "label: a day",
        "label where the config has none",
        "label where the config has the epoch",
        "the epoch alone",
        "the config wins",
        "the config wins over a bad label",
        "a config date that is none",
    ],
)
async def test_the_date_is_the_configs_or_the_labels(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    caplog: pytest.LogCaptureFixture,
    created: str,
    label: str | None,
    expected: datetime | None,
    warned: bool,
) -> None:
    labels = {"org.opencontainers.image.created": label} if label else {}
    registry.push("acme/app", "1.0.0", created=created, labels=labels)
    with caplog.at_level(logging.WARNING):
        facts = await client.describe(image, "1.0.0", nobody)
    assert facts.created == expected
    assert bool(facts.warnings) is warned
    assert ("RFC 3339" in caplog.text) is warned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-17T12:30:00Z", CREATED),
        ("2024-05-17t12:30:00z", CREATED),
        ("2024-05-17T14:30:00+02:00", CREATED),
        ("2024-05-17T12:30:00.123456789Z", CREATED.replace(microsecond=123456)),
        ("2024-05-17T12:30:00.5Z", CREATED.replace(microsecond=500000)),
        ("2024-05-17T12:30:00", None),
        ("2024-05-17", None),
        ("2024-13-17T12:30:00Z", None),
        ("20190523", None),
        ("", None),
    ],
)
def test_rfc3339_dates_are_read(text: str, expected: datetime | None) -> None:
    assert rfc3339(text) == expected


async def test_a_broken_tag_is_skipped_and_the_rest_works(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "good")
    registry.contents.repository("acme/app").tag("listed", DIGEST)
    assert set((await client.tags(image, nobody)).tags) == {"good", "listed"}
    with pytest.raises(TagNotFound):
        await client.head(image, "listed", nobody)
    with pytest.raises(TagNotFound, match="manifest unknown"):
        await client.describe(image, "listed", nobody)
    assert (await client.describe(image, "good", nobody)).digest == await client.head(image, "good", nobody)


async def test_without_a_media_type_field_the_content_type_decides(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0", created=CREATED)
    found = registry.contents.repository("acme/app").resolve("1.0.0")
    assert found is not None
    value = json.loads(found[1].data)
    del value["mediaType"]
    registry.put_manifest("acme/app", "2.0.0", json.dumps(value).encode(), OCI_MANIFEST)
    facts = await client.describe(image, "2.0.0", nobody)
    assert (facts.media_type, facts.created) == (OCI_MANIFEST, CREATED)


async def test_referrers_fall_back_to_the_tag_of_the_digest(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    attached = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1, "artifactType": "x/y"}],
    }
    registry.put_manifest("acme/app", digest.replace(":", "-"), json.dumps(attached).encode(), OCI_INDEX)
    found = await client.referrers(image, digest, nobody)
    assert [(each.digest, each.artifact_type) for each in found] == [(DIGEST, "x/y")]


async def test_referrers_are_read_where_the_registry_has_them(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.referrers = True
    digest = registry.push("acme/app", "1.0.0")
    assert await client.referrers(image, digest, nobody) == ()
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "sig",
        "subject": {"digest": digest},
        "config": {"digest": DIGEST},
    }
    own = registry.put_manifest("acme/app", "signature", json.dumps(signature).encode(), OCI_MANIFEST)
    assert [(each.digest, each.artifact_type) for each in await client.referrers(image, digest, nobody)] == [
        (own, "sig")
    ]


async def test_bytes_that_do_not_have_their_digest_are_rejected(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    found = registry.contents.repository("acme/app").resolve("1.0.0")
    assert found is not None
    changed = Reply(body=found[1].data + b" ", content_type=OCI_MANIFEST)
    registry.faults.script("GET /v2/acme/app/manifests", changed)
    with pytest.raises(InvalidAnswer, match="does not have the digest"):
        await client.describe(image, digest, nobody)


async def test_a_config_that_was_changed_is_rejected(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme/app/blobs", Reply(body='{"created":"2030-01-01T00:00:00Z"}'))
    with pytest.raises(InvalidAnswer, match="does not have the digest"):
        await client.describe(image, "1.0.0", nobody)


async def test_a_chart_has_no_date_and_its_config_is_not_read(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": DIGEST, "size": 2},
        "layers": [],
        "annotations": {"org.opencontainers.image.created": "2024-05-17T12:30:00Z"},
    }
    registry.put_manifest("acme/app", "1.0.0", json.dumps(manifest).encode(), OCI_MANIFEST)
    assert (await client.describe(image, "1.0.0", nobody)).created == CREATED
    assert registry.requests["GET blobs"] == 0


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_both_registered_digest_algorithms_are_checked(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, algorithm: str
) -> None:
    registry.push("acme/app", "1.0.0")
    found = registry.contents.repository("acme/app").resolve("1.0.0")
    assert found is not None
    digest = f"{algorithm}:{hashlib.new(algorithm, found[1].data).hexdigest()}"
    registry.contents.repository("acme/app").manifests[Digest(digest)] = found[1]
    assert (await client.describe(image, digest, nobody)).digest == digest
