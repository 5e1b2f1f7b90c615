"""One exchange with an API server: pooled connections, logins that renew themselves, bounded retries, counters.

Requests go over one aiohttp session (docs/adr/0013). All accounts of a server share it. Foreign errors are translated
here and nowhere else; neither headers nor query strings are ever in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from image_updater.cluster import tls
from image_updater.cluster.credentials import Login
from image_updater.cluster.errors import ClusterError, ClusterUnavailable
from image_updater.cluster.refusals import is_written_wrong, parse_status, refusal
from image_updater.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime

    from image_updater.cluster.calls import Call
    from image_updater.cluster.config import ClusterConfig
    from image_updater.errors import ImageUpdaterError

CONNECT = 5.0
TOTAL = 30.0
"""Seconds of one try, body and all."""
PATIENCE = 10.0
"""Seconds from the first try within which another one may begin."""
FIRST_PAUSE = 0.25
SILENCE = 90.0
"""Seconds without a byte after which a watch is taken for dead: servers send a bookmark about every minute."""
MAX_BODY = 64 * 1024 * 1024
_KEEPALIVE = 75.0
"""Seconds that an idle connection is kept; the server closes one after 90."""


class AnswerTooLarge(ClusterError):
    """A body beyond MAX_BODY: it was not read."""


@dataclass(slots=True)
class Metrics:
    """Plain counters, shared by all accounts of a server."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By verb (get, list, watch, create, update, patch, apply, delete) and status code, or `error`."""
    throttled: int = 0
    """Answers 429."""
    seconds: float = 0.0
    """Time spent in requests, watches apart; `requests` has the count."""
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class Transport:
    """Open with `await Transport.open(config, …)`, close with `await close()`."""

    def __init__(
        self,
        config: ClusterConfig,
        session: aiohttp.ClientSession,
        sockets: Sockets,
        *,
        concurrency: int,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
    ) -> None:
        self.config = config
        self.metrics = Metrics()
        self.monotonic = monotonic
        self.clock = clock
        self.sleep = sleep
        self.dice = dice
        self._session = session
        self._sockets = sockets
        self._limit = asyncio.Semaphore(concurrency)
        self._base = URL(config.server)
        self._tls: tuple[tuple[bytes | None, bytes | None], ssl.SSLContext] | None = None

    async def close(self) -> None:
        """The connections of `session` too, whose sessions were closed before."""
        await self._session.close()
        await self._sockets.close()

    def session(self, traces: Sequence[aiohttp.TraceConfig] = ()) -> aiohttp.ClientSession:
        """A session for a library that brings its own requests: our trust, proxy and login, also one that renews."""

        async def log_in(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
            login = await self.config.credentials.login()
            if login.authorization is not None:
                params.headers["Authorization"] = login.authorization

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(log_in)
        made = tls.context(self.config, self._login_now) if self._base.scheme == "https" else True
        agent = self._session.headers.get("User-Agent", "")
        return _session(self.config, made, self._sockets, agent, [trace, *traces])

    async def send(self, call: Call, *, queued: bool = True, fence: Callable[[], None] | None = None) -> Answer:
        """The answer, also one that is an error and that no further try can mend.

        Without `queued` it does not wait for others to be through. `fence` is asked before each try that is no read.
        Raises what it raises, ClusterUnavailable when no answer came, AccessDenied when there is no login.
        """
        began, attempt, renewed = self.monotonic(), 0, False
        renew = False
        while True:
            attempt += 1
            error: ClusterError | None = None
            try:
                answer, pause = await self._exchange(call, renew, queued, fence)
            except _NotSent as failed:
                error, pause, again = failed.error, None, True
            except _Cut as failed:
                error, pause, again = failed.error, None, call.repeatable
            else:
                renew = answer.status == 401 and not renewed
                if renew:
                    renewed = True
                    attempt -= 1
                    continue
                # A 429 comes before anything is done; a 5xx may come behind it.
                again = answer.status == 429 or (call.repeatable and _may_pass(answer))
            if again and attempt < call.tries:
                wait = FIRST_PAUSE * 2 ** (attempt - 1) * (0.5 + self.dice())
                if pause is not None:
                    wait = pause + wait * 0.5
                if self.monotonic() - began + wait <= PATIENCE:
                    self.metrics.retries += 1
                    await self.sleep(wait)
                    continue
            if error is not None:
                raise error from None
            if answer.status in (429, 503) and pause is not None:
                raise refusal(answer.status, answer.body, call.subject, until=self._until(pause))
            return answer

    @contextlib.asynccontextmanager
    async def stream(self, call: Call, *, seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of an answer that goes on for up to `seconds`. Raises as `send` does, refusals too; no retries."""
        limits = aiohttp.ClientTimeout(total=seconds + TOTAL, sock_connect=CONNECT, sock_read=SILENCE)
        for renew in (False, True):
            arguments = await self._arguments(call, renew)
            try:
                response = await self._session.request(**arguments, timeout=limits)
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                self._count(call.verb, "error")
                raise self._translated(exc, call) from None
            async with response:
                self._count(call.verb, response.status)
                if response.status == 401 and not renew:
                    continue
                if response.status >= 300:
                    raise await self._refused(response, call)
                _keep_alive(response)
                yield self._chunks(response, call)
                return

    async def _refused(self, response: aiohttp.ClientResponse, call: Call) -> ImageUpdaterError:
        try:
            text = await _read(response, call)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            return self._translated(exc, call)
        return refusal(response.status, text, call.subject, until=self._until(_retry_after(response)))

    async def _chunks(self, response: aiohttp.ClientResponse, call: Call) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise self._translated(exc, call) from None

    def _until(self, pause: float | None) -> datetime | None:
        return self.clock() + timedelta(seconds=pause) if pause is not None else None

    async def _exchange(
        self, call: Call, renew: bool, queued: bool, fence: Callable[[], None] | None
    ) -> tuple[Answer, float | None]:
        limits = aiohttp.ClientTimeout(total=TOTAL, sock_connect=CONNECT)
        arguments = await self._arguments(call, renew)
        async with self._limit if queued else contextlib.nullcontext():
            if fence is not None and call.method != "GET":
                fence()
            started = self.monotonic()
            status: int | str = "error"
            try:
                async with self._session.request(**arguments, timeout=limits) as response:
                    text = await _read(response, call)
                    status = response.status
                    return Answer(response.status, text), _retry_after(response)
            except aiohttp.ClientConnectorCertificateError as exc:
                raise self._translated(exc, call) from None  # no further try mends it
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
                raise _NotSent(self._translated(exc, call)) from None
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                raise _Cut(self._translated(exc, call)) from None
            finally:
                self.metrics.seconds += self.monotonic() - started
                self._count(call.verb, status)

    async def _arguments(self, call: Call, renew: bool) -> dict[str, Any]:
        login = await self.config.credentials.login(renew=renew)
        headers = {"Accept": call.accept}
        if login.authorization is not None:
            headers["Authorization"] = login.authorization
        if call.subject.user is not None:
            headers["Impersonate-User"] = call.subject.user
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        url = URL.build(
            scheme=self._base.scheme,
            authority=self._base.raw_authority,
            path=self._base.path.rstrip("/") + call.path,
            query=dict(call.query),
        )
        arguments: dict[str, Any] = {
            "method": call.method,
            "url": url,
            "headers": headers,
            "data": call.body,
            "allow_redirects": False,
        }
        if self._base.scheme == "https":
            arguments["ssl"] = self._context(login)
            if self.config.server_name:
                arguments["server_hostname"] = self.config.server_name
        return arguments

    @property
    def _login_now(self) -> Login:

        pair = self._tls[0] if self._tls is not None else (None, None)
        return Login(certificate=pair[0], key=pair[1])

    def _context(self, login: Login) -> ssl.SSLContext:
        """One a client certificate: connections are pooled by it."""
        pair = (login.certificate, login.key)
        if self._tls is None or self._tls[0] != pair:
            self._tls = (pair, tls.context(self.config, login))
        return self._tls[1]

    def _count(self, verb: str, status: int | str) -> None:
        self.metrics.requests[verb, str(status)] += 1
        if status == 429:
            self.metrics.throttled += 1

    def _translated(self, exc: BaseException, call: Call) -> ClusterError:
        """In words. The original text is left out: it can hold the whole URL."""
        server = self._base.authority
        where = call.subject.where
        cause = exc.__cause__ or exc
        if isinstance(exc, TimeoutError):
            what = "no complete answer in time"
        elif isinstance(exc, aiohttp.ClientConnectorCertificateError):
            why = getattr(exc.certificate_error, "verify_message", "") or "it is not trusted"
            return ClusterUnavailable(
                f"{server}: its certificate is not accepted: {why}", where=where, remedy="check certificate-authority"
            )
        elif isinstance(exc, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
            what = "the proxy refuses or cannot be reached"
        elif isinstance(exc, aiohttp.ClientConnectorError):
            what = f"no connection: {exc.os_error.strerror or 'it failed'}"
        elif isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionError):
            what = "the connection was closed without an answer"
        elif isinstance(exc, aiohttp.ClientPayloadError):
            what = "the connection was cut in the middle of the answer"
        else:
            what = f"the request failed ({type(cause).__name__})"
        return ClusterUnavailable(f"{server}: {what}", where=where, remedy="is the API server up?")


async def open_transport(
    config: ClusterConfig,
    *,
    user_agent: str,
    concurrency: int,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    dice: Callable[[], float],
) -> Transport:
    """Raises SpecError for bad certificates and AccessDenied without a login; asks the server nothing."""
    login = await config.credentials.login()
    sockets = Sockets()
    transport = Transport(
        config,
        _session(config, True, sockets, user_agent, []),
        sockets,
        concurrency=concurrency,
        clock=clock,
        monotonic=monotonic,
        sleep=sleep,
        dice=dice,
    )
    if config.server.startswith("https:"):
        try:
            transport._context(login)
        except BaseException:
            await transport.close()
            raise
    return transport


def _session(
    config: ClusterConfig,
    context: ssl.SSLContext | bool,
    sockets: Sockets,
    user_agent: str,
    traces: list[aiohttp.TraceConfig],
) -> aiohttp.ClientSession:
    # No limit on connections: watches hold theirs, and the transport limits requests itself.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_KEEPALIVE, socket_factory=sockets.make),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Compressed answers cost more CPU than they save inside a cluster.
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        trust_env=False,
        proxy=config.proxy,
        trace_configs=traces,
    )


class _Failed(Exception):
    """No answer came."""

    def __init__(self, error: ClusterError) -> None:
        super().__init__()
        self.error = error


class _NotSent(_Failed):
    """There was no connection: the server has seen nothing of the request."""


class _Cut(_Failed):
    """The request was sent, perhaps done, and no whole answer came."""


def _may_pass(answer: Answer) -> bool:
    """A 5xx that another try may mend."""
    if answer.status < 500 or answer.status == 501:
        return False
    return not is_written_wrong(str(parse_status(answer.body).get("message") or ""))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds; API servers never say a date."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


async def _read(response: aiohttp.ClientResponse, call: Call) -> bytes:
    if (response.content_length or 0) > MAX_BODY:
        raise _too_large(response, call)
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large(response, call)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(response: aiohttp.ClientResponse, call: Call) -> AnswerTooLarge:
    response.close()
    return AnswerTooLarge(f"the answer is larger than {MAX_BODY:,} bytes: it was not read", where=call.subject.where)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Find out within a minute that the other side of a silent connection is gone, host and all."""
    connection = response.connection
    if connection is None or connection.transport is None:
        return
    raw = connection.transport.get_extra_info("socket")
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
