"""facts/registries.md, "pagination": each line."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.images import ImageName
from image_updater.registry import Access, InvalidAnswer, ListIncomplete, RateLimited, RegistryClient
from image_updater.registry.pagination import Next, next_page

if TYPE_CHECKING:
    from tests.unit.registry.conftest import FakeTime, MakeClient

ORIGIN = "http://same-host"
TARGET = "/v2/r/tags/list?n=1"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(['</v2/r/tags/list?n=1&last=a>; rel="next"'], "/v2/r/tags/list?n=1&last=a", id="relative link"),
        pytest.param(
            ['<http://same-host/v2/r/tags/list?n=1&last=b>; rel="next"'],
            "/v2/r/tags/list?n=1&last=b",
            id="absolute link on the same host",
        ),
        pytest.param([], None, id="link: null"),
        pytest.param([""], None, id="link: empty"),
        pytest.param(
            ['/v2/r/tags/list?n=50&next_page=xyz; rel="next"'],
            "/v2/r/tags/list?n=50&next_page=xyz",
            id="no angle brackets (quay.io)",
        ),
        pytest.param(
            ['</v2/r/tags/list?n=5&last=tag5>; type="application/json"; rel=next'],
            "/v2/r/tags/list?n=5&last=tag5",
            id="extra parameters, rel without quotes",
        ),
        pytest.param(
            ['<http://same-host/v2/r/tags/list?n=1&page=1>; rel="next", '],
            "/v2/r/tags/list?n=1&page=1",
            id="trailing comma and space",
        ),
        pytest.param(
            ['</other>; rel="prev"', '</v2/r/tags/list?last=c>; rel="next"'],
            "/v2/r/tags/list?last=c",
            id="two headers",
        ),
        pytest.param(
            ['</first>; rel="first", </v2/r/tags/list?last=a,b>; rel="next"'],
            "/v2/r/tags/list?last=a,b",
            id="two links in one header, a comma in the URL",
        ),
        pytest.param(['</v2/r/tags/list?last=c>; rel="prev"'], None, id="another rel"),
        pytest.param(["?n=1&last=d; rel=next"], "/v2/r/tags/list?n=1&last=d", id="query only"),
        pytest.param(
            ['<http://same-host:80/v2/r/tags/list?last=e>; rel="next"'],
            "/v2/r/tags/list?last=e",
            id="default port said",
        ),
    ],
)
def test_the_next_page_is_read_from(headers: list[str], expected: str | None) -> None:
    found = next_page(headers, origin=ORIGIN, target=TARGET)
    assert found == (Next(expected) if expected else None)


@pytest.mark.parametrize(
    "link",
    [
        '<https://attacker.example.com/v2/steal/tags/list?n=10000>; rel="next"',
        '<//attacker.example.com/v2/steal/tags/list?n=10000>; rel="next"',
        '<http://same-host:8080/internal>; rel="next"',
        '<http://same-host@attacker.example.com/v2/x/tags/list>; rel="next"',
    ],
)
def test_a_link_to_another_origin_is_never_followed(link: str) -> None:
    with pytest.raises(InvalidAnswer, match="another host"):
        next_page([link], origin=ORIGIN, target=TARGET)


def test_a_foreign_link_with_our_own_path_is_followed_at_our_own_origin() -> None:
    """Harbor writes its inner host name behind a proxy; the token never goes there."""
    found = next_page(
        ['<http://harbor-core:8080/v2/r/tags/list?n=1&last=a>; rel="next"'],
        origin="https://hub.example.com",
        target=TARGET,
    )
    assert found == Next("/v2/r/tags/list?n=1&last=a", foreign="harbor-core")


def test_artifactory_drops_the_prefix_so_only_last_is_taken() -> None:
    found = next_page(
        ['</library/node/tags/list?n=10000&last=10000>; rel="next"'],
        origin=ORIGIN,
        target="/v2/virtual-mirror/library/node/tags/list?n=10000",
        artifactory=True,
    )
    assert found == Next("/v2/virtual-mirror/library/node/tags/list?n=10000&last=10000")


def test_artifactory_without_last_cannot_be_listed() -> None:
    with pytest.raises(InvalidAnswer):
        next_page(['</node/tags/list>; rel="next"'], origin=ORIGIN, target=TARGET, artifactory=True)


# ------------------------------------------------------------------------------------------ against a registry


TAGS = [f"1.0.{number}" for number in range(10)]


@pytest.fixture
def listed(registry: EmbeddedRegistry) -> EmbeddedRegistry:
    registry.tag_many("acme/app", TAGS)
    registry.faults.page_size = 3
    return registry


async def test_all_pages_are_read_where_the_server_ignores_n(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    assert list((await client.tags(image, nobody)).tags) == sorted(TAGS)
    assert listed.requests["GET tags"] == 4


async def test_the_newest_tag_on_the_last_page_is_found(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    """ghcr.io, quay.io and cgr.dev list oldest first or lexically."""
    listed.push("acme/app", "zz-newest")
    assert (await client.tags(image, nobody)).tags[-1] == "zz-newest"


async def test_artifactory_pages_are_all_read(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    listed.faults.list_headers = [("X-JFrog-Version", "Artifactory/7.77")]
    listed.faults.link = lambda link: f'<{link.replace("/v2/acme", "")}>; rel="next"' if link else None
    assert list((await client.tags(image, nobody)).tags) == sorted(TAGS)


async def test_ecr_refuses_n_above_1000_and_is_asked_with_1000_from_then_on(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.tag_many("acme/app", TAGS)
    registry.faults.max_n = 1000
    for _ in range(2):
        assert len((await client.tags(image, nobody)).tags) == 10
    assert [seen.target.partition("n=")[2] for seen in registry.seen] == ["10000", "1000", "1000"]


async def test_a_405_with_1000_is_an_error_and_no_loop(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.tag_many("acme/app", TAGS)
    registry.faults.max_n = 100
    with pytest.raises(Exception, match="unexpected answer 405"):
        await client.tags(image, nobody)
    assert registry.requests["GET tags"] == 2


async def test_the_cap_on_pages_is_said_and_nothing_is_returned(
    listed: EmbeddedRegistry, make_client: MakeClient, image: ImageName, nobody: Access
) -> None:
    with pytest.raises(ListIncomplete, match="cap of 2 pages"):
        await make_client(max_pages=2).tags(image, nobody)


async def test_the_cap_on_bytes_is_said(
    listed: EmbeddedRegistry, make_client: MakeClient, image: ImageName, nobody: Access
) -> None:
    with pytest.raises(ListIncomplete, match="cap of 50 bytes"):
        await make_client(max_list_bytes=50).tags(image, nobody)


async def test_the_cap_on_time_is_said(
    listed: EmbeddedRegistry, make_client: MakeClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    def slow(link: str) -> str | None:
        fake_time.passed += 20
        return f'<{link}>; rel="next"' if link else None

    listed.faults.link = slow
    with pytest.raises(ListIncomplete, match="cap of 30 s"):
        await make_client(max_list_seconds=30.0).tags(image, nobody)


async def test_a_link_that_repeats_ends_the_listing(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    listed.faults.link = lambda _: '</v2/acme/app/tags/list?n=3&last=1.0.2>; rel="next"'
    with pytest.raises(InvalidAnswer, match="leads back"):
        await client.tags(image, nobody)
    assert listed.requests["GET tags"] == 2


async def test_a_foreign_link_is_neither_followed_nor_shown_a_token(
    listed: EmbeddedRegistry, elsewhere: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    listed.faults.link = lambda _: f'<{elsewhere.url}/v2/steal/tags/list?n=10000>; rel="next"'
    with pytest.raises(InvalidAnswer, match=r"127\.0\.0\.2"):
        await client.tags(image, nobody)
    assert not elsewhere.seen


async def test_an_inner_host_name_is_warned_of_and_not_asked(
    listed: EmbeddedRegistry,
    elsewhere: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    caplog: pytest.LogCaptureFixture,
) -> None:
    listed.faults.link = lambda link: f'<{elsewhere.url}{link}>; rel="next"' if link else None
    with caplog.at_level(logging.WARNING):
        assert list((await client.tags(image, nobody)).tags) == sorted(TAGS)
    assert not elsewhere.seen
    assert len([record for record in caplog.records if "sends Links to" in record.message]) == 1


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        ('{"name":"r","tags":null}', ()),
        ('{"name":"r","tags":[]}', ()),
        ('{"name":"r","tags":["v1","-x","1.0+b","a b"]}', ("v1", "-x", "1.0+b", "a b")),
    ],
    ids=["tags: null", "tags: []", "names that are no legal tags are for the policy to reject"],
)
async def test_an_empty_list_is_a_list(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    body: str,
    tags: tuple[str, ...],
) -> None:
    registry.faults.script("GET /v2/acme", Reply(body=body))
    assert (await client.tags(image, nobody)).tags == tags


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"name":"r","tags":["v1",""]}', id="an empty tag name"),
        pytest.param('{"name":"r","tags":["v1",7]}', id="a number"),
        pytest.param('{"name":"r","tags":["v1\\nv2"]}', id="a line break"),
        pytest.param('{"name":"r","tags":["v1","\\ud800"]}', id="half a character"),
        pytest.param('{"name":"r","tags":["v1","\\u001b[2J"]}', id="a control character"),
        pytest.param('{"name":"r","tags":"v1"}', id="no list"),
        pytest.param('{"name":"r","tags":["v1"', id="truncated JSON"),
        pytest.param('{"errors":[]}', id="no tags at all"),
        pytest.param("[]", id="no object"),
        pytest.param("[" * 100_000, id="nested beyond reason"),
    ],
)
async def test_a_list_that_cannot_be_trusted_is_rejected_whole(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, body: str
) -> None:
    registry.faults.script("GET /v2/acme", Reply(body=body))
    with pytest.raises(InvalidAnswer):
        await client.tags(image, nobody)


async def test_a_login_page_is_named_with_its_url_and_first_bytes(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    page = Reply(body="<!DOCTYPE html><title>Sign in</title>", content_type="text/html")
    registry.faults.script("GET /v2/acme", page)
    with pytest.raises(InvalidAnswer, match=r"http://127\.0\.0\.1:\d+/v2/acme/app/tags/list: .*<!DOCTYPE html>"):
        await client.tags(image, nobody)


async def test_a_429_on_page_2_fails_the_listing_with_the_time_of_the_next_try(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    listed.faults.script("last=", Reply(status=429, headers=[("Retry-After", "600")]))
    with pytest.raises(RateLimited) as caught:
        await client.tags(image, nobody)
    assert caught.value.until == fake_time.now() + timedelta(seconds=600)


async def test_googles_list_brings_dates_and_digests(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    digest = "sha256:" + "a" * 64
    body = (
        f'{{"tags":["v1"],"manifest":{{"{digest}":{{"tag":["v1"],"timeUploadedMs":"1577836800500"}},'
        '"sha256:x":{"tag":["v2"]},"y":7}}'
    )
    registry.faults.script("GET /v2/acme", Reply(body=body))
    found = await client.tags(image, nobody)
    assert found.digests == {"v1": digest}
    assert found.pushed["v1"].isoformat() == "2020-01-01T00:00:00.500000+00:00"


@pytest.mark.parametrize("status", [401, 403, 404, 500], ids=str)
async def test_an_error_on_a_later_page_never_gives_a_part(
    listed: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, status: int
) -> None:
    listed.faults.always("last=1.0.5", Reply(status=status))
    with pytest.raises(Exception, match=r"."):
        await client.tags(image, nobody)


async def test_quays_own_api_is_not_needed(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    """Its `/api/v1` is an optional fast path (401 for robots): /v2 with its Links without brackets is complete."""
    registry.tag_many("acme/app", TAGS)
    registry.faults.page_size = 4
    registry.faults.link = lambda link: f'{link}; rel="next"' if link else None
    assert list((await client.tags(image, nobody)).tags) == sorted(TAGS)
    assert all(seen.target.startswith("/v2/") for seen in registry.seen)
