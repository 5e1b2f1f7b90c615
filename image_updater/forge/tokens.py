"""Tokens of GitHub Apps for the rooms that know no HTTP: kept until shortly before their end, one client a renewal."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from image_updater.forge.errors import ForgeDenied
from image_updater.forge.github_app import InstallationToken, installation_token

TIMEOUT = 30.0
_RENEW = timedelta(minutes=5)

Open = Callable[[bytes | None, str | None], httpx.AsyncClient]
"""CA (PEM) and proxy → a client, as `open_client`."""


def open_client(ca: bytes | None, proxy: str | None) -> httpx.AsyncClient:
    """A client that trusts `ca` alone where there is one. `proxy`: a URL, `auto` for the environment's, None for none.

    Raises ForgeDenied for a CA that is none.
    """
    auto = proxy == "auto"
    try:
        verify = ssl.create_default_context(cadata=ca.decode("ascii")) if ca is not None else True
    except (ssl.SSLError, ValueError) as exc:
        raise ForgeDenied("ca.crt holds no PEM certificate", remedy="put the CA's certificate there") from exc
    return httpx.AsyncClient(timeout=TIMEOUT, verify=verify, trust_env=auto, proxy=None if auto else proxy)


class Tokens:
    """Hands out installation tokens; those who ask at one moment share one request."""

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), open_client: Open = open_client
    ) -> None:
        self._now = now
        self._open = open_client
        self._kept: dict[str, InstallationToken] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(
        self,
        *,
        app_id: str,
        installation_id: str,
        private_key: bytes,
        base_url: str,
        ca: bytes | None = None,
        proxy: str | None = None,
    ) -> str:
        """A token that lives for five minutes at least. Raises ForgeDenied, ForgeUnavailable, AppKeyInvalid."""
        digest = hashlib.sha256(private_key).hexdigest()
        key = f"{base_url} {app_id} {installation_id} {digest}"
        async with self._locks.setdefault(key, asyncio.Lock()):
            now = self._now()
            known = self._kept.get(key)
            if known is None or known.expires_at - now < _RENEW:
                async with self._open(ca, proxy) as client:
                    known = self._kept[key] = await installation_token(
                        client,
                        app_id=app_id,
                        installation_id=installation_id,
                        private_key=private_key,
                        base_url=base_url,
                        now=now,
                    )
            return known.token
