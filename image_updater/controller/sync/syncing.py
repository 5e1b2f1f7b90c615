"""Kustomization objects: what each path of Git says is made so in its cluster, and kept so.

This module says when. A Kustomization works when its content moved (the files it renders, or its spec), when somebody
asked, when something was changed in the cluster, when what it waited for is ready, or when its interval is over; what
is equal costs a look-up. Workers are bounded and never wait for health, dependencies or other Kustomizations: those
waits hold no worker, and a newer revision ends them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Kustomization, ObjectKey
from image_updater.controller.rollouts import Rollouts
from image_updater.controller.sync import dependencies
from image_updater.controller.sync.admitting import Admitting
from image_updater.controller.sync.agenda import FAULT, Agenda, Priority
from image_updater.controller.sync.attempting import Attempting
from image_updater.controller.sync.elsewhere import Index
from image_updater.controller.sync.inventories import Inventories
from image_updater.controller.sync.kustomizing import Kustomizing
from image_updater.controller.sync.planning import Planning
from image_updater.controller.sync.remembering import Remembering
from image_updater.controller.sync.remoteclusters import LOCAL, Clusters, secret_of, target_name
from image_updater.controller.sync.rolloutmetrics import RolloutMetrics
from image_updater.controller.sync.states import State
from image_updater.controller.sync.syncmetrics import SyncMetrics
from image_updater.controller.sync.tearing import Tearing
from image_updater.controller.sync.verdicts import Verdicts
from image_updater.errors import ImageUpdaterError
from image_updater.pipeline.tasks import Tasks, pause
from image_updater.sync.manifests import label_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.cluster.model import Ref
    from image_updater.controller.context import Context
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.sources.repositories import Sources
    from image_updater.pipeline.building import Builds

log = logging.getLogger("image_updater.sync")

KIND: Final = "Kustomization"
SHARE: Final = 4
"""Another cluster gets one worker in so many: one that does not answer must not hold up the rest."""
VERDICTS: Final = 10.0
"""Seconds that the first look at what rolls out lets what is to be applied go first, at most."""
TIDY: Final = 5.0
"""Seconds between writing what is remembered, and closing what nobody uses."""


class Syncing:
    """See the module. `await run()` until cancelled, then `await close()`; used from one event loop."""

    def __init__(self, context: Context, sources: Sources, builds: Builds, rollouts: Rollouts | None = None) -> None:
        """`rollouts` is told what becomes of the workloads that are applied."""
        self._context = context
        self._agenda = Agenda()
        self._states: dict[ObjectKey, State] = {}
        self._owners: dict[tuple[str, str], ObjectKey] = {}
        """Kustomizations by what their owner labels say."""
        self._cycles: dict[ObjectKey, tuple[ObjectKey, ...]] = {}
        self._index = Index()
        self._busy: Counter[str] = Counter()
        """Workers by cluster."""
        self._parked: dict[str, dict[ObjectKey, Priority]] = {}
        """Those that wait for one of the workers that their cluster may have."""
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        """Nothing waits for a worker."""
        self._clusters = Clusters(context, on_moved=self._moved)
        self._remembering = Remembering(context.session.store.cache("applied"))
        hub = rollouts if rollouts is not None else Rollouts()
        self.rollout_metrics = RolloutMetrics(counts=hub.counts, followed=lambda: self._verdicts.followed)
        turn = partial(pause, self._drained, VERDICTS)
        self._verdicts = Verdicts(context, hub, self.rollout_metrics, turn)
        self._kustomizing = Kustomizing(
            context,
            builds=builds,
            clusters=self._clusters,
            inventories=Inventories(context.cluster),
            remembering=self._remembering,
            index=self._index,
            built=self._built,
            rollouts=self._verdicts.telling,
        )
        self._planning = Planning(
            context,
            sources,
            builds,
            states=self._states,
            index=self._index,
            account=self._clusters.account,
            planned=self._planned,
            noted=self._wake_held,
        )
        self.metrics = SyncMetrics(
            queued=lambda: len(self._agenda),
            working=lambda: sum(state.working for state in list(self._states.values())),
            waiting=lambda: self._attempting.waiting,
        )
        self._admitting = Admitting(context, sources, states=self._states, cycles=lambda: self._cycles)
        self._attempting = Attempting(
            context,
            self._admitting,
            self._kustomizing,
            self._planning,
            self.metrics,
            self._verdicts,
            states=self._states,
            alarm=self._alarm,
            became_ready=self._became_ready,
        )
        self._tearing = Tearing(context, self._kustomizing, self._clusters, self._index, left=self._wake_held)
        sources.subscribe(self._revision)
        context.secrets.subscribe(self._secrets_changed)

    # ------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """For ever: changes of objects, and work as workers are free."""
        watching = asyncio.create_task(self._watch())
        tidying = asyncio.create_task(self._tidy())
        try:
            while True:
                now = self._context.monotonic()
                for key in self._agenda.rings(now):
                    self._agenda.put(key, Priority.ROUTINE)
                while len(tuple(self._tasks)) < self._context.settings.sync_concurrency:
                    item = self._agenda.pop()
                    if item is None:
                        break
                    self._begin(*item)
                if len(self._agenda):
                    self._drained.clear()
                else:
                    self._drained.set()
                due = self._agenda.next_alarm()
                seconds = None if due is None else max(due - self._context.monotonic(), 0.001)
                waiting = asyncio.create_task(pause(self._wake, seconds))
                done, _ = await asyncio.wait({waiting, watching, tidying}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                self._wake.clear()
                for task in done - {waiting}:
                    await task
        finally:
            watching.cancel()
            tidying.cancel()

    async def close(self) -> None:
        """Stop between two requests, close what is open, write what is remembered."""
        for state in self._states.values():
            state.newer = True
            state.stop.set()
        await self._tasks.stop()
        await self._attempting.close()
        await self._planning.close()
        await self._verdicts.close()
        await self._clusters.close()
        await asyncio.to_thread(self._remembering.flush)

    async def _watch(self) -> None:
        changes = self._context.cache.subscribe([KIND])
        while True:
            for _, key in sorted(await changes.next()):
                self._observe(key)
            self._find_cycles()
            self._wake.set()

    def _find_cycles(self) -> None:
        before = self._cycles
        self._cycles = dependencies.cycles(
            {
                key: state.entry.value.depends_on
                for key, state in self._states.items()
                if isinstance(state.entry.value, Kustomization) and state.entry.value.depends_on
            }
        )
        for key in before.keys() ^ self._cycles.keys():
            state = self._states.get(key)
            if state is not None and state.owned:
                self._put(state, Priority.CHANGED)

    async def _tidy(self) -> None:
        while True:
            await self._context.sleep(TIDY)
            await self._clusters.sweep()
            await asyncio.to_thread(self._remembering.flush)

    # ------------------------------------------------------------------------------------------- what happens

    def _observe(self, key: ObjectKey) -> bool:
        """An object as it is now. False: it is as it was, as far as work goes."""
        entry = self._context.cache.get(KIND, key)
        state = self._states.get(key)
        if state is not None and (entry is None or entry.uid != state.entry.uid):
            self._forget(state)
            state = None
        if entry is None:
            return True
        owned = self._context.owns(entry)
        new = state is None
        if state is None:
            state = self._states[key] = State(key=key, entry=entry, owned=owned)
            self._owners[label_value(key.namespace), label_value(key.name)] = key
        old, was = state.entry, state.owned
        state.entry, state.owned = entry, owned
        if owned and not was:  # what it will be is for its own login to say
            state.revision = state.plan = state.content = state.built = state.unbuilt = None
        edited = new or was is not owned or (old.generation, old.deleting) != (entry.generation, entry.deleting)
        handled = self._context.status.current(entry).get("lastHandledReconcileAt")
        asked = entry.requested not in (None, handled) and (new or entry.requested != old.requested)
        if not edited and not asked:
            return False
        state.dirty = True
        state.force = state.force or asked
        kustomization = entry.value
        secret = secret_of(kustomization) if isinstance(kustomization, Kustomization) else None
        self._context.secrets.want(f"{KIND} {key}", [secret] if secret is not None and owned else [])
        if not owned:
            self._agenda.drop(key)
            self._verdicts.stop(key)
            state.stop.set()
            for other in self._states.values():
                if key in other.waits_for:  # from now on it looks at that one again and again: nobody tells
                    self._put(other, Priority.CHANGED)
        if isinstance(kustomization, Kustomization) and kustomization.source_ref is not None and not entry.deleting:
            self._planning.plan(kustomization.source_ref, [key])
        elif owned:
            self._put(state, Priority.CHANGED)
        return True

    def _forget(self, state: State) -> None:
        state.newer = True
        state.stop.set()
        del self._states[state.key]
        self._owners.pop((label_value(state.key.namespace), label_value(state.key.name)), None)
        self._agenda.drop(state.key)
        self._index.forget(state.key)
        self._verdicts.stop(state.key)
        self._clusters.release(state.key)
        self._context.secrets.want(f"{KIND} {state.key}", [])
        self._wake_held()
        self._wake_waiting(state.key)

    def _revision(self, revision: Revision) -> None:
        self._planning.plan_all(revision.repository)

    def _planned(self, state: State) -> None:
        """It is known what it will be: does it have to work?"""
        status = self._context.status.current(state.entry)
        moved = state.content != state.tried
        if state.working and moved:
            state.newer = True
        if state.waiter is not None and moved:
            state.stop.set()
        if state.dirty or moved:
            equal = status.get("lastAppliedContent") == state.content and not state.force
            routine = equal and status.get("observedGeneration") == state.entry.generation
            self._put(state, Priority.ROUTINE if routine else Priority.CHANGED)
        else:
            self._wake_waiting(state.key)
            self._wake_held()

    def _moved(self, ref: Ref, owner: ObjectKey) -> None:
        """Something that we set was changed in a cluster. `owner` is what the labels say."""
        key = self._owners.get((owner.namespace, owner.name))
        state = self._states.get(key) if key is not None else None
        if state is not None and state.owned:
            self._put(state, Priority.MOVED)

    def _secrets_changed(self, keys: frozenset[ObjectKey]) -> None:
        for state in self._states.values():
            value = state.entry.value
            if state.owned and isinstance(value, Kustomization) and secret_of(value) in keys:
                state.dirty = state.force = True
                self._put(state, Priority.CHANGED)

    def _built(self, state: State) -> None:
        self._wake_held()

    def _became_ready(self, state: State) -> None:
        self._wake_waiting(state.key)
        self._wake_held()

    def _wake_waiting(self, key: ObjectKey) -> None:
        """Those that were refused because of it."""
        for state in self._states.values():
            if key in state.waits_for and self._admitting.unready(key) is None:
                self._put(state, Priority.CHANGED)

    def _wake_held(self) -> None:
        """Those whose objects another one was to take over, or had, where nobody is to, or has, any more."""
        for state in self._states.values():
            value = state.entry.value
            if (state.held or state.contested) and not state.working and isinstance(value, Kustomization):
                ask = self._index.ask(state.key, target_name(value))
                free = any((said := ask(ref)).renders is None and said.unsettled is None for ref in state.held)
                if free or any(ask(ref).renders is None for ref in state.contested):
                    state.held = state.contested = ()  # woken once: what it finds is for that look to say
                    self._put(state, Priority.MOVED)

    # ------------------------------------------------------------------------------------------- work

    def _put(self, state: State, priority: Priority) -> None:
        self._agenda.put(state.key, priority)
        self._wake.set()

    def _alarm(self, state: State, seconds: float | None) -> None:
        if self._states.get(state.key) is not state:
            return
        if seconds is None:
            self._agenda.clear_alarm(state.key)
        else:
            self._agenda.set_alarm(state.key, self._context.monotonic() + seconds)
            self._wake.set()

    def _begin(self, key: ObjectKey, priority: Priority) -> None:
        state = self._states.get(key)
        if state is None or not state.owned:
            return
        if state.working:
            state.again = priority if state.again is None else min(state.again, priority)
            return
        value = state.entry.value
        name = target_name(value) if isinstance(value, Kustomization) else LOCAL
        if name != LOCAL and self._busy[name] >= max(1, self._context.settings.sync_concurrency // SHARE):
            parked = self._parked.setdefault(name, {})
            parked[key] = min(priority, parked.get(key, priority))
            return
        state.working = True
        self._busy[name] += 1
        self._tasks.start(self._work(state), then=lambda: self._end(state, name))

    def _end(self, state: State, name: str) -> None:
        state.working = False
        self._busy[name] -= 1
        for key, priority in self._parked.pop(name, {}).items():
            self._agenda.put(key, priority)
        self._wake_held()
        again, state.again = state.again, None
        if again is not None and self._states.get(state.key) is state:
            self._agenda.put(state.key, again)
        self._wake.set()

    async def _work(self, state: State) -> None:
        try:
            if self._states.get(state.key) is not state or self._observe(state.key):
                return  # it has changed since `_watch` told of it: that is planned first, and put on the agenda then
            if state.entry.deleting:
                await self._tear_down(state)
            else:
                await self._attempting.run(state)
        except ImageUpdaterError as error:
            log.warning("%s %s: %s", KIND, state.key, error)
            self._alarm(state, FAULT)
        except Exception:
            self._alarm(state, FAULT)
            raise

    async def _tear_down(self, state: State) -> None:
        state.dirty = state.newer = False
        state.stop.set()
        self._verdicts.stop(state.key)
        left = await self._tearing.run(state, state.entry)
        self._alarm(state, left.again)

    @property
    def states(self) -> Mapping[ObjectKey, State]:
        """For tests and for those who look."""
        return self._states
