"""The watches against a real server that expires versions, restarts and forbids, and what a sync does then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from image_updater.cluster.model import Ref
from tests.parts.syncing import Rig, actions, named, rigged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.parts.controlplane import ControlPlane

CONFIG = "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n"
SECRET = "\napiVersion: v1\nkind: Secret\nmetadata: {name: login}\n"


@pytest.fixture
async def rig(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    async with rigged(plane, namespace) as made:
        yield made


async def test_drift_is_told_while_the_object_and_its_watch_are_what_they_were(rig: Rig) -> None:
    await rig.sync(f"{CONFIG}---{SECRET}")
    rig.plane.kubectl("-n", rig.namespace, "label", "configmap", "settings", "team=a")
    rig.plane.kubectl("-n", rig.namespace, "annotate", "configmap", "settings", "note=b")
    rig.plane.kubectl("-n", rig.namespace, "label", "configmap", "settings", "kustomize.image-updater.dev/name-")
    await rig.until(lambda: rig.moved)
    assert [ref.name for ref, _ in rig.moved] == ["settings"]
    assert not rig.watches.watched(Ref("", "Secret", rig.namespace, "login"))
    report = await rig.sync(f"{CONFIG}---{SECRET}")
    assert named(report, "settings").fields == ('metadata.labels["kustomize.image-updater.dev/name"]: (absent) → app',)


async def test_what_happened_while_the_watch_was_expired_is_told(rig: Rig) -> None:
    await rig.sync("---".join((CONFIG, CONFIG.replace("settings", "gone"), CONFIG.replace("settings", "still"))))
    await asyncio.to_thread(rig.plane.expire_watches)
    await rig.until(lambda: rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}}))
    rig.plane.delete("ConfigMap", "gone", rig.namespace)
    await rig.until(lambda: {ref.name for ref, _ in rig.moved} == {"settings", "gone"})


async def test_after_a_restart_of_the_server_equal_is_equal(rig: Rig) -> None:
    await rig.sync(CONFIG)
    rig.plane.kill_apiserver()
    await asyncio.to_thread(rig.plane.start_apiserver)
    await rig.until(lambda: rig.watches.watched(Ref("", "ConfigMap", rig.namespace, "settings")))
    mark = rig.plane.mark()
    assert set(actions(await rig.sync(CONFIG)).values()) == {"equal"}
    assert not [each for each in rig.mine(mark) if "settings" in each]
    assert rig.moved == []


async def test_throttling_is_waited_out(rig: Rig) -> None:
    await rig.sync(CONFIG)
    with rig.plane.throttled(rig.namespace, "controller"):
        syncing = asyncio.create_task(rig.sync(CONFIG.replace("blue", "green")))
        await asyncio.sleep(0.5)
    report = await syncing
    if not report.ok:  # it gave up in time and said so
        assert {type(error).__name__ for error in report.errors} <= {"Throttled", "HeldBack"}
        report = await rig.sync(CONFIG.replace("blue", "green"))
    assert report.ok, report.errors


async def test_others_write_all_the_time_and_the_sync_goes_on(rig: Rig) -> None:
    stop = asyncio.Event()
    await rig.sync(CONFIG)

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            change = {"metadata": {"annotations": {"number": str(number)}}, "data": {"theirs": str(number)}}
            await asyncio.to_thread(rig.plane.patch, "ConfigMap", "settings", rig.namespace, change)

    writing = asyncio.create_task(write())
    try:
        for colour in ("green", "red", "black", "white"):
            report = await rig.sync(CONFIG.replace("blue", colour))
            assert report.ok, report.errors
            rig.known.clear()
    finally:
        stop.set()
        await writing
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"]["colour"] == "white"
    stop.clear()
    writing = asyncio.create_task(write())
    try:
        report = await rig.sync("")
        if not report.ok:
            assert {type(error).__name__ for error in report.errors} == {"Conflict"}
            assert [entry.ref.name for entry in report.inventory] == ["settings"]
    finally:
        stop.set()
        await asyncio.gather(writing, return_exceptions=True)
    assert (await rig.sync("")).ok
    assert rig.plane.get("ConfigMap", "settings", rig.namespace) is None
