"""facts/registries.md, "rate-limit": each line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.images import ImageName
from image_updater.registry import Access, Budgets, Limits, RateLimited, RegistryClient
from image_updater.registry.budgets import Budget, Operation, Timing, retry_after

if TYPE_CHECKING:
    from tests.unit.registry.conftest import FakeTime

NOW = datetime(2020, 1, 1, tzinfo=UTC)


def limited(**headers: str) -> Reply:
    return Reply(status=429, headers=[(key.replace("_", "-"), value) for key, value in headers.items()])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("42", 42.0, id="retry_after: 42"),
        pytest.param("Wed, 01 Jan 2020 00:00:42 GMT", 42.0, id="a date 42 s away"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", None, id="a date in the past: own backoff"),
        pytest.param(None, None, id="no header: own backoff"),
        pytest.param("invalid", None, id="invalid: own backoff"),
        pytest.param("0", None, id="zero: own backoff"),
        pytest.param("-5", None, id="negative: own backoff"),
        pytest.param("1.5", None, id="a fraction: own backoff"),
        pytest.param("٤٢", None, id="digits of another script: own backoff"),
        pytest.param("999999999", 86400.0, id="decades: a day at most"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0, id="the end of time: a day at most"),
        pytest.param("9" * 40, None, id="absurd: own backoff"),
        pytest.param("Wed, 01 Jan 2020 00:00:42 -0000", 42.0, id="a date without a zone is UTC"),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize("header", ["42", "Wed, 01 Jan 2020 00:00:42 GMT"], ids=["seconds", "date"])
async def test_a_429_makes_the_whole_host_wait_then_succeeds(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    fake_time: FakeTime,
    header: str,
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme", limited(Retry_After=header))
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)
    assert fake_time.slept == [42.0]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry_After": "invalid"}, {"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}],
    ids=["no header", "invalid", "past"],
)
async def test_own_backoff_grows_with_jitter_until_the_third_try_succeeds(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    fake_time: FakeTime,
    headers: dict[str, str],
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme", limited(**headers), limited(**headers))
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)
    assert fake_time.slept == [0.75, 1.5]
    assert client.metrics.rate_limited[registry.host] == 2


async def test_a_wait_beyond_the_cap_gives_the_slot_back(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme", limited(Retry_After="61"))
    with pytest.raises(RateLimited) as first:
        await client.tags(image, nobody)
    assert first.value.until == NOW + timedelta(seconds=61)
    assert fake_time.slept == []
    # Nobody asks that host before the time is over, and nobody waits for it either.
    with pytest.raises(RateLimited):
        await client.head(image, "1.0.0", nobody)
    assert registry.requests.total() == 1
    fake_time.passed += 61
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)


async def test_429_for_ever_ends_after_the_attempts(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.always("GET /v2/acme", limited())
    with pytest.raises(RateLimited) as caught:
        await client.tags(image, nobody)
    assert registry.requests["GET tags"] == 5
    assert caught.value.until is not None
    assert caught.value.reason == "RateLimited"


async def test_a_redirects_retry_after_is_ignored(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    registry.push("acme/app", "1.0.0")
    place = "/v2/acme/app/tags/list?n=7"
    registry.faults.script(r"n=10000", Reply(status=302, headers=[("Location", place), ("Retry-After", "5")]))
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)
    assert fake_time.slept == []


def budget(fake_time: FakeTime, **limits: float) -> Budget:
    timing = Timing(
        now=fake_time.now,
        monotonic=fake_time.monotonic,
        sleep=fake_time.sleep,
        random=lambda: 0.5,
    )
    return Budgets(timing, Limits(**limits))["registry.example.com"]  # type: ignore[arg-type]


def test_the_rate_is_halved_once_an_operation_and_never_below_the_floor(fake_time: FakeTime) -> None:
    host = budget(fake_time, rate=200.0)
    operation = Operation()
    for attempt in range(3):
        host.limited(None, attempt, operation)
    assert host.rate == 100.0
    for _ in range(20):
        host.limited(None, 0, Operation())
    assert host.rate == 0.1


async def test_the_rate_comes_back_by_half_every_twenty_quiet_minutes(fake_time: FakeTime) -> None:
    host = budget(fake_time, rate=200.0)
    host.limited("1", 0, Operation())
    expected = [100.0, 150.0, 200.0, 200.0]
    for rate in expected:
        fake_time.passed += 5
        await host.enter()
        host.leave()
        assert host.rate == rate
        fake_time.passed += 1200


async def test_the_bucket_spreads_requests_at_the_rate(fake_time: FakeTime) -> None:
    host = budget(fake_time, rate=10.0, burst=2)
    for _ in range(5):
        await host.enter()
        host.leave()
    assert fake_time.passed == pytest.approx(0.3)


async def test_no_more_than_the_concurrency_at_once(fake_time: FakeTime) -> None:
    host = budget(fake_time, concurrency=2)
    active = peak = 0

    async def work() -> None:
        nonlocal active, peak
        await host.enter()
        active += 1
        peak = max(peak, active)
        await asyncio.sleep(0)
        active -= 1
        host.leave()

    waiting = [asyncio.create_task(work()) for _ in range(8)]
    await asyncio.sleep(0)
    waiting[5].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (active, peak) == (0, 2)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_free_slot_that_is_not_taken_goes_to_the_next(fake_time: FakeTime) -> None:
    """All that wait hear of a long block at once: none waits for a slot that nobody will give back."""
    full = budget(fake_time, concurrency=1)
    await full.enter()
    waiting = [asyncio.create_task(full.enter()) for _ in range(3)]
    await turns()
    full.leave()
    full.limited("3600", 0, Operation())
    await turns()
    assert [type(task.exception()) if task.done() else None for task in waiting] == [RateLimited] * 3


async def test_a_free_slot_is_handed_on_by_one_that_is_cancelled_in_its_pause(fake_time: FakeTime) -> None:
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await over.wait()

    timing = Timing(now=fake_time.now, monotonic=fake_time.monotonic, sleep=sleep, random=lambda: 0.5)
    full = Budget("registry.example.com", Limits(concurrency=1), timing)
    await full.enter()
    first, second = (asyncio.create_task(full.enter()) for _ in range(2))
    await turns()
    full.leave()
    full.limited("5", 0, Operation())
    await turns()
    first.cancel()
    fake_time.passed += 5
    over.set()
    await turns()
    assert first.cancelled()
    assert second.done()


async def test_the_registrys_own_count_is_read_from_head_and_slows_us_down(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    """`100;w=21600` with 3 left: one pull each 216 s, which is longer than anyone should wait; HEAD stays free."""
    registry.push("acme/app", "1.0.0")
    registry.faults.headers = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "3;w=21600")]
    await client.head(image, "1.0.0", nobody)
    assert client.metrics.remaining == {registry.host: 3}
    await client.describe(image, "1.0.0", nobody)
    with pytest.raises(RateLimited) as caught:
        await client.describe(image, "1.0.0", nobody)
    assert caught.value.until == NOW + timedelta(seconds=216)
    await client.head(image, "1.0.0", nobody)
    await client.tags(image, nobody)
    fake_time.passed += 216
    await client.describe(image, "1.0.0", nobody)


async def test_with_nothing_left_no_pull_is_tried(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.headers = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")]
    await client.head(image, "1.0.0", nobody)
    with pytest.raises(RateLimited):
        await client.describe(image, "1.0.0", nobody)
    assert registry.requests["GET manifests"] == 0


@pytest.mark.parametrize(
    ("headers", "limit", "remaining", "window"),
    [
        ({"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}, 100, 76, 21600.0),
        ({"ratelimit-limit": "5000", "ratelimit-remaining": "4999", "ratelimit-reset": "30"}, 5000, 4999, 30.0),
        ({"ratelimit-remaining": "9"}, 9, 9, 60.0),
    ],
    ids=["docker hub", "with reset", "remaining only"],
)
def test_ratelimit_headers_are_read(
    fake_time: FakeTime, headers: dict[str, str], limit: int, remaining: int, window: float
) -> None:
    host = budget(fake_time)
    host.note(headers)
    assert host.allowance is not None
    assert (host.allowance.limit, host.allowance.remaining, host.allowance.window) == (limit, remaining, window)


def test_ratelimit_headers_that_are_none_are_left_alone(fake_time: FakeTime) -> None:
    host = budget(fake_time)
    host.note({"ratelimit-remaining": "many"})
    assert host.allowance is None
