"""What the cluster holds of all that is applied, from metadata-only watches with the controller's own read rights.

One watch a kind (or a kind and namespace, where only some may be read), of objects that carry an owner label. Of each
object only a hash of its uid and of our managedFields entry is kept, with its version, its owner and what its
annotations ask of us: some 300 bytes. That hash moves when, and only when, a field that we set was changed or taken, so
an equal one means that there is nothing to do.

The time of our entry is part of it. The fields alone do not tell two applies of ours apart that set the same fields to
other values, and one of them may have been forgotten: a process was killed between its apply and its report, or another
Kustomization applied the object. The server moves the time with each apply of ours that changes anything, and with
nothing else (Kubernetes API, ManagedFieldsEntry).

What we write ourselves moves it as well, but nobody is told: `begin` opens a write, `end` closes it with the server's
answer, and only what happened after that answer counts. Secrets are never watched: their values would come along.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.api.model import ObjectKey
from image_updater.cluster import Watcher
from image_updater.cluster.errors import KindUnknown
from image_updater.cluster.model import Happened, Ref
from image_updater.sync.fields import own_fields
from image_updater.sync.manifests import label_value
from image_updater.sync.model import MANAGER, OWNER_NAME, OWNER_NAMESPACE, Applied
from image_updater.sync.policies import leaves_alone, marks, never_pruned
from image_updater.sync.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body, Resource, WatchEvent
    from image_updater.errors import ImageUpdaterError

PATIENCE: Final = 10.0
"""Seconds that `follow` waits for the first list of a kind. Later it is used as soon as it is there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of one object. `mark` is empty where we have no managedFields entry (it was never applied)."""

    mark: bytes
    version: int
    """The resourceVersion; 0 where the server's is no number."""
    owner: ObjectKey | None
    left_alone: bool
    """An annotation on it says that we do not touch it."""
    kept: bool
    """An annotation on it says that we do not prune it."""

    @classmethod
    def of(cls, body: Body) -> Seen:
        asked = marks(body)
        return cls(
            mark=_mark(str((body.get("metadata") or {}).get("uid", "")), entry_of(body)),
            version=version_of(body),
            owner=owner_of(body),
            left_alone=leaves_alone(asked) is not None,
            kept=never_pruned(asked) is not None,
        )

    def holds(self, applied: Applied, owner: ObjectKey) -> bool:
        """Whether it is still this Kustomization's, and nothing that we set has changed since that apply."""
        return bool(self.mark) and self.owner == owner and self.mark == _mark(applied.uid, applied.fields)

    def differs(self, other: Seen) -> bool:
        """In anything but its version."""
        mine = (self.mark, self.owner, self.left_alone, self.kept)
        return mine != (other.mark, other.owner, other.left_alone, other.kept)


def entry_of(body: Body) -> str:
    """Which fields our last apply set and still holds, and when it changed something; "" without an entry of ours."""
    fields = own_fields(body, MANAGER)
    if not fields:
        return ""
    times = (
        str(entry.get("time"))
        for entry in body["metadata"]["managedFields"]
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    )
    return f"{fields[:24]}@{next(times, '')}"


def _mark(uid: str, fields: str) -> bytes:
    """Twelve bytes for an object and our entry of it; none without an entry."""
    return hashlib.blake2b(f"{uid} {fields}".encode(), digest_size=12).digest() if fields else b""


def version_of(body: Body) -> int:
    text = str((body.get("metadata") or {}).get("resourceVersion") or "")
    return int(text) if text.isdecimal() else 0


def labelled(key: ObjectKey) -> ObjectKey:
    """A Kustomization as labels can name it: what is longer than a label's value is cut."""
    return ObjectKey(label_value(key.namespace), label_value(key.name))


def owner_of(body: Body) -> ObjectKey | None:
    """The Kustomization that the labels name, `labelled`. None: they name none, or only half of one."""
    labels: Mapping[str, str] = (body.get("metadata") or {}).get("labels") or {}
    name, namespace = labels.get(OWNER_NAME), labels.get(OWNER_NAMESPACE)
    return ObjectKey(namespace, name) if name and namespace else None


