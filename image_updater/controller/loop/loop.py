"""The closed loop as the image half has it: one value, told of runs, that works until it is closed."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.controller.loop.closing import Closing
from image_updater.controller.loop.metrics import LoopMetrics
from image_updater.controller.loop.proving import Proving, policy_entry
from image_updater.controller.loop.quarantines import Quarantines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from image_updater.api.model import ImageUpdateAutomation
    from image_updater.controller.context import Context
    from image_updater.controller.rollouts import Rollouts
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.daemon.daemon import Daemon
    from image_updater.pipeline.report import UpdateReport
    from image_updater.pipeline.rollback.placements import Placement

log = logging.getLogger("image_updater.controller")

ANEW: Final = 5.0
"""Seconds until work begins anew that ended by a fault."""


class Loop:
    """See the module. `rollouts`: None where another process judges them."""

    def __init__(
        self,
        context: Context,
        *,
        saying: Saying,
        selector: Selector,
        rollouts: Rollouts | None,
        daemon: Callable[[], Daemon | None],
    ) -> None:
        """`daemon()`: None before it is made: nobody asks anything of it then."""
        metrics = LoopMetrics(context.metrics.registry)
        entry = partial(policy_entry, context)
        self._daemon = daemon
        self._sleep = context.sleep
        self._proving = Proving(
            context,
            saying,
            selector.situations,
            metrics,
            entry=entry,
            automations=self._keeping,
            note=lambda automation, noting: self._writer.note(automation, noting),
        )
        self._closing = Closing(
            context,
            rollouts=rollouts,
            saying=saying,
            selector=selector,
            proving=self._proving,
            metrics=metrics,
            entry=entry,
            take_back=lambda automation, taking: self._writer.take_back(automation, taking),
            released=lambda automation: self._writer.released(automation),
        )
        self._quarantines = Quarantines(context, saying, selector.situations, metrics)

    @property
    def _writer(self) -> Daemon:
        daemon = self._daemon()
        assert daemon is not None
        return daemon

    def remember(self) -> None:
        """At the start, before anything is judged or written."""
        self._closing.remember()

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(self._for_ever(self._closing.run), self._for_ever(self._quarantines.run))

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """A fault of ours stops no rollback of anybody else."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("unexpected fault")
            await self._sleep(ANEW)

    async def close(self) -> None:
        await self._closing.close()
        await self._proving.close()

    def ran(self, branch: Branch, report: UpdateReport) -> None:
        """The line ran over a branch: records and places may be other ones."""
        self._quarantines.look()
        self._closing.ran(branch, report)

    def busy(self, placed: Sequence[Placement]) -> Mapping[str, str]:
        """By site, why it should not be moved now."""
        return self._closing.busy(placed)

    def promoting(self, placed: Sequence[Placement]) -> str | None:
        """Why nobody may touch these now."""
        return self._closing.promoting(placed)

    def _keeping(self, policy: str) -> Iterable[ImageUpdateAutomation]:
        """The automations that keep a file of what a policy has proven."""
        objects = self._writer.objects
        found = next((each for each in objects.policies if str(each.key) == policy), None)
        return [
            each
            for each in objects.automations
            if each.proven_file is not None
            and found is not None
            and each.key.namespace == found.key.namespace
            and each.policy_selector.matches(found.meta.labels)
        ]
