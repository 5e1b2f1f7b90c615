"""One object to the cluster, with as few requests as what is known of it allows (deciding.py has the table).

An object of which nothing is known is applied with a resourceVersion that no object has: a server creates what is not
there and answers Conflict where something is (`metadata.resourceVersion` of an apply: Kubernetes API, server-side
apply, "Create if not exists"). So a first install costs one request an object, and only what was there before is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Drift
from image_updater.cluster.errors import Conflict, Forbidden, Immutable
from image_updater.cluster.model import Ref
from image_updater.errors import Where
from image_updater.sync.deciding import Step
from image_updater.sync.drift import difference
from image_updater.sync.errors import BeingDeleted, Contested
from image_updater.sync.model import Action, Applied, Done
from image_updater.sync.policies import Handling, forced, handling, leaves_alone, leaves_by_itself, marks
from image_updater.sync.takeover import let_replicas_go, take_fields_over
from image_updater.sync.watches import Seen, entry_of, labelled, owner_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body, Resource
    from image_updater.sync.model import Manifest, SyncRequest
    from image_updater.sync.scaling import Scaling
    from image_updater.sync.watches import Watches

_NO_VERSION: Final = "1"
"""Older than any object's: etcd's revisions of objects begin later."""

_ATTEMPTS: Final = 4
"""Of an object that changes between our look and our write."""

SPENT: Final = "it was applied, and is deleted when it has finished"
"""The reason of an object that is not there, and is not to be."""

_DELETION: Final = 60.0
"""Seconds that an object which is made anew may take to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a sync works with. `reading` are the controller's own read rights, None where there are none."""

    cluster: Cluster
    watches: Watches | None
    scaling: Scaling
    take_over: Sequence[str] = ()
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]

    @property
    def reading(self) -> Cluster | None:
        return self.watches.cluster if self.watches is not None else None

    async def read(
        self, resource: Resource, ref: Ref, *, metadata_only: bool = True, helped: bool = True
    ) -> Body | None:
        """As the applying account, and where it may not (and is `helped`), with our own rights; of Secrets only the
        metadata then.
        """
        namespace = ref.namespace or None
        try:
            return await self.cluster.get(resource, ref.name, namespace, metadata_only=metadata_only)
        except Forbidden:
            if not helped or self.reading is None or (not metadata_only and (ref.group, ref.kind) == ("", "Secret")):
                raise
            try:
                return await self.reading.get(resource, ref.name, namespace, metadata_only=metadata_only)
            except Forbidden:
                pass
            raise


