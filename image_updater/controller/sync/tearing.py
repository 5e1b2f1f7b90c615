"""A Kustomization is being deleted: its objects go first, by its deletionPolicy, then its finalizer.

It does not hang for ever. What may pass (a cluster that does not answer, an object with finalizers) is tried again for
PATIENCE seconds from the moment of the deletion; what somebody would have to mend (rights, a Secret with a kubeconfig
that is gone) for LASTING seconds, and not at all when the namespace goes too: then these went with it. After that the
Kustomization is let go, and a Warning says what stays. So it does where others render its objects and have not applied
them after HELD seconds: it says to whom they are left. A suspended one lets its objects stay, as Flux does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Kustomization
from image_updater.cluster.errors import Forbidden
from image_updater.cluster.model import Resource
from image_updater.controller.status import Ready, resource_of
from image_updater.controller.sync.finalizing import FINALIZER, set_finalizer
from image_updater.controller.sync.outcomes import count
from image_updater.controller.sync.remoteclusters import target_name
from image_updater.errors import ImageUpdaterError, Terminal
from image_updater.sync.model import Action, SyncRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.sync.elsewhere import Index
    from image_updater.controller.sync.kustomizing import Kustomizing
    from image_updater.controller.sync.remoteclusters import Clusters
    from image_updater.controller.sync.states import State
    from image_updater.sync.model import SyncReport

PATIENCE: Final = 600.0
LASTING: Final = 60.0
HELD: Final = 30.0
"""Seconds that another Kustomization gets to take over what it renders, or may render as soon as it builds."""

_NAMESPACES: Final = Resource(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Nothing more to do (`again` is None), or when to try again."""

    again: float | None = None


class Tearing:
    """See the module."""

    def __init__(
        self,
        context: Context,
        kustomizing: Kustomizing,
        clusters: Clusters,
        index: Index,
        *,
        left: Callable[[], None],
    ) -> None:
        """`left` is told that a Kustomization renders nothing any more: others may take over what it had."""
        self._context = context
        self._kustomizing = kustomizing
        self._clusters = clusters
        self._index = index
        self._left = left

    async def run(self, state: State, entry: Entry) -> Left:
        """Raises ClusterError when the finalizer itself cannot be taken away."""
        if FINALIZER not in entry.finalizers:
            return Left()
        kustomization = entry.value
        if not isinstance(kustomization, Kustomization):
            return await self._let_go(state, entry, "its spec cannot be read")
        if kustomization.suspend:
            return await self._let_go(state, entry, "it is suspended")
        try:
            report = await self._remove(state, entry, kustomization)
        except ImageUpdaterError as error:
            return await self._failed(state, entry, error)
        if report.ok and not report.inventory:
            return await self._let_go(state, entry, None)
        survivors = {line.ref for line in report.inventory}
        held = {done.ref for done in report.done if done.action is Action.HELD}
        if not report.errors and survivors <= held:
            if await self._since(entry) >= HELD:
                return await self._let_go(state, entry, _held(report), stay=len(survivors))
            return Left(again=5.0)
        await self._kustomizing.tell(state, entry, _not_pruned(report), {}, lines=report.inventory)
        return await self._failed(state, entry, report.errors[0] if report.errors else None)

    async def _remove(self, state: State, entry: Entry, kustomization: Kustomization) -> SyncReport:
        inventory = await self._kustomizing.inventory(state, entry, kustomization)
        self._leave(state)
        target, syncer = await self._clusters.open(kustomization)
        inventory = await self._kustomizing.here(state, entry, target, inventory)
        return await syncer.teardown(
            SyncRequest(
                kustomization=kustomization,
                revision="",
                manifests=(),
                inventory=inventory,
                elsewhere=self._index.ask(state.key, target_name(kustomization)),
            )
        )

    def _leave(self, state: State) -> None:
        if self._index.knows(state.key):
            self._index.forget(state.key)
            self._left()

    async def _failed(self, state: State, entry: Entry, error: ImageUpdaterError | None) -> Left:
        since = await self._since(entry)
        lasting = isinstance(error, Terminal)
        if since >= (LASTING if lasting else PATIENCE) or (lasting and await self._goes_too(entry)):
            return await self._let_go(state, entry, str(error) if error is not None else "they do not go")
        if error is not None:
            await self._kustomizing.tell(state, entry, Ready.of(error), {})
        return Left(again=5.0 if since < LASTING else 30.0)

    async def _let_go(self, state: State, entry: Entry, why: str | None, *, stay: int | None = None) -> Left:
        """`why` not all is gone, and how many objects `stay`: all of the inventory where that is not said."""
        if why is not None:
            number = len(state.inventory or ()) if stay is None else stay
            verb = "stays" if number == 1 else "stay"
            what = f"{count(number, 'object')} {verb}" if number else "what it applied stays"
            # Not through status, which ends with the object.
            self._context.recorder.event(
                about=entry.reference, type="Warning", reason="PruneAbandoned", message=f"{what}: {why}"
            )
        await set_finalizer(self._context.cluster, entry, wanted=False)
        return Left()

    async def _since(self, entry: Entry) -> float:
        """Seconds since it was deleted, by the server's clock and ours."""
        body = await self._context.cluster.get(
            resource_of(entry.kind), entry.key.name, entry.key.namespace, metadata_only=True
        )
        text = ((body or {}).get("metadata") or {}).get("deletionTimestamp")
        if text is None:
            return PATIENCE
        return (self._context.clock() - datetime.fromisoformat(str(text))).total_seconds()

    async def _goes_too(self, entry: Entry) -> bool:
        try:
            body = await self._context.cluster.get(_NAMESPACES, entry.key.namespace, metadata_only=True)
        except Forbidden:
            return False  # with rights in some namespaces only; then it takes LASTING seconds
        return body is None or bool(body["metadata"].get("deletionTimestamp"))


def _not_pruned(report: SyncReport) -> Ready:
    texts = [str(error) for error in report.errors[:3]] or ["some objects are still there"]
    return Ready(state=False, reason="PruneFailed", message="; ".join(texts), reconciling=True)


def _held(report: SyncReport) -> str:
    """Why what stays was not deleted: the first one's reason, which names the other Kustomization."""
    held = [done for done in report.done if done.action is Action.HELD]
    more = f"; and {len(held) - 1:,} more" if len(held) > 1 else ""
    return f"{held[0].ref}: {held[0].reason}{more}"
