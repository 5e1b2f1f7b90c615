"""The health of objects, from watches: a list a kind and namespace, and a watch behind it while anything is missing.

As the applying account, else with the controller's own read rights, else by reading object after object. Our rights
help with what the account applied, and in the Kustomization's own namespace: a health check that names an object of
somebody else tells no more of it than the account may see.

Of an object only its health is kept. Secrets are read by name alone, like everything of which existing is all there is
to say and which our own watches do not already show.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from image_updater.cluster.errors import Forbidden, Gone, KindUnknown
from image_updater.cluster.model import Happened, Ref
from image_updater.errors import ImageUpdaterError, Transient
from image_updater.sync.health import Seen as CanarySeen
from image_updater.sync.health import health
from image_updater.sync.manifests import owner_labels
from image_updater.sync.model import Condition, Health
from image_updater.sync.policies import replica_owners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from image_updater.api.model import ObjectKey
    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body, Resource
    from image_updater.sync.applying import Means

_EXIST: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "LimitRange"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
    }
)
"""Kinds without a status: what exists is current."""

_FEW: Final = 8
"""Names of one kind and namespace that get a list and a watch each, where the owner labels do not find them."""

_PAUSE: Final = 2.0
"""Seconds between two looks where nothing can be watched, and before an API server that failed is asked again."""

_REFUSALS: Final = 3
"""Looks at one object that may be forbidden before it is given up."""

_AT_ONCE: Final = 8
_LONG: Final = 240.0
_CANARY: Final = 10.0
"""Seconds of a watch before the list is read again."""


@dataclass(slots=True, kw_only=True)
class _Group:
    """Objects of one kind in one namespace."""

    kind: tuple[str, str]
    namespace: str
    names: set[str]
    labels: str | None
    """Selector; None: by name, or all of the namespace."""
    helped: bool = True
    """Whether our own rights may be used where the account's are not enough."""
    listed: asyncio.Event = field(default_factory=asyncio.Event)

    def selectors(self) -> tuple[str | None, str | None]:
        """Of labels and of fields; neither for many names."""
        if self.labels is not None:
            return self.labels, None
        return None, f"metadata.name={min(self.names)}" if len(self.names) == 1 else None

    def refs(self) -> Iterable[Ref]:
        return (Ref(*self.kind, self.namespace, name) for name in sorted(self.names))


