"""A server that answers what a test wrote down, and a client of it whose sleeps take no time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from image_updater.cluster import Cluster, ClusterConfig
from image_updater.cluster.credentials import Credentials, Fixed, Login
from image_updater.cluster.model import Resource

DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True)
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, message: str = "", reason: str = "", **details: Any) -> Answer:
    """A Status object, as an API server answers."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return answer(code, {**body, "reason": reason, "details": details})


def answer(code: int = 200, body: Any = None, **headers: str) -> Answer:
    """JSON; bytes as they are."""

    async def respond(_: web.Request) -> web.StreamResponse:
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, body=data, content_type="application/json", headers=named)

    return respond


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """Answers in order; the last one again and again."""

    answers: list[Answer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def will(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        body = json.loads(text) if text else None
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        chosen = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await chosen(request)


@dataclass
class FakeTime:
    """2026-01-01T00:00:00Z, until somebody sleeps."""

    passed: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


Connect = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def connect(server: Server, time: FakeTime) -> AsyncIterator[Connect]:
    opened: list[Cluster] = []

    async def open_cluster(credentials: Credentials | None = None, url: str | None = None) -> Cluster:
        config = ClusterConfig(
            server=url or server.url, credentials=credentials or Fixed(Login.bearer("hunter2")), account="tester"
        )
        opened.append(
            await Cluster.connect(config, clock=time.now, monotonic=time.monotonic, sleep=time.sleep, dice=lambda: 0.5)
        )
        return opened[-1]

    yield open_cluster
    for each in opened:
        await each.close()


@pytest.fixture
async def cluster(connect: Connect) -> Cluster:
    return await connect()
