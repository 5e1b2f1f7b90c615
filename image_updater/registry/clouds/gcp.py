"""Google's Artifact Registry and Container Registry: an OAuth access token as the password of `oauth2accesstoken`.

From the file that GOOGLE_APPLICATION_CREDENTIALS names (a service account's key, or workload identity federation), else
from the metadata server (GKE workload identity).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from image_updater.registry.clouds.answers import FORM, Fetch, expect, read_file, read_object, seconds, text, when
from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import AuthenticationFailed, RegistryUnavailable

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_HOSTS = (".pkg.dev", ".gcr.io")
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_WHO = "Google's token service"


async def login(
    host: str, environment: Mapping[str, str], fetch: Fetch, *, now: datetime
) -> tuple[Credentials | None, datetime | None]:
    """`oauth2accesstoken` and a token of about an hour for `REGION-docker.pkg.dev`, `gcr.io`, `*.gcr.io`."""
    if host != "gcr.io" and not host.endswith(_HOSTS):
        return None, None
    path = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path:
        value = await _from_file(path, fetch, now)
    else:
        value = await _from_metadata(environment, fetch)
    token = text(value, "access_token", _WHO)
    until = when(value.get("expireTime"))
    if until is None:
        until = now + timedelta(seconds=seconds(value.get("expires_in")) or 300)
    return Credentials(username="oauth2accesstoken", password=token), until


async def _from_metadata(environment: Mapping[str, str], fetch: Fetch) -> Mapping[str, object]:
    host = environment.get("GCE_METADATA_HOST") or "metadata.google.internal"
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    try:
        answer = await fetch("GET", url, {"Metadata-Flavor": "Google"}, None)
    except RegistryUnavailable:
        raise AuthenticationFailed(
            "no Google identity is to be had: no credentials file, and no metadata server answers",
            remedy="set up workload identity, or GOOGLE_APPLICATION_CREDENTIALS",
        ) from None
    return read_object(answer, "the metadata server")


async def _from_file(path: str, fetch: Fetch, now: datetime) -> Mapping[str, object]:
    raw = await asyncio.to_thread(read_file, path, "GOOGLE_APPLICATION_CREDENTIALS")
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AuthenticationFailed("GOOGLE_APPLICATION_CREDENTIALS is not a JSON object", remedy=f"see {path}")
    match value.get("type"):
        case "service_account":
            return await _service_account(value, fetch, now)
        case "external_account":
            return await _federated(value, fetch)
        case "authorized_user":
            form = {
                "grant_type": "refresh_token",
                **{key: text(value, key, path) for key in ("client_id", "client_secret", "refresh_token")},
            }
            url = str(value.get("token_uri") or "https://oauth2.googleapis.com/token")
            return await _post(fetch, url, form, (form["client_secret"], form["refresh_token"]))
        case other:
            raise AuthenticationFailed(
                f"GOOGLE_APPLICATION_CREDENTIALS has the type {str(other)[:40]!r}, which is not supported",
                remedy="use service_account, external_account or authorized_user",
            )


async def _service_account(value: Mapping[str, object], fetch: Fetch, now: datetime) -> Mapping[str, object]:
    """A JWT signed by the account's key is exchanged for a token (RFC 7523)."""
    url = str(value.get("token_uri") or "https://oauth2.googleapis.com/token")
    _require_https(url)
    issued = int(now.timestamp())
    claims = {
        "iss": text(value, "client_email", "the credentials file"),
        "scope": _SCOPE,
        "aud": url,
        "iat": issued,
        "exp": issued + 3600,
    }
    header = {"alg": "RS256", "typ": "JWT", "kid": str(value.get("private_key_id") or "")}
    signed = f"{_segment(header)}.{_segment(claims)}"
    try:
        key = serialization.load_pem_private_key(text(value, "private_key", "the credentials file").encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthenticationFailed("the private_key of the credentials file cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise AuthenticationFailed("the private_key of the credentials file is no RSA key")
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assertion = f"{signed}.{_base64(signature)}"
    return await _post(fetch, url, {"grant_type": _JWT_BEARER, "assertion": assertion}, (assertion,))


async def _federated(value: Mapping[str, object], fetch: Fetch) -> Mapping[str, object]:
    """Workload identity federation: a foreign token is exchanged (RFC 8693), then, where the file says so, for an
    account's.
    """
    subject = await _subject_token(value, fetch)
    url = str(value.get("token_url") or "https://sts.googleapis.com/v1/token")
    form = {
        "grant_type": _EXCHANGE,
        "audience": text(value, "audience", "the credentials file"),
        "scope": _SCOPE,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": text(value, "subject_token_type", "the credentials file"),
        "subject_token": subject,
    }
    found = await _post(fetch, url, form, (subject,))
    account = value.get("service_account_impersonation_url")
    if not isinstance(account, str) or not account:
        return found
    _require_https(account)
    token = text(found, "access_token", _WHO)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"scope": [_SCOPE]}).encode()
    answer = read_object(await fetch("POST", account, headers, body), "Google's IAM service", (token,))
    return {"access_token": answer.get("accessToken"), "expireTime": answer.get("expireTime")}


async def _subject_token(value: Mapping[str, object], fetch: Fetch) -> str:
    source = value.get("credential_source")
    if not isinstance(source, Mapping):
        raise AuthenticationFailed("the credentials file has no credential_source")
    if path := source.get("file"):
        raw = await asyncio.to_thread(read_file, str(path), "the subject token")
    elif url := source.get("url"):
        given = source.get("headers")
        headers = {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {}
        raw = expect(await fetch("GET", str(url), headers, None), "the credential source").decode("utf-8", "replace")
    else:
        raise AuthenticationFailed(
            "the credential_source of the credentials file is not supported", remedy="use one with `file` or `url`"
        )
    form = source.get("format")
    if not isinstance(form, Mapping) or form.get("type") != "json":
        return raw.strip()
    try:
        found = json.loads(raw)[str(form.get("subject_token_field_name") or "access_token")]
    except (ValueError, KeyError, TypeError):
        raise AuthenticationFailed("the credential source does not hold the token that its format names") from None
    return str(found)


async def _post(fetch: Fetch, url: str, form: Mapping[str, str], secrets: tuple[str, ...]) -> Mapping[str, object]:
    _require_https(url)
    return read_object(await fetch("POST", url, FORM, urlencode(form).encode()), _WHO, secrets)


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise AuthenticationFailed("the credentials file names a token service that is not https")


def _segment(value: object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
