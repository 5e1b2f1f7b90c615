"""One stream of events, whatever happens to the requests behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from image_updater.cluster.errors import ClusterUnavailable, Forbidden, Gone, KindUnknown, Throttled
from image_updater.cluster.watcher import HASTY, SLOW_PAUSE, Watcher
from image_updater.errors import ImageUpdaterError
from tests.unit.cluster.conftest import DEPLOYMENTS, FakeTime

Body = dict[str, Any]


def web(name: str, version: int, uid: str = "u") -> Body:
    metadata = {"namespace": "apps", "name": name, "uid": f"{uid}-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


@dataclass
class Script:
    """What each list and each watch gives, in order. A number in a watch is a number of seconds that pass."""

    time: FakeTime
    lists: list[Any] = field(default_factory=list)
    watches: list[list[Any]] = field(default_factory=list)
    watched_from: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[list[Body], str]]:
        pages = self.lists.pop(0)
        for page in pages:
            if isinstance(page, Exception):
                raise page
            yield page

    async def events(self, *_: Any, resource_version: str, **__: Any) -> AsyncIterator[tuple[str, Body]]:
        self.watched_from.append(resource_version)
        if not self.watches:
            self.done.set()
            await asyncio.Event().wait()
        happenings = self.watches.pop(0)
        if not happenings or not isinstance(happenings[0], Exception):
            yield "OPENED", {}
        for each in happenings:
            if isinstance(each, Exception):
                raise each
            if isinstance(each, int):
                self.time.passed += each
            else:
                yield each


@dataclass
class Told:
    events: list[str] = field(default_factory=list)
    states: list[ImageUpdaterError | None] = field(default_factory=list)

    def on_event(self, event: Any) -> None:
        metadata = event.body.get("metadata", {})
        self.events.append(f"{event.happened} {metadata.get('name', '')}".strip())


async def follow(script: Script) -> Told:
    """Until the script is played."""
    told = Told()
    watcher = Watcher(
        script,  # type: ignore[arg-type]
        DEPLOYMENTS,
        on_event=told.on_event,
        on_state=told.states.append,
        monotonic=script.time.monotonic,
        clock=script.time.now,
        sleep=script.time.sleep,
        dice=lambda: 0.5,
    )
    task = asyncio.create_task(watcher.run())
    finished = asyncio.create_task(script.done.wait())
    await asyncio.wait([task, finished], return_when=asyncio.FIRST_COMPLETED, timeout=10)
    for each in (task, finished):
        each.cancel()
    results = await asyncio.gather(task, finished, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]
    assert not script.lists
    return told


BOOKMARK = {"metadata": {"resourceVersion": "50"}}


async def test_what_is_there_comes_first_and_then_what_happens(time: FakeTime) -> None:
    script = Script(
        time,
        lists=[[([web("a", 1)], "10"), ([web("b", 2)], "10")]],
        watches=[[("MODIFIED", web("a", 11)), ("DELETED", web("b", 12)), ("ADDED", web("c", 13)), 60]],
    )
    told = await follow(script)
    assert told.events == ["ADDED a", "ADDED b", "SYNCED", "MODIFIED a", "DELETED b", "ADDED c"]
    assert told.states == []
    assert script.watched_from == ["10", "13"]
    assert time.slept == []


async def test_a_bookmark_moves_the_watch_on_and_is_not_told(time: FakeTime) -> None:
    script = Script(time, lists=[[([], "10")]], watches=[[("BOOKMARK", BOOKMARK), 60]])
    told = await follow(script)
    assert told.events == ["SYNCED"]
    assert script.watched_from == ["10", "50"]


async def test_after_gone_only_the_difference_is_told(time: FakeTime) -> None:
    script = Script(
        time,
        lists=[
            [([web("a", 1), web("b", 2), web("c", 3), web("d", 4)], "10")],
            [([web("a", 1), web("c", 33), web("d", 34, uid="other"), web("e", 35)], "40")],
        ],
        watches=[[60, Gone("too old")]],
    )
    told = await follow(script)
    assert told.events[5:] == ["MODIFIED c", "DELETED d", "ADDED d", "ADDED e", "DELETED b", "SYNCED"]
    assert told.states == []
    assert script.watched_from == ["10", "40"]
    assert time.slept == [0.0]


async def test_a_vanished_object_is_told_with_what_names_it(time: FakeTime) -> None:
    script = Script(time, lists=[[([web("a", 1)], "10")], [([], "20")]], watches=[[Gone("x")]])
    bodies: list[Body] = []
    watcher_told = Told()

    def on_event(event: Any) -> None:
        if event.happened == "DELETED":
            bodies.append(event.body)

    watcher_told.on_event = on_event  # type: ignore[method-assign]
    watcher = Watcher(script, DEPLOYMENTS, on_event=on_event, sleep=time.sleep)  # type: ignore[arg-type]
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(script.done.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bodies == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "apps", "uid": "u-a"},
        }
    ]


async def test_a_list_that_expires_half_way_begins_anew(time: FakeTime) -> None:
    script = Script(time, lists=[[([web("a", 1)], "10"), Gone("x")], [([web("b", 1)], "20")]])
    told = await follow(script)
    assert told.events == ["ADDED a", "ADDED b", "DELETED a", "SYNCED"]


async def test_a_broken_connection_is_made_anew_without_a_word(time: FakeTime) -> None:
    broken = ClusterUnavailable("cut")
    script = Script(time, lists=[[([], "10")]], watches=[[("ADDED", web("a", 11)), 60, broken], [60]])
    told = await follow(script)
    assert told.states == []
    assert script.watched_from == ["10", "11", "11"]
    assert time.slept == [0.5]


async def test_a_server_that_stays_away_is_told_once_and_its_return_too(time: FakeTime) -> None:
    away = [[ClusterUnavailable("no connection")] for _ in range(8)]
    script = Script(time, lists=[[([], "10")]], watches=[*away, [("ADDED", web("a", 11)), 60]])
    told = await follow(script)
    assert [str(each) if each else None for each in told.states] == ["no connection", None]
    assert time.slept == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert told.events == ["SYNCED", "ADDED a"]


async def test_watches_that_end_at_once_are_not_begun_in_a_loop(time: FakeTime) -> None:
    script = Script(time, lists=[[([], "10")]], watches=[[], [], [], [60], []])
    await follow(script)
    assert time.slept == [0.5, 1, 2, 0.5]


async def test_many_gones_in_a_row_wait_longer_and_longer(time: FakeTime) -> None:
    script = Script(time, lists=[[Gone("x")] for _ in range(5)] + [[([], "10")]])
    await follow(script)
    assert time.slept == [0.0, 1, 2, 4, 8]


@pytest.mark.parametrize("error", [Forbidden("no right"), KindUnknown("no such kind")])
async def test_what_only_a_person_can_mend_is_told_and_tried_slowly(time: FakeTime, error: ImageUpdaterError) -> None:
    script = Script(time, lists=[[error], [error], [([web("a", 1)], "10")]])
    told = await follow(script)
    assert told.states == [error, None]
    assert time.slept == [SLOW_PAUSE, SLOW_PAUSE]
    assert told.events == ["ADDED a", "SYNCED"]


async def test_rights_that_are_taken_away_later_leave_what_is_known(time: FakeTime) -> None:
    script = Script(time, lists=[[([web("a", 1)], "10")]], watches=[[60, Forbidden("no right")], [60]])
    told = await follow(script)
    assert told.events == ["ADDED a", "SYNCED"]
    assert [each is None for each in told.states] == [False, True]


async def test_a_server_that_has_just_started_is_asked_again_soon(time: FakeTime) -> None:
    """It answers 403 before it has read its roles."""
    refused: list[Any] = [Forbidden("not yet")]
    script = Script(time, lists=[[([web("a", 1)], "10")]], watches=[[60], *[refused] * (HASTY + 1), [60]])
    await follow(script)
    assert time.slept == [0.5, 1, 2, 4, 8, 16, SLOW_PAUSE]


async def test_with_its_kind_every_object_goes(time: FakeTime) -> None:
    script = Script(time, lists=[[([web("a", 1)], "10")], [([], "20")]], watches=[[60, KindUnknown("gone")]])
    told = await follow(script)
    assert told.events == ["ADDED a", "SYNCED", "DELETED a", "SYNCED"]


async def test_a_server_that_names_a_time_is_left_alone_until_then(time: FakeTime) -> None:
    from datetime import timedelta

    until = time.now() + timedelta(seconds=40)
    script = Script(time, lists=[[Throttled("slow down", until=until)], [([], "10")]])
    told = await follow(script)
    assert time.slept == [40.5]
    assert len(told.states) == 2


async def test_an_error_of_a_callback_is_not_hidden(time: FakeTime) -> None:
    def on_event(_: Any) -> None:
        raise ZeroDivisionError

    watcher = Watcher(Script(time, lists=[[([web("a", 1)], "10")]]), DEPLOYMENTS, on_event=on_event)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        await watcher.run()
