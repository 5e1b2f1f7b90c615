"""What gates need of the cluster: which platforms its nodes have, and the ages of candidates that status remembers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import ImagePolicy
from image_updater.cluster.model import Resource
from image_updater.controller.update.gatestatus import remembered
from image_updater.controller.update.inputs import POLICY
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.controller.context import Context
    from image_updater.pipeline.answers.selection import Selector

log = logging.getLogger("image_updater.controller")

EVERY: Final = 600.0
"""Seconds between looks at the nodes."""
SOON: Final = 5.0
"""Seconds until it is looked whether any policy asks for them, and after the first look that failed; later ones are
waited for longer, up to EVERY."""

_NODES: Final = Resource(group="", version="v1", kind="Node", plural="nodes", namespaced=False)


class GateInputs:
    """Hands them to the selector. Nodes are read only while a policy has `fromNodes`."""

    def __init__(self, context: Context, selector: Selector) -> None:
        self._context = context
        self._selector = selector
        self._said: str | None = None
        """Why the nodes cannot be read: said once."""

    def remember(self) -> None:
        """At the start, before anything is judged: the state file may be another one than status was written by."""
        for entry in self._context.cache.entries(POLICY).values():
            if isinstance(entry.value, ImagePolicy) and entry.value.min_age:
                self._selector.remember_seen(entry.value, remembered(entry.status))

    async def run(self) -> None:
        """Until it is cancelled."""
        failures = 0
        while True:
            if not self._wanted():
                failures, wait = 0, SOON
            elif await self.look():
                failures, wait = 0, EVERY
            else:
                # What it has no right to read would be asked for ever.
                wait = min(SOON * 2 ** min(failures, 10), EVERY)
                failures += 1
            await self._context.sleep(wait)

    def _wanted(self) -> bool:
        entries = self._context.cache.entries(POLICY).values()
        return any(isinstance(entry.value, ImagePolicy) and entry.value.from_nodes for entry in entries)

    async def look(self) -> bool:
        """Read the nodes; what was known stays where they cannot be read."""
        try:
            nodes, _ = await self._context.cluster.list(_NODES)
        except ImageUpdaterError as error:
            if str(error) != self._said:
                log.warning("the nodes cannot be read, which fromNodes asks for: %s", error)
            self._said = str(error)
            return False
        self._said = None
        self._selector.situations.nodes(platforms_of(nodes))
        return True


def platforms_of(nodes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """`os/arch` of each kind of node, by `status.nodeInfo`."""
    found: set[str] = set()
    for node in nodes:
        info = (node.get("status") or {}).get("nodeInfo") or {}
        system, architecture = info.get("operatingSystem"), info.get("architecture")
        if system and architecture:
            found.add(f"{system}/{architecture}")
    return tuple(sorted(found))
