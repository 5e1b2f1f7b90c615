"""Clients of a plane for the tests of `image_updater/cluster`: as the administrator, or as a service account."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from image_updater.cluster import Cluster, ClusterConfig
from image_updater.errors import Where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane


@asynccontextmanager
async def connected(kubeconfig: Path, **options: Any) -> AsyncIterator[Cluster]:
    cluster = await Cluster.connect(ClusterConfig.load(kubeconfig=kubeconfig, environment={}), **options)
    try:
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def as_account(
    plane: ControlPlane, namespace: str, name: str = "default", **options: Any
) -> AsyncIterator[Cluster]:
    """As a service account, from what a Secret would hold."""
    path = await asyncio.to_thread(plane.kubeconfig_of, namespace, name)
    cluster = await Cluster.connect(ClusterConfig.from_secret(path.read_bytes(), where=Where()), **options)
    try:
        yield cluster
    finally:
        await cluster.close()


async def eventually(condition: Callable[[], Any], timeout: float = 30.0, what: str = "it") -> Any:
    """The first truthy answer; the loop goes on meanwhile."""
    async with asyncio.timeout(timeout):
        while not (answer := condition()):
            await asyncio.sleep(0.02)
    return answer


def grant(plane: ControlPlane, namespace: str, rules: list[dict[str, Any]], account: str = "default") -> None:
    """Rights in a namespace."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": account}, "rules": rules}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    plane.apply([role, binding], namespace)
