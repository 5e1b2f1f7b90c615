"""A clock that only sleeping moves, a client on it, and an embedded registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from image_updater.embedded import EmbeddedRegistry
from image_updater.images import ImageName, parse_name
from image_updater.registry import Access, Limits, RegistryClient, anonymous


@dataclass
class FakeTime:
    """2020-01-01T00:00:00Z, until somebody sleeps."""

    passed: float = 0.0
    slept: list[float] = field(default_factory=list)
    sleepers: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    async def sleep(self, seconds: float) -> None:
        """Sleepers wake in the order of their times; the clock goes on to the earliest once others had their turn."""
        self.slept.append(round(seconds, 6))
        deadline = self.passed + seconds
        self.sleepers.append(deadline)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            while self.passed < deadline:
                if deadline <= min(self.sleepers):
                    self.passed = deadline
                else:
                    await asyncio.sleep(0)
        finally:
            self.sleepers.remove(deadline)


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


MakeClient = Callable[..., RegistryClient]


@pytest.fixture
async def make_client(fake_time: FakeTime) -> AsyncIterator[MakeClient]:
    made: list[RegistryClient] = []

    def make(**options: object) -> RegistryClient:
        options.setdefault("limits", Limits())
        client = RegistryClient(
            clock=fake_time.now,
            monotonic=fake_time.monotonic,
            sleep=fake_time.sleep,
            random=lambda: 0.5,
            **options,  # type: ignore[arg-type]
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: MakeClient) -> RegistryClient:
    return make_client()


@pytest.fixture
async def registry() -> AsyncIterator[EmbeddedRegistry]:
    async with EmbeddedRegistry() as registry:
        yield registry


@pytest.fixture
async def elsewhere() -> AsyncIterator[EmbeddedRegistry]:
    """Another host: 127.0.0.2 is this machine too, but not the same name."""
    async with EmbeddedRegistry(address="127.0.0.2") as registry:
        yield registry


@pytest.fixture
def nobody() -> Access:
    return anonymous(insecure=True)


@pytest.fixture
def image(registry: EmbeddedRegistry) -> ImageName:
    return parse_name(f"{registry.host}/acme/app")
