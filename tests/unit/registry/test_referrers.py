"""What lies beside an image: referrers by page and by tag, manifests' bytes and blobs, each within its limit."""

from __future__ import annotations

import json

import pytest

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.images import Digest, ImageName
from image_updater.registry import Access, Descriptor, InvalidAnswer, PermissionDenied, RegistryClient, TagNotFound
from image_updater.registry.manifests import OCI_INDEX, OCI_MANIFEST, digest_of

DIGEST = "sha256:" + "a" * 64


def page(*names: str, link: str | None = None) -> Reply:
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest_of(name.encode()), "size": 1} for name in names]
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    headers = (("Link", f'<{link}>; rel="next"'),) if link else ()
    return Reply(body=body, content_type=OCI_INDEX, headers=headers)


async def test_all_pages_of_referrers_are_read(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    place = f"/v2/acme/app/referrers/{digest}"
    registry.faults.script("GET /v2/acme/app/referrers", page("a", "b", link=f"{place}?last=b"), page())
    found = await client.referrers(image, digest, nobody)
    assert [each.digest for each in found] == [digest_of(name) for name in (b"a", b"b")]
    registry.faults.script("GET /v2/acme/app/referrers", page("a", link=f"{place}?last=a"), page("c"))
    assert len(await client.referrers(image, digest, nobody)) == 2
    asked = [seen.target for seen in registry.seen if "/referrers/" in seen.target]
    assert asked[-1] == f"{place}?last=a"


async def test_referrers_without_an_end_and_links_elsewhere_are_an_error(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    place = f"/v2/acme/app/referrers/{digest}"
    endless = [page("a", link=f"{place}?last={n}") for n in range(40)]
    registry.faults.script("GET /v2/acme/app/referrers", *endless)
    with pytest.raises(InvalidAnswer, match="more than 20 pages refer to it"):
        await client.referrers(image, digest, nobody)


async def test_a_link_to_another_repository_is_not_followed(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme/app/referrers", page("a", link="/v2/acme/other/referrers/x"))
    with pytest.raises(InvalidAnswer, match="leads to another repository"):
        await client.referrers(image, digest, nobody)


async def test_referrers_that_are_denied_are_an_error_and_no_empty_list(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme/app/referrers", Reply(status=403))
    with pytest.raises(PermissionDenied):
        await client.referrers(image, DIGEST, nobody)
    registry.faults.script(f"GET /v2/acme/app/manifests/{DIGEST.replace(':', '-')}", Reply(status=403))
    with pytest.raises(PermissionDenied):
        await client.referrers(image, DIGEST, nobody)


async def test_blobs_are_read_within_a_limit_and_have_their_digest(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    data = b"x" * 1000
    digest = Digest(digest_of(data))
    registry.contents.blobs[digest] = data
    blob = Descriptor(media_type="text/plain", digest=digest, size=len(data))
    assert await client.blob(image, blob, nobody, limit=1000) == data
    with pytest.raises(InvalidAnswer, match="larger than 999 bytes"):
        await client.blob(image, blob, nobody, limit=999)
    registry.contents.blobs[digest] = b"y" * 1000
    with pytest.raises(InvalidAnswer, match="does not have the digest"):
        await client.blob(image, blob, nobody, limit=1000)
    del registry.contents.blobs[digest]
    with pytest.raises(TagNotFound):
        await client.blob(image, blob, nobody, limit=1000)


async def test_the_bytes_of_a_manifest_have_its_digest(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = registry.push("acme/app", "1.0.0")
    data = await client.content(image, digest, nobody)
    assert digest_of(data) == digest
    registry.faults.script(f"GET /v2/acme/app/manifests/{digest}", Reply(body=data + b" ", content_type=OCI_MANIFEST))
    with pytest.raises(InvalidAnswer, match="does not have the digest"):
        await client.content(image, digest, nobody)
    with pytest.raises(TagNotFound):
        await client.content(image, DIGEST, nobody)
