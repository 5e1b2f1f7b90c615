"""The finalizer of Kustomizations whose objects go with them: on those alone, before anything is applied for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from image_updater.api.model import GROUP, DeletionPolicy
from image_updater.cluster.errors import Conflict, ObjectNotFound
from image_updater.controller.status import resource_of

if TYPE_CHECKING:
    from image_updater.api.model import Kustomization
    from image_updater.cluster import Cluster
    from image_updater.controller.cache import Entry

FINALIZER: Final = f"{GROUP}/prune"
_TRIES: Final = 5


def prunes_on_deletion(kustomization: Kustomization) -> bool:
    """Whether its objects are deleted with it."""
    policy = kustomization.deletion_policy
    return policy is DeletionPolicy.DELETE or (policy is DeletionPolicy.MIRROR_PRUNE and kustomization.prune)


async def set_finalizer(cluster: Cluster, entry: Entry, *, wanted: bool) -> None:
    """Add it or take it away; nothing is asked when it is so already.

    The list is written as it was read, with its resourceVersion: finalizers of others stay. Raises ClusterError,
    Forbidden; that the object is gone, or another one has its name, is no error.
    """
    if (FINALIZER in entry.finalizers) is wanted:
        return
    resource = resource_of(entry.kind)
    for attempt in range(_TRIES):
        if attempt == 0 and entry.resource_version:
            finalizers, version = list(entry.finalizers), str(entry.resource_version)  # as the watch has seen it
        else:
            body = await cluster.get(resource, entry.key.name, entry.key.namespace, metadata_only=True)
            metadata = (body or {}).get("metadata") or {}
            finalizers, version = list(metadata.get("finalizers") or ()), str(metadata.get("resourceVersion"))
            if metadata.get("uid") != entry.uid or (FINALIZER in finalizers) is wanted:
                return
            if wanted and metadata.get("deletionTimestamp"):
                return  # the server takes no new ones then
        changed = [*finalizers, FINALIZER] if wanted else [each for each in finalizers if each != FINALIZER]
        patch = {"metadata": {"finalizers": changed, "resourceVersion": version, "uid": entry.uid}}
        try:
            await cluster.patch(resource, entry.key.name, entry.key.namespace, patch)
        except ObjectNotFound:
            return
        except Conflict:
            if attempt == _TRIES - 1:
                raise
        else:
            return
