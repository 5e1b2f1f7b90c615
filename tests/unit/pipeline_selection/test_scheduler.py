"""When things are due, on a clock made of numbers."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from image_updater.api.model import Batch
from image_updater.pipeline.daemon.scheduler import Schedule, Window


def drain(schedule: Schedule[str], now: float) -> list[str]:
    found = []
    while (key := schedule.pop(now)) is not None:
        found.append(key)
    return found


def test_keys_come_when_they_are_due_and_not_while_they_run() -> None:
    schedule: Schedule[str] = Schedule(lambda: 0.5)
    schedule.put("a", interval=10, due=5)
    schedule.put("b", interval=10, due=1)
    assert schedule.next_due() == 1
    assert drain(schedule, 0.9) == []
    assert drain(schedule, 6) == ["b", "a"]
    assert drain(schedule, 1000) == []
    schedule.done("b", 7)
    assert schedule.next_due() == 17


@pytest.mark.parametrize(
    ("interval", "due", "comes"),
    [(60, 10.6, True), (60, 10.7, False), (3600, 11, True), (3600, 11.1, False), (math.inf, math.inf, False)],
)
def test_what_is_nearly_due_comes_along_and_keeps_its_pace(interval: float, due: float, comes: bool) -> None:
    schedule: Schedule[str] = Schedule(lambda: 0.5)
    schedule.put("a", interval=10, due=10)
    schedule.put("b", interval=interval, due=due)
    assert schedule.pop(9.9) is None
    assert schedule.pop(10) == "a"
    assert schedule.pop(10) is None, "nobody said that others are being started"
    assert schedule.pop(10, along=True) == ("b" if comes else None)
    if comes:
        schedule.done("b", 12)
        assert schedule.next_due() == pytest.approx(12 + due - 10 + interval)


@pytest.mark.parametrize(("dice", "due"), [(0.0, 90.0), (0.5, 100.0), (0.999999, 110.0)])
def test_an_interval_has_ten_percent_of_jitter(dice: float, due: float) -> None:
    schedule: Schedule[str] = Schedule(lambda: dice)
    schedule.put("a", interval=100, due=0)
    schedule.pop(0)
    schedule.done("a", 0)
    assert schedule.next_due() == pytest.approx(due, abs=0.01)


def test_failures_come_back_soon_then_later_and_never_later_than_the_interval() -> None:
    schedule: Schedule[str] = Schedule(lambda: 0.5)
    schedule.put("a", interval=320, due=0)
    waits, now = [], 0.0
    for _ in range(8):
        schedule.pop(now)
        schedule.done("a", now, failed=True)
        due = schedule.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [10, 20, 40, 80, 160, 320, 320, 320]
    schedule.pop(now)
    schedule.done("a", now)
    assert schedule.next_due() == now + 320


def test_a_moment_that_the_other_side_named_is_respected_and_spread() -> None:
    schedule: Schedule[str] = Schedule(lambda: 0.5)
    schedule.put("a", interval=100, due=0)
    schedule.pop(0)
    schedule.done("a", 0, failed=True, not_before=500)
    assert schedule.next_due() == 505


def test_hurry_drop_and_a_shorter_interval_move_what_waits() -> None:
    schedule: Schedule[str] = Schedule(lambda: 0.5)
    schedule.put("a", interval=100, due=100)
    schedule.put("b", interval=100, due=50)
    schedule.hurry("a", 10)
    schedule.drop("b")
    assert drain(schedule, 60) == ["a"]
    schedule.done("a", 60)
    schedule.put("a", interval=5, due=70)
    assert schedule.next_due() == 75


def window(quiet: float = 0, longest: float = 5) -> Window:
    return Window(batch=Batch(quiet=timedelta(seconds=quiet), max=timedelta(seconds=longest)))


def test_a_lone_tag_is_pushed_at_once() -> None:
    one = window()
    assert one.wait(0, busy=False) is None
    one.open(10)
    assert one.wait(10, busy=False) == 0


def test_a_storm_is_pushed_together_but_never_later_than_max() -> None:
    one = window()
    one.open(10)
    assert one.wait(10, busy=True) == 5
    one.open(14)
    assert one.wait(14, busy=True) == 1
    assert one.wait(15, busy=True) == 0
    one.close()
    assert one.wait(15, busy=True) is None


def test_quiet_waits_for_calm() -> None:
    one = window(quiet=3, longest=10)
    one.open(0)
    assert one.wait(0, busy=False) == 3
    one.open(2)
    assert one.wait(3, busy=False) == 2
    one.open(9)
    assert one.wait(9, busy=False) == 1
    assert one.wait(10, busy=False) == 0
