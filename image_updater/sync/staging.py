"""All objects of one sync to the cluster, stage by stage, several at once.

One that fails stops no other of its stage. The next stage begins only when what it needs is there: definitions and
namespaces of this set, and, before webhooks are put in the way of everybody's requests, all that was to be applied.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.cluster.errors import (
    ClusterUnavailable,
    Forbidden,
    KindUnknown,
    ObjectNotFound,
    Throttled,
)
from image_updater.errors import AccessDenied, ImageUpdaterError, Where
from image_updater.sync.applying import Application
from image_updater.sync.deciding import Step, decide
from image_updater.sync.errors import BeingDeleted, HeldBack, NotEstablished
from image_updater.sync.model import Action, Applied, Done
from image_updater.sync.policies import leaves_alone, marks, replica_owners, without_replicas
from image_updater.sync.stages import rank, stages
from image_updater.sync.watches import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from image_updater.cluster.model import Body, Ref, Resource
    from image_updater.sync.applying import Means
    from image_updater.sync.model import Manifest, SyncRequest
    from image_updater.sync.stages import Stage

AT_ONCE: Final = 12
"""Objects of one Kustomization under way at once; the server's own bound is that of the Cluster."""

ESTABLISHED: Final = 60.0
"""Seconds that definitions and namespaces of a stage may take before the next."""

_LAST_STAGE: Final = 5
_DEFINITION: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")


