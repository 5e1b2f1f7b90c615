"""Who leads, and what happens when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.controller.leading import LeadershipLost, Leading
from image_updater.settings import Role

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """One that a test gives and takes."""

    def __init__(self) -> None:
        self.left = 0.0
        self.released = False
        self.held: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None
        self.stood = asyncio.Event()

    def valid_for(self) -> float:
        return self.left

    async def hold(self, *, held: Callable[[], None], lost: Callable[[], None]) -> None:
        self.held, self.lost = held, lost
        self.stood.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.released = True


def leading(lease: Any) -> Leading:
    return Leading([(Role.SYNC, lease)], roles=[Role.SYNC])


async def test_nobody_stands_before_the_objects_are_known() -> None:
    lease, synced = Lease(), asyncio.Event()
    some = leading(lease)
    task = asyncio.create_task(some.run(after=synced))
    await asyncio.sleep(0)
    assert not lease.stood.is_set()
    synced.set()
    await lease.stood.wait()
    assert not some.leads(Role.SYNC)
    lease.left = 8
    lease.held()
    await some.held(Role.SYNC)
    assert some.leads(Role.SYNC)
    assert some.leads(Role.SYNC, 7)
    assert not some.leads(Role.SYNC, 9), "a push that may take longer must not begin"
    assert not some.leads(Role.UPDATE), "a role that this process does not have"
    task.cancel()
    await some.close()
    assert lease.released


async def test_a_lease_that_ran_out_ends_the_process() -> None:
    lease, synced = Lease(), asyncio.Event()
    synced.set()
    some = leading(lease)
    task = asyncio.create_task(some.run(after=synced))
    await lease.stood.wait()
    lease.left = 8
    lease.held()
    lease.lost()
    with pytest.raises(LeadershipLost):
        await task
    assert not some.leads(Role.SYNC), "whatever the clock says"
    await some.close()


async def test_giving_a_lease_back_is_no_loss() -> None:
    lease, synced = Lease(), asyncio.Event()
    synced.set()
    some = leading(lease)
    task = asyncio.create_task(some.run(after=synced))
    await lease.stood.wait()
    lease.held()
    await some.close()
    lease.lost()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()


async def test_without_leases_it_leads_at_once() -> None:
    synced = asyncio.Event()
    synced.set()
    some = Leading([], roles=[Role.UPDATE])
    task = asyncio.create_task(some.run(after=synced))
    await some.held(Role.UPDATE)
    assert some.leads(Role.UPDATE, 1e9)
    assert some.roles == (Role.UPDATE,)
    task.cancel()