class Waiting:
    """`await run(timeout, preempted)` once."""

    def __init__(
        self,
        means: Means,
        owner: ObjectKey,
        refs: Sequence[Ref],
        *,
        clock: Callable[[], datetime],
        changed: frozenset[Ref] = frozenset(),
        foreign: frozenset[Ref] = frozenset(),
    ) -> None:
        """`foreign`: what the Kustomization does not apply itself."""
        self._means = means
        self._namespace = owner.namespace
        self._foreign = foreign
        self._refs = tuple(refs)
        self._labels = ",".join(f"{name}={value}" for name, value in sorted(owner_labels(owner).items()))
        self._clock = clock
        self._changed = changed
        self._found: dict[Ref, Health] = {}
        self._open = set(refs)
        """Not current yet, and still worth waiting for."""
        self._failed = False
        self._broken: BaseException | None = None
        self._moved = asyncio.Event()
        self._begun = clock()
        self._canaries: dict[Ref, CanarySeen] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_listed = asyncio.Event()

    async def run(self, timeout: float, preempted: asyncio.Event) -> tuple[Health, ...]:  # noqa: ASYNC109
        """Current or failed, timed out or preempted: what is known of each object then."""
        groups = self._groups()
        ends: tuple[asyncio.Task[Any], ...] = ()
        try:
            for group in groups:
                self._start(group)
            over = asyncio.create_task(self._over(groups))
            stop = asyncio.create_task(preempted.wait())
            ends = (over, stop)
            done, _ = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if over in done:
                await over
        finally:
            tasks = (*self._tasks, *ends)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        unseen = "nothing was seen of it in time"
        return tuple(
            self._found.get(ref) or Health(ref=ref, condition=Condition.UNKNOWN, message=unseen) for ref in self._refs
        )

    def _groups(self) -> list[_Group]:
        """Without what our own watches already show."""
        groups: dict[tuple[tuple[str, str], str, bool], _Group] = {}
        for ref in self._refs:
            kind = (ref.group, ref.kind)
            watches = self._means.watches
            helped = ref not in self._foreign or ref.namespace == self._namespace
            if helped and kind in _EXIST and watches is not None and watches.state(ref) is not None:
                self._put(Health(ref=ref, condition=Condition.CURRENT))
                continue
            labels = None if kind == ("", "Secret") else self._labels
            group = groups.setdefault(
                (kind, ref.namespace, helped),
                _Group(kind=kind, namespace=ref.namespace, names=set(), labels=labels, helped=helped),
            )
            group.names.add(ref.name)
        for group in groups.values():
            if len(group.names) == 1:
                group.labels = None
        return list(groups.values())

    async def _over(self, groups: Sequence[_Group]) -> None:
        """Until all is current or unreadable, or one has failed: not before each list has been read once."""
        for group in groups:
            await group.listed.wait()
        if not self._done():
            self._all_listed.set()
        while not self._done():
            self._moved.clear()
            await self._moved.wait()
        if self._broken is not None:
            raise self._broken

    def _done(self) -> bool:
        return self._failed or not self._open or self._broken is not None

    def _start(self, group: _Group) -> None:
        task = asyncio.create_task(self._follow(group), name=f"wait for {group.kind[1]}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()
            self._moved.set()

    # ------------------------------------------------------------------------------------------- one kind

    async def _follow(self, group: _Group) -> None:
        """For as long as it can be watched; where it cannot, until nothing is left to wait for."""
        try:
            while True:
                try:
                    await self._watch(group, await self._means.cluster.serving(*group.kind))
                    return
                except KindUnknown as error:
                    for ref in group.refs():
                        self._put(Health(ref=ref, condition=Condition.NOT_FOUND, message=error.message))
                except ImageUpdaterError as error:
                    for ref in group.refs():
                        if ref not in self._found:
                            self._put(Health(ref=ref, condition=Condition.UNKNOWN, message=error.message))
                group.listed.set()
                await self._means.sleep(_PAUSE)
        finally:
            group.listed.set()

    async def _watch(self, group: _Group, resource: Resource) -> None:
        """Raises what is not about rights."""
        if group.kind != ("", "Secret"):
            for account in (self._means.cluster, self._means.reading if group.helped else None):
                try:
                    if account is not None:
                        await self._watch_as(account, group, resource)
                        return
                except Forbidden:
                    continue
        await self._poll(group, resource)

    async def _watch_as(self, account: Cluster, group: _Group, resource: Resource) -> None:
        """Raises Forbidden where this account may not list or watch, and what else fails."""
        partial = group.kind in _EXIST
        namespace = group.namespace or None
        # A Canary's answer changes with the time alone: it is listed again.
        seconds = _CANARY if group.kind[1] == "Canary" else _LONG
        while group.names:
            labels, fields = group.selectors()
            bodies, version = await account.list(
                resource, namespace, labels=labels, fields=fields, metadata_only=partial
            )
            if not self._listed(group, bodies):
                continue
            group.listed.set()
            await self._all_listed.wait()
            try:
                async for event in account.watch(
                    resource,
                    namespace,
                    labels=labels,
                    fields=fields,
                    resource_version=version,
                    metadata_only=partial,
                    timeout=seconds,
                ):
                    self._event(group, event.happened, event.body)
            except Gone:
                continue

    def _listed(self, group: _Group, bodies: Iterable[Body]) -> bool:
        """False: not everything was found, and the next list is another one."""
        found = set()
        for body in bodies:
            found.add(body["metadata"]["name"])
            self._event(group, Happened.ADDED, body)
        missing = group.names - found
        for name in missing:
            ref = Ref(*group.kind, group.namespace, name)
            self._put(health(None, now=self._clock(), ref=ref))
        if group.labels is None or not missing:
            return True
        # They carry no owner labels (left alone, or never ours): they are looked for by their names.
        if len(missing) > _FEW:
            group.labels = None
            return False
        group.names -= missing
        for name in sorted(missing):
            alone = _Group(kind=group.kind, namespace=group.namespace, names={name}, labels=None, helped=group.helped)
            self._start(alone)
        return True

    def _event(self, group: _Group, happened: Happened, body: Body) -> None:
        name = str(body["metadata"]["name"])
        if name not in group.names:
            return
        ref = Ref(*group.kind, group.namespace, name)
        gone = happened is Happened.DELETED
        known = self._found.get(ref)
        if gone and ref.kind == "Job" and known is not None and known.condition is Condition.CURRENT:
            return  # it had finished
        self._put(self._judge(ref, None if gone else body))

    # ------------------------------------------------------------------------------------------- one by one

    async def _poll(self, group: _Group, resource: Resource) -> None:
        """As long as anything of the group is not current. What may not be read either, look after look, is not waited
        for; the first refusals may be those of a server that has just started and has read no roles yet.
        """
        limit = asyncio.Semaphore(_AT_ONCE)
        refused: Counter[Ref] = Counter()

        async def look(ref: Ref) -> None:
            async with limit:
                try:
                    body = await self._means.read(
                        resource, ref, metadata_only=group.kind in _EXIST, helped=group.helped
                    )
                except Forbidden as error:
                    refused[ref] += 1
                    self._put(_unreadable(ref, error))
                    if refused[ref] >= _REFUSALS:
                        self._open.discard(ref)
                except Transient as error:
                    self._put(Health(ref=ref, condition=Condition.UNKNOWN, message=error.message))
                else:
                    self._put(self._judge(ref, body))

        while refs := [ref for ref in group.refs() if ref in self._open]:
            await asyncio.gather(*(look(ref) for ref in refs))
            group.listed.set()
            await self._means.sleep(_PAUSE)
        group.listed.set()

    # ------------------------------------------------------------------------------------------- what was found

    def _judge(self, ref: Ref, body: Body | None) -> Health:
        before = None
        if body is not None and ref.kind == "Canary" and not self._changed.isdisjoint(replica_owners([body])):
            before = self._canaries.setdefault(ref, CanarySeen.of(body, self._begun))
        return health(body, now=self._clock(), ref=ref, before=before)

    def _put(self, found: Health) -> None:
        self._found[found.ref] = found
        if found.condition is Condition.CURRENT:
            self._open.discard(found.ref)
        else:
            self._open.add(found.ref)
        if found.condition is Condition.FAILED:
            self._failed = True
        self._moved.set()


def _unreadable(ref: Ref, error: Forbidden) -> Health:
    return Health(ref=ref, condition=Condition.UNKNOWN, message=f"its health cannot be read: {error.message}")
