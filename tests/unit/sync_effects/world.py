"""A server of ConfigMaps in memory, that can be killed from: enough of an API server for laws about whole histories.

The semantics that count are those of the real one, which the tests beside `integration/cluster/test_sync_*` hold the
sync against: optimistic locks, uid preconditions, whose last apply set what and when, watch events that come later.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from image_updater.cluster.errors import Conflict, KindUnknown
from image_updater.cluster.model import Happened, Ref, Resource, WatchEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.cluster.model import Body

CONFIG_MAPS = Resource(
    group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True, verbs=frozenset({"list", "watch"})
)
OWNER = "kustomize.image-updater.dev/name"


class Killed(Exception):
    """The process ended here."""


class World:
    """Stands for a Cluster, and for what its Watcher shows."""

    identity = "world"

    def __init__(self, delays: Callable[[], int], deleted: Callable[[Ref, Body], None]) -> None:
        self.objects: dict[Ref, Body] = {}
        self.writes = 0
        self.kill_in = -1
        """Requests until the process dies; negative: never."""
        self._delays = delays
        self._deleted = deleted
        self._version = 10
        self._listeners: list[Callable[[WatchEvent], None]] = []

    # ------------------------------------------------------------------------------------------- as a Cluster

    async def resource(self, api_version: str, kind: str) -> Resource:
        return CONFIG_MAPS

    async def serving(self, group: str, kind: str) -> Resource:
        if (group, kind) != ("", "ConfigMap"):
            raise KindUnknown(f"no {kind}")
        return CONFIG_MAPS

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Body | None:
        await self._request()
        found = copy.deepcopy(self.objects.get(Ref("", "ConfigMap", namespace or "", name)))
        await self._answer()
        return found

    async def apply(self, resource: Resource, body: Body, *, force: bool = True, dry_run: bool = False) -> Body:
        await self._request()
        ref = Ref.of(body)
        old = self.objects.get(ref)
        wanted = body["metadata"].get("resourceVersion")
        if old is not None and wanted is not None and wanted != old["metadata"]["resourceVersion"]:
            raise Conflict(f"{ref} has been modified")
        new = self._merged(body, old)
        if not dry_run and new != old:
            self.writes += 1
            self.objects[ref] = new
            self._tell(Happened.MODIFIED if old else Happened.ADDED, new)
        await self._answer()
        return copy.deepcopy(new)

    def _merged(self, body: Body, old: Body | None) -> Body:
        new = copy.deepcopy(body)
        metadata = new["metadata"]
        before = old["metadata"] if old else {}
        metadata["uid"] = before.get("uid") or f"u{self._version}"
        metadata["resourceVersion"] = before.get("resourceVersion")
        fields = {f"f:{key}": {} for key in new.get("data", {})}
        entry = {"manager": "image-updater", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}
        metadata["managedFields"] = [{**entry, "time": (before.get("managedFields") or [{}])[0].get("time")}]
        if new != old:
            self._version += 1
            metadata["resourceVersion"] = str(self._version)
            metadata["managedFields"][0]["time"] = f"second {self._version}"
        return new

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> bool:
        await self._request()
        ref = Ref("", "ConfigMap", namespace or "", name)
        old = self.objects.get(ref)
        if old is not None:
            metadata = old["metadata"]
            if uid not in (None, metadata["uid"]) or resource_version not in (None, metadata["resourceVersion"]):
                raise Conflict(f"{ref} is not that one")
            self._deleted(ref, old)
            self.writes += 1
            self._version += 1
            del self.objects[ref]
            self._tell(
                Happened.DELETED, {**old, "metadata": {**old["metadata"], "resourceVersion": str(self._version)}}
            )
        await self._answer()
        return old is not None

    async def list(self, resource: Resource, *_: Any, **__: Any) -> tuple[list[Body], str]:
        return [], "0"

    # ------------------------------------------------------------------------------------------- as its own driver

    async def _request(self) -> None:
        await self._wait()
        self._die()

    async def _answer(self) -> None:
        """The process may die with the request done and no answer read."""
        self._die()
        await self._wait()

    def _die(self) -> None:
        if self.kill_in == 0:
            raise Killed
        self.kill_in -= 1

    async def _wait(self) -> None:
        for _ in range(self._delays()):
            await asyncio.sleep(0)

    def drift(self, ref: Ref, value: str) -> None:
        """Somebody changes what we set: the field is not ours any more."""
        body = copy.deepcopy(self.objects[ref])
        self._version += 1
        body["data"] = dict.fromkeys(body.get("data", {}), value)
        body["metadata"]["managedFields"][0]["fieldsV1"] = {}
        body["metadata"]["resourceVersion"] = str(self._version)
        self.objects[ref] = body
        self._tell(Happened.MODIFIED, body)

    def _tell(self, happened: Happened, body: Body) -> None:
        loop = asyncio.get_running_loop()
        event = WatchEvent(happened, copy.deepcopy(body))
        for listener in self._listeners:
            loop.call_soon(listener, event)

    def watcher(self, _: object, resource: Resource, **options: Any) -> _Watching:
        """In place of the class Watcher."""
        return _Watching(self, options["on_event"], resource.kind == "ConfigMap")

    def listen(self, listener: Callable[[WatchEvent], None]) -> None:
        for body in self.objects.values():
            listener(WatchEvent(Happened.ADDED, copy.deepcopy(body)))
        listener(WatchEvent(Happened.SYNCED, {}))
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[WatchEvent], None]) -> None:
        self._listeners.remove(listener)


class _Watching:
    def __init__(self, world: World, listener: Callable[[WatchEvent], None], real: bool) -> None:
        self._world = world
        self._listener = listener
        self._real = real

    async def run(self) -> None:
        self._world.listen(self._listener)
        try:
            await asyncio.Event().wait()
        finally:
            self._world.unlisten(self._listener)
