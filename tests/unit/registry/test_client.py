"""What a listing costs: sharing, equal lists, counters; and what happens when callers go away."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded import Auth, EmbeddedRegistry, Reply
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    Limits,
    Proxies,
    RegistryClient,
    RegistryUnavailable,
    anonymous,
)
from image_updater.registry.lists import TagList, fingerprint, read

if TYPE_CHECKING:
    from tests.unit.registry.conftest import MakeClient


async def test_concurrent_listings_of_one_image_are_one_request(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    found = await asyncio.gather(*(client.tags(image, nobody) for _ in range(10)))
    assert registry.requests.total() == 1
    assert all(each is found[0] for each in found)
    assert client.metrics.shared == 9


async def test_who_asks_keeps_listings_apart(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    somebody = dataclasses.replace(nobody, identity="somebody")
    await asyncio.gather(client.tags(image, nobody), client.tags(image, somebody))
    assert registry.requests.total() == 2


async def test_a_hint_is_not_answered_by_a_listing_that_began_before_it(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 0.05
    poll = asyncio.create_task(client.tags(image, nobody))
    while not registry.requests.total():
        await asyncio.sleep(0.001)
    registry.faults.page_delay = 0.0
    hints = [asyncio.create_task(client.tags(image, nobody, fresh=True)) for _ in range(3)]
    await asyncio.gather(poll, *hints)
    assert registry.requests.total() == 2
    assert hints[0].result() is hints[1].result()
    assert hints[0].result() is not poll.result()


async def test_one_caller_that_goes_away_leaves_the_others_their_answer(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 0.02
    calls = [asyncio.create_task(client.tags(image, nobody)) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    assert (await calls[1]).tags == (await calls[2]).tags == ("1.0.0",)


async def test_when_all_callers_go_away_the_request_ends_and_the_next_one_is_new(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 30.0
    call = asyncio.create_task(client.tags(image, nobody))
    while not registry.requests.total():
        await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    registry.faults.page_delay = 0.0
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)


async def test_who_asks_again_in_the_moment_of_going_away_gets_an_answer(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 30.0

    async def stubborn() -> tuple[str, ...]:
        try:
            return (await client.tags(image, nobody)).tags
        except asyncio.CancelledError:
            registry.faults.page_delay = 0.0
            return (await client.tags(image, nobody)).tags

    call = asyncio.create_task(stubborn())
    while not registry.requests.total():
        await asyncio.sleep(0.001)
    call.cancel()
    assert await call == ("1.0.0",)


async def test_an_error_is_everybodys_and_is_not_kept(
    registry: EmbeddedRegistry, make_client: MakeClient, image: ImageName, nobody: Access
) -> None:
    client = make_client(attempts=1)
    registry.push("acme/app", "1.0.0")
    registry.faults.script("tags/list", Reply(status=500))
    found = await asyncio.gather(*(client.tags(image, nobody) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, RegistryUnavailable) for each in found)
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)


async def test_an_equal_list_is_not_parsed(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.tag_many("acme/app", [f"1.0.{number}" for number in range(50)])
    registry.faults.page_size = 20
    first = await client.tags(image, nobody)
    # A list that a store kept has the fingerprint, not the object.
    kept = TagList(tags=first.tags, fingerprint=first.fingerprint)
    monkeypatch.setattr("image_updater.registry.lists.read", None)
    assert await client.tags(image, nobody, previous=kept) is kept
    assert client.metrics.unchanged == 1


async def test_pages_that_are_cut_elsewhere_are_another_fingerprint() -> None:
    assert fingerprint([b"ab", b"c"]) != fingerprint([b"a", b"bc"])


async def test_a_tag_that_moved_between_two_pages_is_listed_once() -> None:
    bodies = [b'{"tags":["a","b"]}', b'{"tags":["b","c"]}']
    assert read(bodies, mark="x", shown="url").tags == ("a", "b", "c")


async def test_a_routine_poll_of_many_images_costs_one_request_each(
    registry: EmbeddedRegistry, client: RegistryClient, nobody: Access
) -> None:
    registry.faults.auth = Auth()
    images = [parse_name(f"{registry.host}/r/{number}") for number in range(40)]
    for number in range(40):
        registry.tag_many(f"r/{number}", ["1.0.0"])
    lists = await asyncio.gather(*(client.tags(image, nobody) for image in images))
    registry.requests.clear()
    again = await asyncio.gather(
        *(client.tags(image, nobody, previous=before) for image, before in zip(images, lists, strict=True))
    )
    assert all(one is other for one, other in zip(lists, again, strict=True))
    assert dict(registry.requests) == {"GET tags": 40}


async def test_docker_hub_is_asked_at_registry_1_under_library(
    registry: EmbeddedRegistry, client: RegistryClient, nobody: Access
) -> None:
    """The registry stands in as the proxy that all requests pass."""
    registry.push("library/nginx", "1.27")
    access = dataclasses.replace(nobody, proxies=Proxies(http=registry.url))
    for text in ("nginx", "docker.io/library/nginx", "index.docker.io/nginx"):
        assert (await client.tags(parse_name(text), access)).tags == ("1.27",)
    assert {seen.target for seen in registry.seen} == {"http://registry-1.docker.io/v2/library/nginx/tags/list?n=10000"}


async def test_requests_are_counted_by_host_and_status(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("tags/list", Reply(status=429, headers=[("Retry-After", "1")]), Reply(status=500))
    await client.tags(image, nobody)
    metrics = client.metrics
    assert dict(metrics.requests) == {(registry.host, "4xx"): 1, (registry.host, "5xx"): 1, (registry.host, "2xx"): 1}
    assert metrics.rate_limited == {registry.host: 1}
    assert set(metrics.seconds) == {registry.host}
    assert metrics.total == 3


async def test_the_concurrency_to_one_host_is_bounded(
    registry: EmbeddedRegistry, make_client: MakeClient, nobody: Access
) -> None:
    client = make_client(limits=Limits(concurrency=3))
    active = peak = 0
    original = registry._list

    async def watched(*args: object) -> object:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await asyncio.sleep(0.005)
        active -= 1
        return await original(*args)  # type: ignore[arg-type]

    registry._list = watched  # type: ignore[method-assign, assignment]
    for number in range(12):
        registry.tag_many(f"r/{number}", ["1"])
    await asyncio.gather(*(client.tags(parse_name(f"{registry.host}/r/{n}"), nobody) for n in range(12)))
    assert peak == 3


async def test_a_client_that_is_closed_ends_what_is_under_way(
    registry: EmbeddedRegistry, make_client: MakeClient, image: ImageName
) -> None:
    client = make_client()
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 30.0
    call = asyncio.create_task(client.tags(image, anonymous(insecure=True)))
    while not registry.requests.total():
        await asyncio.sleep(0.001)
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_50000_tags_are_listed_in_pages_of_10000(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.tag_many("acme/app", [f"1.0.{number}" for number in range(50_000)])
    assert len((await client.tags(image, nobody)).tags) == 50_000
    assert registry.requests["GET tags"] == 5


async def test_one_host_is_one_host_however_it_is_written(registry: EmbeddedRegistry, client: RegistryClient) -> None:
    registry.push("acme/app", "1.0.0")
    access = anonymous(insecure=True)
    port = registry.host.rpartition(":")[2]
    for host in ("localhost", "LocalHost"):
        assert (await client.tags(parse_name(f"{host}:{port}/acme/app"), access)).tags == ("1.0.0",)
    assert [budget.host for budget in client.budgets] == [f"localhost:{port}"]
    assert client.metrics.requests == {(f"localhost:{port}", "2xx"): 2}
