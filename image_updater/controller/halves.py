"""The two halves of the controller: each works while its role's Lease is ours, and they meet in one place.

A commit that the image half pushed is applied by the sync half at once: it is told, and what was pushed is in the
mirror already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.controller.rollouts import Rollouts
from image_updater.settings import Role

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from image_updater.controller.context import Context
    from image_updater.controller.leading import Leading
    from image_updater.controller.loop.gatekeeping import Gatekeeper
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.sources.repositories import Sources
    from image_updater.controller.sync.syncing import Syncing
    from image_updater.controller.update.updating import Updating

OWN: Final = 100


class Halves:
    """`await run(stop)`; then `await close()`."""

    def __init__(self, context: Context, leading: Leading, gatekeeper: Gatekeeper | None = None) -> None:
        self._context = context
        self._leading = leading
        self.rollouts = Rollouts()
        """What the sync half finds, for whoever acts on it."""
        self._updating: Updating | None = None
        self._sources: Sources | None = None
        self._syncing: Syncing | None = None
        roles = context.settings.roles
        # A process imports what its roles need.
        if Role.SYNC in roles:
            from image_updater.controller.sources.repositories import Sources
            from image_updater.controller.sync.syncing import Syncing
            from image_updater.pipeline.building import Builds

            # Every write of this half is one of a leader, to whatever cluster and as whomever.
            fenced = replace(context, cluster=context.cluster.fenced(partial(leading.require, Role.SYNC)))
            self._sources = Sources(fenced)
            builds = Builds(context.session.renderer, facts=context.session.facts)
            self._syncing = Syncing(fenced, self._sources, builds, self.rollouts)
            context.metrics.registry.register(self._syncing.metrics)
            context.metrics.registry.register(self._syncing.rollout_metrics)
        if Role.UPDATE in roles:
            from image_updater.controller.update.updating import Updating

            self._updating = Updating(
                context,
                leads=lambda seconds: leading.leads(Role.UPDATE, seconds),
                pushed=self._pushed if self._sources is not None else None,
                rollouts=self.rollouts if Role.SYNC in roles else None,
                gatekeeper=gatekeeper,
            )
        self._own: deque[str] = deque(maxlen=OWN)
        """Commits that we pushed last."""
        if self._sources is not None and self._updating is not None:
            self._sources.subscribe(self._moved)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pushing: set[asyncio.Task[None] | None] = set()
        """Those that may be in the middle of a push: the image half, once it leads."""

    def _pushed(self, url: str, branch: str, commit: str) -> None:
        assert self._sources is not None
        self._own.append(commit)
        self._sources.on_pushed(url, branch, commit)

    def _moved(self, revision: Revision) -> None:
        """A person's commit is looked at when it is fetched, not when the automation's own interval is over. There is
        nothing to find in one of ours.
        """
        assert self._updating is not None
        if revision.commit not in self._own:
            self._updating.moved(revision.repository)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until one of them fails: it is raised."""
        work: list[tuple[Role, Coroutine[object, object, None]]] = []
        if self._updating is not None:
            work.append((Role.UPDATE, self._updating.run(stop)))
        if self._syncing is not None and self._sources is not None:
            work += [(Role.SYNC, self._sources.run()), (Role.SYNC, self._syncing.run())]
        self._tasks = {asyncio.create_task(self._after(role, each), name=str(role)) for role, each in work}
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
            await stop.wait()
        finally:
            stopped.cancel()

    async def _after(self, role: Role, work: Coroutine[object, object, None]) -> None:
        try:
            await self._leading.held(role)
        except asyncio.CancelledError:
            work.close()
            raise
        if role is Role.UPDATE:
            self._pushing.add(asyncio.current_task())
        await work

    async def close(self) -> None:
        """End what is under way: the image half ends its push, the sync half stops between two requests, and who still
        waits for its Lease waits no more.
        """
        for task in self._tasks - self._pushing:
            task.cancel()
        if self._tasks:
            # The image half bounds its own end (--stop-timeout).
            _, late = await asyncio.wait(self._tasks, timeout=self._context.settings.stop_timeout + 5)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._syncing is not None:
            await self._syncing.close()
