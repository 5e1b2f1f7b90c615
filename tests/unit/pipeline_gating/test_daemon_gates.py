"""What is held and then released by itself, in the daemon: no poll, no hint, only the clock that it was given."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from image_updater.api.wishes import HoldWish, Wishes
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.daemon import Daemon
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.scheduler import Alarms
from image_updater.pipeline.daemon.watching import ObjectFiles
from image_updater.policy.situation import Quarantined
from image_updater.settings import Settings
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, START, Clock, FakeRegistry
from tests.unit.pipeline_selection.test_daemon import Line, objects, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FREEZE = """
---
apiVersion: image-updater.dev/v1alpha1
kind: Freeze
metadata: {name: night}
spec: {reason: nobody is awake, expires: '2024-05-01T18:00:00Z'}
"""
WINDOW = "  windows: [{cron: '0 22 * * *', duration: 2h}]\n"


@dataclass(frozen=True)
class Running:
    daemon: Daemon
    selector: Selector
    clock: Clock
    registry: FakeRegistry
    line: Line

    async def settled(self) -> None:
        """The first run over the branch is through."""
        await until(lambda: bool(self.line.requests) and self.daemon.ready())
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(folder: Path, text: str) -> AsyncIterator[Running]:
    path = folder / "objects.yaml"
    path.write_text(text)
    clock, registry, line = Clock(), FakeRegistry("1.0.0", "1.1.0"), Line()
    secrets = CurrentSecrets(None)
    with Store.open(folder / "state", clock=clock) as store:
        selector = Selector(store=store, secrets=secrets, environment={}, clock=clock, registry=registry, durable=True)
        files = ObjectFiles([path], selector.check)
        reading = files.look()
        assert reading is not None
        assert reading.objects is not None, reading.error
        daemon = Daemon(
            source=files,
            objects=reading.objects,
            selector=selector,
            secrets=secrets,
            settings=Settings(state=folder / "state"),
            environment={},
            metrics=Metrics(),
            clock=clock,
            monotonic=time.monotonic,
            dice=random.Random(1).random,
            apply=line,
            step=0.01,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(daemon.run(stop))
        try:
            yield Running(daemon, selector, clock, registry, line)
        finally:
            stop.set()
            await task


async def test_a_freeze_holds_and_releases_without_any_poll(tmp_path: Path) -> None:
    async with running(tmp_path, objects() + FREEZE) as world:
        await world.settled()
        assert world.line.written == []
        assert "nobody is awake" in world.selector.answers["default/web"].reason
        asked = dict(world.registry.calls)
        world.clock.now = START.replace(hour=17, minute=59)
        await asyncio.sleep(0.05)
        assert world.line.written == []
        world.clock.now = START.replace(hour=18)
        await until(lambda: world.line.written == ["1.1.0"])
        assert world.registry.calls == asked


async def test_a_window_opens_without_any_poll_and_a_clock_that_was_set_back_closes_it(tmp_path: Path) -> None:
    text = objects().replace("  image:", WINDOW + "  image:")
    async with running(tmp_path, text) as world:
        await world.settled()
        assert world.line.written == []
        world.clock.now = START.replace(hour=22, minute=30)
        await until(lambda: world.line.written == ["1.1.0"])
        world.clock.now = START.replace(hour=21, minute=30)
        await until(lambda: world.selector.answers["default/web"].selection is None)
        world.registry.push("1.2.0")
        world.daemon.hint(IMAGE, "1.2.0")
        await until(lambda: "1.2.0" in world.selector.answers["default/web"].reason)
        assert world.line.written == ["1.1.0"]
        world.clock.forward(hours=1)
        await until(lambda: world.line.written == ["1.1.0", "1.2.0"])


async def test_an_age_is_reached_by_the_clock_alone(tmp_path: Path) -> None:
    text = objects().replace("  image:", "  minAge: 72h\n  image:")
    async with running(tmp_path, text) as world:
        await world.settled()
        assert world.line.written == []
        world.clock.forward(days=3)
        await until(lambda: world.line.written == ["1.1.0"])


async def test_a_wish_and_a_record_act_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, objects()) as world:
        await until(lambda: world.line.written == ["1.1.0"])
        world.selector.situations.wished("default/web", Wishes(hold=HoldWish(reason="a sale is on", at=START)))
        await until(lambda: world.selector.answers["default/web"].held)
        world.selector.situations.wished("default/web", Wishes(resumed=START + timedelta(minutes=1)))
        await until(lambda: world.selector.answers["default/web"].selection is not None)
        world.selector.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="1.1.0")])
        await until(lambda: world.line.written == ["1.1.0", "1.0.0"])


def test_alarms_are_due_at_their_time_and_all_of_them_when_the_clock_is_set_back() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.put("soon", START + timedelta(minutes=1))
    alarms.put("late", START + timedelta(hours=2))
    assert alarms.due(START) == ()
    assert alarms.next() == START + timedelta(minutes=1)
    assert alarms.due(START + timedelta(hours=1)) == ("soon",)
    assert alarms.due(START) == ("late",)
    assert alarms.next() is None
    alarms.put("late", START)
    alarms.put("late", None)
    assert alarms.due(START) == ()