class Staging:
    """`await run()` once; then `done` and `known` say what happened, in the order of the manifests."""

    def __init__(self, request: SyncRequest, means: Means, preempted: Callable[[], bool]) -> None:
        self._request = request
        self._means = means
        self._preempted = preempted
        self._owner = labelled(request.kustomization.key)
        self._done: dict[Ref, Done] = {}
        self.known: dict[Ref, Applied] = {}
        self.preempted = False
        self._broken: ImageUpdaterError | None = None
        """The server as a whole cannot be used: nothing more is tried."""
        self._ready: set[Ref] = set()
        """Definitions and namespaces that the server said are usable."""
        self._defined = frozenset(kind for m in request.manifests for kind in _kinds_of(m.body))
        self._resources: dict[tuple[str, str], Resource] = {}

    @property
    def done(self) -> tuple[Done, ...]:
        return tuple(self._done[m.ref] for m in self._request.manifests if m.ref in self._done)

    async def run(self) -> None:
        owners = replica_owners(m.body for m in self._request.manifests)
        needed: str | None = None
        for stage in stages(self._request.manifests):
            manifests = [without_replicas(m, owners) for m in stage.manifests] if owners else list(stage.manifests)
            if needed is None and rank(manifests[0].ref) == _LAST_STAGE and self._failed(self._done):
                needed = "what was to be applied before it"
            if needed is not None:
                self._hold_back(manifests, needed)
                continue
            await self._apply(manifests)
            if self.preempted:
                return
            needed = "the API server" if self._broken is not None else await self._establish(stage)
            if self.preempted:
                return

    # ------------------------------------------------------------------------------------------- one stage

    async def _apply(self, manifests: Sequence[Manifest]) -> None:
        await self._follow(manifests)
        left = iter([each for each in manifests if not self._settled(each)])

        async def work() -> None:
            for manifest in left:
                if self._broken is not None:
                    if manifest.ref not in self._done:
                        self._hold_back([manifest], "the API server")
                elif self._preempted():
                    self.preempted = True
                    return
                else:
                    await self._one(manifest)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(manifests))):
                group.create_task(work())

    async def _follow(self, manifests: Sequence[Manifest]) -> None:
        """Have the kinds watched, where they are served already and are not watched yet."""
        watches = self._means.watches
        wanted = []
        for manifest in {(m.api_version, m.ref.kind): m for m in reversed(manifests)}.values():
            if watches is not None and watches.watched(manifest.ref):
                continue
            try:
                wanted.append(await self._resource(manifest))
            except ImageUpdaterError as error:
                # Without discovery nothing can be done; a kind that is unknown is told of with each of its objects.
                if _hopeless(error):
                    self._fail(manifest, error)
                    return
        if watches is not None:
            await watches.follow(wanted)

    def _settled(self, manifest: Manifest) -> bool:
        """Whether no request is needed for it."""
        ref = manifest.ref
        if (annotation := leaves_alone(marks(manifest.body))) is not None:
            self._done[ref] = Done(ref=ref, action=Action.SKIPPED, reason=f"it says {annotation}")
            self._keep(ref, self._request.known.get(ref))
            return True
        watches = self._means.watches
        seen = watches.state(ref) if watches is not None else None
        if seen is not None and seen.left_alone:
            reason = "an annotation on the object in the cluster says to leave it alone"
            self._done[ref] = Done(ref=ref, action=Action.SKIPPED, reason=reason)
            self._keep(ref, self._request.known.get(ref))
            return True
        if self._step(manifest) is not Step.LEAVE:
            return False
        self._done[ref] = Done(ref=ref, action=Action.EQUAL)
        self._keep(ref, self._request.known[ref])
        self._ready.add(ref)
        return True

    def _step(self, manifest: Manifest) -> Step:
        watches = self._means.watches
        watched = watches is not None and watches.watched(manifest.ref)
        return decide(
            manifest,
            self._owner,
            known=self._request.known.get(manifest.ref),
            watched=watched,
            seen=watches.state(manifest.ref) if watches is not None else None,
            drift=self._request.kustomization.drift,
            force_all=self._request.force_all,
        )

    def _keep(self, ref: Ref, applied: Applied | None) -> None:
        if applied is not None:
            self.known[ref] = applied

    async def _one(self, manifest: Manifest) -> None:
        try:
            application = Application(
                manifest=manifest,
                request=self._request,
                means=self._means,
                resource=await self._resource(manifest),
            )
            done = await self._served(application, self._step(manifest))
        except ImageUpdaterError as error:
            self._fail(manifest, error)
            return
        self._done[manifest.ref] = done
        self._keep(manifest.ref, application.applied)
        if application.answer is not None and _usable(application.answer):
            self._ready.add(manifest.ref)

    async def _served(self, application: Application, step: Step) -> Done:
        """A kind that this very set defines may be refused for a moment after its definition was established."""
        pause = 0.1
        while True:
            try:
                return await application.run(step)
            except (KindUnknown, ObjectNotFound) as error:
                ref = application.ref
                missing = isinstance(error, KindUnknown) or error.where.object == str(ref)
                if pause > 2.0 or not missing or (ref.group, ref.kind) not in self._defined:
                    raise
            await self._means.sleep(pause)
            pause *= 2

    async def _resource(self, manifest: Manifest) -> Resource:
        key = (manifest.api_version, manifest.ref.kind)
        found = self._resources.get(key)
        if found is None:
            found = self._resources[key] = await self._means.cluster.resource(*key)
        return found

    # ------------------------------------------------------------------------------------------- between stages

    async def _establish(self, stage: Stage) -> str | None:
        """Wait for what the next stage needs; what is missing, None when all is there."""
        failed = [ref for ref in stage.waits if self._failed([ref])]
        if failed:
            return str(failed[0])
        waiting = [
            ref for ref in stage.waits if ref not in self._ready and self._done[ref].action is not Action.SKIPPED
        ]
        definitions = [m for m in stage.manifests if (m.ref.group, m.ref.kind) == _DEFINITION]
        bodies = {m.ref: m for m in stage.manifests}
        for ref in waiting:
            try:
                await self._usable(bodies[ref])
            except ImageUpdaterError as error:
                self._fail(bodies[ref], error)
                return str(ref)
        written = (Action.CREATED, Action.CONFIGURED, Action.RECREATED)
        changed = [m for m in definitions if self._done[m.ref].action in written]
        if changed:
            await self._discover(changed)
        return None

    async def _usable(self, manifest: Manifest) -> None:
        """Wait until it is, or something more urgent comes. Raises NotEstablished, and BeingDeleted for what goes."""
        resource = await self._resource(manifest)
        end = self._means.monotonic() + ESTABLISHED
        pause = 0.05
        while True:
            live = await self._means.cluster.get(resource, manifest.ref.name)
            if live is not None and _usable(live):
                return
            if live is not None and live["metadata"].get("deletionTimestamp"):
                raise BeingDeleted("it is being deleted", where=Where(object=str(manifest.ref)))
            if self._preempted():
                self.preempted = True
                return
            if self._means.monotonic() > end:
                raise NotEstablished(
                    f"it is not usable after {ESTABLISHED:.0f} s: {_why(live)}", where=Where(object=str(manifest.ref))
                )
            await self._means.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _discover(self, definitions: Iterable[Manifest]) -> None:
        """Until discovery knows the new kinds, for a few seconds: later each object waits for its own."""
        wanted = {
            (f"{group}/{version}", kind)
            for m in definitions
            for group, kind in _kinds_of(m.body)
            for version in _versions_of(m.body)
        }
        pause = 0.05
        self._means.cluster.forget_discovery()
        while wanted and pause < 3.0:
            for each in tuple(wanted):
                try:
                    self._resources[each] = await self._means.cluster.resource(*each)
                except KindUnknown:
                    continue
                wanted.discard(each)
            if wanted:
                await self._means.sleep(pause)
                pause *= 2
                self._means.cluster.forget_discovery()

    # ------------------------------------------------------------------------------------------- failures

    def _failed(self, refs: Iterable[Ref]) -> bool:
        return any(self._done[ref].action is Action.FAILED for ref in refs if ref in self._done)

    def _fail(self, manifest: Manifest, error: ImageUpdaterError) -> None:
        """The error names the object, and the file that it was written in where that is known."""
        if _hopeless(error):
            self._broken = self._broken or error
        place = manifest.where
        error.where = replace(
            error.where,
            object=str(manifest.ref),
            file=place.file if place is not None else None,
            line=place.line if place is not None else None,
        )
        self.known.pop(manifest.ref, None)
        self._done[manifest.ref] = Done(ref=manifest.ref, action=Action.FAILED, reason=error.message, error=error)

    def _hold_back(self, manifests: Iterable[Manifest], needed: str) -> None:
        for manifest in manifests:
            self._fail(manifest, HeldBack(f"not applied, because {needed} failed"))


