"""Events: said once, counted after that, never in the way."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.cluster.errors import Forbidden, NamespaceMissing, ObjectNotFound
from image_updater.cluster.recorder import BURST, NOTE, QUEUE, REFILL, SERIES, Recorder, _clip
from image_updater.errors import ImageUpdaterError
from tests.unit.cluster.conftest import FakeTime

Body = dict[str, Any]

POLICY = {"apiVersion": "v1alpha1", "kind": "ImagePolicy", "namespace": "apps", "name": "web", "uid": "u"}


class Events:
    """What was written."""

    def __init__(self) -> None:
        self.created: list[Body] = []
        self.patched: list[tuple[str, Body]] = []
        self.fail: ImageUpdaterError | None = None

    async def create(self, _: Any, body: Body) -> Body:
        if self.fail:
            raise self.fail
        self.created.append({**body, "metadata": dict(body["metadata"])})
        return body

    async def patch(self, _: Any, name: str, namespace: str, change: Body) -> Body:
        if self.fail:
            raise self.fail
        if name not in {each["metadata"]["name"] for each in self.created}:
            raise ObjectNotFound("expired")
        self.patched.append((name, change))
        return change


class Bench:
    def __init__(self, time: FakeTime) -> None:
        self.events = Events()
        numbers = itertools.count()
        self.recorder = Recorder(
            self.events,  # type: ignore[arg-type]
            instance="image-updater-0",
            monotonic=time.monotonic,
            clock=time.now,
            token=lambda: str(next(numbers)),
        )

    def say(self, message: str = "m", **change: Any) -> None:
        arguments = {"about": POLICY, "type": "Normal", "reason": "Selected", "message": message, **change}
        self.recorder.event(**arguments)

    async def settle(self) -> None:
        task = asyncio.create_task(self.recorder.run())
        await self.recorder.drain()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def bench(time: FakeTime) -> Bench:
    return Bench(time)


async def test_an_event_is_what_the_server_wants_it_to_be(bench: Bench) -> None:
    bench.say("1.2.3 won")
    await bench.settle()
    assert bench.events.created == [
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "web.0", "namespace": "apps"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "image-updater.dev/controller",
            "reportingInstance": "image-updater-0",
            "action": "Reconcile",
            "reason": "Selected",
            "type": "Normal",
            "regarding": POLICY,
            "note": "1.2.3 won",
        }
    ]


async def test_the_same_again_is_one_more_of_a_series(bench: Bench, time: FakeTime) -> None:
    bench.say()
    await bench.settle()
    for seconds in (1, 2):
        time.passed = seconds * 60.0
        bench.say()
        await bench.settle()
    assert len(bench.events.created) == 1
    assert [change["series"] for _, change in bench.events.patched] == [
        {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"},
        {"count": 3, "lastObservedTime": "2026-01-01T00:02:00.000000Z"},
    ]
    time.passed += SERIES
    bench.say()
    await bench.settle()
    assert len(bench.events.created) == 2


@pytest.mark.parametrize(
    "change",
    [{"message": "n"}, {"reason": "Held"}, {"type": "Warning"}, {"action": "Push"}, {"about": {**POLICY, "uid": "v"}}],
)
async def test_another_thing_is_another_event(bench: Bench, change: dict[str, Any]) -> None:
    bench.say()
    bench.say(**change)
    await bench.settle()
    assert len(bench.events.created) == 2


async def test_what_is_said_often_before_it_is_sent_is_sent_once_with_its_count(bench: Bench) -> None:
    for _ in range(5):
        bench.say()
    await bench.settle()
    assert len(bench.events.created) == 1
    assert [change["series"]["count"] for _, change in bench.events.patched] == [5]


async def test_an_event_that_the_server_has_forgotten_is_made_anew(bench: Bench, time: FakeTime) -> None:
    bench.say()
    await bench.settle()
    bench.events.created.clear()
    time.passed = 60
    bench.say()
    await bench.settle()
    (again,) = bench.events.created
    assert again["metadata"]["name"] == "web.1"
    assert again["eventTime"] == "2026-01-01T00:01:00.000000Z"


async def test_an_object_that_says_too_much_is_slowed_down_alone(bench: Bench, time: FakeTime) -> None:
    for number in range(100):
        bench.say(str(number))
    bench.say(about={**POLICY, "name": "other", "uid": "o"})
    await bench.settle()
    assert len(bench.events.created) == BURST + 1
    assert bench.recorder.metrics.dropped == 100 - BURST
    time.passed += REFILL
    bench.say("later")
    bench.say("too early")
    await bench.settle()
    assert [each["note"] for each in bench.events.created[BURST + 1 :]] == ["later"]


async def test_the_queue_has_an_end(bench: Bench) -> None:
    for number in range(QUEUE + 10):
        bench.say(about={**POLICY, "uid": str(number)})
    assert bench.recorder.metrics.dropped == 10
    await bench.settle()
    assert len(bench.events.created) == QUEUE


async def test_a_failure_is_logged_once_and_never_raised(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bench.events.fail = Forbidden("no right to create events")
    for number in range(5):
        bench.say(str(number))
    await bench.settle()
    assert [record.getMessage() for record in caplog.records] == ["Events cannot be written: no right to create events"]
    assert bench.recorder.metrics.failed == 5
    bench.events.fail = None
    bench.say("well again")
    await bench.settle()
    bench.events.fail = Forbidden("again")
    bench.say("and not")
    await bench.settle()
    assert len(caplog.records) == 2


async def test_an_event_of_a_namespace_that_goes_is_no_news(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.events.fail = NamespaceMissing("namespace apps is being deleted")
    bench.say()
    await bench.settle()
    assert not caplog.records


async def test_events_of_objects_without_a_namespace_are_in_default(bench: Bench) -> None:
    about = {"apiVersion": "v1", "kind": "Namespace", "name": "System:X", "namespace": ""}
    bench.say(about=about)
    await bench.settle()
    assert bench.events.created[0]["metadata"] == {"name": "system-x.0", "namespace": "default"}
    assert "namespace" not in bench.events.created[0]["regarding"]


async def test_draining_ends_although_nobody_sends(bench: Bench) -> None:
    bench.say()
    await bench.recorder.drain(0.01)
    assert bench.events.created == []


@given(st.text(), st.integers(10, 2_000))
def test_a_note_fits_and_has_no_control_characters(text: str, limit: int) -> None:
    clipped = _clip(text, limit)
    assert len(clipped.encode()) <= limit
    assert all(each.isprintable() or each == "\n" for each in clipped)
    assert len(_clip("é" * 5_000, NOTE).encode()) <= NOTE
