"""Who leads, and what happens when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.controller.app import reachable
from image_updater.controller.leading import LeadershipLost, Leading
from image_updater.errors import SpecError
from image_updater.settings import Role

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """One that a test gives and takes."""

    def __init__(self) -> None:
        self.left = 0.0
        self.elsewhere = ""
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


async def test_who_leads_elsewhere_is_known_until_it_is_this_one() -> None:
    lease, synced = Lease(), asyncio.Event()
    synced.set()
    some = leading(lease)
    task = asyncio.create_task(some.run(after=synced))
    await lease.stood.wait()
    lease.elsewhere = "10.0.0.5:8080"
    assert (some.elsewhere(Role.SYNC), some.elsewhere(Role.UPDATE)) == ("10.0.0.5:8080", "")
    lease.left = 8
    lease.held()
    assert some.elsewhere(Role.SYNC) == ""
    task.cancel()
    await some.close()


@pytest.mark.parametrize(
    ("bound", "pod", "address"),
    [
        ("127.0.0.1:8080", "", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "", ""),
        (":::8080", "", ""),
        ("0.0.0.0:8080", "10.0.0.5", "10.0.0.5:8080"),
        (":::8080", "fd00::5", "[fd00::5]:8080"),
    ],
)
def test_others_reach_it_at_the_address_of_its_pod(bound: str, pod: str, address: str) -> None:
    assert reachable(bound, {"POD_IP": pod} if pod else {}) == address


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match="is no address"):
        reachable("0.0.0.0:8080", {"POD_IP": "pod.example.com"})


async def test_without_leases_it_leads_at_once() -> None:
    synced = asyncio.Event()
    synced.set()
    some = Leading([], roles=[Role.UPDATE])
    task = asyncio.create_task(some.run(after=synced))
    await some.held(Role.UPDATE)
    assert some.leads(Role.UPDATE, 1e9)
    assert some.roles == (Role.UPDATE,)
    task.cancel()
