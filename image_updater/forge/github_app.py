"""GitHub App → installation token: a JWT signed with the app's key (RS256, RFC 7519), exchanged for a token that lives
an hour.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app
The token is handed to git/ as a value (`GitAccess.with_token`); neither it nor the key is ever in an error or a `repr`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from image_updater.forge.errors import AppKeyInvalid, ForgeDenied, ForgeUnavailable

_LIFE = timedelta(minutes=9)
"""Of the JWT: GitHub takes ten minutes at most."""
_SKEW = timedelta(seconds=60)
_MAX_BODY = 1 << 20
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationToken:
    """A token and when it ends."""

    token: str = field(repr=False)
    expires_at: datetime


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(app_id: str, private_key: bytes, now: datetime) -> str:
    """The app's own short-lived proof. Raises AppKeyInvalid."""
    try:
        key = serialization.load_pem_private_key(private_key.replace(b"\r\n", b"\n"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise AppKeyInvalid(
            f"githubAppPrivateKey cannot be read: {type(exc).__name__}",
            remedy="use the PEM file that GitHub generated, unencrypted",
        ) from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise AppKeyInvalid("githubAppPrivateKey is no RSA key", remedy="use the PEM file that GitHub generated")
    claims = {"iat": int((now - _SKEW).timestamp()), "exp": int((now + _LIFE).timestamp()), "iss": app_id}
    head = _b64(json.dumps({"alg": "RS256", "typ": "JWT"}, separators=(",", ":")).encode())
    signed = f"{head}.{_b64(json.dumps(claims, separators=(',', ':')).encode())}"
    return f"{signed}.{_b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def installation_token(
    client: httpx.AsyncClient,
    *,
    app_id: str,
    installation_id: str,
    private_key: bytes,
    base_url: str = "https://api.github.com",
    now: datetime | None = None,
) -> InstallationToken:
    """Exchange the app's key for a token of one installation. Raises ForgeDenied, ForgeUnavailable."""
    if not app_id.strip() or not installation_id.isdigit():
        raise ForgeDenied(
            "githubAppID or githubAppInstallationID is not what GitHub shows", remedy="both are on the app's page"
        )
    moment = now or datetime.now(UTC)
    base = base_url.rstrip("/")
    _require_https(base)
    url = f"{base}/app/installations/{installation_id}/access_tokens"
    headers = {
        "Authorization": f"Bearer {jwt(app_id, private_key, moment)}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "image-updater",
    }
    try:
        # Never to another host with the proof in hand.
        async with client.stream("POST", url, headers=headers, follow_redirects=False) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BODY:
                    raise ForgeUnavailable(
                        f"{base} answered more than {_MAX_BODY} bytes", remedy="check githubAppBaseURL"
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ForgeUnavailable(
            f"{base} does not answer: {type(exc).__name__} {exc}", remedy="it is tried again"
        ) from exc
    return _read(response, body, base, installation_id, moment)


def _require_https(base: str) -> None:
    """The proof is as good as the key for nine minutes: it is not shown to a network in clear."""
    try:
        parts = urlsplit(base)
        good = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        good = False
    if not good:
        raise ForgeDenied("githubAppBaseURL is not an https:// address", remedy="use https://HOST/api/v3")


def _read(response: httpx.Response, body: bytes, base: str, installation: str, now: datetime) -> InstallationToken:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    said = str(answer.get("message", "")) if isinstance(answer, dict) else ""
    status = response.status_code
    limited = status == 429 or (status == 403 and response.headers.get("x-ratelimit-remaining") == "0")
    if limited or status >= 500:
        raise ForgeUnavailable(
            f"{base} answered {status} {said}".strip(), until=_until(response, now), remedy="it is tried again"
        )
    if status == 404:
        raise ForgeDenied(
            f"{base} has no installation {installation} of this app", remedy="check githubAppInstallationID"
        )
    if status != 201:
        remedy = "check githubAppBaseURL" if 300 <= status < 400 else "check githubAppID, its key and the clock"
        raise ForgeDenied(f"{base} refuses the app: {status} {said}".strip(), remedy=remedy)
    token, expires = (answer.get("token"), answer.get("expires_at")) if isinstance(answer, dict) else (None, None)
    if not isinstance(token, str) or not token or not isinstance(expires, str):
        raise ForgeUnavailable(f"{base} answered without a token", remedy="check githubAppBaseURL")
    try:
        end = datetime.fromisoformat(expires)
    except ValueError as exc:
        raise ForgeUnavailable(f"{base} answered with an unreadable expiry", remedy="check githubAppBaseURL") from exc
    return InstallationToken(token=token, expires_at=end if end.tzinfo else end.replace(tzinfo=UTC))


def _until(response: httpx.Response, now: datetime) -> datetime | None:
    after, reset = response.headers.get("retry-after"), response.headers.get("x-ratelimit-reset")
    try:
        if after is not None:
            return now + timedelta(seconds=int(after)) if after.isdigit() else parsedate_to_datetime(after)
        return datetime.fromtimestamp(int(reset), UTC) if reset else None
    except (ValueError, OverflowError):
        return None
