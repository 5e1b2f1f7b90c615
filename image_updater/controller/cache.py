"""Our objects as the API server holds them: fed by kopf's events, read by both halves of the controller.

An event that says nothing new (the echo of our own status, a heartbeat of someone's annotation) wakes nobody: what
counts is `uid`, `generation`, labels, annotations that are ours, and whether the object is being deleted.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from image_updater import api
from image_updater.api.model import API_VERSION, GROUP, Freeze, Meta, ObjectKey, Objects
from image_updater.errors import SpecError, Where
from image_updater.pipeline.tasks import pause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from image_updater.cluster.model import Body

PLURALS: Final[Mapping[str, str]] = {
    "ImagePolicy": "imagepolicies",
    "GitRepository": "gitrepositories",
    "ImageUpdateAutomation": "imageupdateautomations",
    "Kustomization": "kustomizations",
    "Freeze": "freezes",
    "ClusterFreeze": "clusterfreezes",
    "Quarantine": "quarantines",
    "ClusterQuarantine": "clusterquarantines",
}
"""Kinds and their names in paths."""

OF_THE_CLUSTER: Final = frozenset({"ClusterFreeze", "ClusterQuarantine"})
"""Those that have no namespace."""

REQUESTED: Final = f"{GROUP}/requestedAt"
"""The annotation whose change asks for work now."""

DEBOUNCE: Final = 0.02
"""Seconds that a subscriber waits for more after the first change: a thousand objects created together come as few."""

Changed = frozenset[tuple[str, ObjectKey]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object. `value` is its frozen form, None where `error` says what is wrong with it.

    `status` is what the server was last seen to hold; `requested` the value of the `requestedAt` annotation.
    """

    kind: str
    key: ObjectKey
    uid: str
    generation: int
    value: Any | None
    error: SpecError | None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    requested: str | None = None
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resource_version: str = ""

    @property
    def place(self) -> tuple[str, ObjectKey]:
        """Its kind and its name: what there is one of at a time, whatever the uid."""
        return (self.kind, self.key)

    @property
    def reference(self) -> dict[str, str]:
        """What an Event is about."""
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "namespace": self.key.namespace,
            "name": self.key.name,
            "uid": self.uid,
        }

    @property
    def handled(self) -> str | None:
        """The request that was handled last, as status has it."""
        value = self.status.get("lastHandledReconcileAt")
        return str(value) if value is not None else None


def _same(old: Entry, new: Entry) -> bool:
    """Whether `new` says nothing that anybody has to act on."""
    return (
        old.uid,
        old.generation,
        old.labels,
        old.annotations,
        old.deleting,
        old.finalizers,
    ) == (new.uid, new.generation, new.labels, new.annotations, new.deleting, new.finalizers)


class Subscription:
    """The changes of some kinds since the last look; made by `Cache.subscribe`."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.kinds = frozenset(kinds)
        self._pending: set[tuple[str, ObjectKey]] = set()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    def put(self, kind: str, key: ObjectKey, *, asked: bool = False) -> None:
        """`asked`: somebody waits for it."""
        if kind in self.kinds:
            self._pending.add((kind, key))
            self._wake.set()
            if asked:
                self._hurry.set()

    async def next(self, *, debounce: float = DEBOUNCE) -> Changed:
        """Wait for a change; what else comes within `debounce` seconds comes along, unless somebody waits for it."""
        await self._wake.wait()
        await pause(self._hurry, debounce)
        self._wake.clear()
        self._hurry.clear()
        changed, self._pending = frozenset(self._pending), set()
        return changed


class Cache:
    """See the module. One per process; used from one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[ObjectKey, Entry]] = {kind: {} for kind in PLURALS}
        self._subscriptions: list[Subscription] = []
        self.events = 0
        """Events so far, with those that said nothing new."""

    # ------------------------------------------------------------------------------------------------- written by kopf

    def observe(self, kind: str, body: Body) -> Entry | None:
        """An object as it is now. Returns its entry when that says something new."""
        self.events += 1
        new = _unread(kind, body)
        old = self._entries[kind].get(new.key)
        if old is not None and _same(old, new):
            # Its spec is the one that was read: most events are echoes of our own statuses.
            self._entries[kind][new.key] = replace(old, status=new.status, resource_version=new.resource_version)
            return None
        entry = _with_value(new, body)
        self._entries[kind][entry.key] = entry
        asked = old is not None and entry.requested not in (None, old.requested)
        self._tell(kind, entry.key, asked=asked)
        return entry

    def forget(self, kind: str, key: ObjectKey, uid: str | None = None) -> None:
        """The object is gone; with `uid`, only if it is that one (another may have taken its name)."""
        known = self._entries[kind].get(key)
        if known is not None and (uid is None or known.uid == uid):
            del self._entries[kind][key]
            self._tell(kind, key)

    def uids(self, kind: str, namespace: str | None) -> dict[ObjectKey, str]:
        """What is known of a kind now (in a namespace), for `keep` after a list."""
        return {
            key: entry.uid
            for key, entry in self._entries[kind].items()
            if namespace is None or key.namespace == namespace
        }

    def keep(self, kind: str, known: Mapping[ObjectKey, str], present: Collection[str]) -> None:
        """A whole list was made: what was `known` before it, and whose uid is not `present`, went unwatched."""
        for key, uid in known.items():
            if uid not in present:
                self.forget(kind, key, uid)

    def _tell(self, kind: str, key: ObjectKey, *, asked: bool = False) -> None:
        for subscription in self._subscriptions:
            subscription.put(kind, key, asked=asked)

    # ------------------------------------------------------------------------------------------------- read by us

    def subscribe(self, kinds: Iterable[str]) -> Subscription:
        """Changes from now on; what is there already counts as changed."""
        subscription = Subscription(kinds)
        self._subscriptions.append(subscription)
        for kind in subscription.kinds:
            for key in self._entries[kind]:
                subscription.put(kind, key)
        return subscription

    def entries(self, kind: str) -> Mapping[ObjectKey, Entry]:
        return self._entries[kind]

    def get(self, kind: str, key: ObjectKey) -> Entry | None:
        return self._entries[kind].get(key)

    def objects(self) -> Objects:
        """All that are valid and not being deleted, in order of their names."""

        def valid(kind: str) -> tuple[Any, ...]:
            entries = sorted(self._entries[kind].items())
            return tuple(entry.value for _, entry in entries if entry.value is not None and not entry.deleting)

        return Objects(
            policies=valid("ImagePolicy"),
            repositories=valid("GitRepository"),
            automations=valid("ImageUpdateAutomation"),
            kustomizations=valid("Kustomization"),
            freezes=self.freezes(),
            quarantines=(*valid("ClusterQuarantine"), *valid("Quarantine")),
        )

    def freezes(self) -> tuple[Freeze, ...]:
        """Of the cluster and of all namespaces. What cannot be read of them, and of Quarantines, stops everything that
        it could have meant: somebody wanted a halt. What is proven is taken back to all the same where nobody froze it.
        """
        stops = ("ClusterFreeze", "Freeze", "ClusterQuarantine", "Quarantine")
        return tuple(each for kind in stops for each in self._freezes(kind))

    def _freezes(self, kind: str) -> Iterable[Freeze]:
        for key, entry in sorted(self._entries[kind].items()):
            if entry.deleting:
                continue
            if isinstance(entry.value, Freeze):
                yield entry.value
            elif entry.value is None:
                yield Freeze(
                    meta=Meta(key=key),
                    title=f"{kind} {key}",
                    reason=f"it cannot be read: {entry.error}",
                    allow_rollback=kind.endswith("Quarantine"),
                )