def _hopeless(error: ImageUpdaterError) -> bool:
    """Whether no request of this account will be answered now."""
    if isinstance(error, ClusterUnavailable | Throttled):
        return "webhook" not in error.message
    if isinstance(error, Forbidden):
        return "impersonate" in (error.remedy or "")
    return isinstance(error, AccessDenied)


def _kinds_of(body: Body) -> tuple[tuple[str, str], ...]:
    """Group and kind that a definition defines; () for other objects."""
    if body.get("kind") != _DEFINITION[1] or not str(body.get("apiVersion", "")).startswith(f"{_DEFINITION[0]}/"):
        return ()
    spec: Any = body.get("spec") or {}
    return ((str(spec.get("group")), str((spec.get("names") or {}).get("kind"))),)


def _versions_of(body: Body) -> tuple[str, ...]:
    versions: Any = (body.get("spec") or {}).get("versions") or ()
    return tuple(str(each.get("name")) for each in versions if each.get("served"))


def _usable(body: Body) -> bool:
    """A definition that is established, a namespace that is active; anything else as it is."""
    status: Any = body.get("status") or {}
    if body.get("kind") == "Namespace":
        return status.get("phase") == "Active" and not body["metadata"].get("deletionTimestamp")
    if _kinds_of(body):
        conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or ()}
        return conditions.get("Established") == "True" and not body["metadata"].get("deletionTimestamp")
    return True


def _why(live: Body | None) -> str:
    if live is None:
        return "it is gone"
    conditions: Any = (live.get("status") or {}).get("conditions") or ()
    words = [f"{each.get('type')}={each.get('status')} {each.get('message', '')}".strip() for each in conditions]
    return "; ".join(words) or "it says nothing"
