"""Whose the fields are, before an apply: other tools' become ours, and replicas that an autoscaler sets are let go.

Only `metadata.managedFields` is written. No field of the object changes by that: the apply which follows does, and a
kill in between costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.sync.drift import LAST_APPLIED
from image_updater.sync.fields import REPLICAS, hand_over, take_over
from image_updater.sync.model import MANAGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body, Resource


async def take_fields_over(
    cluster: Cluster, resource: Resource, live: Body, managers: Sequence[str], *, editors: bool, scaled: bool
) -> bool:
    """Whether there was anything to take from kubectl, Flux, Argo CD or `managers`. `live` has the metadata at least.

    `editors`: what hands added goes too; `scaled`: the replicas stay whose they are. Raises Conflict when the object
    has moved since `live` was read.
    """
    metadata = live["metadata"]
    patch = take_over(
        metadata.get("managedFields"),
        managers,
        resource_version=metadata.get("resourceVersion"),
        last_applied=(metadata.get("annotations") or {}).get(LAST_APPLIED),
        leave=REPLICAS if scaled else None,
        editors=editors,
    )
    return await _write(cluster, resource, live, patch)


async def let_replicas_go(cluster: Cluster, resource: Resource, live: Body) -> bool:
    """Whether we had set them: they keep their value when our next apply leaves them out. Raises Conflict."""
    metadata = live["metadata"]
    patch = hand_over(metadata.get("managedFields"), REPLICAS, resource_version=metadata.get("resourceVersion"))
    return await _write(cluster, resource, live, patch)


async def _write(cluster: Cluster, resource: Resource, live: Body, patch: list[Body] | None) -> bool:
    if patch is None:
        return False
    metadata = live["metadata"]
    await cluster.patch(resource, metadata["name"], metadata.get("namespace"), patch, type="json", manager=MANAGER)
    return True
