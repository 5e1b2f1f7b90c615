"""Which Kustomization is worked on next, and which one when. Pure bookkeeping: whoever asks brings the clock.

What a commit or a person changed goes first, then what somebody changed in the cluster, then routine; inside a class
the one that waits longest.
"""

from __future__ import annotations

import heapq
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from image_updater.errors import Terminal, Transient

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.errors import ImageUpdaterError

JITTER: Final = 0.1
"""Of intervals, either way."""

FIRST: Final = 1.0
"""Seconds before the first retry of what may work at once; doubled with each failure in a row."""
FIRST_TERMINAL: Final = 5.0
"""Of what somebody has to mend first (a right, say): the object itself need not change for that."""
FAULT: Final = 30.0
"""After a fault of ours, and where not even status can be written."""


class Priority(IntEnum):
    CHANGED = 0
    MOVED = 1
    ROUTINE = 2


class Agenda:
    """Keys that are to be worked on now, by priority, and alarms of keys for later."""

    def __init__(self) -> None:
        self._queued: dict[ObjectKey, tuple[Priority, int]] = {}
        self._heap: list[tuple[Priority, int, ObjectKey]] = []
        self._alarms: dict[ObjectKey, float] = {}
        self._later: list[tuple[float, ObjectKey]] = []
        self._count = 0

    def __len__(self) -> int:
        """How many are to be worked on now."""
        return len(self._queued)

    def __contains__(self, key: object) -> bool:
        return key in self._queued

    def put(self, key: ObjectKey, priority: Priority) -> None:
        """Work on it now; a better priority counts, its place in the row stays."""
        known = self._queued.get(key)
        if known is not None and known[0] <= priority:
            return
        self._count += 1
        self._queued[key] = (priority, self._count)
        heapq.heappush(self._heap, (priority, self._count, key))

    def pop(self) -> tuple[ObjectKey, Priority] | None:
        while self._heap:
            priority, number, key = heapq.heappop(self._heap)
            if self._queued.get(key) == (priority, number):
                del self._queued[key]
                return key, priority
        return None

    def drop(self, key: ObjectKey) -> None:
        self._queued.pop(key, None)
        self._alarms.pop(key, None)

    # ------------------------------------------------------------------------------------------- later

    def set_alarm(self, key: ObjectKey, at: float) -> None:
        """The only alarm of this key."""
        self._alarms[key] = at
        heapq.heappush(self._later, (at, key))

    def clear_alarm(self, key: ObjectKey) -> None:
        self._alarms.pop(key, None)

    def next_alarm(self) -> float | None:
        while self._later:
            at, key = self._later[0]
            if self._alarms.get(key) == at:
                return at
            heapq.heappop(self._later)
        return None

    def rings(self, now: float) -> list[ObjectKey]:
        """The keys whose time has come; each rings once."""
        found = []
        while (at := self.next_alarm()) is not None and at <= now:
            _, key = heapq.heappop(self._later)
            del self._alarms[key]
            found.append(key)
        return found


def routine_after(kustomization: Kustomization, dice: Callable[[], float]) -> float:
    """Seconds until it is looked at although nothing has happened."""
    return kustomization.interval.total_seconds() * (1 + JITTER * (2 * dice() - 1))


def retry_after(
    kustomization: Kustomization,
    error: ImageUpdaterError | None,
    failures: int,
    *,
    lasting: bool,
    now: datetime,
    dice: Callable[[], float],
) -> float:
    """Seconds until the next try after so many failures in a row, at most `retryInterval` (default: `interval`) unless
    the other side said when. `lasting`: the same input fails the same way.
    """
    most = (kustomization.retry_interval or kustomization.interval).total_seconds()
    first = FIRST_TERMINAL if isinstance(error, Terminal) else FIRST
    wait = most if lasting else min(most, first * 2.0 ** min(failures - 1, 20))
    wait *= 1 + JITTER * (2 * dice() - 1)
    until = error.until if isinstance(error, Transient) else None
    if until is not None:
        wait = max(wait, (until - now).total_seconds() * (1 + JITTER * dice()))
    return wait
