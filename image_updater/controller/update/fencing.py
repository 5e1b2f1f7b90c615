"""Who may push: nobody who does not lead, and between shards one at a time for each branch."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING, Final

from image_updater.controller.context import lease_namespace
from image_updater.controller.update.branchleases import BranchLeases

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.controller.context import Context

PUSH_MARGIN: Final = 2.0
"""Seconds that our Lease must be good for when a push begins. It is renewed while the push goes on; what a process does
that is stopped in the middle of one, the branch's own lease (the value that the server compares) makes harmless."""


def fence(context: Context, leads: Callable[[float], bool]) -> BranchLeases | None:
    """Every push of the process asks from now on. Close what it gives at the end."""
    settings = context.settings
    leases = None
    if settings.selector and settings.leader_election:
        leases = BranchLeases(
            context.cluster,
            namespace=lease_namespace(settings, context.environment),
            holder=f"{context.environment.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}",
            monotonic=context.monotonic,
            sleep=context.sleep,
            dice=context.dice,
        )
    context.session.mirrors.fence(
        may_push=lambda: leads(PUSH_MARGIN), guard=leases.guard if leases is not None else None
    )
    return leases