class Watches:
    """Of one API server. `on_moved(ref, owner)` is called from within the event loop, and must not wait.

    It is told of objects that somebody else changed where we set a field, deleted, took the owner labels from or wrote
    one of our annotations on; `owner` is the Kustomization that had applied it, as labels name it (`labelled`).
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        on_moved: Callable[[Ref, ObjectKey], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
        namespaces: Iterable[str] = (),
    ) -> None:
        """`namespaces`: those that may be read (none named: all, and kinds without a namespace)."""
        self.cluster = cluster
        """With the controller's own rights."""
        self._namespaces = self.namespaces = tuple(namespaces)
        self.scaling = Scaling(cluster, monotonic=monotonic, sleep=sleep, dice=dice, namespaces=self._namespaces)
        self._on_moved = on_moved
        self._sleep = sleep
        self._dice = dice
        self._kinds: dict[tuple[str, str, str], _Kind] = {}
        """By group, kind, and the namespace that is watched ("" is all)."""
        self._owners: dict[ObjectKey, ObjectKey] = {}
        self._closed = False

    async def follow(self, resources: Iterable[Resource]) -> None:
        """Watch these kinds too, and wait until they are listed: PATIENCE seconds at most, then they are unwatched
        until their list comes.
        """
        kinds = [
            kind
            for resource in resources
            for namespace in self._scopes(resource)
            if (kind := self._kind(resource, namespace)) is not None
        ]
        waiting = [kind for kind in kinds if not kind.answered.is_set()]
        if waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    for kind in waiting:
                        await kind.answered.wait()

    def _scopes(self, resource: Resource) -> tuple[str, ...]:
        """The namespaces to watch it in."""
        if not self._namespaces:
            return ("",)
        return self._namespaces if resource.namespaced else ()

    def _of(self, ref: Ref) -> _Kind | None:
        """The watch that shows this object."""
        return self._kinds.get((ref.group, ref.kind, ref.namespace if self._namespaces else ""))

    def _kind(self, resource: Resource, namespace: str) -> _Kind | None:
        key = (resource.group, resource.kind, namespace)
        if key[:2] == ("", "Secret") or not {"list", "watch"} <= resource.verbs or self._closed:
            return None
        kind = self._kinds.get(key)
        if kind is None or kind.task.done():
            kind = self._kinds[key] = _Kind(self, resource, namespace)
        return kind

    def watched(self, ref: Ref) -> bool:
        """Whether `state` can be believed for this kind: Secrets, forbidden and unserved kinds are not watched."""
        kind = self._of(ref)
        return kind is not None and kind.believable

    def trouble(self) -> Mapping[tuple[str, str], ImageUpdaterError]:
        """Why kinds (group, kind) that should be watched are not."""
        return {key[:2]: kind.trouble for key, kind in self._kinds.items() if kind.trouble is not None}

    def state(self, ref: Ref) -> Seen | None:
        """None: no such object carries an owner label, or the kind is not watched."""
        kind = self._of(ref)
        return kind.objects.get(_short(ref)) if kind is not None and kind.believable else None

    def count(self) -> int:
        """How many objects are held."""
        return sum(len(kind.objects) for kind in self._kinds.values())

    def begin(self, ref: Ref) -> None:
        """We are about to write this object: events of it wait for `end`."""
        kind = self._of(ref)
        if kind is not None:
            kind.writing.setdefault(_short(ref), None)

    def end(self, ref: Ref, body: Body | None = None) -> None:
        """The write is over. `body` is what the server made of the object; None: nothing was written."""
        kind = self._of(ref)
        if kind is not None:
            kind.end(_short(ref), None if body is None else self.share(Seen.of(body)))

    def gone(self, ref: Ref) -> None:
        """We deleted it, or let it go: nobody has to be told."""
        kind = self._of(ref)
        if kind is not None:
            kind.forget(_short(ref))

    async def close(self) -> None:
        """End all watches."""
        self._closed = True
        tasks = [kind.task for kind in self._kinds.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.scaling.close()

    def share(self, seen: Seen) -> Seen:
        """With an owner that is one object for all that it owns: it is most of what there is to keep."""
        if seen.owner is None:
            return seen
        owner = self._owners.setdefault(seen.owner, seen.owner)
        return Seen(seen.mark, seen.version, owner, seen.left_alone, seen.kept)

    def tell(self, resource: Resource, short: str, owner: ObjectKey | None) -> None:
        if owner is not None:
            namespace, _, name = short.partition("/")
            self._on_moved(Ref(resource.group, resource.kind, namespace, name), owner)

    def watcher(self, resource: Resource, namespace: str, kind: _Kind) -> Watcher:
        return Watcher(
            self.cluster,
            resource,
            namespace=namespace or None,
            labels=OWNER_NAME,
            metadata_only=True,
            on_event=kind.on_event,
            on_state=kind.on_state,
            sleep=self._sleep,
            dice=self._dice,
        )


def _short(ref: Ref) -> str:
    return f"{ref.namespace}/{ref.name}"


class _Kind:
    """The watch of one kind, and what it has shown. Keys are `namespace/name`."""

    def __init__(self, watches: Watches, resource: Resource, namespace: str) -> None:
        self._watches = watches
        self._resource = resource
        self.objects: dict[str, Seen] = {}
        self.writing: dict[str, tuple[int, Seen | None] | None] = {}
        """Objects that we are writing, and the last that was seen of them meanwhile: version and state."""
        self.trouble: ImageUpdaterError | None = None
        self.answered = asyncio.Event()
        """Set once it is known whether the kind can be watched."""
        self._fresh: dict[str, int] = {}
        """Versions that we wrote and the watch has not shown yet: what it shows of older ones is past."""
        self._listed = False
        watcher = watches.watcher(resource, namespace, self)
        self.task = asyncio.create_task(watcher.run(), name=f"watch {resource.plural}")

    @property
    def believable(self) -> bool:
        return self._listed and self.trouble is None and not self.task.done()

    def on_state(self, trouble: ImageUpdaterError | None) -> None:
        self.trouble = trouble
        if trouble is not None:
            self.answered.set()
        if isinstance(trouble, KindUnknown):
            # Its definition went, with all its objects. Who applies one again has the kind followed again.
            self.task.cancel()

    def on_event(self, event: WatchEvent) -> None:
        if event.happened is Happened.SYNCED:
            self._listed = True
            self.answered.set()
            return
        metadata = event.body.get("metadata") or {}
        short = f"{metadata.get('namespace') or ''}/{metadata.get('name')}"
        seen = None if event.happened is Happened.DELETED else self._watches.share(Seen.of(event.body))
        if short in self.writing:
            self.writing[short] = (version_of(event.body), seen)
        else:
            self._put(short, seen)

    def _put(self, short: str, seen: Seen | None) -> None:
        """Keep it, and tell where it is not what was there."""
        before = self.objects.get(short)
        if seen is not None and seen.version < self._fresh.get(short, 0):
            return
        self._fresh.pop(short, None)
        if seen is None:
            if before is not None:
                del self.objects[short]
                self._watches.tell(self._resource, short, before.owner)
            return
        self.objects[short] = seen
        if before is not None and before.differs(seen):
            self._watches.tell(self._resource, short, before.owner)

    def forget(self, short: str) -> None:
        for mapping in (self.writing, self.objects, self._fresh):
            mapping.pop(short, None)

    def end(self, short: str, written: Seen | None) -> None:
        meanwhile = self.writing.pop(short, None)
        if written is not None:
            before = self.objects.get(short)
            self.objects[short] = written
            if before is not None and before.owner != written.owner:
                # One Kustomization of ours took it from another, which is to know.
                self._watches.tell(self._resource, short, before.owner)
            if meanwhile is not None and meanwhile[0] < written.version:
                meanwhile = None
            if meanwhile is None and (before is None or before.version != written.version):
                self._fresh[short] = written.version
        if meanwhile is not None:
            self._put(short, meanwhile[1])
