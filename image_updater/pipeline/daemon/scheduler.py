"""When is what due? Pure bookkeeping over a heap: the daemon brings the clock, the dice and the work.

Times are seconds of a monotonic clock. Each interval is stretched or shrunk by up to ten percent, so that a thousand
policies created together do not stay together.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from image_updater.api.model import Batch

JITTER = 0.1
PATIENCE = 6
"""Doublings of the wait after failures in a row."""
EARLY = 0.01
EARLY_AT_MOST = 1.0
"""How much sooner than it is due a key may come along with another one: a share of its interval, and seconds. Ten polls
together take half of the CPU time that ten polls one by one take, where the caches are cold before each."""

K = TypeVar("K", bound="Hashable")


@dataclass(slots=True)
class _Entry:
    interval: float
    due: float
    failures: int = 0
    running: bool = False
    ahead: float = 0.0
    """How much sooner than it was due this run began."""


class Schedule(Generic[K]):
    """Keys and their next due time. A key that runs is not due again before `done()`."""

    def __init__(self, dice: Callable[[], float]) -> None:
        """`dice()` gives a number in [0, 1)."""
        self._dice = dice
        self._entries: dict[K, _Entry] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def put(self, key: K, *, interval: float, due: float) -> None:
        """Add a key, or give it another interval: its due time then only moves nearer."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(interval=interval, due=due)
            self._push(key, due)
        elif entry.interval != interval:
            entry.interval = interval
            self._set(key, entry, min(entry.due, due + interval))

    def drop(self, key: K) -> None:
        """Forget a key; what it left in the heap is skipped."""
        self._entries.pop(key, None)

    def keys(self) -> frozenset[K]:
        return frozenset(self._entries)

    def hurry(self, key: K, now: float) -> None:
        """Make a key due now."""
        entry = self._entries.get(key)
        if entry is not None:
            self._set(key, entry, min(entry.due, now))

    def next_due(self) -> float | None:
        """When the next key that is not running is due; None = nothing to wait for."""
        self._skim()
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float, *, along: bool = False) -> K | None:
        """A key that is due, now marked as running; None when none is. `along`: others are being started anyway, and
        one that is nearly due comes along.
        """
        self._skim()
        if not self._heap:
            return None
        due, _, key = self._heap[0]
        entry = self._entries[key]
        if due > now + (min(entry.interval * EARLY, EARLY_AT_MOST) if along else 0.0):
            return None
        heapq.heappop(self._heap)
        entry.running, entry.ahead = True, max(due - now, 0.0)
        return key

    def done(self, key: K, now: float, *, failed: bool = False, not_before: float | None = None) -> None:
        """A run ended: due again after an interval with jitter; after failures sooner at first, then later and later.
        One that came along is not the sooner due again for it.

        `not_before`: the other side said when to come back.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.running = False
        entry.failures = min(entry.failures + 1, PATIENCE) if failed else 0
        wait = entry.interval
        if failed:
            wait = min(entry.interval, entry.interval / 2**PATIENCE * 2**entry.failures)
        wait *= 1 + JITTER * (2 * self._dice() - 1)
        due = now + entry.ahead + wait
        entry.ahead = 0.0
        if not_before is not None:
            # Everybody was told the same moment: spread out behind it.
            due = max(due, not_before + entry.interval * JITTER * self._dice())
        entry.due = due
        self._push(key, due)

    def _set(self, key: K, entry: _Entry, due: float) -> None:
        if due != entry.due:
            entry.due = due
            if not entry.running:
                self._push(key, due)

    def _push(self, key: K, due: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))

    def _skim(self) -> None:
        """Drop heap entries that were overtaken: forgotten keys, other due times, running keys."""
        while self._heap:
            due, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and not entry.running and entry.due == due:
                return
            heapq.heappop(self._heap)


class Alarms(Generic[K]):
    """Keys and the moments of the wall clock at which they are due. A clock that was set back makes all of them due:
    what was judged at a time that has not come (again) yet may be wrong now.
    """

    def __init__(self) -> None:
        self._moments: dict[K, datetime] = {}
        self._last: datetime | None = None

    def put(self, key: K, moment: datetime | None) -> None:
        """When this key is due; None = never."""
        if moment is None:
            self._moments.pop(key, None)
        else:
            self._moments[key] = moment

    def due(self, now: datetime) -> tuple[K, ...]:
        """The keys whose moment has come; they are due no more."""
        back = self._last is not None and now < self._last
        self._last = now
        found = tuple(self._moments) if back else tuple(key for key, at in self._moments.items() if at <= now)
        for key in found:
            del self._moments[key]
        return found

    def next(self) -> datetime | None:
        """The earliest moment; None = nothing waits."""
        return min(self._moments.values(), default=None)


@dataclass(slots=True)
class Window:
    """The batch window of one branch: `first` and `last` are when something changed since the last push."""

    batch: Batch
    first: float | None = None
    last: float | None = None

    def open(self, now: float) -> None:
        """Something changed."""
        self.first = now if self.first is None else self.first
        self.last = now

    def close(self) -> None:
        """It is being pushed."""
        self.first = self.last = None

    def wait(self, now: float, *, busy: bool) -> float | None:
        """Seconds until the push (0 = now), None while nothing changed.

        A lone change goes at once. While checks are under way that a push could also carry (`busy`), it waits, at most
        `max` from the first change. `quiet` is a calm time after the last change that is waited for on top.
        """
        if self.first is None or self.last is None:
            return None
        quiet = self.last + self.batch.quiet.total_seconds() - now
        latest = self.first + max(self.batch.max.total_seconds(), self.batch.quiet.total_seconds()) - now
        if latest <= 0:
            return 0.0
        if busy:
            return latest
        return min(max(quiet, 0.0), latest)