@dataclass(slots=True, kw_only=True)
class Application:
    """Of one manifest. After `run`, `applied` is what the cluster holds of it, where that is known."""

    manifest: Manifest
    request: SyncRequest
    means: Means
    resource: Resource
    applied: Applied | None = None
    answer: Body | None = field(default=None, repr=False)
    """What the server made of it, None where nothing was written."""
    digest: str = field(init=False)
    """Of the manifest as it came: what the next sync compares with, whatever the cluster has taken out of it."""

    def __post_init__(self) -> None:
        self.digest = self.manifest.digest

    @property
    def ref(self) -> Ref:
        return self.manifest.ref

    @property
    def owner(self) -> ObjectKey:
        """As labels name it."""
        return labelled(self.request.kustomization.key)

    @property
    def drift(self) -> Drift:
        return self.request.kustomization.drift

    @property
    def known(self) -> Applied | None:
        return self.request.known.get(self.ref)

    async def run(self, step: Step) -> Done:
        """Raises what the server answers, BeingDeleted and Contested."""
        watches = self.means.watches
        if watches is None:
            return await self._step(step)
        seen = watches.state(self.ref)
        watches.begin(self.ref)
        try:
            return await self._step(step, seen)
        finally:
            watches.end(self.ref, self.answer)

    async def _step(self, step: Step, seen: Seen | None = None) -> Done:
        try:
            if step is Step.READ and self._holds(await self.means.read(self.resource, self.ref)):
                return self._done(Action.EQUAL, applied=self.known)
            self.manifest = await self.means.scaling.without_replicas(self.manifest, self.means.cluster)
            if step in (Step.READ, Step.MEND):
                return await self._mend()
        except Forbidden:
            # Nobody may look: whatever it is now, it is applied.
            if self.drift is not Drift.CORRECT or self.manifest.scaled:
                raise
            return await self._send(None)
        if step is Step.SEEK or handling(self.manifest.body) is Handling.IF_NOT_PRESENT:
            return await self._seek()
        if self.manifest.scaled or (seen is None and self._rendered_elsewhere() is not None):
            live = await self.means.read(self.resource, self.ref)
            return await (self._seek() if live is None else self._existing(live))
        if seen is None:
            return await self._send(None)
        self._refuse_another(seen.owner)
        return await self._send(seen, gently=self._forgotten(seen.owner))

    # ------------------------------------------------------------------------------------------- ways to apply

    async def _seek(self) -> Done:
        """Create it; where it is there already, look whose it is."""
        body = {**self.manifest.body, "metadata": {**self.manifest.body["metadata"], "resourceVersion": _NO_VERSION}}

        async def attempt() -> Done:
            try:
                self.answer = await self.means.cluster.apply(self.resource, body)
            except Conflict:
                live = await self.means.read(self.resource, self.ref)
                if live is None:
                    raise
                return await self._existing(live)
            return self._done(Action.CREATED)

        return await self._again(attempt)

    async def _again(self, attempt: Callable[[], Awaitable[Done]]) -> Done:
        """Until the object stays as it is between our look and our write; raises the last Conflict."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await attempt()
            except Conflict:
                continue
        return await attempt()

    async def _existing(self, live: Body) -> Done:
        """It is there; `live` has its metadata at least. Raises Conflict when it has moved since."""
        left = self._left_alone(live)
        if left is not None:
            return left
        asked = handling(self.manifest.body, live)
        entry = entry_of(live)
        if asked is Handling.IF_NOT_PRESENT:
            reason = "it is there, and an annotation says to create it only"
            return self._done(Action.SKIPPED, reason=reason, applied=self.known)
        if not entry and asked is not Handling.MERGE:
            await take_fields_over(
                self.means.cluster,
                self.resource,
                live,
                self.means.take_over,
                editors=self.drift is Drift.CORRECT,
                scaled=self.manifest.scaled,
            )
        elif entry and self.manifest.scaled:
            await let_replicas_go(self.means.cluster, self.resource, live)
        gently = bool(entry) and self._forgotten(owner_of(live))
        return await self._send(Seen.of(live), gently=gently)

    async def _mend(self) -> Done:
        """What differs is drift, since Git has not changed: mended, or told with `drift: warn`."""
        live = await self.means.read(self.resource, self.ref, metadata_only=False)
        if live is None:
            if leaves_by_itself(self.manifest.body):
                return self._done(Action.EQUAL, reason=SPENT, applied=self.known)  # it is not run again and again
            if self.drift is Drift.WARN:
                return self._done(Action.DRIFTED, reason="it was deleted in the cluster", applied=self.known)
            return await self._seek()
        left = self._left_alone(live)
        if left is not None:
            return left
        if self._holds(live):
            return self._done(Action.EQUAL, applied=self.known)
        if (owner := self._yields_to(live)) is not None:
            reason = f"it belongs to Kustomization {owner} now, of another shard, which may follow a newer commit"
            return self._done(Action.YIELDED, reason=reason, applied=self.known)
        if self.drift is Drift.WARN and (paths := await self._differences(live)):
            return self._drifted(paths)
        # With `warn`, only who holds the fields changed: they become ours again, else later changes are not seen.
        try:
            done = await self._existing(live)
        except Conflict:
            return await self._seek()
        return done if self.answer is None else replace(done, fields=difference(live, self.answer))

    async def _send(self, before: Seen | None, *, gently: bool = False) -> Done:
        """Apply. `before` is what was there, None where that is not known; `gently` takes no field from anybody: what
        has been changed in the cluster stays.
        """
        try:
            self.answer = await self.means.cluster.apply(self.resource, self.manifest.body, force=not gently)
        except Conflict:
            if not gently:
                raise
            return await self._left_changed()
        except Immutable as exc:
            if not (self.request.kustomization.force or forced(marks(self.manifest.body))):
                exc.remedy = "with `spec.force: true`, or Flux's annotation for it, the object is deleted and made anew"
                raise
            return await self._make_anew()
        unchanged = before is not None and self._is_unchanged(before, self.answer)
        return self._done(Action.UNCHANGED if unchanged else Action.CONFIGURED)

    def _is_unchanged(self, before: Seen, answer: Body) -> bool:
        """The version tells, but where status moves it all the time: then our entry does, whose time moves with each
        apply that changes anything. It counts whole seconds, so it is not asked where Git has just changed.
        """
        after = Seen.of(answer)
        if after.version and after.version == before.version:
            return True
        has_status = "generation" in answer["metadata"]
        same_git = self.known is None or self.known.digest == self.digest
        return has_status and same_git and not after.differs(before)

    async def _make_anew(self) -> Done:
        """Delete it, wait until it is gone, create it. Raises BeingDeleted when it stays."""
        live = await self.means.read(self.resource, self.ref)
        uid = None if live is None else str(live["metadata"]["uid"])
        cluster, name, namespace = self.means.cluster, self.ref.name, self.ref.namespace or None
        if uid is not None:
            await cluster.delete(self.resource, name, namespace, uid=uid)
            end = self.means.monotonic() + _DELETION
            pause = 0.05
            while (live := await self.means.read(self.resource, self.ref)) and live["metadata"]["uid"] == uid:
                if self.means.monotonic() > end:
                    raise _being_deleted(live, "it cannot be made anew until it is gone")
                await self.means.sleep(pause)
                pause = min(2 * pause, 1.0)
        self.answer = await cluster.apply(self.resource, self.manifest.body)
        return self._done(Action.RECREATED)

    # ------------------------------------------------------------------------------------------- what is judged

    def _holds(self, live: Body | None) -> bool:
        return live is not None and self.known is not None and Seen.of(live).holds(self.known, self.owner)

    def _left_alone(self, live: Body) -> Done | None:
        """Raises Contested where it is another's, and BeingDeleted."""
        if (annotation := leaves_alone(marks(live))) is not None:
            return self._done(Action.SKIPPED, reason=f"the object in the cluster says {annotation}", applied=self.known)
        if live["metadata"].get("deletionTimestamp"):
            raise _being_deleted(live, "it is applied again when it is gone")
        self._refuse_another(owner_of(live))
        return None

    def _refuse_another(self, owner: ObjectKey | None) -> None:
        """Raises Contested: who has it keeps it while it renders it, else two would write it in turns."""
        other = self._rendered_elsewhere()
        if owner is not None and owner != self.owner and other is not None and labelled(other) == owner:
            raise Contested(
                f"it belongs to Kustomization {other}, which renders it too",
                where=Where(object=str(self.ref)),
                remedy="take it out of one of the two",
            )

    def _yields_to(self, live: Body) -> ObjectKey | None:
        """Who took what was ours, where that is left so for now."""
        owner = owner_of(live)
        if owner in (None, self.owner) or self.request.yields is None or not self.request.yields(self.ref, owner):
            return None
        return owner

    def _rendered_elsewhere(self) -> ObjectKey | None:
        return self.request.elsewhere(self.ref).renders if self.request.elsewhere is not None else None

    def _forgotten(self, owner: ObjectKey | None) -> bool:
        """Whether it is ours and not known any more what we applied: what others changed may be drift that stays."""
        return self.known is None and self.drift is not Drift.CORRECT and owner == self.owner

    async def _differences(self, live: Body) -> tuple[str, ...]:
        return difference(live, await self.means.cluster.apply(self.resource, self.manifest.body, dry_run=True))

    async def _left_changed(self) -> Done:
        """Others own fields that Git sets otherwise, and what Git set last is not known: it is drift that stays."""
        if self.drift is Drift.OFF:
            return self._done(Action.SKIPPED, reason="it was changed in the cluster, and `drift: off` leaves that")
        live = await self.means.read(self.resource, self.ref, metadata_only=False)
        return self._drifted(() if live is None else await self._differences(live))

    def _drifted(self, paths: tuple[str, ...]) -> Done:
        return self._done(Action.DRIFTED, reason="it was changed in the cluster", fields=paths, applied=self.known)

    def _done(
        self, action: Action, *, reason: str = "", fields: tuple[str, ...] = (), applied: Applied | None = None
    ) -> Done:
        """Raises BeingDeleted where the answer says that the object is on its way out."""
        if self.answer is not None:
            metadata = self.answer["metadata"]
            if metadata.get("deletionTimestamp"):
                raise _being_deleted(self.answer, "it is applied again when it is gone")
            applied = Applied(digest=self.digest, uid=str(metadata.get("uid", "")), fields=entry_of(self.answer))
        self.applied = applied
        return Done(ref=self.ref, action=action, fields=fields, reason=reason)


def _being_deleted(live: Body, what: str) -> BeingDeleted:
    metadata = live["metadata"]
    finalizers = ", ".join(metadata.get("finalizers") or ())
    return BeingDeleted(
        f"it is being deleted since {metadata.get('deletionTimestamp')}: {what}",
        where=Where(object=str(Ref.of(live))),
        remedy=f"who removes its finalizers ({finalizers})?" if finalizers else None,
    )
