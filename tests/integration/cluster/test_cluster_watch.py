"""The watcher on a real API server: nothing that happened is missed, whatever happens to the watch."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster import Cluster, Happened, Ref, Watcher, WatchEvent, watcher
from image_updater.cluster.errors import Forbidden, Gone, KindUnknown
from tests.integration.cluster.accounts import as_account, connected, eventually, grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from image_updater.cluster.model import Resource
    from image_updater.errors import ImageUpdaterError
    from tests.parts.controlplane import ControlPlane


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with connected(plane.kubeconfig) as opened:
        yield opened


class Mirror:
    """What a consumer of the events believes is there."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, Any]] = {}
        self.told: list[str] = []
        self.states: list[ImageUpdaterError | None] = []
        self.synced = 0

    def on_event(self, event: WatchEvent) -> None:
        if event.happened is Happened.SYNCED:
            self.synced += 1
            return
        name = Ref.of(event.body).name
        self.told.append(f"{event.happened} {name}")
        if event.happened is Happened.DELETED:
            assert event.body["metadata"]["uid"] == self.there.pop(name)["metadata"]["uid"]
        else:
            self.there[name] = event.body


class Gate:
    """Sleeps only when it is open: holds a watcher back between two tries."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def sleep(self, seconds: float) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        await asyncio.sleep(min(seconds, 0.05))


@contextlib.asynccontextmanager
async def watching(cluster: Cluster, resource: Resource, gate: Gate, **options: Any) -> AsyncIterator[Mirror]:
    mirror = Mirror()
    made = Watcher(
        cluster, resource, on_event=mirror.on_event, on_state=mirror.states.append, sleep=gate.sleep, **options
    )
    task = asyncio.create_task(made.run())
    try:
        yield mirror
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError), results


def config_map(namespace: str, name: str, value: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"tests": "watch"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": value}}


OURS = {"labels": "tests=watch"}


@pytest.mark.parametrize("metadata_only", [False, True])
async def test_what_is_there_and_what_happens_is_told(cluster: Cluster, namespace: str, metadata_only: bool) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    await cluster.apply(maps, config_map(namespace, "a"))
    async with watching(cluster, maps, Gate(), namespace=namespace, metadata_only=metadata_only, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        await cluster.apply(maps, config_map(namespace, "b"))
        await cluster.apply(maps, config_map(namespace, "b", "2"))
        await cluster.delete(maps, "a", namespace)
        await cluster.apply(maps, config_map("default", "elsewhere"))
        await cluster.delete(maps, "elsewhere", "default")
        await cluster.apply(maps, config_map(namespace, "last"))
        await eventually(lambda: "last" in mirror.there)
        assert mirror.told == ["ADDED a", "ADDED b", "MODIFIED b", "DELETED a", "ADDED last"]
        assert all(("data" in each) is not metadata_only for each in mirror.there.values())
        assert {(each["apiVersion"], each["kind"]) for each in mirror.there.values()} == {("v1", "ConfigMap")}
        assert mirror.states == []


async def test_an_object_that_loses_its_label_is_deleted_for_who_watches_it(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    await cluster.apply(maps, config_map(namespace, "a"))
    async with watching(cluster, maps, Gate(), namespace=namespace, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        await cluster.patch(maps, "a", namespace, {"metadata": {"labels": {"tests": None}}})
        await eventually(lambda: not mirror.there)


async def test_a_large_object_comes_whole(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    async with watching(cluster, maps, Gate(), namespace=namespace, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        await cluster.apply(maps, config_map(namespace, "large", "é" * 400_000))
        await eventually(lambda: "large" in mirror.there)
        assert mirror.there["large"]["data"]["a"] == "é" * 400_000


async def test_watches_that_end_are_begun_anew_and_miss_nothing(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "SECONDS", 0.5)
    maps = await cluster.resource("v1", "ConfigMap")
    async with watching(cluster, maps, Gate(), namespace=namespace, **OURS) as mirror:
        for number in range(30):
            await cluster.apply(maps, config_map(namespace, f"m{number}"))
            await asyncio.sleep(0.1)
        await eventually(lambda: len(mirror.there) == 30)
        assert mirror.told == [f"ADDED m{number}" for number in range(30)]
        assert mirror.synced == 1
        assert cluster.metrics.requests["watch", "200"] >= 3


async def test_after_a_restart_of_the_server_nothing_was_missed(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    gate = Gate()
    await cluster.apply(maps, config_map(namespace, "a"))
    async with watching(cluster, maps, gate, namespace=namespace, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        gate.open.clear()
        await asyncio.to_thread(plane.kill_apiserver)
        try:
            await eventually(lambda: gate.waiting)
        finally:
            await asyncio.to_thread(plane.start_apiserver)
        await cluster.delete(maps, "a", namespace)
        await cluster.apply(maps, config_map(namespace, "b"))
        gate.open.set()
        await eventually(lambda: list(mirror.there) == ["b"])
        await cluster.apply(maps, config_map(namespace, "c"))
        await eventually(lambda: "c" in mirror.there)
        # A server that has just started may know no version from before: then it is listed once more.
        assert mirror.synced <= 2


async def test_a_server_that_stays_away_is_told_and_its_return_too(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    async with watching(cluster, maps, Gate(), namespace=namespace, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        await asyncio.to_thread(plane.kill_apiserver)
        try:
            await eventually(lambda: mirror.states)
            assert "no connection" in str(mirror.states[0])
        finally:
            await asyncio.to_thread(plane.start_apiserver)
        await eventually(lambda: mirror.states[-1] is None)
        await cluster.apply(maps, config_map(namespace, "a"))
        await eventually(lambda: "a" in mirror.there)


async def test_after_410_what_vanished_meanwhile_is_deleted(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    gate = Gate()
    for name in ("stays", "goes", "changes", "comes-back"):
        await cluster.apply(maps, config_map(namespace, name))
    async with watching(cluster, maps, gate, namespace=namespace, **OURS) as mirror:
        await eventually(lambda: mirror.synced)
        gate.open.clear()
        await asyncio.to_thread(plane.kill_apiserver)
        try:
            await eventually(lambda: gate.waiting)
        finally:
            await asyncio.to_thread(plane.start_apiserver)
        before = len(mirror.told)
        await cluster.delete(maps, "goes", namespace)
        await cluster.delete(maps, "comes-back", namespace)
        await cluster.apply(maps, config_map(namespace, "comes-back"))
        await cluster.apply(maps, config_map(namespace, "changes", "2"))
        await asyncio.to_thread(plane.expire_watches)
        gate.open.set()
        await eventually(lambda: mirror.synced == 2)
        assert sorted(mirror.told[before:]) == [
            "ADDED comes-back",
            "DELETED comes-back",
            "DELETED goes",
            "MODIFIED changes",
        ]
        assert sorted(mirror.there) == ["changes", "comes-back", "stays"]


async def test_a_version_that_expired_is_gone(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    _, version = await cluster.list(maps, namespace)
    await asyncio.to_thread(plane.expire_watches)
    with pytest.raises(Gone):
        _ = [each async for each in cluster.watch(maps, namespace, resource_version=version, timeout=5)]


async def test_rights_that_are_missing_are_told_until_they_are_given(plane: ControlPlane, namespace: str) -> None:
    async with as_account(plane, namespace) as account:
        maps = await account.resource("v1", "ConfigMap")
        async with watching(account, maps, Gate(), namespace=namespace) as mirror:
            await eventually(lambda: mirror.states)
            assert isinstance(mirror.states[0], Forbidden)
            assert f"allow list on configmaps in namespace {namespace}" in str(mirror.states[0])
            rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]
            await asyncio.to_thread(grant, plane, namespace, rules)
            await eventually(lambda: mirror.synced)
            await eventually(lambda: mirror.states[-1] is None)
            assert "kube-root-ca.crt" in mirror.there


async def test_with_its_definition_every_object_goes_and_comes(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    group = f"t{secrets.token_hex(4)}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": namespace}}
    await asyncio.to_thread(plane.apply, definition)
    widgets = await cluster.resource(f"{group}/v1", "Widget")
    await cluster.apply(widgets, widget)
    async with watching(cluster, widgets, Gate()) as mirror:
        await eventually(lambda: mirror.there)
        await asyncio.to_thread(plane.delete, "CustomResourceDefinition", f"widgets.{group}")
        await eventually(lambda: any(isinstance(each, KindUnknown) for each in mirror.states))
        assert not mirror.there
        # The old definition goes in its own time.
        get = lambda: plane.get("CustomResourceDefinition", f"widgets.{group}")  # noqa: E731
        async with asyncio.timeout(30):
            while await asyncio.to_thread(get):
                await asyncio.sleep(0.1)
        await asyncio.to_thread(plane.apply, definition)
        await eventually(lambda: mirror.states[-1] is None)
        await cluster.apply(widgets, widget)
        await eventually(lambda: "w" in mirror.there)
    await asyncio.to_thread(plane.delete, "CustomResourceDefinition", f"widgets.{group}")
