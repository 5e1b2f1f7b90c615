"""A Lease for each branch that a shard pushes to: two shards may have objects that name one branch.

Taken before a push, renewed while it is in use, and given back when it has not been for some seconds: a branch at rest
costs no request. The branch's own lease (the value that the server compares) keeps what another shard wrote in any
case; this one keeps them from racing each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.cluster import Lease
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from image_updater.cluster import Cluster

log = logging.getLogger("image_updater.controller")

WAIT = 60.0
"""Seconds that a push waits for another shard to give the branch back."""
RETRY = 0.5
IDLE = 1.0
"""Seconds without a push after which a branch is given back."""
TURN = 5.0
"""Seconds after which a branch is given back between two pushes: others wait for it, too."""
LEFT = 1.0
"""Seconds that a Lease must have left for a push to begin; it is renewed while the push goes on."""


@dataclass(slots=True)
class _Held:
    lease: Lease
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Taking it and giving it back exclude each other: to the server both are the same holder."""
    users: int = 0
    used_at: float = 0.0
    taken_at: float = 0.0
    rests_until: float = 0.0
    """After a turn another one is let in first."""
    keeper: asyncio.Task[None] | None = None


class BranchLeases:
    """`guard(place)` around each push; `close()` at the end."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        holder: str,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
        make: Callable[..., Lease] = Lease,
    ) -> None:
        """`holder` is unique to this process."""
        self._cluster = cluster
        self._namespace = namespace
        self._holder = holder
        self._monotonic = monotonic
        self._sleep = sleep
        self._dice = dice
        self._make = make
        self._held: dict[str, _Held] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def guard(self, place: str) -> AsyncIterator[bool]:
        """Gives whether the branch is ours; waits for it some time where another shard has it."""
        held = self._held.get(place)
        if held is None:
            held = self._held[place] = _Held(self._lease(place))
        held.users += 1
        try:
            yield await self._take(held, place)
        finally:
            held.users -= 1
            held.used_at = self._monotonic()

    def _lease(self, place: str) -> Lease:
        name = f"image-updater-branch-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        return self._make(self._cluster, namespace=self._namespace, name=name, holder=self._holder)

    async def _take(self, held: _Held, place: str) -> bool:
        until = self._monotonic() + WAIT
        async with held.lock:
            if held.rests_until > self._monotonic():
                await self._sleep(held.rests_until - self._monotonic())
            while held.lease.valid_for() <= LEFT:
                try:
                    taken = await held.lease.take()
                except ImageUpdaterError as error:
                    log.warning("the Lease of branch %s cannot be taken: %s", place, error)
                    taken = False
                if taken:
                    break
                if self._monotonic() >= until:
                    return False
                await self._sleep(RETRY * (0.5 + self._dice()))
            if held.keeper is None:
                held.taken_at = self._monotonic()
                held.keeper = asyncio.create_task(self._keep(held), name=f"lease of {place}")
                self._keepers.add(held.keeper)
                held.keeper.add_done_callback(self._keepers.discard)
            return held.lease.valid_for() > LEFT

    async def _keep(self, held: _Held) -> None:
        """Renew while it is in use; then give it back."""
        renewing = asyncio.create_task(held.lease.keep())
        try:
            while not renewing.done():
                await self._sleep(IDLE / 3)
                now = self._monotonic()
                if not held.users and (now - held.used_at >= IDLE or now - held.taken_at >= TURN):
                    held.rests_until = now + 2 * RETRY if now - held.used_at < IDLE else now
                    break
        finally:
            held.keeper = None
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            async with held.lock:
                if not held.users:
                    await asyncio.shield(held.lease.release())

    async def close(self) -> None:
        """Give everything back. Call it when no push is under way any more."""
        keepers = list(self._keepers)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for held in self._held.values():
            await held.lease.release()
