"""Whatever a registry sends, the outcome is an answer or one of our errors: no traceback, no credential abroad."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.errors import ImageUpdaterError, SpecError, Where
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    InvalidAnswer,
    Limits,
    RegistryClient,
    RegistryUnavailable,
    UnsupportedManifest,
)
from image_updater.registry.budgets import Budgets, Operation, Timing, retry_after
from image_updater.registry.challenges import parse as parse_challenges
from image_updater.registry.dockerconfig import DockerConfig, Place, load
from image_updater.registry.errors import quoted
from image_updater.registry.http import Http, Metrics, Wire
from image_updater.registry.lists import read as read_list
from image_updater.registry.manifests import parse as parse_manifest
from image_updater.registry.manifests import rfc3339
from image_updater.registry.pagination import next_page
from image_updater.registry.realms import trusted
from image_updater.registry.tokens import words

if TYPE_CHECKING:
    from tests.unit.registry.conftest import FakeTime, MakeClient

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "tags",
        "manifests",
        "config",
        "layers",
        "mediaType",
        "schemaVersion",
        "digest",
        "platform",
        "annotations",
        "manifest",
    ]
)
objects = st.dictionaries(keys | st.text(max_size=5), json_values, max_size=6)
links = st.text(max_size=80) | st.builds(
    "<{}{}{}>; rel={}".format,
    st.sampled_from(
        ["http://[", "//x", "https://h:99999", "http://r.example", "", "?", "\\\\evil", "http:/\\evil", "javascript:"]
    ),
    st.text(max_size=20),
    st.sampled_from(["/v2/r/tags/list?n=1", "", "/../..", "@evil.example/"]),
    st.sampled_from(["next", '"next"', "NEXT", '"prev next"']),
)


@given(st.lists(st.text(max_size=100), max_size=3))
def test_any_challenge_is_read_or_refused(headers: list[str]) -> None:
    try:
        found = parse_challenges(headers)
    except InvalidAnswer:
        return
    assert all(each.scheme == each.scheme.lower() for each in found)


@given(links, st.booleans())
def test_any_link_stays_at_the_own_origin(link: str, artifactory: bool) -> None:
    origin = "https://r.example"
    try:
        found = next_page([link], origin=origin, target="/v2/r/tags/list?n=1", artifactory=artifactory)
    except InvalidAnswer:
        return
    if found is not None:
        assert found.target.startswith("/") or found.target == "" or found.target.startswith("?")
        assert urlsplit(origin + found.target).hostname == "r.example"


@given(objects.map(lambda value: __import__("json").dumps(value).encode()) | st.binary(max_size=60))
def test_any_list_is_read_or_refused(body: bytes) -> None:
    try:
        found = read_list([body], mark="x", shown="url")
    except InvalidAnswer:
        return
    assert all(found.tags)


@given(
    objects.map(lambda value: __import__("json").dumps(value).encode()) | st.binary(max_size=60), st.text(max_size=20)
)
def test_any_manifest_is_read_or_unsupported(body: bytes, content_type: str) -> None:
    try:
        parse_manifest(body, content_type=content_type, digest="sha256:" + "0" * 64)  # type: ignore[arg-type]
    except UnsupportedManifest:
        return


@given(objects.map(lambda value: __import__("json").dumps(value).encode()) | st.binary(max_size=60))
def test_any_docker_config_is_read_or_invalid(data: bytes) -> None:
    try:
        assert isinstance(load(data, where=Where(), helpers=True), DockerConfig)
    except SpecError:
        return


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_breaks_the_small_readers(one: str, other: str) -> None:
    Place.of(one).matches(other, None, one)
    rfc3339(one)
    retry_after(one, now=__import__("datetime").datetime.now(__import__("datetime").UTC))
    words(one.encode())
    assert "\n" not in quoted(one)
    assert trusted(one, one) or True


@given(
    st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){1,3}", fullmatch=True),
    st.from_regex(r"[a-z]{1,5}\.(com|net|io)", fullmatch=True),
)
def test_a_stranger_never_gets_credentials(registry: str, stranger: str) -> None:
    labels = registry.split(".")
    if stranger != registry and ".".join(labels[-2:]) != stranger:
        assert not trusted(registry, stranger)


# ------------------------------------------------------------------------------------------ servers that are none


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://x:99999/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"http://[\"\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["nothing", "garbage", "status", "length", "chunk", "half chunk", "header", "location", "port", "realm", "ssh"],
)  # fmt: skip
async def test_a_server_that_is_none_is_one_of_our_errors(
    client: RegistryClient, nobody: Access, answer: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ImageUpdaterError):
            await client.tags(parse_name(f"{host}/acme/app"), nobody)
    finally:
        server.close()
        await server.wait_closed()


async def test_a_name_that_does_not_resolve_is_unavailable(client: RegistryClient, nobody: Access) -> None:
    with pytest.raises(RegistryUnavailable, match="no connection"):
        await client.tags(parse_name("registry.invalid/acme/app"), nobody)


# ------------------------------------------------------------------------------------------ storms


async def test_a_storm_of_429_halves_the_rate_once_and_everybody_gets_an_answer(
    registry: EmbeddedRegistry, make_client: MakeClient, nobody: Access, fake_time: FakeTime
) -> None:
    client = make_client(limits=Limits(rate=100.0, burst=100))
    for number in range(16):
        registry.tag_many(f"r/{number}", ["1"])
    for number in range(16):
        registry.faults.script(f"/r/{number}/", Reply(status=429, headers=[("Retry-After", "5")]))
    found = await asyncio.gather(*(client.tags(parse_name(f"{registry.host}/r/{n}"), nobody) for n in range(16)))
    assert all(each.tags == ("1",) for each in found)
    assert client.budgets[registry.host].rate == 50.0
    assert 5 <= fake_time.passed < 6


async def test_requests_beyond_the_bucket_wait_for_a_time_of_their_own(fake_time: FakeTime) -> None:
    timing = Timing(now=fake_time.now, monotonic=fake_time.monotonic, sleep=fake_time.sleep, random=lambda: 0.5)
    budget = Budgets(timing, Limits(rate=10.0, burst=1, max_wait=1.0))["host"]
    for _ in range(30):
        await budget.enter()
        budget.leave()
    assert len(fake_time.slept) == 29
    assert fake_time.passed == pytest.approx(2.9)
    budget.limited("0.1", 0, Operation())
    with pytest.raises(ImageUpdaterError, match="limits how often"):
        await asyncio.gather(*(budget.enter() for _ in range(30)))


async def test_a_thousand_callers_are_served_at_the_rate(fake_time: FakeTime) -> None:
    timing = Timing(now=fake_time.now, monotonic=fake_time.monotonic, sleep=fake_time.sleep, random=lambda: 0.5)
    budget = Budgets(timing, Limits(rate=200.0, burst=400, concurrency=2000))["host"]
    await asyncio.gather(*(budget.enter() for _ in range(1000)))
    assert len(fake_time.slept) == 600


def test_hosts_that_servers_name_do_not_pile_up(fake_time: FakeTime) -> None:
    """Each 401 may name another realm, each answer another place to be redirected to."""
    timing = Timing(now=fake_time.now, monotonic=fake_time.monotonic, sleep=fake_time.sleep, random=lambda: 0.5)
    budgets = Budgets(timing, Limits())
    budgets["limited"].limited("60", 0, Operation())
    for number in range(25_000):
        assert budgets[f"r{number}.example.org"].host
    assert len(list(budgets)) <= 10_001
    assert budgets["limited"].blocked_for == 60
    metrics = Metrics()
    for number in range(2_000):
        metrics.seconds[metrics.label(f"r{number}.example.org")] += 1.0
    assert len(metrics.seconds) == 1_001


async def test_a_wire_that_nobody_uses_is_given_up(registry: EmbeddedRegistry, fake_time: FakeTime) -> None:
    """A renewed certificate is another wire: the old one must not stay for the life of the process."""
    async with Http(monotonic=fake_time.monotonic, per_host=4) as http:
        for number in range(50):
            await http.exchange("GET", f"{registry.url}/v2/", wire=Wire(ca=b"%d" % number), timeout=10, limit=1 << 20)
            fake_time.passed += 100
        assert len(http._kept) == 9


async def test_an_image_name_cannot_choose_the_path(registry: EmbeddedRegistry) -> None:
    for text in ("../x", "a/../b", "a//b", "a?b", "a#b", "a%2fb"):
        with pytest.raises(SpecError):
            parse_name(f"{registry.host}/{text}")
    assert isinstance(parse_name(f"{registry.host}/a/b"), ImageName)
