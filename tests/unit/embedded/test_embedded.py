"""The embedded registry keeps the distribution spec where our client never goes: pushing, deleting, odd requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from image_updater.embedded import EmbeddedRegistry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
async def registry() -> AsyncIterator[EmbeddedRegistry]:
    async with EmbeddedRegistry() as registry:
        yield registry


@pytest.fixture
async def http(registry: EmbeddedRegistry) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(registry.url) as session:
        yield session


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def test_a_blob_goes_up_in_one_post(http: aiohttp.ClientSession) -> None:
    async with http.post(f"/v2/a/b/blobs/uploads/?digest={digest(b'x')}", data=b"x") as answer:
        assert answer.status == 201
    async with http.get(f"/v2/a/b/blobs/{digest(b'x')}") as answer:
        assert answer.status == 404, "no repository yet"


async def test_a_blob_goes_up_in_chunks_that_must_follow_one_another(http: aiohttp.ClientSession) -> None:
    async with http.post("/v2/a/b/blobs/uploads/") as answer:
        place = answer.headers["Location"]
    async with http.patch(place, data=b"abc", headers={"Content-Range": "0-2"}) as answer:
        assert (answer.status, answer.headers["Range"]) == (202, "0-2")
    async with http.patch(place, data=b"x", headers={"Content-Range": "7-7"}) as answer:
        assert (answer.status, answer.headers["Range"]) == (416, "0-2")
    async with http.get(place) as answer:
        assert (answer.status, answer.headers["Range"]) == (204, "0-2")
    async with http.put(f"{place}?digest={digest(b'abcd')}", data=b"d") as answer:
        assert answer.status == 201
    async with http.put(f"{place}?digest={digest(b'abcd')}") as answer:
        assert answer.status == 404


async def test_a_wrong_digest_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(f"/v2/a/b/blobs/uploads/?digest={digest(b'x')}", data=b"y") as answer:
        assert answer.status == 400
        assert (await answer.json())["errors"][0]["code"] == "DIGEST_INVALID"


async def test_an_upload_can_be_given_up_and_a_blob_mounted(http: aiohttp.ClientSession) -> None:
    async with http.post("/v2/a/b/blobs/uploads/") as answer:
        place = answer.headers["Location"]
    async with http.delete(place) as answer:
        assert answer.status == 204
    async with http.post(f"/v2/a/b/blobs/uploads/?digest={digest(b'x')}", data=b"x"):
        pass
    async with http.post(f"/v2/c/d/blobs/uploads/?mount={digest(b'x')}&from=a/b") as answer:
        assert answer.status == 201


async def test_a_manifest_needs_its_blobs(http: aiohttp.ClientSession) -> None:
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": digest(b"{}")}, "layers": []}
    data = json.dumps(value).encode()
    headers = {"Content-Type": MANIFEST}
    async with http.put("/v2/a/b/manifests/1.0.0", data=data, headers=headers) as answer:
        assert answer.status == 404
        assert (await answer.json())["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    async with http.post(f"/v2/a/b/blobs/uploads/?digest={digest(b'{}')}", data=b"{}"):
        pass
    async with http.put("/v2/a/b/manifests/1.0.0", data=data, headers=headers) as answer:
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest(data))
    async with http.put(f"/v2/a/b/manifests/{digest(b'other')}", data=data, headers=headers) as answer:
        assert answer.status == 400
    async with http.get("/v2/_catalog") as answer:
        assert await answer.json() == {"repositories": ["a/b"]}


async def test_tags_and_manifests_can_be_deleted(registry: EmbeddedRegistry, http: aiohttp.ClientSession) -> None:
    pushed = registry.push("a/b", "1.0.0")
    registry.contents.repository("a/b").tag("latest", pushed)
    async with http.delete("/v2/a/b/manifests/1.0.0") as answer:
        assert answer.status == 202
    async with http.get("/v2/a/b/tags/list") as answer:
        assert (await answer.json())["tags"] == ["latest"]
    async with http.delete(f"/v2/a/b/manifests/{pushed}") as answer:
        assert answer.status == 202
    async with http.head("/v2/a/b/manifests/latest") as answer:
        assert answer.status == 404
    async with http.delete("/v2/a/b/manifests/1.0.0") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("query", "tags", "linked"),
    [
        ("", ["a", "b", "c"], False),
        ("?n=2", ["a", "b"], True),
        ("?n=3", ["a", "b", "c"], False),
        ("?n=2&last=b", ["c"], False),
        ("?last=a", ["b", "c"], False),
        ("?n=0", [], False),
        ("?n=9&last=zz", [], False),
    ],
)
async def test_lists_are_paged_as_the_spec_says(
    registry: EmbeddedRegistry, http: aiohttp.ClientSession, query: str, tags: list[str], linked: bool
) -> None:
    registry.tag_many("a/b", ["c", "a", "b"])
    async with http.get(f"/v2/a/b/tags/list{query}") as answer:
        assert (await answer.json())["tags"] == tags
        assert ("Link" in answer.headers) is linked


async def test_a_page_size_that_is_no_number_is_refused(
    registry: EmbeddedRegistry, http: aiohttp.ClientSession
) -> None:
    registry.push("a/b", "1")
    async with http.get("/v2/a/b/tags/list?n=x") as answer:
        assert answer.status == 400


async def test_equal_content_has_one_digest_and_new_content_another(registry: EmbeddedRegistry) -> None:
    one = registry.push("a/b", "1", created="2024-01-01T00:00:00Z", content="same")
    assert registry.push("a/b", "2", created="2024-01-01T00:00:00Z", content="same") == one
    assert registry.push("a/b", "3", created="2024-01-01T00:00:00Z", content="other") != one


def test_a_tag_must_be_one() -> None:
    with pytest.raises(ValueError, match="not a tag"):
        EmbeddedRegistry().push("a/b", "-x")


async def test_many_tags_are_cheap(registry: EmbeddedRegistry, http: aiohttp.ClientSession) -> None:
    registry.tag_many("a/b", [f"1.0.{number}" for number in range(50_000)])
    for number in range(1000):
        registry.tag_many(f"r/{number}", [f"1.0.{tag}" for tag in range(100)])
    async with http.get("/v2/a/b/tags/list") as answer:
        assert len((await answer.json())["tags"]) == 50_000
    assert dict(registry.requests) == {"GET tags": 1}
