"""Bearer tokens: asked for once however many wait, kept as long as they live, renewed by refresh token where there is
one.

Follows the token and OAuth 2 specifications of the distribution project. Credentials go only to realms that realms.py
trusts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import AuthenticationFailed, InvalidAnswer, RegistryUnavailable, quoted
from image_updater.registry.http import Answer
from image_updater.registry.manifests import rfc3339

Fetch = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[Answer]]
"""method, URL, headers, body → answer; the wire, time-outs, budget and limits are the caller's."""

_SHORTEST = 60
_LONGEST = 30 * 24 * 3600
_SKEW = timedelta(hours=1)
_CLIENT_ID = "image-updater"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a token is for; the cache's key together with who asks."""

    identity: str
    realm: str
    service: str | None
    scope: str

    @property
    def host(self) -> str:
        return urlsplit(self.realm).netloc


@dataclass(slots=True)
class Token:
    value: str = field(repr=False)
    expires_at: datetime
    refresh: str | None = field(default=None, repr=False)

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


class Tokens:
    """The cache of one client. `get` says whether the token was made for this very call (a 401 to a fresh one is
    final).
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._tokens: dict[Ask, Token] = {}
        self._refresh: dict[Ask, str] = {}
        self._locks: dict[Ask, asyncio.Lock] = {}
        self.requests = 0

    def cached(self, ask: Ask) -> Token | None:
        token = self._tokens.get(ask)
        return token if token is not None and token.expires_at > self._now() else None

    async def get(self, ask: Ask, credentials: Credentials | None, fetch: Fetch) -> tuple[Token, bool]:
        """A living token. Raises AuthenticationFailed, RegistryUnavailable, InvalidAnswer."""
        token = self.cached(ask)
        if token is not None:
            return token, False
        lock = self._locks.setdefault(ask, asyncio.Lock())
        async with lock:
            token = self.cached(ask)
            if token is None:
                self._forget_old()
                token = self._tokens[ask] = await self._request(ask, credentials, fetch)
                if token.refresh:
                    self._refresh[ask] = token.refresh
        return token, True

    def drop(self, ask: Ask, token: str) -> None:
        """Forget a token that was refused, unless another took its place meanwhile. Its refresh token stays."""
        found = self._tokens.get(ask)
        if found is not None and found.header == token:
            del self._tokens[ask]

    def _forget_old(self) -> None:
        if len(self._tokens) > 10_000:
            now = self._now()
            self._tokens = {ask: token for ask, token in self._tokens.items() if token.expires_at > now}
            self._refresh = {ask: refresh for ask, refresh in self._refresh.items() if ask in self._tokens}
            self._locks = {ask: lock for ask, lock in self._locks.items() if lock.locked()}

    async def _request(self, ask: Ask, credentials: Credentials | None, fetch: Fetch) -> Token:
        self.requests += 1
        refresh = self._refresh.pop(ask, None)
        if refresh is not None:
            answer = await self._oauth(ask, refresh, fetch)
            if answer.status == 200:
                # A server that rotates refresh tokens sends the next one; one that does not means the old to be kept.
                token = read(answer, ask, self._now())
                token.refresh = token.refresh or refresh
                return token
        if credentials is not None and credentials.identity_token:
            answer = await self._oauth(ask, credentials.identity_token, fetch)
        else:
            basic = credentials.basic if credentials is not None else None
            headers = {"Authorization": basic} if basic else {}
            answer = await fetch("GET", _with_query(ask), headers, None)
        return self._judge(answer, ask, credentials)

    async def _oauth(self, ask: Ask, refresh: str, fetch: Fetch) -> Answer:
        form = {"grant_type": "refresh_token", "refresh_token": refresh, "scope": ask.scope, "client_id": _CLIENT_ID}
        if ask.service is not None:
            form["service"] = ask.service
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await fetch("POST", ask.realm, headers, urlencode(form).encode())

    def _judge(self, answer: Answer, ask: Ask, credentials: Credentials | None) -> Token:
        if answer.status == 200:
            return read(answer, ask, self._now())
        secrets = credentials.secrets if credentials else ()
        if answer.status >= 500 or answer.status in {404, 408} or 300 <= answer.status < 400:
            raise RegistryUnavailable(f"the token server {ask.host} answers {answer.status}")
        said = words(answer.body, secrets)
        raise AuthenticationFailed(
            f"the token server {ask.host} gives no token ({answer.status})" + (f": {said}" if said else ""),
            remedy="check the credentials"
            if credentials
            else "the image may be private: log in, or set spec.secretRef",
        )


def read(answer: Answer, ask: Ask, now: datetime) -> Token:
    """`access_token` wins over `token`; it lives from `issued_at` (now, if absent) for `expires_in` seconds, 60 at
    least.
    """
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"the token server {ask.host} does not answer in JSON") from None
    found = value.get("access_token") or value.get("token") if isinstance(value, dict) else None
    if not isinstance(found, str) or not found or not found.isascii() or not found.isprintable() or " " in found:
        raise AuthenticationFailed(
            f"the token server {ask.host} answers without a token",
            remedy="check that it is the registry's token server",
        )
    seconds = value.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:
        seconds = _SHORTEST
    issued = value.get("issued_at")
    since = (rfc3339(issued) if isinstance(issued, str) else None) or now
    lifetime = timedelta(seconds=min(max(seconds, _SHORTEST), _LONGEST))
    refresh = value.get("refresh_token")
    # A server's clock may be ahead, but not by years.
    return Token(found, min(since, now + _SKEW) + lifetime, refresh if isinstance(refresh, str) and refresh else None)


def words(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    """What an error answer says to a person, from the forms that registries use; '' if it says nothing readable."""
    try:
        value = json.loads(body[:65536])
    except (ValueError, RecursionError):
        return ""
    found: list[str] = []
    if isinstance(value, dict):
        errors = value.get("errors")
        entries = errors if isinstance(errors, list) else [value]
        for entry in entries[:3]:
            if isinstance(entry, dict):
                texts = [entry.get(key) for key in ("message", "details", "error_description", "error", "code")]
                found.extend([text for text in texts if isinstance(text, str) and text][:1])
            elif isinstance(entry, str):
                found.append(entry)
    if not found and value not in ({}, [], None):
        found = [body[:300].decode("utf-8", "replace")]
    return quoted("; ".join(found), secrets=secrets)


def _with_query(ask: Ask) -> str:
    """The realm may have a query of its own; a challenge without service gets none."""
    query = [("service", ask.service)] if ask.service is not None else []
    query.append(("scope", ask.scope))
    base = ask.realm.partition("#")[0]
    return f"{base}{'&' if '?' in base else '?'}{urlencode(query)}"
