"""The loop closed: what becomes of a rollout leads to a proven tag, to a hold, or back.

Rollouts come from the hub of this process, and from the Kustomizations' statuses where another process judged them (or
this one, before it was started anew). Which of our images are in a workload, the runs of the line have said. What is
done is decided in `pipeline/rollback/decision.py`, on the tip that would be written on; here it is seen that something
is to be decided.

What must outlive the process is in status before anything is pushed. A rollback that was begun is gone on with; one
whose commit is in Git already is found there, and not made again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import Kustomization, OnFailure
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.ending import Ending
from image_updater.controller.loop.placing import Placing, by_ref, of_ref
from image_updater.controller.loop.pursuing import Failure, Pursuing
from image_updater.controller.loop.retreat import Retreat
from image_updater.controller.loop.storms import Storms
from image_updater.controller.loop.telling import Telling
from image_updater.controller.rollouts import LISTED, from_status, revisions_of, unproven_of
from image_updater.controller.update.inputs import KUSTOMIZATION, POLICY
from image_updater.controller.update.tripping import Breakers
from image_updater.pipeline.rollback.decision import is_applied
from image_updater.pipeline.rollback.placements import folder_of
from image_updater.pipeline.tasks import Tasks, pause
from image_updater.policy.gates.holds import newer
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.loop.proving import Proving
    from image_updater.controller.rollouts import Rollouts
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.report import AutomationReport, UpdateReport
    from image_updater.pipeline.rollback.evidence import Taking
    from image_updater.pipeline.rollback.placements import Placement, Value

log = logging.getLogger("image_updater.controller")

SWEEP: Final = 10.0
"""Seconds between looks at statuses, of which nobody tells."""

_BAD: Final = (RolloutState.FAILED, RolloutState.PRIMARY_BROKEN)
_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")

Group = "list[tuple[Placement, Rollout | None]]"


class Closing:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        *,
        rollouts: Rollouts | None,
        saying: Saying,
        selector: Selector,
        proving: Proving,
        metrics: LoopMetrics,
        entry: Callable[[str], Entry | None],
        take_back: Callable[[ObjectKey, Taking], Awaitable[AutomationReport]],
        released: Callable[[ObjectKey], None] = lambda _: None,
    ) -> None:
        """`entry`: the object of a policy that is ours to write. `take_back` makes a rollback's commit. `released` is
        told of automations that waited for a canary. `rollouts`: None where another process judges them.
        """
        self._context = context
        self._rollouts = rollouts
        self._saying = saying
        self._selector = selector
        self._situations = selector.situations
        self._proving = proving
        self._metrics = metrics
        self._entry = entry
        self._released = released
        self._placing = Placing(context)
        self._storms = Storms()
        tell = Telling(context, saying=saying, selector=selector, entry=entry).say
        self._breakers = Breakers(
            saying=saying, selector=selector, metrics=metrics, clock=context.clock, entry=entry, tell=tell
        )
        self._retreat = Retreat(
            context,
            selector=selector,
            proving=proving,
            storms=self._storms,
            entry=entry,
            fields=saying.fields,
            save=saying.save,
            opens=self._breakers.open,
            tell=tell,
            started=context.clock(),
        )
        self._pursuing = Pursuing(
            context,
            retreat=self._retreat,
            saying=saying,
            situations=self._situations,
            proving=proving,
            metrics=metrics,
            entry=entry,
            tell=tell,
            take_back=take_back,
            released=released,
        )
        self._ending = Ending(
            context, placing=self._placing, retreat=self._retreat, saying=saying, metrics=metrics, entry=entry
        )
        self._failures: dict[tuple[ObjectKey, Ref], Failure] = {}
        self._healthy: dict[tuple[ObjectKey, Ref], Rollout] = {}
        self._read: dict[ObjectKey, tuple[Mapping[str, Any], tuple[Rollout, ...]]] = {}
        """By Kustomization the status that was read last, and what it says."""
        self._busy: dict[ObjectKey, frozenset[Ref]] = {}
        """By Kustomization the workloads whose canary is at work, as it was seen last."""
        self._restored: dict[str, str] = {}
        """By policy the uid of the object whose status was read."""
        self._dirty: set[ObjectKey] = set()
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self._situations.subscribe(self._changed)
        if rollouts is not None:
            rollouts.subscribe(self.look)

    # ------------------------------------------------------------------------------------------- from outside

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake.clear()
            while self._dirty:
                self._look(self._dirty.pop())
                await asyncio.sleep(0)
            await pause(self._wake, SWEEP)
            if not self._wake.is_set():
                self._sweep()

    async def close(self) -> None:
        await self._tasks.stop()

    def look(self, kustomization: ObjectKey) -> None:
        """Its rollouts are other ones."""
        self._dirty.add(kustomization)
        self._wake.set()

    def ran(self, branch: Branch, report: UpdateReport) -> None:
        """The line ran over a branch."""
        self._resume()
        folders = self._placing.ran(branch, report)
        if folders:
            for key, entry in self._context.cache.entries(KUSTOMIZATION).items():
                if isinstance(entry.value, Kustomization) and folder_of(entry.value) in folders:
                    self._dirty.add(key)
            self._wake.set()

    def remember(self) -> None:
        """At the start, before anything is judged or written: what statuses say of policies from before."""
        for key in self._context.cache.entries(POLICY):
            self._restore(str(key))

    def busy(self, placed: Sequence[Placement]) -> Mapping[str, str]:
        """By site, why it should not be moved now: a canary of what it renders is at work, or what failed is to be
        recorded first. No run has to have been there before, and who judges the rollouts may be another process.
        """
        held: dict[str, str] = {}
        for spec, known in self._judged():
            keeping = [(each, why) for each in known if (why := self._keeps(spec, each)) is not None]
            mine = self._placing.among(spec, placed) if keeping else ()
            for rollout, why in keeping:
                images = dict(rollout.images)
                sites = [each.site for each in of_ref(mine, rollout.ref) if rollout.busy or is_applied(each, images)]
                held = {**dict.fromkeys(sites, why), **held}
                if sites and rollout.busy:  # whose end is waited for, whether or not anybody has looked at it yet
                    self._busy[spec.key] = self._busy.get(spec.key, frozenset()) | {rollout.ref}
        return held

    def _judged(self) -> Iterator[tuple[Kustomization, tuple[Rollout, ...]]]:
        """What is known of the rollouts of each Kustomization that works."""
        for key, entry in self._context.cache.entries(KUSTOMIZATION).items():
            spec = entry.value
            if isinstance(spec, Kustomization) and not spec.suspend and not entry.deleting:
                yield spec, self._known(key, entry)

    def _known(self, key: ObjectKey, entry: Entry) -> tuple[Rollout, ...]:
        """What the sync half of this process has judged; where it has not, what status says: of the healthy ones
        nothing.
        """
        if self._rollouts is not None and self._rollouts.knows(key):
            return self._rollouts.of(key)
        status = self._context.status.current(entry)
        before = self._read.get(key)
        if before is None or before[0] is not status:
            before = self._read[key] = (status, from_status(status))
        return before[1]

    def _keeps(self, spec: Kustomization, rollout: Rollout) -> str | None:
        """Why nothing newer is written for this workload now."""
        if rollout.busy:
            return f"the canary of {rollout.ref} is at work: {rollout.reason or rollout.state}"
        if rollout.state is not RolloutState.FAILED or rollout.culprit is not Culprit.TAG:
            return None
        if spec.on_failure is OnFailure.NONE:
            return None
        failure = self._failures.get((spec.key, rollout.ref))
        if failure is None or failure.rollout.images != rollout.images or failure.pending:
            return f"{rollout.ref} has failed, which is dealt with first"
        return None

    def promoting(self, placed: Sequence[Placement]) -> str | None:
        """Why these may not be touched now by anybody."""
        found = (each for _, known in self._judged() for each in known if each.promoting)
        return next((f"{each.canary}: {each.reason}" for each in found if of_ref(placed, each.ref)), None)

    # ------------------------------------------------------------------------------------------- looking

    def _sweep(self) -> None:
        entries = self._context.cache.entries(KUSTOMIZATION)
        self._dirty.update(entries)
        for place in [place for place in self._failures if place[0] not in entries]:
            self._end(place)
        for gone in self._read.keys() - entries:
            del self._read[gone]
        self._retreat.retain(entries)
        self._healthy = {place: rollout for place, rollout in self._healthy.items() if place[0] in entries}
        policies = {str(each) for each in self._context.cache.entries(POLICY)}
        for policy in [each for each, uid in self._restored.items() if uid and each not in policies]:
            del self._restored[policy]
            self._forget(policy)
        self._resume()

    def _look(self, key: ObjectKey) -> None:
        entry = self._context.cache.get(KUSTOMIZATION, key)
        if entry is None or entry.deleting or not isinstance(entry.value, Kustomization) or entry.value.suspend:
            self._end_others(key, ())
            return
        placed = self._placing.of(entry.value)
        if not placed:
            return
        for name in {each.name for each in placed}:
            self._restore(name)
            self._proving.applies(name)
        status = self._context.status.current(entry)
        rollouts = self._known(key, entry)
        self._end_others(key, [each.ref for each in rollouts])
        of = by_ref(placed)
        for rollout in rollouts:
            mine = of(rollout.ref)
            if not mine:
                continue
            if rollout.state in _BAD:
                self._fail((key, rollout.ref), rollout, mine, entry.value, self._failed_at(key, rollout.ref, status))
            else:
                self._end((key, rollout.ref))
            self._ending.look(key, rollout, mine)
        self._free(key, placed, rollouts)
        self._prove(entry.value, status, placed, rollouts)

    def _free(self, key: ObjectKey, placed: Sequence[Placement], rollouts: Sequence[Rollout]) -> None:
        """What waited for a canary that has come to its end may be written now: the newest of it."""
        before, now = self._busy.get(key, frozenset()), frozenset(each.ref for each in rollouts if each.busy)
        self._busy[key] = now
        for automation in sorted({each.automation for ref in before - now for each in of_ref(placed, ref)}):
            self._released(automation)

    def _restore(self, policy: str) -> None:
        """What status says of a policy from before: its proven tags, its hold, its breaker."""
        entry = self._entry(policy)
        uid, known = entry.uid if entry is not None else "", self._restored.get(policy)
        if known is not None and uid in ("", known):
            return
        self._restored[policy] = uid
        if known:
            self._forget(policy)
        self._proving.restore(policy)
        if entry is None or entry.value is None:
            return
        status = self._context.status.current(entry)
        failed = loopstatus.held_by_rollout(status, entry.value.image)
        if failed:
            self._pursuing.hold(policy, failed)
        self._breakers.restore(policy, status)

    def _forget(self, policy: str) -> None:
        """Its object is gone, or another one."""
        self._breakers.forget(policy)
        self._pursuing.release(policy)
        self._storms.calm(policy)

    # ------------------------------------------------------------------------------------------- what is good

    def _prove(
        self,
        kustomization: Kustomization,
        status: Mapping[str, Any],
        placed: Sequence[Placement],
        rollouts: Sequence[Rollout],
    ) -> None:
        """By policy and value: proven, when all that is known of it is healthy, and some of it was looked at."""
        key = kustomization.key
        revision = self._rollouts.revision(key) if self._rollouts is not None else ""
        of = by_ref(placed)
        judging = {each.key: rollout for rollout in rollouts for each in of(rollout.ref)}
        groups: dict[tuple[str, Value], list[tuple[Placement, Rollout | None]]] = {}
        for each in placed:
            groups.setdefault((each.name, each.value), []).append((each, judging.get(each.key)))
        for (name, value), members in groups.items():
            judged = [rollout for _, rollout in members if rollout is not None]
            here = [one for each, one in members if one is not None and is_applied(each, dict(one.images))]
            if here:
                self._proving.applied(name, key, value, revision)
            if any(one is not None and _fails(each, one) for each, one in members):
                self._proving.failed(name, key, value)
            elif (
                len(here) == len(judged)
                and all(each.healthy for each in judged)
                and any(each.state is RolloutState.HEALTHY for each in judged)
            ):
                self._good(name, key, value, judged, revision)
            elif not judged and self._settled(kustomization, status, members):
                self._proving.healthy(name, key, value, str(status.get("lastAppliedRevision") or ""), anew=False)

    def _good(self, name: str, key: ObjectKey, value: Value, judged: Sequence[Rollout], revision: str) -> None:
        anew = any(self._healthy.get((key, each.ref)) != each for each in judged)
        self._healthy |= {(key, each.ref): each for each in judged}
        self._retreat.good(key, [each.ref for each in judged], revision)
        self._proving.healthy(name, key, value, revision, anew=anew)
        hold, outcome = self._pursuing.held.get(name), self._selector.answers.get(name)
        if hold is None or outcome is None or outcome.compiled is None or value.tag is None:
            return
        other = hold.digest is not None and value.digest not in (None, hold.digest)
        if (value.tag == hold.tag and other) or newer(outcome.compiled, hold, value.tag, outcome.facts):
            self._pursuing.release(name)

    def _settled(
        self, kustomization: Kustomization, status: Mapping[str, Any], members: Sequence[tuple[Placement, object]]
    ) -> bool:
        """Of what was healthy before this process began nobody publishes anything: status says that all has settled
        which it does not list.
        """
        unproven = unproven_of(status)
        if max(len(unproven), len(status.get("rollouts") or ())) >= LISTED:
            return False  # the list was cut
        workloads = [each for each, _ in members if each.object.kind in _WORKLOADS]
        entry = self._context.cache.get(KUSTOMIZATION, kustomization.key)
        if self._rollouts is not None and entry is not None and self._context.owns(entry):
            # What an annotation keeps from us is in no list, and nobody has looked at it.
            settled = self._rollouts.settled(kustomization.key)
            mine = by_ref(workloads)
            if not workloads or {each.key for ref in settled for each in mine(ref)} != {e.key for e in workloads}:
                return False
        return (
            status.get("rolloutsSettled") is not None
            and bool(workloads)
            and not any(of_ref((each,), ref) for each, _ in members for ref in unproven)
            and self._placing.is_tip(kustomization, str(status.get("lastAppliedRevision") or ""))
        )

    # ------------------------------------------------------------------------------------------- what is bad

    def _fail(
        self,
        place: tuple[ObjectKey, Ref],
        rollout: Rollout,
        mine: tuple[Placement, ...],
        spec: Kustomization,
        revision: str,
    ) -> None:
        """It has failed, or in another way than before."""
        known = self._failures.get(place)
        if known is None or known.rollout.images != rollout.images:
            self._end(place)
            since = rollout.since or self._context.clock()
            known = self._failures[place] = Failure(spec, rollout, since, mine, revision)
            self._tasks.start(self._pursuing.run(known))
        elif (known.rollout, known.placed, known.kustomization, known.revision) != (rollout, mine, spec, revision):
            known.kustomization, known.rollout, known.placed, known.revision = spec, rollout, mine, revision
            known.wake.set()

    def _failed_at(self, key: ObjectKey, ref: Ref, status: Mapping[str, Any]) -> str:
        """What was applied when it failed: its template is of that revision."""
        known = self._rollouts.revision_of(key, ref) if self._rollouts is not None else ""
        return known or revisions_of(status).get(ref, "")

    def _end_others(self, key: ObjectKey, refs: Collection[Ref]) -> None:
        """Nobody judges the rest any more: it is suspended, or out of Git."""
        for place in [each for each in self._failures if each[0] == key and each[1] not in refs]:
            self._end(place)

    def _end(self, place: tuple[ObjectKey, Ref]) -> None:
        known = self._failures.pop(place, None)
        if known is not None:
            known.over = True
            known.wake.set()

    def _changed(self, policies: frozenset[str]) -> None:
        """Something that decides over these is another one: a Freeze, a hold, a word of somebody."""
        for failure in self._failures.values():
            if not policies.isdisjoint(failure.names):
                failure.wake.set()

    def _resume(self) -> None:
        """Somebody says that policies may go on."""
        for policy in self._breakers.close_resumed():
            self._storms.calm(policy)
        for policy, hold in self._pursuing.held.items():
            outcome = self._selector.answers.get(policy)
            resumed = self._situations.wishes(outcome.spec).resumed if outcome is not None else None
            if resumed is not None and (hold.since is None or hold.since <= resumed):
                self._pursuing.release(policy)


def _fails(placement: Placement, rollout: Rollout) -> bool:
    """Does what speaks against it take its proof away? What fails beside it, and is known by name, does not."""
    return (
        rollout.state is RolloutState.FAILED
        and rollout.culprit is not Culprit.ENVIRONMENT
        and (not rollout.failing or placement.container in rollout.failing)
        and is_applied(placement, dict(rollout.images))
    )
