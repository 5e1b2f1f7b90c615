"""One HTTP exchange: pooled connections, TLS, proxies, limits on time and size, and the translation of foreign errors.

httpx's request and response types on aiohttp's engine. The transport is called directly: `httpx.AsyncClient` would add
redirects, cookies and an auth flow that a registry needs in another form (client.py), at half a millisecond a request.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import ssl
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import certifi
import httpx
from httpx_aiohttp import AiohttpTransport

from image_updater import __version__
from image_updater.errors import SpecError
from image_updater.registry.errors import ConnectionRefused, InvalidAnswer, RegistryUnavailable
from image_updater.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Callable

USER_AGENT = f"image-updater/{__version__}"
_KEEPALIVE = 75.0
_IDLE = 900.0
"""Seconds after which connections of a wire that nobody uses any more (a certificate that was renewed) are given up."""
_HOSTS = 1_000
_EMPTY: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How a host is reached: trust, client certificate (PEM), proxy URL (which may hold a password). Equal wires
    share connections.
    """

    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)

    def without_certificate(self) -> Wire:
        """For hosts other than the registry: a client certificate is a credential."""
        return self if self.certificate is None else Wire(ca=self.ca, proxy=self.proxy)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, read to its end. `url` has no query: it may be shown."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str
    foreign: str | None = None
    """The other host that this came from after a redirect."""


@dataclass(slots=True)
class Metrics:
    """Plain counters for the pipeline to export."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By host and status class (`2xx`, `4xx`, …, `error`)."""
    rate_limited: Counter[str] = field(default_factory=Counter)
    """429 answers by host."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Time spent in requests by host; `requests` has the count."""
    tokens: Counter[str] = field(default_factory=Counter)
    """Token requests by realm host."""
    shared: int = 0
    """Listings that were answered by one under way."""
    unchanged: int = 0
    """Listings whose bodies were those of the last time."""
    remaining: dict[str, int] = field(default_factory=dict)
    """What is left of the registry's own limit (`RateLimit-Remaining`), by host."""

    def label(self, host: str) -> str:
        """The host, or `other` beyond a thousand: realms and redirects are named by servers, not by us."""
        return host if host in self.seconds or len(self.seconds) < _HOSTS else "other"

    @property
    def total(self) -> int:
        return self.requests.total()


@dataclass(slots=True)
class _Kept:
    transport: AiohttpTransport
    users: int = 0
    left_at: float = 0.0


class Http:
    """Connections by wire. Use as an async context manager: leaving it closes them all."""

    def __init__(self, *, monotonic: Callable[[], float], per_host: int) -> None:
        self.metrics = Metrics()
        self._monotonic = monotonic
        self._per_host = per_host
        self._kept: dict[tuple[Wire, bool], _Kept] = {}
        self._sockets = Sockets()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        kept, self._kept = self._kept, {}
        for each in kept.values():
            await each.transport.aclose()
        await self._sockets.close()

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = _EMPTY,
        *,
        wire: Wire,
        timeout: float,  # noqa: ASYNC109 - it is the policy's own, and covers body and all
        limit: int,
        content: bytes | None = None,
        clip: bool = False,
    ) -> Answer:
        """Send one request and read the answer, whatever its status. Redirects are the caller's.

        `timeout` is seconds for everything; a body beyond `limit` bytes is InvalidAnswer (or is cut, with `clip`, as
        are bodies of error answers). Raises RegistryUnavailable for anything that kept an answer from coming.
        """
        tls = url.startswith("https:")
        shown = url.partition("?")[0]
        kept = self._kept.get((wire, tls))
        if kept is None:
            kept = self._kept[wire, tls] = _Kept(self._open(wire, tls), left_at=self._monotonic())
            await self._give_up_idle()
        kept.users += 1
        started = self._monotonic()
        outcome, host = "error", shown
        try:
            parsed = _parse(url) if "/tags/list?" in url else httpx.URL(url)
            host = parsed.netloc.decode()
            request = httpx.Request(method, parsed, headers={"User-Agent": USER_AGENT, **headers}, content=content)
            async with asyncio.timeout(timeout):
                response = await kept.transport.handle_async_request(request)
                try:
                    status = response.status_code
                    body = b"" if method == "HEAD" else await _read(response, limit, clip or status >= 400, shown)
                finally:
                    await response.aclose()
            outcome = f"{status // 100}xx"
            return Answer(status, response.headers, body, shown)
        except TimeoutError:
            raise RegistryUnavailable(
                f"{shown}: no complete answer within {timeout:g} s",
                remedy="see spec.timeout, and whether it can be reached",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, shown, tls=tls, proxied=wire.proxy is not None) from None
        finally:
            kept.users -= 1
            kept.left_at = self._monotonic()
            host = self.metrics.label(host)
            self.metrics.requests[host, outcome] += 1
            self.metrics.seconds[host] += kept.left_at - started

    async def _give_up_idle(self) -> None:
        before = self._monotonic() - _IDLE
        idle = [wire for wire, kept in self._kept.items() if not kept.users and kept.left_at <= before]
        for kept in [self._kept.pop(wire) for wire in idle]:
            await kept.transport.aclose()

    def _open(self, wire: Wire, tls: bool) -> AiohttpTransport:
        context = tls_context(wire) if tls else _plain_context()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                limit_per_host=self._per_host,
                ssl=context,
                keepalive_timeout=_KEEPALIVE,
                socket_factory=self._sockets.make,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        proxy = _proxy(wire.proxy) if wire.proxy else None
        return AiohttpTransport(verify=context, proxy=proxy, client=session)


