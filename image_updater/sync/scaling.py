"""Which workloads something else scales: HorizontalPodAutoscalers, ScaledObjects and Canaries that the cluster holds.

With the controller's own read rights they are watched, all of them on one watch a kind (or those of each namespace that
it may read). Without, those of a namespace are listed as the applying account, at most once every few seconds. What
nobody may read is taken to be absent: then Git's replicas are applied, as they would be by any other tool.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from image_updater.cluster import Watcher
from image_updater.cluster.errors import Forbidden, KindUnknown
from image_updater.cluster.model import Happened, Ref
from image_updater.sync.policies import SCALERS, replica_owners, without_replicas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Resource, WatchEvent
    from image_updater.errors import ImageUpdaterError
    from image_updater.sync.model import Manifest

FRESH: Final = 5.0
"""Seconds that a list is believed."""

MISSING: Final = 30.0
"""Seconds that a kind which nobody serves (KEDA, Flagger) is not looked for again."""

_CANARY: Final = ("flagger.app", "Canary")


class Scaling:
    """Of one API server. `reading` is the controller's own account, None where there is none."""

    def __init__(
        self,
        reading: Cluster | None,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float] = random.random,
        namespaces: Collection[str] = (),
    ) -> None:
        """`namespaces`: those that `reading` may read (none named: all)."""
        self._namespaces = frozenset(namespaces)
        self._reading = reading
        self._monotonic = monotonic
        self._sleep = sleep
        self._dice = dice
        self._watched: dict[tuple[str, str, str], _Scalers] = {}
        self._missing: dict[tuple[str, str], float] = {}
        self._listed: dict[tuple[str, str, str], tuple[float, dict[Ref, Ref]]] = {}
        self._lock = asyncio.Lock()

    async def without_replicas(self, manifest: Manifest, cluster: Cluster) -> Manifest:
        """The manifest without the replicas that something in the cluster owns; asks only where it sets some."""
        spec = manifest.body.get("spec")
        if manifest.scaled or not isinstance(spec, dict) or "replicas" not in spec:
            return manifest
        return without_replicas(manifest, await self._owners(manifest.ref, cluster))

    async def canary(self, ref: Ref, cluster: Cluster) -> Ref | None:
        """Flagger's Canary whose target this workload is. Raises ClusterError."""
        async with self._lock:
            return await self._owner(_CANARY, ref, cluster)

    async def _owners(self, ref: Ref, cluster: Cluster) -> dict[Ref, Ref]:
        """The entry of this workload, if it has one."""
        async with self._lock:
            for kind in SCALERS:
                owner = await self._owner(kind, ref, cluster)
                if owner is not None:
                    return {ref: owner}
        return {}

    async def _owner(self, kind: tuple[str, str], ref: Ref, cluster: Cluster) -> Ref | None:
        if self._monotonic() - self._missing.get(kind, float("-inf")) < MISSING:
            return None
        try:
            resource = await cluster.serving(*kind)
        except KindUnknown:
            self._missing[kind] = self._monotonic()
            return None
        if self._reading is not None and (not self._namespaces or ref.namespace in self._namespaces):
            namespace = ref.namespace if self._namespaces else ""
            scalers = self._watched.get((*kind, namespace))
            if scalers is None or scalers.task.done():
                scalers = _Scalers(self._reading, resource, namespace, self._sleep, self._dice)
                self._watched[(*kind, namespace)] = scalers
            await scalers.answered.wait()
            if scalers.trouble is None:
                return scalers.owner(ref)
        return (await self._list(resource, ref.namespace, cluster)).get(ref)

    async def _list(self, resource: Resource, namespace: str, cluster: Cluster) -> dict[Ref, Ref]:
        key = (cluster.identity, resource.kind, namespace)
        at, owners = self._listed.get(key, (float("-inf"), {}))
        now = self._monotonic()
        if now - at >= FRESH:
            try:
                bodies, _ = await cluster.list(resource, namespace)
                owners = replica_owners(bodies)
            except (Forbidden, KindUnknown):
                owners = {}
            self._listed = {key: each for key, each in self._listed.items() if now - each[0] < FRESH}
            self._listed[key] = (now, owners)
        return owners

    async def close(self) -> None:
        tasks = [scalers.task for scalers in self._watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Scalers:
    """The watch of one kind: what each of its objects scales."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str,
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
    ) -> None:
        self.trouble: ImageUpdaterError | None = None
        self.answered = asyncio.Event()
        self._targets: dict[Ref, Ref] = {}
        """Scaler → its workload."""
        watcher = Watcher(
            cluster,
            resource,
            namespace=namespace or None,
            on_event=self._on_event,
            on_state=self._on_state,
            sleep=sleep,
            dice=dice,
        )
        self.task = asyncio.create_task(watcher.run(), name=f"watch {resource.plural}")

    def owner(self, workload: Ref) -> Ref | None:
        return next((scaler for scaler, target in self._targets.items() if target == workload), None)

    def _on_event(self, event: WatchEvent) -> None:
        if event.happened is Happened.SYNCED:
            self.answered.set()
            return
        scaler = Ref.of(event.body)
        self._targets.pop(scaler, None)
        if event.happened is not Happened.DELETED:
            self._targets.update({owner: target for target, owner in replica_owners([event.body]).items()})

    def _on_state(self, trouble: ImageUpdaterError | None) -> None:
        self.trouble = trouble
        if trouble is not None:
            self.answered.set()
