"""kopf on a real API server: what it sees, what went unseen, and what it must never do to objects of people."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.api.schema import crds
from image_updater.cluster import Cluster, ClusterConfig
from image_updater.controller.cache import Cache
from image_updater.controller.operator import Operator
from tests.parts.controllers import controller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module", autouse=True)
def _kinds(plane: ControlPlane) -> None:
    for each in crds():
        plane.apply(each)


def policy(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "image-updater.dev/v1alpha1",
        "kind": "ImagePolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"image": "127.0.0.1:5/acme/web", "policy": {"semver": {"range": "*"}}} | spec,
    }


@asynccontextmanager
async def watching(plane: ControlPlane, *namespaces: str) -> AsyncIterator[tuple[Cache, Operator]]:
    config = ClusterConfig.load(kubeconfig=Path(plane.kubeconfig), environment={})
    cluster = await Cluster.connect(config)
    cache, stop = Cache(), asyncio.Event()

    async def connect() -> Cluster:
        return await Cluster.connect(ClusterConfig.load(kubeconfig=Path(plane.kubeconfig), environment={}))

    operator = Operator(cluster, cache, connect=connect, namespaces=namespaces)
    task = asyncio.create_task(operator.run(stop))
    try:
        await asyncio.wait_for(operator.synced.wait(), 60)
        yield cache, operator
    finally:
        stop.set()
        await task
        await cluster.close()


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


async def test_objects_are_seen_as_they_come_change_and_go(plane: ControlPlane, namespace: str) -> None:
    plane.apply(policy(namespace, "before"))
    async with watching(plane) as (cache, _):
        assert cache.get("ImagePolicy", ObjectKey(namespace, "before")) is not None, "synced means complete"
        plane.apply(policy(namespace, "web"))
        web = ObjectKey(namespace, "web")
        entry = await until(lambda: cache.get("ImagePolicy", web))
        assert entry.generation == 1
        plane.apply(policy(namespace, "web", interval="7m"))
        await until(lambda: (seen := cache.get("ImagePolicy", web)) and seen.generation == 2)
        plane.delete("ImagePolicy", "web", namespace)
        await until(lambda: cache.get("ImagePolicy", web) is None)


async def test_nothing_is_written_on_an_object_that_is_watched(plane: ControlPlane, namespace: str) -> None:
    plane.apply(policy(namespace, "web"))
    written = plane.get("ImagePolicy", "web", namespace)
    async with watching(plane) as (cache, _):
        plane.apply(policy(namespace, "other"))
        await until(lambda: cache.get("ImagePolicy", ObjectKey(namespace, "other")))
    assert plane.get("ImagePolicy", "web", namespace) == written


async def test_what_went_while_nobody_watched_is_forgotten(plane: ControlPlane, namespace: str) -> None:
    """The only object of its kind: a list after it tells kopf nothing at all."""
    plane.apply(
        {
            "apiVersion": "image-updater.dev/v1alpha1",
            "kind": "GitRepository",
            "metadata": {"namespace": namespace, "name": "fleet"},
            "spec": {"url": "https://example.com/fleet.git"},
        }
    )
    fleet = ObjectKey(namespace, "fleet")
    async with watching(plane, namespace) as (cache, _):
        assert cache.get("GitRepository", fleet) is not None
        await asyncio.to_thread(plane.kill_apiserver)
        await asyncio.to_thread(plane.start_apiserver)
        # The watch is broken; its version expires and the object goes before it comes back, or after: both must do.
        plane.delete("GitRepository", "fleet", namespace)
        await asyncio.to_thread(plane.expire_watches)
        await until(lambda: cache.get("GitRepository", fleet) is None, 120)


async def test_a_namespace_scope_sees_only_its_namespaces(plane: ControlPlane, namespace: str) -> None:
    other = plane.namespace()
    plane.apply(policy(other, "elsewhere"))
    plane.apply(policy(namespace, "web"))
    async with watching(plane, namespace) as (cache, _):
        assert cache.get("ImagePolicy", ObjectKey(namespace, "web")) is not None
        assert cache.get("ImagePolicy", ObjectKey(other, "elsewhere")) is None
    plane.delete("Namespace", other)


async def test_a_mistyped_gate_reaches_us(plane: ControlPlane, namespace: str) -> None:
    plane.apply(policy(namespace, "web", minAgee="72h"))
    async with watching(plane, namespace) as (cache, _):
        entry = cache.get("ImagePolicy", ObjectKey(namespace, "web"))
        assert entry is not None
        assert "spec.minAgee: unknown field" in str(entry.error)


async def test_our_own_tasks_outlive_kopf(plane: ControlPlane, namespace: str) -> None:
    """kopf cancels all that is left of its loop when it ends: it must not be ours."""
    async with watching(plane, namespace):
        ours = asyncio.create_task(asyncio.sleep(3600))
    assert not ours.done()
    ours.cancel()
    assert not [thread for thread in threading.enumerate() if thread.name == "kopf"]


def test_definitions_that_go_and_come_back(second_plane: ControlPlane, tmp_path: Path) -> None:
    """Not on the plane that others work on. It may end and be started again; it must not go on and see nothing."""
    with controller(second_plane, tmp_path) as replica:
        namespace = second_plane.namespace()
        second_plane.apply(policy(namespace, "before"))
        second_plane.until(lambda: status(second_plane, namespace, "before"), 60, "a status")
        for each in crds():
            second_plane.delete("CustomResourceDefinition", each["metadata"]["name"])

        def noticed() -> bool:
            replica.revive()
            return "waiting (image-updater crds" in replica.log()

        second_plane.until(noticed, 90, "it waits for the definitions")
        for each in crds():
            second_plane.apply(each)
        second_plane.apply(policy(namespace, "after"))

        def seen() -> bool:
            replica.revive()
            return bool(status(second_plane, namespace, "after"))

        second_plane.until(seen, 90, "a status of a new object")
        assert "fault of image-updater" not in replica.log()
        second_plane.delete("Namespace", namespace)


def status(plane: ControlPlane, namespace: str, name: str) -> Any:
    return (plane.get("ImagePolicy", name, namespace) or {}).get("status")
