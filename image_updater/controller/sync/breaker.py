"""Two writers that undo each other's work: after some rounds we stop, and say who the other one is. Pure.

Counted are our own corrections of one field of one object. What changes what we want (a commit, the Kustomization's
spec) or somebody who asks for it begins the count anew.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from image_updater.errors import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.cluster.model import Ref

LIMIT: Final = 5
WITHIN: Final = 600.0
"""More than LIMIT corrections of a field in so many seconds are a fight."""


class FieldConflict(Terminal):
    """A field is set by us and by somebody else, again and again."""

    reason = "Conflict"


class Breaker:
    """Of one Kustomization. `error` is what it tripped with."""

    def __init__(self) -> None:
        self._times: dict[tuple[Ref, str], deque[float]] = {}
        self._field = ""
        self.others: dict[Ref, str] = {}
        """Who else has written an object, as far as it said."""
        self.error: FieldConflict | None = None

    def corrected(self, ref: Ref, fields: Iterable[str], now: float) -> bool:
        """We have set these fields again. True: once too often.

        A field comes with the values that it had (`data.a: 3 → 4`); whoever writes another one each time is still
        the other writer.
        """
        for each in tuple(fields) or ("",):
            field = each.partition(": ")[0]
            times = self._times.setdefault((ref, field), deque())
            times.append(now)
            while now - times[0] > WITHIN:
                times.popleft()
            if len(times) > LIMIT:
                self._field = field
                return True
        return False

    def close(self, now: float) -> list[Ref]:
        """Objects whose next correction is one too often: the last moment to see who else sets them."""
        return [
            ref
            for (ref, _), times in self._times.items()
            if sum(now - each <= WITHIN for each in times) == LIMIT and ref not in self.others
        ]

    def trip(self, ref: Ref) -> None:
        other = self.others.get(ref)
        field = f" {self._field}" if self._field else ""
        self.error = FieldConflict(
            f"{ref}:{field or ' it'} was set back more than {LIMIT} times in {WITHIN / 60:g} minutes,"
            f" and {other or 'somebody'} sets it again: it is left alone now",
            remedy="take the field out of Git, or stop the other writer; the next commit here begins anew",
        )

    def reset(self) -> None:
        self._times.clear()
        self.others.clear()
        self.error = None
