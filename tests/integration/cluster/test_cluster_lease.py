"""Leases in a real API server, held by real processes that are killed and stopped.

That two never hold one at a time, and how long each step takes, is proved in tests/unit/cluster/test_lease.py, where
every delay can be had.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_updater.cluster import Cluster, Lease
from image_updater.cluster.errors import ClusterUnavailable, Forbidden
from image_updater.cluster.lease import LEASES
from tests.integration.cluster.accounts import as_account, connected, eventually, grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from image_updater.errors import ImageUpdaterError
    from tests.parts.controlplane import ControlPlane

ROOT = Path(__file__).parents[3]
HOLDER = Path(__file__).with_name("lease_holder.py")


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with connected(plane.kubeconfig) as opened:
        yield opened


class Process:
    """A holder apart from us, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(line.decode().strip())

    @property
    def valid(self) -> float:
        """Seconds, as it said last."""
        return next((float(each.split()[1]) for each in reversed(self.said) if each.startswith("valid")), 0.0)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@asynccontextmanager
async def holding(plane: ControlPlane, namespace: str, holder: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HOLDER),
        str(plane.kubeconfig),
        namespace,
        "leader",
        holder,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
    )
    held = Process(process)
    listening = asyncio.create_task(held.listen())
    try:
        await eventually(lambda: "held" in held.said, 60, "held")
        yield held
    finally:
        if process.returncode is None:
            held.signal(signal.SIGKILL)
        await process.wait()
        await listening


def lease(cluster: Cluster, namespace: str, holder: str, **options: object) -> Lease:
    return Lease(cluster, namespace=namespace, name="leader", holder=holder, **options)  # type: ignore[arg-type]


async def test_one_holds_it_and_gives_it_to_the_next(cluster: Cluster, namespace: str) -> None:
    one, two = lease(cluster, namespace, "one"), lease(cluster, namespace, "two")
    assert await one.take()
    assert not await two.take()
    assert two.seen_holder == "one"
    assert 0 < one.valid_for() <= 10
    assert await one.take()
    body = await cluster.get(LEASES, "leader", namespace)
    assert body is not None
    assert body["spec"]["holderIdentity"] == "one"
    assert body["spec"]["renewTime"] > body["spec"]["acquireTime"]
    await one.release()
    assert one.valid_for() <= 0
    body = await cluster.get(LEASES, "leader", namespace)
    assert body is not None
    assert "holderIdentity" not in body["spec"]
    assert await two.take()
    assert two.term == 1


async def test_of_many_that_race_one_wins(cluster: Cluster, namespace: str) -> None:
    leases = [lease(cluster, namespace, f"r{number}") for number in range(10)]
    for _ in range(5):
        taken = await asyncio.gather(*(each.take() for each in leases))
        assert sum(taken) == 1
        winner = leases[taken.index(True)]
        assert [each for each in leases if each.valid_for() > 0] == [winner]
        await winner.release()


async def test_who_holds_it_for_long_lets_go_when_it_ends(cluster: Cluster, namespace: str) -> None:
    happened: list[str] = []
    one, two = lease(cluster, namespace, "one"), lease(cluster, namespace, "two")
    first = asyncio.create_task(one.hold(held=lambda: happened.append("one"), lost=lambda: happened.append("one lost")))
    await eventually(lambda: happened)
    second = asyncio.create_task(two.hold(held=lambda: happened.append("two"), lost=lambda: None))
    await asyncio.sleep(0.5)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await eventually(lambda: happened == ["one", "one lost", "two"])
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_holder_that_is_killed_has_a_successor(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    async with holding(plane, namespace, "child") as child:
        ours = lease(cluster, namespace, "ours")
        assert not await ours.take()
        child.signal(signal.SIGKILL)
        async with asyncio.timeout(60):
            await ours.acquire()
        assert ours.valid_for() > 0
        assert ours.term == 1
        await ours.release()


async def test_a_holder_that_was_stopped_wakes_without_it(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    async with holding(plane, namespace, "child") as child:
        await eventually(lambda: child.valid > 0)
        child.signal(signal.SIGSTOP)
        ours = lease(cluster, namespace, "ours")
        async with asyncio.timeout(60):
            await ours.acquire()
        keeping = asyncio.create_task(ours.keep())
        said = len(child.said)
        child.signal(signal.SIGCONT)
        await eventually(lambda: "lost" in child.said)
        since = child.said[said:]
        assert all(float(each.split()[1]) <= 0 for each in since if each.startswith("valid"))
        await asyncio.sleep(3)
        assert child.said.count("held") == 1
        assert ours.valid_for() > 0
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await ours.release()
        await eventually(lambda: child.said.count("held") == 2)


async def test_without_a_server_a_holder_gives_up_and_comes_back_with_it(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    happened: list[str] = []
    errors: list[ImageUpdaterError | None] = []
    one = lease(cluster, namespace, "one", duration=4, renew=1, retry=0.5, on_error=errors.append)
    task = asyncio.create_task(one.hold(held=lambda: happened.append("held"), lost=lambda: happened.append("lost")))
    await eventually(lambda: happened == ["held"])
    await asyncio.to_thread(plane.kill_apiserver)
    try:
        await eventually(lambda: happened == ["held", "lost"])
        assert one.valid_for() <= 0
        assert any(isinstance(each, ClusterUnavailable) for each in errors)
    finally:
        await asyncio.to_thread(plane.start_apiserver)
    await eventually(lambda: happened == ["held", "lost", "held"])
    assert errors[-1] is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_three_rights_are_enough(plane: ControlPlane, namespace: str) -> None:
    async with as_account(plane, namespace) as account:
        ours = lease(account, namespace, "ours")
        with pytest.raises(Forbidden):
            await ours.take()
        rules = [{"apiGroups": [LEASES.group], "resources": ["leases"], "verbs": ["get", "create", "update"]}]
        await asyncio.to_thread(grant, plane, namespace, rules)
        async with asyncio.timeout(30):
            await ours.acquire()
        await ours.release()
        assert await ours.take()
