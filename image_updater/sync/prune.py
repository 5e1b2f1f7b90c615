"""What left Git leaves the cluster: what our inventory names, and nothing else.

Every deletion is judged by the object as it is at that moment, and carries the uid and the resourceVersion that were
judged: an object that somebody makes anew, or that another Kustomization applies, between our look and our request is
not deleted but judged again. The owner labels can only veto. An object that another Kustomization renders, or may
render, is held: it stays, and stays in our inventory until the other one has put its own labels on it. So whichever of
the two is synced first, an object that moves is neither deleted nor forgotten.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.api.model import GROUP
from image_updater.cluster.errors import Conflict, KindUnknown
from image_updater.cluster.model import Ref
from image_updater.errors import ImageUpdaterError, Where
from image_updater.sync.model import Action, Done, Elsewhere
from image_updater.sync.policies import marks, never_pruned
from image_updater.sync.stages import removal
from image_updater.sync.watches import labelled, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Body, Resource
    from image_updater.sync.applying import Means
    from image_updater.sync.model import Entry

AT_ONCE: Final = 12
_ATTEMPTS: Final = 10
"""Of an object that changes all the time between our look and our request."""

_FINALIZERS: Final = 10.0
"""Seconds that objects of custom kinds get to be finalized, before what may be their controller is deleted."""

_ACCESS: Final = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
_BUILT_IN: Final = frozenset({"", "apps", "autoscaling", "batch", "extensions", "policy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """`done` says what happened, nothing of objects that were gone; `survivors` stay in the inventory."""

    done: tuple[Done, ...] = ()
    survivors: tuple[Entry, ...] = ()
    preempted: bool = False


@dataclass(slots=True, kw_only=True)
class Pruning:
    """Of what one Kustomization no longer renders."""

    owner: ObjectKey
    means: Means
    elsewhere: Callable[[Ref], Elsewhere] | None = None
    preempted: Callable[[], bool] = lambda: False
    applied: frozenset[str] = frozenset()
    """Uids of what was just applied: a kind that two groups serve (Ingress, once) is one object under two names."""

    async def run(self, entries: Iterable[Entry]) -> Pruned:
        """Delete what may be deleted: stages backwards, several objects at once, the rest of it despite failures."""
        by_ref = {entry.ref: entry for entry in entries}
        done: list[Done] = []
        survivors: list[Entry] = []
        for group in _order(by_ref):
            finalizing = await self._group([by_ref[ref] for ref in group], done, survivors)
            await self._finalized(finalizing)
        reached = {each.ref for each in done}
        stopped = any(entry.ref not in reached for entry in survivors)
        return Pruned(done=tuple(done), survivors=tuple(survivors), preempted=stopped)

    async def _group(self, entries: Sequence[Entry], done: list[Done], survivors: list[Entry]) -> list[_Going]:
        left = iter(entries)
        finalizing: list[_Going] = []

        async def work() -> None:
            for entry in left:
                if self.preempted():
                    survivors.append(entry)
                    continue
                try:
                    result, going = await self._remove(entry)
                except ImageUpdaterError as error:
                    error.where = error.where if error.where.object else Where(object=str(entry.ref))
                    result, going = Done(ref=entry.ref, action=Action.FAILED, reason=error.message, error=error), None
                if result is not None:
                    done.append(result)
                    if result.action in (Action.FAILED, Action.HELD):
                        survivors.append(entry)
                if going is not None:
                    finalizing.append(going)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(entries))):
                group.create_task(work())
        return finalizing

    async def _remove(self, entry: Entry) -> tuple[Done | None, _Going | None]:
        """None: it is not there, and nothing has to be told."""
        ref = entry.ref
        resource = await self._resource(entry)
        if resource is None:
            return None, None
        for attempt in range(_ATTEMPTS):
            live = await self.means.read(resource, ref)
            if live is None or live["metadata"].get("deletionTimestamp"):
                return None, None
            kept = self._kept(ref, live)
            if kept is not None:
                return kept, None
            try:
                await self._delete(resource, ref, live)
            except Conflict:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            custom = ref.group not in _BUILT_IN and not ref.group.endswith(".k8s.io")
            going = _Going(ref, resource, live["metadata"]["uid"]) if live["metadata"].get("finalizers") else None
            return Done(ref=ref, action=Action.PRUNED), going if custom else None
        raise AssertionError("the last attempt returns or raises")

    async def _resource(self, entry: Entry) -> Resource | None:
        """None: no server serves the kind, so that nothing of it can be there."""
        ref = entry.ref
        try:
            return await self.means.cluster.resource(f"{ref.group}/{entry.version}".lstrip("/"), ref.kind)
        except KindUnknown:
            # In the version that we applied; perhaps in another one.
            try:
                return await self.means.cluster.serving(ref.group, ref.kind)
            except KindUnknown:
                return None

    async def _delete(self, resource: Resource, ref: Ref, live: Body) -> None:
        """Raises Conflict when it is not any more what was judged."""
        metadata = live["metadata"]
        watches = self.means.watches
        if watches is not None:
            watches.begin(ref)
        gone = False
        try:
            await self.means.cluster.delete(
                resource,
                ref.name,
                ref.namespace or None,
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
            )
            gone = True
        finally:
            if watches is not None and gone:
                watches.gone(ref)
            elif watches is not None:
                watches.end(ref)

    def _kept(self, ref: Ref, live: Body) -> Done | None:
        """Why it is not deleted; None when it is."""
        if ref == Ref(GROUP, "Kustomization", self.owner.namespace, self.owner.name):
            # Else a file that was moved takes everything along. Who wants that deletes the Kustomization.
            return Done(ref=ref, action=Action.ORPHANED, reason="a Kustomization does not delete itself")
        owner = owner_of(live)
        if owner is None:
            return Done(ref=ref, action=Action.ORPHANED, reason="it carries no owner labels any more")
        if owner != labelled(self.owner):
            return Done(ref=ref, action=Action.ORPHANED, reason=f"it belongs to Kustomization {owner} now")
        if live["metadata"]["uid"] in self.applied:
            return Done(ref=ref, action=Action.ORPHANED, reason="it is the same object as one of another group in Git")
        annotation = never_pruned(marks(live))
        if annotation is not None:
            return Done(ref=ref, action=Action.ORPHANED, reason=f"the object in the cluster says {annotation}")
        others = self.elsewhere(ref) if self.elsewhere is not None else Elsewhere()
        if others.renders is not None:
            reason = f"Kustomization {others.renders} renders it now, and has not applied it yet"
            return Done(ref=ref, action=Action.HELD, reason=reason)
        if others.behind is not None:
            reason = (
                f"Kustomization {others.unsettled} may render it now: its GitRepository {others.behind} is being "
                "fetched, which is waited for a minute where that fails"
            )
            return Done(ref=ref, action=Action.HELD, reason=reason)
        if others.unsettled is not None:
            reason = f"Kustomization {others.unsettled} may render it now: that revision of it is not built yet"
            return Done(ref=ref, action=Action.HELD, reason=reason)
        return None

    async def _finalized(self, going: Sequence[_Going]) -> None:
        """Give them time: a controller that is deleted with its objects would leave them in deletion for ever."""
        end = self.means.monotonic() + _FINALIZERS
        pause = 0.1
        left = list(going)
        while left and self.means.monotonic() < end and not self.preempted():
            await self.means.sleep(pause)
            pause = min(pause * 2, 1.0)
            left = [each for each in left if await self._still_there(each)]

    async def _still_there(self, going: _Going) -> bool:
        try:
            live = await self.means.read(going.resource, going.ref)
        except ImageUpdaterError:
            # It was deleted, which is all that was promised; who may not look does not wait.
            return False
        return live is not None and live["metadata"]["uid"] == going.uid


@dataclass(frozen=True, slots=True)
class _Going:
    """Deleted, and waiting for its finalizers."""

    ref: Ref
    resource: Resource
    uid: str


def _order(refs: Mapping[Ref, Entry]) -> list[list[Ref]]:
    """The groups of `removal`, with custom objects before workloads (one may be their controller), and at the very end,
    all at once, what may give the applying account the rights to delete the others.
    """
    groups: list[list[Ref]] = []
    access: list[Ref] = []
    last: list[Ref] = []
    for group in removal(refs):
        parts: dict[int, list[Ref]] = {}
        for ref in group:
            if ref.kind in _ACCESS:
                access.append(ref)
            elif (ref.group, ref.kind) in _CONTAINERS:
                last.append(ref)
            else:
                custom = ref.group not in _BUILT_IN and not ref.group.endswith(".k8s.io")
                parts.setdefault(0 if custom else 1, []).append(ref)
        groups += [part for _, part in sorted(parts.items())]
    return [group for group in (*groups, last, access) if group]


_CONTAINERS: Final = frozenset({("", "Namespace"), ("apiextensions.k8s.io", "CustomResourceDefinition")})
"""What goes takes everything in it along."""
