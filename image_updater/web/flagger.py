"""Webhooks that a Flagger Canary may call: gates that hold or let go, and news of what became of a rollout.

Flagger posts JSON (name, namespace, phase, checksum, metadata) and goes on with 200; it cannot sign, so who calls shows
a token: `Authorization: Bearer`, `?token=`, or `token` in the webhook's metadata (the safest: Flagger writes the URL of
a webhook that fails into its log). 403 holds, with the reason; a `rollback` hook rolls back with 200 and goes on with
403. Nothing is decided here, and no token is ever written anywhere. A replica that does not lead hands what it is asked
on to the one that does: behind a Service nobody can choose whom he meets.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
from aiohttp import web

from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger("image_updater.web")

GATES: Final = ("confirm-rollout", "confirm-promotion", "rollback")
NEWS: Final = ("post-rollout", "event")

MAX_BODY: Final = 64 << 10
MAX_SECONDS: Final = 10.0
"""For a body to come, and for a decision."""
CONNECT: Final = 2.0
"""Seconds in which a leader takes a connection, or is away."""
MAX_TOKENS: Final = 16
MIN_TOKEN: Final = 16
"""Characters."""
PASSED_ON: Final = "Image-Updater-Passed-On"
"""Header of what another replica was asked: it is not handed on again."""
_MAX_NAME = 253
_MAX_TOLD = 1_000


class FlaggerGate(Protocol):
    """Who decides."""

    def elsewhere(self) -> str:
        """`host:port` of the replica that knows, where this one does not; "" = it does, or knows of no other."""

    async def decide(
        self, namespace: str, canary: str, kind: str, checksum: str, metadata: Mapping[str, str]
    ) -> tuple[bool, str]:
        """Whether a gate (one of GATES) is open for this revision, and why, or why not. Never raises."""

    async def heard(self, namespace: str, canary: str, kind: str, phase: str) -> None:
        """Something became of a Canary (one of NEWS). Never raises."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What Flagger says (its `CanaryWebhookPayload`), without the token."""

    name: str
    namespace: str
    phase: str
    checksum: str
    metadata: Mapping[str, str]


class Tokens:
    """The tokens of a file, one a line: more than one while they are changed. It is read at each call, since a mounted
    Secret moves under us.
    """

    def __init__(self, file: Path) -> None:
        """Raises SpecError when there is no token in it now."""
        self._file = file
        self.read()

    def read(self) -> tuple[bytes, ...]:
        """Raises SpecError."""
        where, remedy = Where(field="--flagger-token-file"), f"write a token of {MIN_TOKEN} characters or more into it"
        try:
            with self._file.open("rb") as file:
                data = file.read(MAX_BODY)
        except OSError as error:
            raise SpecError(f"{self._file} cannot be read: {error.strerror}", where=where, remedy=remedy) from None
        found = tuple(line.strip() for line in data.splitlines() if line.strip())
        if not found or len(found) > MAX_TOKENS or min(map(len, found)) < MIN_TOKEN:
            raise SpecError(
                f"{self._file} holds no token, one of less than {MIN_TOKEN} characters, or more than {MAX_TOKENS}",
                where=where,
                remedy=remedy,
            )
        return found

    def admit(self, shown: list[str]) -> bool:
        """Is one of these one of ours? Takes as long whichever it is. Raises SpecError."""
        known = self.read()
        # JSON and headers can hold what is no text; it is no token then, and no error.
        matches = [hmac.compare_digest(ours, each.encode(errors="surrogatepass")) for each in shown for ours in known]
        return any(matches)


