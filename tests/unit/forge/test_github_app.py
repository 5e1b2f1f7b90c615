"""Installation tokens of GitHub Apps, against httpx's own transport."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from image_updater.errors import ImageUpdaterError
from image_updater.forge import Tokens, installation_token
from image_updater.forge.errors import AppKeyInvalid, ForgeDenied, ForgeUnavailable
from tests.parts.gitservers import authority

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

    def pad(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

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
    opened: list[tuple[bytes | None, str | None]] = []

    def client(ca: bytes | None, proxy: str | None) -> httpx.AsyncClient:
        opened.append((ca, proxy))
        return httpx.AsyncClient(transport=httpx.MockTransport(GOOD))

    now = [NOW]
    tokens = Tokens(now=lambda: now[0], open_client=client)

    async def get() -> None:
        found = await tokens.token(
            app_id="12", installation_id="34", private_key=PEM, base_url="https://ghe.example", ca=b"x", proxy="auto"
        )
        assert found == "ghs_s3cret"

    await asyncio.gather(get(), get(), get())
    assert opened == [(b"x", "auto")]
    now[0] += timedelta(minutes=54)
    await get()
    assert len(opened) == 1
    now[0] += timedelta(minutes=2)
    await get()
    assert len(opened) == 2


async def test_a_server_of_ones_own_is_reached_by_its_own_ca(tmp_path: Path) -> None:
    """GitHub Enterprise with a private CA, over TLS; nobody else's CA will do, and none is no CA."""
    own = authority("Own CA")
    leaf = own.issue("127.0.0.1")
    (tmp_path / "leaf.pem").write_bytes(leaf.pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem")

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        assert request.path == "/api/v3/app/installations/34/access_tokens"
        return web.json_response({"token": "ghs_s3cret", "expires_at": "2126-01-02T04:04:05Z"}, status=201)

    runner = web.ServerRunner(web.Server(serve, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    base = f"https://127.0.0.1:{runner.addresses[0][1]}/api/v3"

    async def get(ca: bytes | None) -> str:
        return await Tokens().token(app_id="12", installation_id="34", private_key=PEM, base_url=base, ca=ca)

    try:
        assert await get(own.pem) == "ghs_s3cret"
        for ca in (None, authority("Other").pem):
            with pytest.raises(ForgeUnavailable, match="certificate"):
                await get(ca)
        with pytest.raises(ForgeDenied, match="no PEM"):
            await get(b"garbage")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("base", ["http://ghe.example/api/v3", "ftp://x", "https://[", "https://a b", ""])
async def test_the_proof_is_shown_over_https_only(base: str) -> None:
    with pytest.raises(ImageUpdaterError):
        await Tokens().token(app_id="12", installation_id="34", private_key=PEM, base_url=base)
