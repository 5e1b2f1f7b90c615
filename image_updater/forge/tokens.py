"""Tokens of GitHub Apps for the rooms that know no HTTP: one cache a process, one short-lived client a renewal."""

from __future__ import annotations

import httpx

from image_updater.forge.github_app import TokenCache

TIMEOUT = 30.0


class Tokens:
    """Hands out installation tokens; each is renewed five minutes before it ends."""

    def __init__(self) -> None:
        self._cache = TokenCache()

    async def token(self, *, app_id: str, installation_id: str, private_key: bytes, base_url: str) -> str:
        """Raises ForgeDenied, ForgeUnavailable, AppKeyInvalid."""
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            found = await self._cache.get(
                client, app_id=app_id, installation_id=installation_id, private_key=private_key, base_url=base_url
            )
        return found.token
