"""Who leads: a Lease for each role of this process. One that is lost ends the process (design section 7, fencing)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from image_updater.errors import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from image_updater.cluster import Lease
    from image_updater.settings import Role

log = logging.getLogger("image_updater.leading")


class LeadershipLost(Waiting):
    """The Lease of a role ran out, or another replica has it: this process ends and starts anew."""

    reason = "LeadershipLost"


class Leading:
    """`await run(after=…)` while the process lives, then `close()`. Without Leases it leads at once."""

    def __init__(self, leases: Sequence[tuple[Role, Lease]], *, roles: Sequence[Role]) -> None:
        self._leases = dict(leases)
        self._held = {role: asyncio.Event() for role in roles}
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that we lead in now."""
        return tuple(role for role in self._held if self.leads(role))

    def leads(self, role: Role, seconds: float = 0.0) -> bool:
        """Is the Lease of this role ours for more than `seconds`, by our own clock?"""
        event = self._held.get(role)
        if event is None or not event.is_set() or self._lost.is_set():
            return False
        lease = self._leases.get(role)
        return lease is None or lease.valid_for() > seconds

    def elsewhere(self, role: Role) -> str:
        """Where the replica answers that leads in this role, if that is another one: `host:port`; "" = not known."""
        lease = self._leases.get(role)
        return lease.elsewhere if lease is not None and not self.leads(role) else ""

    def require(self, role: Role) -> None:
        """Raises LeadershipLost when the Lease of this role is not ours now."""
        if not self.leads(role):
            raise LeadershipLost(f"the Lease of {role} is not ours", remedy="the replica that has it goes on")

    async def held(self, role: Role) -> None:
        """Wait until we lead in this role."""
        await self._held[role].wait()

    async def run(self, *, after: asyncio.Event) -> None:
        """Stand for every role once `after` is set. Raises LeadershipLost when a Lease is ours no more."""
        await after.wait()
        for role, event in self._held.items():
            lease = self._leases.get(role)
            if lease is None:
                event.set()
            else:
                task = asyncio.create_task(
                    lease.hold(held=self._take(role), lost=self._lose(role)), name=f"{role} lease"
                )
                self._tasks.append(task)
        await self._lost.wait()
        raise LeadershipLost("the Lease ran out: another replica may lead", remedy="this process ends and starts anew")

    async def close(self) -> None:
        """Release what is held. Call it when nothing is under way any more."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, role: Role) -> Callable[[], None]:
        def take() -> None:
            log.info("leading in %s", role)
            self._held[role].set()

        return take

    def _lose(self, role: Role) -> Callable[[], None]:
        def lose() -> None:
            if not self._closing:
                log.error("the Lease of %s is lost", role)
                self._lost.set()

        return lose
