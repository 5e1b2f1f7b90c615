"""The workspaces of a renderer: one a tree, shared by its builds, kept for a while after the last of them.

They usually lie in a memory file system, so what nobody uses must go: all but two at once, those two after minutes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.render.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from image_updater.kustomize.model import Tree
    from image_updater.render.sandbox import Limits

IDLE_TREES: Final = 2
"""Workspaces kept when nobody uses them: the tree before and the tree after an edit."""

IDLE_SECONDS: Final = 300.0
"""How long they are kept. Cleaners of temporary folders take files away after days, so none may get that old."""


@dataclass(slots=True)
class _Lease:
    workspace: Workspace
    users: int = 0
    left_at: float = 0.0


class Workspaces:
    """Thread-safe; `close` removes them all."""

    def __init__(self, *, limits: Limits, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    def __len__(self) -> int:
        return len(self._leases)

    @contextmanager
    def lease(self, tree: Tree) -> Iterator[Workspace]:
        """The tree's workspace, made where there is none (or somebody took its folder away)."""
        with self._lock:
            lease = self._leases.get(tree.id)
            if lease is not None and lease.users == 0 and not os.path.isdir(lease.workspace.repository):
                self._leases.pop(tree.id).workspace.close()
                lease = None
            if lease is None:
                others = [other.workspace for other in reversed(self._leases.values())]
                lease = self._leases[tree.id] = _Lease(Workspace(tree, limits=self._limits, like=others))
            lease.users += 1
            self._leases.move_to_end(tree.id)
        try:
            yield lease.workspace
        finally:
            with self._lock:
                lease.users -= 1
                lease.left_at = self._monotonic()
                idle = self._idle()
                gone = [self._leases.pop(name) for name in idle[: max(0, len(idle) - IDLE_TREES)]]
            for old in gone:
                old.workspace.close()

    def sweep(self) -> None:
        """Remove what nobody has used for IDLE_SECONDS. Blocking."""
        with self._lock:
            before = self._monotonic() - IDLE_SECONDS
            gone = [self._leases.pop(name) for name in self._idle() if self._leases[name].left_at <= before]
        for old in gone:
            old.workspace.close()

    def close(self) -> None:
        with self._lock:
            leases = list(self._leases.values())
            self._leases.clear()
        for lease in leases:
            lease.workspace.close()

    def _idle(self) -> list[str]:
        return [name for name, lease in self._leases.items() if lease.users == 0]
