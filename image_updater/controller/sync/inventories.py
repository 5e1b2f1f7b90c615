"""Inventories in the cluster: in status, and in ConfigMaps where there are too many entries for one object.

Pieces are written before the status that names them and removed after it names them no more: whenever the process is
killed, status names an inventory that is whole. They belong to the Kustomization and go with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from image_updater.cluster.model import Resource
from image_updater.errors import Where
from image_updater.sync.inventory import DATA_KEY, load, pieces_of, store
from image_updater.sync.model import MANAGER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from image_updater.cluster import Cluster
    from image_updater.controller.cache import Entry
    from image_updater.sync.inventory import Piece
    from image_updater.sync.model import Entry as Line

CONFIG_MAPS: Final = Resource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)


class Inventories:
    """Reads and writes with the controller's own rights, in the namespace of the Kustomization."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def load(self, entry: Entry, status: Mapping[str, Any]) -> tuple[Line, ...]:
        """The inventory of a status. Raises DocumentError when a piece is missing or damaged: a part of an inventory is
        none.
        """
        kept = status.get("inventory")
        names = pieces_of(kept)
        texts = dict(zip(names, await asyncio.gather(*(self._get(entry, name) for name in names)), strict=True))
        where = Where(object=f"Kustomization {entry.key}", field="status.inventory")
        return await asyncio.to_thread(load, kept, texts, where=where)

    async def save(
        self,
        entry: Entry,
        status: Mapping[str, Any],
        lines: Sequence[Line],
        write: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """`write` puts the value of `status.inventory` on the server."""
        stored = await asyncio.to_thread(store, lines, entry.key)
        old = set(pieces_of(status.get("inventory")))
        await asyncio.gather(*(self._put(entry, piece) for piece in stored.pieces if piece.name not in old))
        await write(stored.status)
        gone = old - {piece.name for piece in stored.pieces}
        await asyncio.gather(*(self._cluster.delete(CONFIG_MAPS, name, entry.key.namespace) for name in sorted(gone)))

    async def _get(self, entry: Entry, name: str) -> str | None:
        body = await self._cluster.get(CONFIG_MAPS, name, entry.key.namespace)
        text = ((body or {}).get("data") or {}).get(DATA_KEY)
        return str(text) if text is not None else None

    async def _put(self, entry: Entry, piece: Piece) -> None:
        reference = entry.reference
        await self._cluster.apply(
            CONFIG_MAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": piece.name,
                    "namespace": entry.key.namespace,
                    "labels": {"app.kubernetes.io/managed-by": MANAGER},
                    "ownerReferences": [
                        {name: reference[name] for name in ("apiVersion", "kind", "name", "uid")}
                        | {"controller": True, "blockOwnerDeletion": False}
                    ],
                },
                "data": {DATA_KEY: piece.text},
            },
            manager=MANAGER,
        )