class Flagger:
    """The handlers of one gate."""

    def __init__(self, gate: FlaggerGate, tokens: Tokens) -> None:
        self._gate = gate
        self._tokens = tokens
        self._told: OrderedDict[tuple[str, str, str], tuple[bool, str]] = OrderedDict()
        """What was logged last of each gate: Flagger asks every few seconds."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post(f"/flagger/{kind}", self._handle) for kind in (*GATES, *NEWS)]

    async def _handle(self, request: web.Request) -> web.Response:
        kind = request.path.rpartition("/")[2]
        try:
            async with asyncio.timeout(MAX_SECONDS):
                data = await _body(request.content)
        except TimeoutError:
            return _answer(408, "the body did not come in time")
        if data is None:
            return _answer(413, f"the body is larger than {MAX_BODY >> 10} KiB")
        value = _json(data)
        try:
            admitted = self._tokens.admit(_shown(request, value))
        except SpecError as error:
            log.warning("Flagger's gates are closed: %s", error)
            return _answer(503, "there is no token to compare with")
        if not admitted:
            return _answer(401, "no token, or a wrong one")
        payload = _payload(value)
        if payload is None:
            return _answer(400, "this is no webhook of a Canary: name and namespace must be there")
        leader = self._gate.elsewhere() if PASSED_ON not in request.headers else ""
        if leader:
            return await _passed_on(request, data, leader)
        if kind in NEWS:
            await self._gate.heard(payload.namespace, payload.name, kind, payload.phase)
            return _answer(200, "heard")
        try:
            async with asyncio.timeout(MAX_SECONDS):
                passes, reason = await self._gate.decide(
                    payload.namespace, payload.name, kind, payload.checksum, payload.metadata
                )
        except TimeoutError:
            passes, reason = False, "there was no decision in time"
        self._tell(payload, kind, passes, reason)
        return _answer(200 if passes else 403, reason)

    def _tell(self, payload: Payload, kind: str, passes: bool, reason: str) -> None:
        key = (payload.namespace, payload.name, kind)
        if self._told.get(key) != (passes, reason):
            self._told[key] = (passes, reason)
            log.info("Canary %s/%s: %s %s: %s", *key, "passes" if passes else "holds", reason)
        self._told.move_to_end(key)
        if len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)


async def _passed_on(request: web.Request, data: bytes, leader: str) -> web.Response:
    """What the leader answers. One that is away, or no leader of ours, holds."""
    away = _answer(503, "this replica does not lead, and the one that does cannot be reached")
    if not _is_address(leader):
        return away
    headers = {PASSED_ON: "1", "Content-Type": "application/json"}
    if "Authorization" in request.headers:
        headers["Authorization"] = request.headers["Authorization"]
    timeout = aiohttp.ClientTimeout(total=MAX_SECONDS, connect=CONNECT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                f"http://{leader}{request.path}",
                params=request.query,
                data=data,
                headers=headers,
                allow_redirects=False,
            ) as answer,
        ):
            said, status = _json(await _body(answer.content) or b""), answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("the replica that leads, %s, does not answer: %s", leader, type(error).__name__)
        return away
    reason = said.get("reason") if said is not None else None
    return _answer(status, reason) if isinstance(reason, str) else away


def _is_address(text: str) -> bool:
    """`address:port`, and nothing that would lead elsewhere."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return port.isascii() and port.isdigit()


async def _body(content: aiohttp.StreamReader) -> bytes | None:
    """None where it is too large."""
    data = bytearray()
    async for chunk in content.iter_any():
        data += chunk
        if len(data) > MAX_BODY:
            return None
    return bytes(data)


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _shown(request: web.Request, value: Mapping[str, Any] | None) -> list[str]:
    """The tokens that a request shows, wherever."""
    scheme, _, header = request.headers.get("Authorization", "").partition(" ")
    metadata = value.get("metadata") if value is not None else None
    found = [
        header.strip() if scheme.lower() == "bearer" else None,
        request.query.get("token"),
        metadata.get("token") if isinstance(metadata, dict) else None,
    ]
    return [each for each in found if isinstance(each, str) and each]


def _payload(value: Mapping[str, Any] | None) -> Payload | None:
    if value is None:
        return None
    texts = {key: value.get(key, "") for key in ("name", "namespace", "phase", "checksum")}
    if not all(isinstance(text, str) and len(text) <= _MAX_NAME for text in texts.values()):
        return None
    if not _is_name(texts["name"]) or not _is_name(texts["namespace"]):
        return None
    metadata = value.get("metadata")
    said = {
        key: text
        for key, text in (metadata.items() if isinstance(metadata, dict) else ())
        if isinstance(text, str) and key != "token"
    }
    return Payload(metadata=said, **texts)


def _is_name(text: str) -> bool:
    """Near enough to how Kubernetes names objects: it stands in a path of ours."""
    return bool(text) and text.isascii() and text.replace("-", "").replace(".", "").isalnum() and text == text.lower()


def _answer(status: int, reason: str) -> web.Response:
    return web.json_response({"reason": reason}, status=status)
