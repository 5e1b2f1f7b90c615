"""One Kustomization's manifests to one cluster: inventory, apply, prune; then its health, and in the end its removal.

The order makes every kill harmless. What will be applied is in the inventory before it is, what is pruned leaves the
inventory after it is gone, so that nothing is ever in the cluster that no inventory names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import DeletionPolicy
from image_updater.errors import Where
from image_updater.sync.applying import Means
from image_updater.sync.errors import HeldBack
from image_updater.sync.inventory import difference, entries_of, union
from image_updater.sync.model import Action, Done, SyncReport
from image_updater.sync.prune import Pruned, Pruning
from image_updater.sync.scaling import Scaling
from image_updater.sync.staging import Staging
from image_updater.sync.waiting import Waiting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from image_updater.api.model import Kustomization
    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Ref
    from image_updater.errors import ImageUpdaterError
    from image_updater.sync.model import Entry, Health, SyncRequest
    from image_updater.sync.watches import Watches


class Syncer:
    """With one account's rights on one API server (`cluster`), and `watches` of the controller's own rights there.

    It keeps nothing between two calls: many Kustomizations may be synced at once, each by one call at a time.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        watches: Watches | None,
        take_over: Sequence[str] = (),
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        scaling = watches.scaling if watches is not None else Scaling(None, monotonic=monotonic, sleep=sleep)
        self._clock = clock
        self._means = Means(
            cluster=cluster,
            watches=watches,
            scaling=scaling,
            take_over=tuple(take_over),
            monotonic=monotonic,
            sleep=sleep,
        )

    @property
    def means(self) -> Means:
        """What it works with, for who looks at what it has applied."""
        return self._means

    async def sync(
        self,
        request: SyncRequest,
        *,
        save_inventory: Callable[[Sequence[Entry]], Awaitable[None]],
        preempted: Callable[[], bool],
    ) -> SyncReport:
        """Apply, then prune what left. Raises only what `save_inventory` raises: failures are in the report.

        The inventory of the report is what must stand in status now. As long as anything failed, or was not reached
        because `preempted` turned true, that is everything that may be there.
        """
        new = entries_of(request.manifests)
        together = union(request.inventory, new)
        if set(together) != set(request.inventory):
            await save_inventory(together)
        staging = Staging(request, self._means, preempted)
        await staging.run()
        done = staging.done
        errors = _errors(done)
        if errors or staging.preempted:
            return SyncReport(
                revision=request.revision,
                done=done,
                inventory=together,
                known=staging.known,
                errors=errors,
                preempted=staging.preempted,
            )
        applied = frozenset(each.uid for each in staging.known.values())
        pruned = await self._prune(request, difference(request.inventory, new), applied, preempted)
        return SyncReport(
            revision=request.revision,
            done=(*done, *pruned.done),
            inventory=union(pruned.survivors, new),
            known=staging.known,
            errors=_errors(pruned.done),
            preempted=pruned.preempted,
        )

    async def _prune(
        self, request: SyncRequest, entries: Sequence[Entry], applied: frozenset[str], preempted: Callable[[], bool]
    ) -> Pruned:
        if not request.kustomization.prune:
            return Pruned(done=tuple(_orphaned(entry.ref, "`prune` is off") for entry in entries))
        pruning = Pruning(
            owner=request.kustomization.key,
            means=self._means,
            elsewhere=request.elsewhere,
            preempted=preempted,
            applied=applied,
        )
        return await pruning.run(entries)

    async def wait(
        self,
        kustomization: Kustomization,
        refs: Sequence[Ref],
        *,
        timeout: float,  # noqa: ASYNC109 - an outcome of the wait, not an error
        preempted: asyncio.Event,
        changed: Collection[Ref] = (),
        foreign: Collection[Ref] = (),
    ) -> tuple[Health, ...]:
        """The health of these objects, in their order: as soon as all are current or one has failed, else when
        `timeout` seconds are over or `preempted` is set.

        `changed` are the objects that the sync has just written: a Canary whose target is among them is not believed
        until Flagger has looked. `foreign` are those that the Kustomization only names: of another namespace they are
        read with the account's own rights alone.
        """
        waiting = Waiting(
            self._means,
            kustomization.key,
            refs,
            clock=self._clock,
            changed=frozenset(changed),
            foreign=frozenset(foreign),
        )
        return await waiting.run(timeout, preempted)

    async def teardown(self, request: SyncRequest) -> SyncReport:
        """The Kustomization is being deleted: what happens to what it applied is its deletionPolicy's.

        `Orphan` writes nothing: labels of a Kustomization that is no more veto nothing and own nothing. What the
        report's inventory still names is there and was to go: the Kustomization must not be let go yet, unless
        nobody wants to wait for it.
        """
        kustomization = request.kustomization
        policy = kustomization.deletion_policy
        if policy is DeletionPolicy.ORPHAN or (policy is DeletionPolicy.MIRROR_PRUNE and not kustomization.prune):
            why = f"`deletionPolicy: {policy.value}`" + ("" if policy is DeletionPolicy.ORPHAN else " and `prune` off")
            done = tuple(_orphaned(entry.ref, why) for entry in request.inventory)
            return SyncReport(revision=request.revision, done=done)
        pruning = Pruning(owner=kustomization.key, means=self._means, elsewhere=request.elsewhere)
        pruned = await pruning.run(request.inventory)
        return SyncReport(
            revision=request.revision, done=pruned.done, inventory=pruned.survivors, errors=_errors(pruned.done)
        )


def _orphaned(ref: Ref, reason: str) -> Done:
    return Done(ref=ref, action=Action.ORPHANED, reason=reason)


def _errors(done: Iterable[Done]) -> tuple[ImageUpdaterError, ...]:
    """Of what failed; what was only held back because of that is counted in one line."""
    failed = [each.error for each in done if each.error is not None]
    held = [error for error in failed if isinstance(error, HeldBack)]
    causes = [error for error in failed if not isinstance(error, HeldBack)]
    if held:
        verb = "was" if len(held) == 1 else "were"
        causes.append(HeldBack(f"{len(held)} more {verb} {held[0].message}", where=Where(object=held[0].where.object)))
    return tuple(causes)