def _proxy(url: str) -> httpx.Proxy:
    """The transport's own way to log in to a proxy warns of its end. aiohttp turns this header of the proxy's into
    Proxy-Authorization, for tunnels and for plain requests alike.
    """
    parts = urlsplit(url)
    if parts.username is None:
        return httpx.Proxy(url)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return httpx.Proxy(bare, headers={"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"})


@functools.lru_cache(maxsize=4096)
def _parse(url: str) -> httpx.URL:
    """The same lists are asked for again and again, and parsing a URL is a quarter of the cost of a request."""
    return httpx.URL(url)


def _plain_context() -> ssl.SSLContext:
    """For plain HTTP only: an empty store, so that nothing is read from disk."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def tls_context(wire: Wire) -> ssl.SSLContext:
    """The system's roots (certifi's where the system has none), and the policy's own. Raises SpecError for a bad
    certificate.
    """
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        context.load_verify_locations(certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if wire.ca is not None:
        try:
            context.load_verify_locations(cadata=wire.ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError, ValueError):
            raise SpecError("ca.crt holds no PEM certificate", remedy="put the CA's certificate there") from None
        # A private CA is trusted as it stands, even without the key usage that OpenSSL's strict mode wants.
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if wire.certificate is not None and wire.key is not None:
        # OpenSSL reads key pairs from files only: a private one that is gone before this function returns.
        try:
            with tempfile.NamedTemporaryFile(prefix="image-updater-", suffix=".pem") as file:
                file.write(wire.certificate.rstrip() + b"\n" + wire.key)
                file.flush()
                # Without an answer OpenSSL would ask the terminal for the password of an encrypted key.
                context.load_cert_chain(file.name, password="")
        except ssl.SSLError:
            raise SpecError("tls.crt and tls.key are no PEM key pair", remedy="check the Secret") from None
        except OSError as error:
            raise RegistryUnavailable(
                f"there is no temporary file for the client certificate: {error.strerror}", remedy="see TMPDIR"
            ) from None
    return context


async def _read(response: httpx.Response, limit: int, clip: bool, shown: str) -> bytes:
    """The body, decoded, within `limit`: a small bomb must not become a large string."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    chunks: AsyncIterator[bytes] = stream.__aiter__()
    if encoding in {"gzip", "x-gzip", "deflate"}:
        chunks = _inflate(chunks, limit)
    elif encoding not in {"", "identity"}:
        raise InvalidAnswer(f"{shown}: the answer is encoded as {encoding[:40]!r}, which was not asked for")
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            if clip:
                return b"".join(parts)[:limit]
            raise InvalidAnswer(f"{shown}: the answer is larger than {limit:,} bytes: it was not read")
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _inflate(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    decoder = zlib.decompressobj(wbits=47)
    try:
        async for chunk in chunks:
            rest = chunk
            while rest:
                yield decoder.decompress(rest, 1 << 16)
                rest = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error:
        raise InvalidAnswer("the compressed answer is broken") from None
    if not decoder.eof:
        raise InvalidAnswer("the compressed answer ends too early")


def _translated(error: Exception, shown: str, *, tls: bool, proxied: bool) -> RegistryUnavailable:
    """Words for a person, the remedy where one is known. The original text is not kept: it can hold a whole URL."""
    text = " ".join(str(part) for part in _causes(error))
    host = urlsplit(shown).netloc
    if "CERTIFICATE_VERIFY_FAILED" in text:
        detail = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "not trusted"
        return ConnectionRefused(
            f"{host}: its certificate is not accepted: {detail[:200]}",
            remedy="for a private CA put ca.crt into the Secret of spec.certSecretRef",
        )
    if tls and any(
        word in text for word in ("WRONG_VERSION_NUMBER", "wrong version number", "RECORD_LAYER", "HTTP_REQUEST")
    ):
        return ConnectionRefused(
            f"{host} does not speak TLS", remedy="if plain HTTP is meant, say so with spec.insecure: true"
        )
    if tls and ("CERTIFICATE_REQUIRED" in text or "certificate required" in text):
        return ConnectionRefused(
            f"{host} asks for a client certificate",
            remedy="put tls.crt and tls.key into the Secret of spec.certSecretRef",
        )
    # The transport's own mapping loses which connection error it was; the original is its cause.
    origin = error.__cause__ or error
    if isinstance(origin, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError) or (
        proxied and isinstance(origin, aiohttp.ClientConnectorError)
    ):
        return ConnectionRefused(f"{host}: the proxy refuses or cannot be reached", remedy="check the proxy's settings")
    if isinstance(origin, aiohttp.ClientConnectorError):
        what = "no connection"
    elif isinstance(origin, aiohttp.ServerDisconnectedError | ConnectionError):
        what = "the connection was closed without an answer"
    elif isinstance(origin, aiohttp.ClientPayloadError):
        what = "the connection was cut in the middle of the answer"
    else:
        what = f"the request failed ({type(origin).__name__})"
    cause = next((part for part in _causes(error) if isinstance(part, OSError) and part.strerror), None)
    if cause is not None and cause.strerror and "Cannot connect" not in cause.strerror:
        what += f": {cause.strerror[:100]}"
    return RegistryUnavailable(f"{host}: {what}", remedy="no decision is made without its answer; try again later")


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
