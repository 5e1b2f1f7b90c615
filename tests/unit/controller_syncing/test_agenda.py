"""What is worked on next, and when again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.errors import ClusterUnavailable, Forbidden, Throttled
from image_updater.controller.sync.agenda import Agenda, Priority, retry_after, routine_after
from image_updater.errors import ImageUpdaterError

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def key(name: str) -> ObjectKey:
    return ObjectKey("apps", name)


def kustomization(**seconds: int) -> Kustomization:
    spans = {name: timedelta(seconds=value) for name, value in seconds.items()}
    return Kustomization(meta=Meta(key=key("it")), source_ref=key("fleet"), path=".", **spans)  # type: ignore[arg-type]


def drained(agenda: Agenda) -> list[str]:
    found = []
    while (item := agenda.pop()) is not None:
        found.append(item[0].name)
    return found


def test_what_changed_goes_before_what_moved_before_routine() -> None:
    agenda = Agenda()
    for name, priority in [("r1", 2), ("m", 1), ("r2", 2), ("c", 0)]:
        agenda.put(key(name), Priority(priority))
    assert len(agenda) == 4
    assert drained(agenda) == ["c", "m", "r1", "r2"]


def test_a_key_is_there_once_with_its_best_priority() -> None:
    agenda = Agenda()
    agenda.put(key("a"), Priority.ROUTINE)
    agenda.put(key("b"), Priority.MOVED)
    agenda.put(key("a"), Priority.CHANGED)
    agenda.put(key("a"), Priority.ROUTINE)
    assert agenda.pop() == (key("a"), Priority.CHANGED)
    assert agenda.pop() == (key("b"), Priority.MOVED)
    assert agenda.pop() is None


def test_what_was_dropped_is_not_worked_on_and_does_not_ring() -> None:
    agenda = Agenda()
    agenda.put(key("a"), Priority.CHANGED)
    agenda.set_alarm(key("a"), 5.0)
    agenda.drop(key("a"))
    assert agenda.pop() is None
    assert agenda.next_alarm() is None
    assert agenda.rings(10.0) == []


def test_an_alarm_rings_once_and_only_the_last_one_counts() -> None:
    agenda = Agenda()
    agenda.set_alarm(key("a"), 5.0)
    agenda.set_alarm(key("b"), 6.0)
    agenda.set_alarm(key("a"), 8.0)
    assert agenda.next_alarm() == 6.0
    assert agenda.rings(7.0) == [key("b")]
    assert agenda.rings(9.0) == [key("a")]
    assert agenda.rings(99.0) == []


@pytest.mark.parametrize(("dice", "seconds"), [(0.0, 540.0), (0.5, 600.0), (1.0, 660.0)])
def test_the_interval_is_spread(dice: float, seconds: float) -> None:
    assert routine_after(kustomization(interval=600), lambda: dice) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("error", "failures", "lasting", "seconds"),
    [
        (ClusterUnavailable("down"), 1, False, 1),
        (ClusterUnavailable("down"), 4, False, 8),
        (ClusterUnavailable("down"), 99, False, 120),
        (Forbidden("no"), 1, False, 5),
        (Forbidden("no"), 3, False, 20),
        (None, 2, False, 2),
        (ClusterUnavailable("down"), 1, True, 120),
        (Throttled("slow down", until=NOW + timedelta(seconds=300)), 1, False, 315),
    ],
    ids=["first", "fourth", "at-most", "terminal", "terminal-third", "health", "lasting", "told-when"],
)
def test_failures_are_tried_again_later_and_later(
    error: ImageUpdaterError | None, failures: int, lasting: bool, seconds: float
) -> None:
    spec = kustomization(interval=600, retry_interval=120)
    found = retry_after(spec, error, failures, lasting=lasting, now=NOW, dice=lambda: 0.5)
    assert found == pytest.approx(seconds)


def test_without_a_retry_interval_the_interval_is_the_most() -> None:
    spec = kustomization(interval=600)
    assert retry_after(spec, None, 30, lasting=False, now=NOW, dice=lambda: 0.5) == pytest.approx(600)
