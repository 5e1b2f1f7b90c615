"""Tasks that nobody awaits one by one: their faults are logged, never lost, and all of them end with their owner."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

log = logging.getLogger("image_updater.run")


class Tasks:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(tuple(self._tasks))

    def start(
        self, work: Coroutine[object, object, None], *, then: Callable[[], None] | None = None
    ) -> asyncio.Task[None]:
        """Run `work`; `then` is called however it ends, also when it is cancelled before it began."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("unexpected fault")

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            work.close()
            if then is not None:
                then()

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def stop(self) -> None:
        """Cancel all, and wait until they are over."""
        for task in self:
            task.cancel()
        await self.end()

    async def end(self) -> None:
        """Wait until all are done or cancelled."""
        await asyncio.gather(*self, return_exceptions=True)


async def pause(wake: asyncio.Event, seconds: float | None) -> None:
    """Until `wake` is set or the time is over."""
    if seconds is not None and seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
