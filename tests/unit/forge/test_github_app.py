"""Installation tokens of GitHub Apps, against httpx's own transport."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from image_updater.errors import ImageUpdaterError
from image_updater.forge import TokenCache, installation_token
from image_updater.forge.errors import AppKeyInvalid, ForgeDenied, ForgeUnavailable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)


def answer(status: int, body: object = None, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda request: httpx.Response(
        status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


GOOD = answer(201, {"token": "ghs_s3cret", "expires_at": "2026-01-02T04:04:05Z"})


async def test_the_proof_is_signed_and_the_token_read() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return GOOD(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        token = await installation_token(
            client, app_id="12", installation_id="34", private_key=PEM, base_url="https://ghe.example/api/v3/", now=NOW
        )
    assert token.token == "ghs_s3cret"
    assert "ghs_s3cret" not in repr(token)
    assert token.expires_at == NOW + timedelta(hours=1)
    assert str(seen[0].url) == "https://ghe.example/api/v3/app/installations/34/access_tokens"
    head, claims, signature = seen[0].headers["authorization"].removeprefix("Bearer ").split(".")
    pad = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # noqa: E731
    KEY.public_key().verify(pad(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    said = json.loads(pad(claims))
    assert said["iss"] == "12"
    assert said["iat"] < NOW.timestamp() < said["exp"] <= NOW.timestamp() + 600


@pytest.mark.parametrize(
    ("handle", "error"),
    [
        (answer(401, {"message": "A JSON web token could not be decoded"}), ForgeDenied),
        (answer(403, {"message": "suspended"}), ForgeDenied),
        (
            answer(403, {"message": "limit"}, x_ratelimit_remaining="0", x_ratelimit_reset="1767326645"),
            ForgeUnavailable,
        ),
        (answer(404, {"message": "Not Found"}), ForgeDenied),
        (answer(302, b"", location="https://evil.example/"), ForgeDenied),
        (answer(429, {}, retry_after="7"), ForgeUnavailable),
        (answer(502, b"<html>"), ForgeUnavailable),
        (answer(201, b"not json"), ForgeUnavailable),
        (answer(201, {"token": 7}), ForgeUnavailable),
        (answer(201, {"token": "x", "expires_at": "soon"}), ForgeUnavailable),
        (answer(201, [1]), ForgeUnavailable),
        (answer(201, b"x" * (2 << 20)), ForgeUnavailable),
    ],
)
async def test_every_other_answer_is_an_error_with_a_remedy(
    handle: Callable[[httpx.Request], httpx.Response], error: type[ImageUpdaterError]
) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        with pytest.raises(error) as caught:
            await installation_token(client, app_id="12", installation_id="34", private_key=PEM, now=NOW)
    assert caught.value.remedy
    assert "PRIVATE" not in str(caught.value)


async def test_a_rate_limit_says_until_when() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer(429, {}, retry_after="7"))) as client:
        with pytest.raises(ForgeUnavailable) as caught:
            await installation_token(client, app_id="12", installation_id="34", private_key=PEM, now=NOW)
    assert caught.value.until == NOW + timedelta(seconds=7)


@pytest.mark.parametrize(
    "key",
    [
        b"garbage",
        b"",
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    ],
    ids=["garbage", "empty", "ed25519"],
)
async def test_a_wrong_key_is_refused_before_any_request(key: bytes) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(GOOD)) as client:
        with pytest.raises(AppKeyInvalid):
            await installation_token(client, app_id="12", installation_id="34", private_key=key, now=NOW)


async def test_a_token_is_shared_and_renewed_in_time() -> None:
    count = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return GOOD(request)

    time = NOW.timestamp()
    cache = TokenCache(clock=lambda: time)
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:

        async def get() -> None:
            await cache.get(
                client, app_id="12", installation_id="34", private_key=PEM, base_url="https://api.github.com"
            )

        await asyncio.gather(get(), get(), get())
        assert count == 1
        time += 54 * 60
        await get()
        assert count == 1
        time += 2 * 60
        await get()
        assert count == 2
