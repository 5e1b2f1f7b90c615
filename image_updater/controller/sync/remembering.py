"""What the cluster held after our applies, kept over restarts: then equal objects are not sent again.

A cache only. Its entries are compared with what the watches show before they are believed (sync/watches.py), so an old
one costs requests and never hides a difference.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

from image_updater.cluster.model import Ref
from image_updater.sync.model import Applied

if TYPE_CHECKING:
    from collections.abc import Mapping


MANY: Final = 500
"""Objects that it would cost too much to ask about again: written at once."""


class Kept(Protocol):
    """A space of the store."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> None: ...

    def flush(self) -> None: ...


class Remembering:
    """By the uid of the Kustomization, its cluster and its account. Blocking."""

    def __init__(self, kept: Kept | None) -> None:
        self._kept = kept
        self._unwritten = False

    def load(self, memory: str) -> dict[Ref, Applied]:
        data = self._kept.get(memory) if self._kept is not None else None
        if data is None:
            return {}
        try:
            return {
                Ref(group, kind, namespace, name): Applied(digest=digest, uid=object_uid, fields=fields)
                for group, kind, namespace, name, digest, object_uid, fields in json.loads(data)
            }
        except (ValueError, TypeError):
            return {}  # of another version

    def save(self, memory: str, known: Mapping[Ref, Applied]) -> None:
        if self._kept is None:
            return
        rows = [
            [ref.group, ref.kind, ref.namespace, ref.name, each.digest, each.uid, each.fields]
            for ref, each in known.items()
        ]
        self._kept.put(memory, json.dumps(rows, separators=(",", ":")).encode())
        self._unwritten = True
        if len(rows) >= MANY:
            self.flush()

    def flush(self) -> None:
        """Write what was saved since the last time."""
        if self._kept is not None and self._unwritten:
            self._unwritten = False
            self._kept.flush()
