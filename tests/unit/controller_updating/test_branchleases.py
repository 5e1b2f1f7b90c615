"""One shard pushes to a branch at a time; a branch at rest costs nothing."""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import Any

from image_updater.controller.update.branchleases import BranchLeases


class Server:
    """Who holds which Lease."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.takes = 0


class FakeLease:
    def __init__(self, server: Server, *, namespace: str, name: str, holder: str) -> None:
        self.server, self.name, self.holder = server, name, holder
        self.ours = False

    def valid_for(self) -> float:
        return 10.0 if self.ours and self.server.holders.get(self.name) == self.holder else 0.0

    async def take(self) -> bool:
        self.server.takes += 1
        if self.server.holders.setdefault(self.name, self.holder) == self.holder:
            self.ours = True
        return self.ours

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def release(self) -> None:
        if self.ours and self.server.holders.get(self.name) == self.holder:
            del self.server.holders[self.name]
        self.ours = False


class Time:
    """Moves on to the next one who sleeps when everybody does."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._driver: asyncio.Task[None] | None = None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, id(future), future))
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        await future

    async def _drive(self) -> None:
        while self._sleepers:
            for _ in range(30):
                await asyncio.sleep(0)
            at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.now = max(self.now, at)
                future.set_result(None)


def leases(server: Server, holder: str, time: Time) -> BranchLeases:
    return BranchLeases(
        server,  # type: ignore[arg-type]
        namespace="iu",
        holder=holder,
        monotonic=time,
        sleep=time.sleep,
        dice=random.Random(holder).random,
        make=lambda cluster, **names: FakeLease(cluster, **names),  # type: ignore[arg-type, return-value]
    )


async def test_two_shards_are_never_inside_together() -> None:
    server, time = Server(), Time()
    inside: set[str] = set()
    most = 0

    async def push(shard: BranchLeases, name: str) -> None:
        nonlocal most
        for _ in range(20):
            async with shard.guard("git.test/fleet#main") as ours:
                assert ours
                inside.add(name)
                most = max(most, len(inside))
                await asyncio.sleep(0)
                inside.discard(name)
            await time.sleep(2)

    shards = {name: leases(server, name, time) for name in ("a", "b", "c")}
    await asyncio.gather(*(push(shard, name) for name, shard in shards.items()))
    assert most == 1
    for shard in shards.values():
        await shard.close()
    assert not server.holders


async def test_pushes_of_one_shard_share_the_lease_and_idleness_gives_it_back() -> None:
    server, time = Server(), Time()
    shard = leases(server, "a", time)
    for _ in range(5):
        async with shard.guard("place") as ours:
            assert ours
    assert server.takes == 1
    async with asyncio.timeout(5):
        while server.holders:
            await asyncio.sleep(0)
    async with shard.guard("place") as ours:
        assert ours
    assert server.takes == 2
    await shard.close()
    assert not server.holders


async def test_what_another_shard_keeps_is_not_ours() -> None:
    server, time = Server(), Time()
    first, second = leases(server, "a", time), leases(server, "b", time)
    async with first.guard("place") as ours, second.guard("place") as theirs:
        assert ours
        assert not theirs
    async with second.guard("another place") as free:
        assert free
    await first.close()
    await second.close()


async def test_a_refusing_server_means_no_push(caplog: Any) -> None:
    from image_updater.cluster.errors import Forbidden

    class Refusing(FakeLease):
        async def take(self) -> bool:
            raise Forbidden("no rights")

    time = Time()
    shard = BranchLeases(
        Server(),  # type: ignore[arg-type]
        namespace="iu",
        holder="a",
        monotonic=time,
        sleep=time.sleep,
        dice=lambda: 0.5,
        make=lambda cluster, **names: Refusing(cluster, **names),  # type: ignore[arg-type, return-value]
    )
    async with shard.guard("place") as ours:
        assert not ours
    assert "no rights" in caplog.text
    await shard.close()
