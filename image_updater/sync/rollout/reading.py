"""What a rollout is followed by: watches with the controller's own read rights, and lists where those are enough.

What our own rights do not show is read as the account that applied it. Of a pod only what verdicts are made of is kept.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.cluster import Watcher
from image_updater.cluster.errors import Forbidden
from image_updater.cluster.model import Happened, Resource
from image_updater.errors import ImageUpdaterError
from image_updater.sync.health.reading import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body, Ref, WatchEvent
    from image_updater.sync.scaling import Scaling

log = logging.getLogger("image_updater.sync")

PODS: Final = Resource(group="", version="v1", kind="Pod", plural="pods", namespaced=True)
REPLICA_SETS: Final = Resource(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", namespaced=True)
JOBS: Final = Resource(group="batch", version="v1", kind="Job", plural="jobs", namespaced=True)
EVENTS: Final = Resource(group="", version="v1", kind="Event", plural="events", namespaced=True)

_OURS: Final = frozenset({"", "apps", "batch", "flagger.app"})
"""API groups in which the controller may read what rollouts are made of (api/rbac.py)."""

_UNSERVED: Final = 30.0
"""Seconds until a kind that nobody serves is looked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """Of one API server. `own`: with the controller's rights; `account`: who applied."""

    own: Cluster | None
    account: Cluster
    scaling: Scaling
    namespaces: tuple[str, ...] = ()
    """Those that `own` may read (none named: all)."""
    sleep: Callable[[float], Awaitable[None]]
    dice: Callable[[], float]

    def of(self, group: str, namespace: str) -> tuple[Cluster, ...]:
        """Who is asked, one after the other: our own rights are for what everybody has, and where they are given."""
        if self.own is None or (self.namespaces and namespace not in self.namespaces):
            return (self.account,)
        return (self.own, self.account) if group in _OURS else (self.account, self.own)

    async def list(self, resource: Resource, namespace: str, **selectors: Any) -> list[Body]:
        """As the first that may. Raises Forbidden where nobody may, and what else fails."""
        refused: Forbidden | None = None
        for cluster in self.of(resource.group, namespace):
            try:
                return (await cluster.list(resource, namespace, **selectors))[0]
            except Forbidden as error:
                refused = error
        assert refused is not None
        raise refused


async def one(readers: Readers, resource: Resource, namespace: str, name: str) -> Body | None:
    """None: it is not there, or cannot be read."""
    for cluster in readers.of(resource.group, namespace):
        try:
            body = await cluster.get(resource, name, namespace)
        except Forbidden:
            continue
        return slim(body) if body is not None else None
    return None


class _RefusedError(Exception):
    """This reader may not: the next one is asked."""


