"""One Kustomization, once: from its plan to the cluster. What becomes of it is said by the caller (syncing.py).

finalizer → cluster and account → inventory → build → objects → sync. Every step before the first request that changes
the cluster may fail without a trace; the inventory is on the server before the first object is.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import GROUP
from image_updater.api.status import status_fields
from image_updater.cluster.errors import KindUnknown
from image_updater.cluster.model import Ref
from image_updater.controller.status import Decision, standing
from image_updater.controller.sync.finalizing import prunes_on_deletion, set_finalizer
from image_updater.controller.sync.outcomes import count, progressing, short
from image_updater.controller.sync.places import place
from image_updater.controller.sync.remoteclusters import target_name
from image_updater.controller.sync.rights import doubtful, refused
from image_updater.errors import ImageUpdaterError, SpecError, Where
from image_updater.sync.applying import SPENT
from image_updater.sync.errors import Contested
from image_updater.sync.manifests import prepare
from image_updater.sync.model import MANAGER, Action, SyncRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.status import Happening, Ready
    from image_updater.controller.sync.elsewhere import Index
    from image_updater.controller.sync.inventories import Inventories
    from image_updater.controller.sync.remembering import Remembering
    from image_updater.controller.sync.remoteclusters import Clusters, Target
    from image_updater.controller.sync.states import State
    from image_updater.pipeline.building import Builds, Plan
    from image_updater.sync.model import Entry as Line
    from image_updater.sync.model import Manifest, SyncReport
    from image_updater.sync.syncer import Syncer

log = logging.getLogger("image_updater.sync")

KEPT: Final = (
    "lastAppliedRevision",
    "lastAttemptedRevision",
    "lastAppliedContent",
    "inventory",
    "cluster",
    "rollouts",
    "rolloutsUnproven",
    "rolloutsSettled",
)
"""Fields of status that stay as they are unless somebody says otherwise."""

_GROUPS: Final = ("", "apps", "batch", "apiextensions.k8s.io", "networking.k8s.io", "flagger.app")
"""Where a health check's kind is looked for that says no apiVersion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What one sync did, and with what."""

    report: SyncReport
    manifests: tuple[Manifest, ...]
    target: Target
    syncer: Syncer


