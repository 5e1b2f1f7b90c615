"""`run`'s ear at its state file: what people ask through it, other processes' commands, goes to the situations."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from image_updater.api.wishes import Wishes
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from image_updater.pipeline.answers.situations import Situations
    from image_updater.store import Store

log = logging.getLogger("image_updater.run")

LOOK: Final = 1.0
"""Seconds between looks whether somebody asked."""


class Listening:
    """See the module."""

    def __init__(self, store: Store, situations: Situations, *, heard: Callable[[], None] = lambda: None) -> None:
        """`heard` is called after a change: somebody may wait at branches for it."""
        self._store = store
        self._situations = situations
        self._heard = heard
        self._version: int | None = None
        self._wishes: dict[str, Wishes] = {}

    def look(self) -> bool:
        """Read anew if anything was asked since; True if so. Raises StateFailed."""
        version = self._store.wishes_version()
        moved = version != self._version
        if moved:
            gone = self._wishes
            self._wishes = dict(self._store.all_wishes())
            for policy in gone.keys() - self._wishes.keys():
                self._situations.wished(policy, Wishes())
            self._version = version
        # Each time: a policy that went and came back has been forgotten there.
        for policy, wishes in self._wishes.items():
            self._situations.wished(policy, wishes)
        return moved

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Until it is cancelled."""
        failed = False
        while True:
            await sleep(LOOK)
            try:
                moved = self.look()
            except ImageUpdaterError as error:
                if not failed:
                    log.warning("what people ask through the state file cannot be read: %s", error)
                failed = True
                continue
            except Exception:
                # An ear that has ended in silence would look as if nobody asked.
                if not failed:
                    log.exception("unexpected fault while the state file is read")
                failed = True
                continue
            failed = False
            if moved:
                log.info("somebody asked something through the state file")
                self._heard()
