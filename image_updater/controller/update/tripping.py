"""Breakers of policies: open, nothing is written for them until somebody says resume. Kept in status."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from image_updater.controller.loop import status as loopstatus
from image_updater.controller.status import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.controller.cache import Entry
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.selection import Selector

log = logging.getLogger("image_updater.controller")

RESUME: Final = "a commit with `Image-Updater: resume`"
"""How a policy without an object goes on."""


class Breakers:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        *,
        saying: Saying,
        selector: Selector,
        metrics: LoopMetrics,
        clock: Callable[[], datetime],
        entry: Callable[[str], Entry | None],
        tell: Callable[[str, Happening], None],
    ) -> None:
        self._tell = tell
        self._saying = saying
        self._selector = selector
        self._situations = selector.situations
        self._metrics = metrics
        self._clock = clock
        self._entry = entry
        self._open: dict[str, datetime] = {}
        """Since when."""

    def forget(self, policy: str) -> None:
        """Its object is another one now: what was said of the old one is none of its."""
        if self._open.pop(policy, None) is not None:
            self._metrics.breakers.set(len(self._open))
            self._situations.breaker(policy, "")

    def restore(self, policy: str, status: Mapping[str, object]) -> None:
        """What status says from before."""
        reason, since = loopstatus.breaker_of(status)
        if reason and policy not in self._open:
            self._put(policy, reason, since or self._clock())

    def open(self, policies: Iterable[str], why: str) -> None:
        now = self._clock().replace(microsecond=0)  # as statuses and commits tell time: a resume of this second counts
        for name in sorted(set(policies) - self._open.keys()):
            self._put(name, why, now)
            log.error("%s: the breaker opens: %s", name, why)
            entry = self._entry(name)
            if entry is not None:
                self._saying.amend(entry, loopstatus.breaker_fields(why, now))
            until = f"`image-updater resume {name}`" if entry is not None else RESUME
            self._tell(
                name, Happening(reason="BreakerOpen", message=f"nothing is written until {until}: {why}", warning=True)
            )

    def _put(self, policy: str, why: str, since: datetime) -> None:
        self._open[policy] = since
        self._situations.breaker(policy, why)
        self._metrics.breakers.set(len(self._open))

    def close_resumed(self) -> tuple[str, ...]:
        """Close those of which somebody has said since that they may go on."""
        closed = []
        for name, since in tuple(self._open.items()):
            outcome = self._selector.answers.get(name)
            resumed = self._situations.wishes(outcome.spec).resumed if outcome is not None else None
            if resumed is not None and resumed >= since:
                self._close(name)
                closed.append(name)
        return tuple(closed)

    def _close(self, policy: str) -> None:
        del self._open[policy]
        self._metrics.breakers.set(len(self._open))
        self._situations.breaker(policy, "")
        log.info("%s: the breaker is closed", policy)
        entry = self._entry(policy)
        if entry is not None:
            self._saying.amend(entry, loopstatus.breaker_fields("", None))