class Kustomizing:
    """See the module. Used from one event loop, one call at a time for each Kustomization."""

    def __init__(
        self,
        context: Context,
        *,
        builds: Builds,
        clusters: Clusters,
        inventories: Inventories,
        remembering: Remembering,
        index: Index,
        built: Callable[[State], None],
        rollouts: Callable[[ObjectKey], Mapping[str, Any]],
    ) -> None:
        """`built` is told that the index knows what a Kustomization renders now; `rollouts` are the fields of status
        that say what becomes of its workloads, where that is known better than by what stands there.
        """
        self._context = context
        self._builds = builds
        self._clusters = clusters
        self._inventories = inventories
        self._remembering = remembering
        self._index = index
        self._built = built
        self._rollouts = rollouts

    async def run(
        self,
        state: State,
        entry: Entry,
        kustomization: Kustomization,
        plan: Plan,
        *,
        revision: str,
        force: bool,
        yields: Callable[[Ref, ObjectKey], bool],
    ) -> Synced:
        """Raises what the steps before the sync fail with; what the sync fails with is in its report."""
        content = state.content
        await set_finalizer(self._context.cluster, entry, wanted=prunes_on_deletion(kustomization))
        target, syncer = await self._clusters.open(kustomization)
        inventory = await self.here(state, entry, target, await self.inventory(state, entry, kustomization))
        # Of the same cluster, applied by the same account: another one holds, or may do, something else.
        memory = f"{entry.uid} {target.name} {self._clusters.account(kustomization) or ''}"
        if state.memory != memory:
            state.known = await asyncio.to_thread(self._remembering.load, memory)
            state.memory = memory
            self._index.refuse(state.key, frozenset())
        rendered = await self._builds.build(plan)
        manifests = await self._objects(rendered, kustomization, target)
        name = target_name(kustomization)
        self._index.built(state.key, name, (manifest.ref for manifest in manifests))
        if state.content == content:
            state.built = content
        else:
            self._index.unsettle(state.key, name)
        self._built(state)
        for ref in state.breaker.close(self._context.monotonic()):
            other = await self.other_manager(target, ref)
            if other is not None:
                state.breaker.others[ref] = other
        request = SyncRequest(
            kustomization=kustomization,
            revision=revision,
            manifests=manifests,
            inventory=inventory,
            known=state.known,
            force_all=force,
            elsewhere=self._index.ask(state.key, name),
            yields=yields,
        )

        async def save_inventory(lines: Sequence[Line]) -> None:
            before = self._context.status.current(entry)
            ready = standing(before)
            if ready is None or before.get("observedGeneration") != entry.generation:
                ready = progressing(f"{short(revision)} is being applied")
            fields = {"lastAttemptedRevision": revision, "cluster": target.server or None}
            await self.tell(state, entry, ready, fields, lines=tuple(lines), quiet=True)

        report = await syncer.sync(request, save_inventory=save_inventory, preempted=lambda: state.newer)
        if report.errors:
            affixes = (kustomization.name_prefix or "", kustomization.name_suffix or "")
            await asyncio.to_thread(place, report, manifests, plan.tree, plan.root, affixes)
        await self._find_refused(state, kustomization, target, report)
        if dict(report.known) != state.known:
            state.known = dict(report.known)
            await asyncio.to_thread(self._remembering.save, memory, state.known)
        return Synced(report=report, manifests=manifests, target=target, syncer=syncer)

    async def _find_refused(
        self, state: State, kustomization: Kustomization, target: Target, report: SyncReport
    ) -> None:
        """What its account may not apply keeps nobody else from it, until an apply of it succeeds."""
        state.contested = tuple(done.ref for done in report.done if isinstance(done.error, Contested))
        before = self._index.refused(state.key)
        kept = before.difference(done.ref for done in report.done if done.action is not Action.FAILED)
        asked = doubtful(report.done) - kept
        if asked:
            account = self._clusters.account(kustomization)
            cluster = target.cluster.impersonating(account) if account is not None else target.cluster
            kept |= await refused(cluster, asked)
        if kept != before:
            self._index.refuse(state.key, kept)
            self._built(state)

    async def inventory(self, state: State, entry: Entry, kustomization: Kustomization) -> tuple[Line, ...]:
        """What status says is, or may be, applied. Raises DocumentError when it cannot be read whole."""
        if state.inventory is None:
            lines = await self._inventories.load(entry, self._context.status.current(entry))
            state.inventory = lines
            if not self._index.has_refs(state.key):
                self._index.known(state.key, target_name(kustomization), (line.ref for line in lines))
        return state.inventory

    async def here(self, state: State, entry: Entry, target: Target, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        """The inventory, where it is of this cluster. Of another one it is nothing to judge here: what it names stays
        there, and is told once.
        """
        before = self._context.status.current(entry)
        was = str(before.get("cluster") or "")
        if not lines or was == target.server:
            return lines
        verb = "stays" if len(lines) == 1 else "stay"
        place = f"at {was}" if was else "of the Kustomization itself"
        message = f"{count(len(lines), 'object')} {verb} in the cluster {place}: spec.kubeConfig is another one now"
        self._context.recorder.event(
            about=entry.reference, type="Warning", reason="ClusterChanged", message=message, action="Prune"
        )
        log.warning("Kustomization %s: %s", entry.key, message)
        ready = standing(before) or progressing("another cluster")
        # What rolled out there is nothing that has rolled out here.
        fields = {"cluster": target.server or None, "rollouts": None, "rolloutsUnproven": None, "rolloutsSettled": None}
        await self.tell(state, entry, ready, fields, lines=(), quiet=True)
        return ()

    async def tell(
        self,
        state: State,
        entry: Entry,
        ready: Ready,
        fields: Mapping[str, Any],
        *,
        lines: tuple[Line, ...] | None = None,
        happened: tuple[Happening, ...] = (),
        handled: bool = False,
        quiet: bool = False,
    ) -> None:
        """Let status say that. With other `lines` than it has, they are on the server when this returns."""
        status = self._context.status
        before = status.current(entry)
        wanted = {name: before.get(name) for name in KEPT} | dict(self._rollouts(state.key)) | dict(fields)

        def decision(inventory: object) -> Decision:
            return Decision(
                ready=ready,
                fields=status_fields("Kustomization", wanted | {"inventory": inventory}),
                handled=entry.requested if handled else None,
                happened=happened,
                quiet=quiet,
            )

        async def write(inventory: Mapping[str, Any]) -> None:
            await status.save(entry, decision(inventory))

        if lines is None or lines == state.inventory:
            status.write(entry, decision(before.get("inventory")))
        else:
            await self._inventories.save(entry, before, lines, write)
            state.inventory = lines

    # ------------------------------------------------------------------------------------------- objects

    async def _objects(
        self, rendered: bytes | tuple[tuple[str, bytes], ...], kustomization: Kustomization, target: Target
    ) -> tuple[Manifest, ...]:
        """Raises DocumentError, SpecErrors with every object that is none."""
        unknown: set[tuple[str, str]] = set()

        def namespaced(group: str, kind: str) -> bool | None:
            known = target.scopes.get((group, kind))
            if known is None:
                unknown.add((group, kind))
            return known

        manifests = await asyncio.to_thread(prepare, rendered, kustomization, namespaced=namespaced)
        if unknown and await self._ask(target, unknown):
            manifests = await asyncio.to_thread(prepare, rendered, kustomization, namespaced=namespaced)
        return manifests

    async def _ask(self, target: Target, kinds: set[tuple[str, str]]) -> bool:
        """Whether the server knew any of them."""
        found = False
        for group, kind in sorted(kinds):
            try:
                resource = await target.cluster.serving(group, kind)
            except KindUnknown:
                continue  # a definition of the same set may bring it; else applying it says so
            target.scopes[group, kind] = resource.namespaced
            found = True
        return found

    async def checked(self, kustomization: Kustomization, synced: Synced) -> list[Ref]:
        """The objects whose health is waited for: not its own, which would wait for itself, and none that has gone by
        itself. Raises SpecError for a health check that names no kind.
        """
        spent = {done.ref for done in synced.report.done if done.reason == SPENT}
        refs = [m.ref for m in synced.manifests if m.ref not in spent] if kustomization.wait else []
        for number, check in enumerate(kustomization.health_checks):
            namespace = check.namespace or kustomization.key.namespace
            groups = (check.api_version.rpartition("/")[0],) if check.api_version is not None else _GROUPS
            own = [
                ref.group
                for ref in (m.ref for m in synced.manifests)
                if (ref.kind, ref.name) == (check.kind, check.name)
            ]
            for group in (*own, *groups):
                try:
                    resource = await synced.target.cluster.serving(group, check.kind)
                except KindUnknown:
                    continue
                refs.append(Ref(group, check.kind, namespace if resource.namespaced else "", check.name))
                break
            else:
                where = Where(object=f"Kustomization {kustomization.key}", field=f"spec.healthChecks[{number}]")
                remedy = "check the kind" if check.api_version is not None else "write its apiVersion"
                raise SpecError(f"the cluster serves no kind {check.kind}", where=where, remedy=remedy)
        own_ref = Ref(GROUP, "Kustomization", kustomization.key.namespace, kustomization.key.name)
        return [ref for ref in dict.fromkeys(refs) if ref != own_ref or kustomization.kube_config is not None]

    async def other_manager(self, target: Target, ref: Ref) -> str | None:
        """Who else has written the object last, by its managedFields."""
        try:
            resource = await target.cluster.serving(ref.group, ref.kind)
            body = await target.cluster.get(resource, ref.name, ref.namespace or None, metadata_only=True)
        except ImageUpdaterError as error:
            log.info("who else writes %s cannot be read: %s", ref, error)
            return None
        entries = ((body or {}).get("metadata") or {}).get("managedFields") or ()
        others = [each for each in entries if each.get("manager") != MANAGER and not each.get("subresource")]
        newest = max(others, key=lambda each: str(each.get("time") or ""), default=None)
        return str(newest.get("manager")) if newest is not None else None
