"""`/healthz`, `/readyz`, `/metrics`: what watches the daemon. Read-only; webhooks are other rooms' routes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from image_updater.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping


class Watched(Protocol):
    """What the endpoints ask of a daemon."""

    def health(self) -> tuple[bool, Mapping[str, object]]:
        """(alive, details)."""

    def ready(self) -> bool:
        """Every policy was asked about once since the start."""

    def metrics_text(self) -> bytes: ...


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:PORT` or `:PORT` (all addresses). Raises SpecError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and "[" not in host):
        raise SpecError(f"--listen {text!r} is not HOST:PORT", remedy="for example 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host asks for it


@asynccontextmanager
async def serve(watched: Watched, listen: str, routes: Iterable[web.RouteDef] = ()) -> AsyncIterator[str]:
    """Serve until the block ends; gives the address as `host:port`. `routes`: what is served beside. Raises SpecError
    when the address is taken or illegal.
    """

    async def health(_: web.Request) -> web.Response:
        alive, details = watched.health()
        return _json(details, 200 if alive else 503)

    async def ready(_: web.Request) -> web.Response:
        good = watched.ready()
        return _json({"ready": good}, 200 if good else 503)

    async def metrics(_: web.Request) -> web.Response:
        text = await asyncio.to_thread(watched.metrics_text)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.router.add_get("/healthz", health)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", metrics)
    application.router.add_routes(routes)
    host, port = parse_listen(listen)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SpecError(
                f"cannot listen on {listen}: {error.strerror or error}",
                remedy="choose another --listen HOST:PORT, or 127.0.0.1:0 for any free port",
            ) from error
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


def _json(document: Mapping[str, object], status: int) -> web.Response:
    return web.Response(text=json.dumps(document) + "\n", content_type="application/json", status=status)
