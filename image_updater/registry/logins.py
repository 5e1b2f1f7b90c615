"""Whose credentials a request carries: from the docker config or Secret, a cloud's own login, or a credential
helper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from image_updater.api.model import Provider
from image_updater.registry import clouds, helpers
from image_updater.registry.access import Access
from image_updater.registry.clouds import Fetch
from image_updater.registry.dockerconfig import Credentials

_HELPER_LIFETIME = timedelta(minutes=5)
_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Login:
    """`fresh`: nothing newer is to be had, so a refusal is final."""

    credentials: Credentials | None
    fresh: bool


@dataclass(slots=True)
class _Kept:
    credentials: Credentials | None = field(repr=False)
    until: datetime


class Logins:
    """Static entries are read each time; what a cloud or a helper gave is kept while it lives, and asked for once
    at a time.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def find(self, access: Access, host: str, repository: str, fetch: Fetch) -> Login:
        """`host` is the registry as the image names it."""
        entry = access.config.find(host, repository)
        if entry is not None and host not in access.config.cred_helpers:
            return Login(entry[1], True)
        if access.provider is not Provider.GENERIC:
            return await self._keep(
                access, host, lambda: clouds.login(access.provider, host, access.environment, fetch, now=self._now())
            )
        helper = access.config.helper(host)
        if helper is None:
            return Login(None, True)
        name, server = helper
        return await self._keep(access, host, lambda: self._help(name, server, access))

    def drop(self, access: Access, host: str) -> None:
        """The credentials were refused: what was kept is asked for again."""
        self._kept.pop((access.identity, host), None)

    async def _help(self, name: str, server: str, access: Access) -> tuple[Credentials | None, datetime | None]:
        return await helpers.get(name, server, environment=access.environment), None

    async def _keep(
        self,
        access: Access,
        host: str,
        get: Callable[[], Awaitable[tuple[Credentials | None, datetime | None]]],
    ) -> Login:
        key = (access.identity, host)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            now = self._now()
            kept = self._kept.get(key)
            if kept is not None and kept.until > now:
                return Login(kept.credentials, False)
            credentials, until = await get()
            lives = until - _MARGIN if until is not None else now + _HELPER_LIFETIME
            self._kept[key] = _Kept(credentials, lives)
            return Login(credentials, True)
