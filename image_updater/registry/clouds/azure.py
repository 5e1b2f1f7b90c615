"""Azure Container Registry: an Entra ID token of the pod or machine, exchanged at the registry for a refresh token.

The Entra token comes from workload identity (a federated token file), a client secret, App Service, or the instance
metadata service. The registry's own token server then gives access tokens for it (tokens.py treats it as any identity
token).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

from image_updater.registry.clouds.answers import FORM, Fetch, read_file, read_object, text, when
from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import AuthenticationFailed, RegistryUnavailable

_HOSTS = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
_RESOURCE = "https://containerregistry.azure.net"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME = timedelta(hours=1)


async def login(
    host: str, environment: Mapping[str, str], fetch: Fetch, *, now: datetime
) -> tuple[Credentials | None, datetime | None]:
    """A refresh token for `NAME.azurecr.io` (good for three hours, as its `exp` says)."""
    if not host.endswith(_HOSTS):
        return None, None
    token = await _entra(environment, fetch)
    form = {"grant_type": "access_token", "service": host, "access_token": token}
    if tenant := environment.get("AZURE_TENANT_ID"):
        form["tenant"] = tenant
    answer = await fetch("POST", f"https://{host}/oauth2/exchange", FORM, urlencode(form).encode())
    refresh = text(read_object(answer, f"{host} (token exchange)", (token,)), "refresh_token", host)
    return Credentials(identity_token=refresh), _expiry(refresh) or now + _LIFETIME


async def _entra(environment: Mapping[str, str], fetch: Fetch) -> str:
    client, tenant = environment.get("AZURE_CLIENT_ID"), environment.get("AZURE_TENANT_ID")
    path, secret = environment.get("AZURE_FEDERATED_TOKEN_FILE"), environment.get("AZURE_CLIENT_SECRET")
    if client and tenant and (path or secret):
        form = {"grant_type": "client_credentials", "client_id": client, "scope": f"{_RESOURCE}/.default"}
        if path:
            assertion = await asyncio.to_thread(read_file, path, "AZURE_FEDERATED_TOKEN_FILE")
            form |= {"client_assertion_type": _ASSERTION, "client_assertion": assertion}
        else:
            form["client_secret"] = assertion = secret or ""
        base = environment.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com"
        parts = urlsplit(base)
        if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise AuthenticationFailed("AZURE_AUTHORITY_HOST is not https", remedy="correct it")
        url = f"{base.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        answer = await fetch("POST", url, FORM, urlencode(form).encode())
        return text(read_object(answer, "Entra ID", (assertion,)), "access_token", "Entra ID")
    return await _managed(environment, client, fetch)


async def _managed(environment: Mapping[str, str], client: str | None, fetch: Fetch) -> str:
    """The machine's managed identity; which one, where it has several, AZURE_CLIENT_ID says."""
    who = "the managed identity service"
    query = {"resource": f"{_RESOURCE}/"} | ({"client_id": client} if client else {})
    endpoint, header = environment.get("IDENTITY_ENDPOINT"), environment.get("IDENTITY_HEADER")
    if endpoint and header:
        url = f"{endpoint}?{urlencode({'api-version': '2019-08-01', **query})}"
        headers = {"X-IDENTITY-HEADER": header}
    else:
        base = environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or "http://169.254.169.254"
        url = f"{base.rstrip('/')}/metadata/identity/oauth2/token?{urlencode({'api-version': '2018-02-01', **query})}"
        headers = {"Metadata": "true"}
    try:
        answer = await fetch("GET", url, headers, None)
    except RegistryUnavailable:
        raise AuthenticationFailed(
            "no Azure identity is to be had: no workload identity, and no managed identity service answers",
            remedy="set up workload identity or a managed identity",
        ) from None
    return text(read_object(answer, who, (header,) if header else ()), "access_token", who)


def _expiry(token: str) -> datetime | None:
    """The `exp` of a JWT, unverified: it is only a hint for our own cache."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return when(claims.get("exp")) if isinstance(claims, dict) else None