class Source:
    """Objects of one kind in one namespace, as they are now, for as long as its task runs.

    `changed` is called after each event, `trouble` says why it shows nothing (rights, an unserved kind, no server).
    """

    def __init__(
        self,
        readers: Readers,
        kind: tuple[str, str] | Resource,
        namespace: str,
        *,
        changed: Callable[[str, Body | None], None],
        labels: str | None = None,
        fields: str | None = None,
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`changed(name, body)`: None = it is gone. ("", None): the list is whole, or there is trouble. `turn` is
        awaited before the first request.
        """
        self._readers = readers
        self._kind = kind
        self._namespace = namespace
        self._changed = changed
        self._labels, self._fields = labels, fields
        self._turn = turn
        self._names: set[str] = set()
        self.listed = False
        self.trouble: ImageUpdaterError | None = None
        self._last = False
        """Nobody else is left to ask."""
        what = kind.plural if isinstance(kind, Resource) else kind[1]
        self.task = asyncio.create_task(self._run(), name=f"follow {what}")

    @property
    def answered(self) -> bool:
        """It is known, or known not to be readable."""
        return self.listed or self.trouble is not None

    async def _run(self) -> None:
        if self._turn is not None:
            await self._turn()
        while True:
            try:
                resource = await self._resource()
            except ImageUpdaterError as error:
                self._note(error)
                await self._readers.sleep(_UNSERVED)
                continue
            clusters = self._readers.of(resource.group, self._namespace)
            for number, cluster in enumerate(clusters):
                self._last = number == len(clusters) - 1
                watcher = Watcher(
                    cluster,
                    resource,
                    namespace=self._namespace or None,
                    on_event=self._on_event,
                    on_state=self._on_state,
                    sleep=self._readers.sleep,
                    dice=self._readers.dice,
                    labels=self._labels,
                    fields=self._fields,
                )
                try:
                    await watcher.run()
                except _RefusedError:
                    continue
                except Exception:
                    # Whoever waits for this would wait for ever.
                    log.exception("unexpected fault while %s are watched", resource.plural)
                    await self._readers.sleep(_UNSERVED)
                    break

    async def _resource(self) -> Resource:
        if isinstance(self._kind, Resource):
            return self._kind
        return await self._readers.account.serving(*self._kind)

    def _on_event(self, event: WatchEvent) -> None:
        if event.happened is Happened.SYNCED:
            self.listed, self.trouble = True, None
            self._changed("", None)
            return
        name = str(event.body["metadata"]["name"])
        gone = event.happened is Happened.DELETED
        self._changed(name, None if gone else slim(event.body))

    def _on_state(self, trouble: ImageUpdaterError | None) -> None:
        if isinstance(trouble, Forbidden) and not self._last:
            raise _RefusedError
        self._note(trouble)

    def _note(self, trouble: ImageUpdaterError | None) -> None:
        self.trouble = trouble
        self._changed("", None)


def slim(body: Body) -> Body:
    """Without what no verdict rests on; of a pod its names, its owner, its node, its images and its status."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    if body.get("kind") != "Pod":
        return {**body, "metadata": metadata}
    spec = mapping(body, "spec")
    kept: dict[str, Any] = {
        name: [{"name": each.get("name"), "image": each.get("image")} for each in items(spec, name)]
        for name in ("initContainers", "containers")
    }
    for name in ("nodeName", "readinessGates"):
        if name in spec:
            kept[name] = spec[name]
    metadata.pop("annotations", None)
    return {**body, "metadata": metadata, "spec": kept}


def selector_of(workload: Body) -> str | None:
    """Its pods', as a label selector. None: it selects none."""
    selector = mapping(workload, "spec", "selector")
    if workload.get("kind") == "ReplicationController":
        return _equal(selector)
    parts = [_equal(mapping(selector, "matchLabels"))] if selector.get("matchLabels") else []
    for each in items(selector, "matchExpressions"):
        key, values = text(each, "key"), ",".join(map(str, each.get("values") or ()))
        match text(each, "operator"):
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
            case _:
                return None
    return ",".join(parts) or None


def _equal(labels: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


async def neighbours(readers: Readers, pods: list[Body]) -> tuple[Body, ...]:
    """Pods of all workloads on the nodes where these are. () where nobody may read that; raises what else fails: an API
    server that does not answer now is no reason to blame a tag.
    """
    nodes = sorted({text(mapping(pod, "spec"), "nodeName") for pod in pods} - {""})[:_NODES]
    found: list[Body] = []
    for node in nodes:
        if readers.own is None or readers.namespaces:
            break
        try:
            bodies, _ = await readers.own.list(PODS, None, fields=f"spec.nodeName={node}")
        except Forbidden:
            break  # it is one more thing to look at, no condition of a verdict
        found += map(slim, bodies)
    return tuple(found)


_NODES: Final = 3
"""Nodes that are looked at."""


async def warnings(readers: Readers, ref: Ref, since: str) -> tuple[str, ...]:
    """Messages of the Warnings about an object since then (as the server writes times), oldest first. () where nobody
    may read them. Raises what else fails.
    """
    fields = f"involvedObject.kind={ref.kind},involvedObject.name={ref.name},type=Warning"
    try:
        bodies = await readers.list(EVENTS, ref.namespace, fields=fields)
    except Forbidden:
        return ()
    told = sorted((_told_at(body), text(body, "message")) for body in bodies)
    return tuple(message for at, message in told if at >= since)


def _told_at(event: Body) -> str:
    return text(event, "lastTimestamp") or text(event, "eventTime") or text(event, "firstTimestamp")
