"""A process that holds a Lease, for test_cluster_lease.py to kill and to stop.

Each line of its output: `held`, `lost`, or, ten times a second, `valid` and the seconds of `valid_for()`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from image_updater.cluster import Cluster, ClusterConfig, Lease


async def main(kubeconfig: str, namespace: str, name: str, holder: str) -> None:
    cluster = await Cluster.connect(ClusterConfig.load(kubeconfig=Path(kubeconfig), environment={}))
    lease = Lease(cluster, namespace=namespace, name=name, holder=holder)
    holding = asyncio.create_task(lease.hold(held=lambda: say("held"), lost=lambda: say("lost")))
    while not holding.done():
        say(f"valid {lease.valid_for()}")
        await asyncio.sleep(0.1)
    await holding


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
