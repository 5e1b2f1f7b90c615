"""Events as a real API server takes them and kubectl shows them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster import Cluster, Recorder
from tests.integration.cluster.accounts import as_account, connected, eventually, grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.parts.controlplane import ControlPlane


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with connected(plane.kubeconfig) as opened:
        yield opened


@asynccontextmanager
async def recording(cluster: Cluster) -> AsyncIterator[Recorder]:
    recorder = Recorder(cluster, instance="image-updater-0")
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def policy(namespace: str, name: str = "web") -> dict[str, str]:
    return {
        "apiVersion": "image-updater.dev/v1alpha1",
        "kind": "ImagePolicy",
        "namespace": namespace,
        "name": name,
        "uid": secrets.token_hex(8),
    }


async def events(cluster: Cluster, namespace: str, kind: str = "ImagePolicy") -> list[dict[str, Any]]:
    resource = await cluster.resource("events.k8s.io/v1", "Event")
    items, _ = await cluster.list(resource, namespace)
    return [each for each in items if each["regarding"].get("kind") == kind]


async def test_kubectl_shows_what_happened(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    about = policy(namespace)
    async with recording(cluster) as recorder:
        recorder.event(about=about, type="Normal", reason="TagSelected", message="1.2.3 won: newest of 4")
        recorder.event(
            about=about, type="Warning", reason="RateLimited", message="the registry says 429", action="Scan"
        )
        await recorder.drain(30)
    found = {each["reason"]: each for each in await events(cluster, namespace)}
    assert found["TagSelected"]["note"] == "1.2.3 won: newest of 4"
    assert found["TagSelected"]["reportingController"] == "image-updater.dev/controller"
    assert found["TagSelected"]["reportingInstance"] == "image-updater-0"
    assert found["RateLimited"]["type"] == "Warning"
    assert found["RateLimited"]["action"] == "Scan"
    shown = await asyncio.to_thread(
        plane.kubectl, "get", "events", "-n", namespace, "--field-selector", f"involvedObject.uid={about['uid']}"
    )
    assert "1.2.3 won: newest of 4" in shown
    assert "imagepolicy/web" in shown


async def test_repeats_are_a_series(cluster: Cluster, namespace: str) -> None:
    about = policy(namespace)
    async with recording(cluster) as recorder:
        for _ in range(3):
            recorder.event(about=about, type="Warning", reason="PushFailed", message="the server refused")
            await recorder.drain(30)
    (found,) = await events(cluster, namespace)
    assert found["series"]["count"] == 3


async def test_an_event_that_expired_is_made_anew(cluster: Cluster, namespace: str) -> None:
    about = policy(namespace)
    resource = await cluster.resource("events.k8s.io/v1", "Event")
    async with recording(cluster) as recorder:
        recorder.event(about=about, type="Normal", reason="R", message="m")
        await recorder.drain(30)
        (first,) = await events(cluster, namespace)
        await cluster.delete(resource, first["metadata"]["name"], namespace)
        recorder.event(about=about, type="Normal", reason="R", message="m")
        await recorder.drain(30)
    (second,) = await events(cluster, namespace)
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert recorder.metrics.failed == 0


async def test_what_is_odd_or_long_is_taken_as_well(cluster: Cluster, namespace: str) -> None:
    async with recording(cluster) as recorder:
        recorder.event(about=policy(namespace), type="Normal", reason="R" * 500, message="é" * 5_000, action="A" * 500)
        recorder.event(about=policy(namespace, "a" * 253), type="Normal", reason="R", message="\x1b[31mred\x00")
        recorder.event(about=policy(namespace, "system:odd:name"), type="Normal", reason="R", message="m")
        await recorder.drain(30)
    assert recorder.metrics.failed == 0
    assert len(await events(cluster, namespace)) == 3


async def test_an_object_of_the_cluster_has_its_events_in_default(cluster: Cluster, namespace: str) -> None:
    uid = secrets.token_hex(8)
    async with recording(cluster) as recorder:
        about = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}
        recorder.event(about=about, type="Normal", reason="R", message="m")
        await recorder.drain(30)
    assert recorder.metrics.failed == 0
    assert uid in [each["regarding"]["uid"] for each in await events(cluster, "default", "Namespace")]


async def test_without_the_right_it_is_logged_once(
    plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "image_updater.events")
    async with as_account(plane, namespace) as account, recording(account) as recorder:
        for number in range(3):
            recorder.event(about=policy(namespace), type="Normal", reason="R", message=str(number))
        await recorder.drain(30)
        assert recorder.metrics.failed == 3
        assert len(caplog.records) == 1
        assert "allow create on events.events.k8s.io" in caplog.text
        rules = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]
        await asyncio.to_thread(grant, plane, namespace, rules)

        def sent() -> int:
            recorder.event(about=policy(namespace), type="Normal", reason="R", message="m")
            return recorder.metrics.sent

        await eventually(sent)
