"""facts/registries.md, "errors": each line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.errors import ImageUpdaterError, RegistryError, Terminal, Transient
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    AuthenticationFailed,
    InvalidAnswer,
    ListIncomplete,
    NotARegistry,
    PermissionDenied,
    RateLimited,
    RegistryClient,
    RegistryUnavailable,
    RepositoryNotFound,
    TagNotFound,
    UnsupportedManifest,
    anonymous,
)
from image_updater.registry.errors import quoted
from tests.parts.tools import free_port

if TYPE_CHECKING:
    from tests.unit.registry.conftest import FakeTime, MakeClient

BASIC = [("WWW-Authenticate", 'Basic realm="x"')]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        pytest.param(
            Reply(
                status=401,
                body='{"errors":[{"code":"UNAUTHORIZED","message":"action requires authentication"}]}',
            ),
            AuthenticationFailed,
            "action requires authentication",
            id="401 with a message",
        ),
        pytest.param(
            Reply(status=401, body="{invalid json}"), AuthenticationFailed, "how to log in", id="401 invalid json"
        ),
        pytest.param(Reply(status=401), AuthenticationFailed, "how to log in", id="401 empty"),
        pytest.param(
            Reply(status=403, body='{"details":"requesting higher privileges than access token allows"}'),
            PermissionDenied,
            "requesting higher privileges than access token allows",
            id="403",
        ),
        pytest.param(
            Reply(status=404, body='{"randomkey":"randomvalue"}'),
            RepositoryNotFound,
            '{"randomkey":"randomvalue"}',
            id="404 with a body of its own",
        ),
        pytest.param(
            Reply(status=501, body='{"Error Encountered" : "Function not implemented."}'),
            RegistryUnavailable,
            "501: .*Function not implemented",
            id="501",
        ),
        pytest.param(Reply(status=418), RegistryUnavailable, "unexpected answer 418", id="418"),
    ],
)
async def test_an_error_answer_becomes(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    reply: Reply,
    error: type[ImageUpdaterError],
    said: str,
) -> None:
    registry.faults.always("tags/list", reply)
    with pytest.raises(error, match=said) as caught:
        await client.tags(image, nobody)
    assert caught.value.remedy
    assert registry.requests["GET tags"] == 1


async def test_a_long_body_is_cut(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.always("tags/list", Reply(status=404, body='{"x":"' + "y" * 100_000 + '"}'))
    with pytest.raises(RepositoryNotFound) as caught:
        await client.tags(image, nobody)
    assert len(str(caught.value)) < 600


async def test_another_registrys_node_is_tried_under_library_once(
    registry: EmbeddedRegistry, client: RegistryClient, nobody: Access
) -> None:
    with pytest.raises(RepositoryNotFound):
        await client.tags(parse_name(f"{registry.host}/node"), nobody)
    paths = [seen.target.partition("?")[0] for seen in registry.seen]
    assert paths == ["/v2/node/tags/list", "/v2/library/node/tags/list", "/v2/"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_is_tried_again_with_backoff(
    registry: EmbeddedRegistry,
    client: RegistryClient,
    image: ImageName,
    nobody: Access,
    fake_time: FakeTime,
    status: int,
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("tags/list", Reply(status=status), Reply(status=status))
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)
    assert fake_time.slept == [0.375, 0.75]


@pytest.mark.parametrize("status", [500, 503, 599])
async def test_a_server_error_that_stays_is_transient(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, status: int
) -> None:
    registry.faults.always("tags/list", Reply(status=status))
    with pytest.raises(RegistryUnavailable, match=str(status)) as caught:
        await client.tags(image, nobody)
    assert isinstance(caught.value, Transient)


async def test_a_short_retry_after_of_503_is_kept(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, fake_time: FakeTime
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("tags/list", Reply(status=503, headers=[("Retry-After", "4")]))
    await client.tags(image, nobody)
    assert fake_time.slept == [4.0]


async def test_a_registry_that_is_down_is_an_error_without_a_traceback_of_others(
    client: RegistryClient, nobody: Access, fake_time: FakeTime
) -> None:
    image = parse_name(f"127.0.0.1:{free_port()}/acme/app")
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match="no connection") as caught:
            await client.tags(image, nobody)
        assert caught.value.__cause__ is None
        fake_time.passed += 8 * 3600


async def test_a_body_that_is_cut_is_tried_again_and_never_used(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("tags/list", Reply(body='{"name":"acme/app","tags":["0.9.0"]}', cut=True))
    assert (await client.tags(image, nobody)).tags == ("1.0.0",)
    registry.faults.always("tags/list", Reply(body='{"name":"acme/app","tags":["0.9.0"]}', cut=True))
    with pytest.raises(RegistryUnavailable, match="cut"):
        await client.tags(image, nobody)


async def test_a_slow_page_ends_at_the_policys_timeout(
    registry: EmbeddedRegistry, make_client: MakeClient, image: ImageName
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.page_delay = 5.0
    with pytest.raises(RegistryUnavailable, match=r"within 0\.05 s"):
        await make_client(attempts=1).tags(image, anonymous(insecure=True, timeout=0.05))


async def test_a_body_beyond_the_limit_is_not_read(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    registry.faults.script("GET /v2/acme/app/manifests", Reply(body=b" " * (5 << 20)))
    with pytest.raises(InvalidAnswer, match="larger than"):
        await client.describe(image, "1.0.0", nobody)


async def test_a_compressed_bomb_is_not_unpacked(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    import gzip

    bomb = gzip.compress(b"\0" * (64 << 20), compresslevel=9)
    registry.faults.script("tags/list", Reply(body=bomb, headers=[("Content-Encoding", "gzip")]))
    with pytest.raises(InvalidAnswer, match="larger than"):
        await client.tags(image, nobody)


@pytest.mark.parametrize("cut", [0, 12], ids=["whole", "cut"])
async def test_a_compressed_list_is_read_whole_or_not_at_all(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, cut: int
) -> None:
    import gzip

    body = gzip.compress(b'{"name":"r","tags":["1.0.0"]}')
    registry.faults.script("tags/list", Reply(body=body[: len(body) - cut], headers=[("Content-Encoding", "gzip")]))
    if cut:
        with pytest.raises(InvalidAnswer, match="ends too early"):
            await client.tags(image, nobody)
    else:
        assert (await client.tags(image, nobody)).tags == ("1.0.0",)


async def test_an_encoding_that_was_not_asked_for_is_refused(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.script("tags/list", Reply(body=b"x", headers=[("Content-Encoding", "br")]))
    with pytest.raises(InvalidAnswer, match="'br'"):
        await client.tags(image, nobody)


def test_every_error_has_a_reason_of_its_own() -> None:
    transient = [
        RateLimited,
        RegistryUnavailable,
        InvalidAnswer,
        ListIncomplete,
        RepositoryNotFound,
        NotARegistry,
        TagNotFound,
        UnsupportedManifest,
    ]
    denied = [AuthenticationFailed, PermissionDenied]
    assert all(issubclass(each, RegistryError) for each in transient)
    assert all(issubclass(each, Terminal) for each in denied)
    leaves: list[type[ImageUpdaterError]] = [*transient, *denied]
    reasons = [each.reason for each in leaves]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token Bearer eyJhbGciOiJSUzI1NiJ9.e30.x refused", "token Bearer *** refused"),
        ("see https://s.example/blob?X-Amz-Signature=abc now", "see https://s.example/blob now"),
        ("a\r\nb\x1b[31mc", "a b [31mc"),
        ("user hunter22 is wrong", "user *** is wrong"),
    ],
    ids=["a bearer token", "a signed URL", "control characters", "the password itself"],
)
def test_a_servers_words_are_made_fit_for_a_log(text: str, expected: str) -> None:
    assert quoted(text, secrets=["hunter22"]) == expected