_ATTRIBUTES: Final = {
    "ImagePolicy": "policies",
    "GitRepository": "repositories",
    "ImageUpdateAutomation": "automations",
    "Kustomization": "kustomizations",
    "Freeze": "freezes",
    "ClusterFreeze": "freezes",
    "Quarantine": "quarantines",
    "ClusterQuarantine": "quarantines",
}
_UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
"""Legal in JSON strings, not (or not the same) in YAML's."""


def key_of(kind: str, metadata: Mapping[str, Any]) -> ObjectKey:
    """The key of an object by its metadata as the server gives it."""
    namespace = "" if kind in OF_THE_CLUSTER else str(metadata.get("namespace") or "default")
    return ObjectKey(namespace, str(metadata.get("name") or ""))


def read(kind: str, body: Body) -> Entry:
    """An entry of an object as the server gives it. What is wrong with its spec is in the entry, nothing is raised."""
    return _with_value(_unread(kind, body), body)


def _unread(kind: str, body: Body) -> Entry:
    """All but what its spec says."""
    metadata = body.get("metadata") or {}
    annotations = {
        name: value for name, value in (metadata.get("annotations") or {}).items() if name.startswith(f"{GROUP}/")
    }
    return Entry(
        kind=kind,
        key=key_of(kind, metadata),
        uid=str(metadata.get("uid") or ""),
        generation=int(metadata.get("generation") or 0),
        value=None,
        error=None,
        labels=metadata.get("labels") or {},
        annotations=annotations,
        requested=annotations.get(REQUESTED),
        deleting=metadata.get("deletionTimestamp") is not None,
        finalizers=tuple(metadata.get("finalizers") or ()),
        status=body.get("status") or {},
        resource_version=str(metadata.get("resourceVersion") or ""),
    )


def _with_value(entry: Entry, body: Body) -> Entry:
    metadata: dict[str, Any] = {
        "name": entry.key.name,
        "labels": entry.labels,
        "annotations": entry.annotations,
        "creationTimestamp": (body.get("metadata") or {}).get("creationTimestamp"),
    }
    if entry.key.namespace:
        metadata["namespace"] = entry.key.namespace
    value, error = _parse(
        entry.kind,
        entry.key,
        {
            "apiVersion": body.get("apiVersion", API_VERSION),
            "kind": entry.kind,
            "metadata": metadata,
            "spec": body.get("spec") or {},
        },
    )
    return replace(entry, value=value, error=error)


def _parse(kind: str, key: ObjectKey, document: Body) -> tuple[Any | None, SpecError | None]:
    text = _UNREADABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(document, ensure_ascii=False))
    try:
        objects = api.load_text(text)
    except api.SpecErrors as errors:
        return None, api.SpecErrors(_placed(error) for error in errors.errors)
    except SpecError as error:
        return None, _placed(error)
    found = getattr(objects, _ATTRIBUTES[kind])
    if not found:
        place = Where(object=f"{kind} {key}")
        return None, SpecError("is no object of this version", where=place, remedy=f"write apiVersion: {API_VERSION}")
    return found[0], None


def _placed(error: SpecError) -> SpecError:
    """The error without the line of a text that nobody wrote."""
    where = Where(field=error.where.field, object=error.where.object)
    return SpecError(error.message, where=where, remedy=error.remedy)
