"""One attempt at one Kustomization: may it, does it, is it healthy; and what its status says of it.

Whatever goes wrong is told in status and tried again later; nothing that happens here keeps a worker longer than the
requests that it makes. Health is waited for beside the workers.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import Kustomization, ObjectKey
from image_updater.controller.status import Happening, Ready, standing, suspended
from image_updater.controller.sync.admitting import SourceNotReady
from image_updater.controller.sync.agenda import FAULT, retry_after, routine_after
from image_updater.controller.sync.breaker import FieldConflict
from image_updater.controller.sync.dependencies import DependencyCycle, DependencyNotReady
from image_updater.controller.sync.outcomes import (
    APPLIED,
    applied,
    changes,
    count,
    failed,
    health_fields,
    judged,
    progressing,
    report_fields,
    short,
)
from image_updater.errors import (
    DocumentError,
    ImageUpdaterError,
    RenderError,
    SpecError,
    Waiting,
    Where,
)
from image_updater.pipeline.daemon.branches import SourceNotFound
from image_updater.pipeline.tasks import Tasks
from image_updater.sync.model import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from image_updater.cluster.model import Ref
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.sync.admitting import Admitting
    from image_updater.controller.sync.kustomizing import Kustomizing, Synced
    from image_updater.controller.sync.planning import Planning
    from image_updater.controller.sync.states import State
    from image_updater.controller.sync.syncmetrics import SyncMetrics
    from image_updater.controller.sync.verdicts import Verdicts
    from image_updater.pipeline.building import Plan

log = logging.getLogger("image_updater.sync")

PATIENCE: Final = 1.0
"""Seconds that health, or the first fetch of a source, is waited for before status says so."""

LOOK_AGAIN: Final = 10.0
"""Seconds between looks at what nobody tells of: sources that are not there, dependencies of other shards."""


class Attempting:
    """See the module."""

    def __init__(
        self,
        context: Context,
        admitting: Admitting,
        kustomizing: Kustomizing,
        planning: Planning,
        metrics: SyncMetrics,
        verdicts: Verdicts,
        *,
        states: Mapping[ObjectKey, State],
        alarm: Callable[[State, float | None], None],
        became_ready: Callable[[State], None],
    ) -> None:
        """`alarm(state, seconds)`: look at it again then. `became_ready`: what waits for it may go on."""
        self._context = context
        self._admitting = admitting
        self._kustomizing = kustomizing
        self._planning = planning
        self._metrics = metrics
        self._verdicts = verdicts
        self._states = states
        self._alarm = alarm
        self._became_ready = became_ready
        self._tasks = Tasks()

    @property
    def waiting(self) -> int:
        """How many wait for health."""
        return sum(1 for _ in self._tasks)

    async def close(self) -> None:
        await self._tasks.stop()

    async def run(self, state: State) -> None:
        """One attempt. What its health is comes later, from a task of its own."""
        entry, kustomization = state.entry, state.entry.value
        state.newer, state.dirty = False, False
        state.stop.set()
        state.stop = asyncio.Event()
        force = state.force
        try:
            if not isinstance(kustomization, Kustomization):
                raise entry.error or SpecError("is no Kustomization", where=Where(object=f"Kustomization {state.key}"))
            if kustomization.suspend:
                await self._suspend(state, entry, kustomization)
                return
            plan, revision = self._admitting.check(state, kustomization)
            state.waits_for = frozenset()
            self._check_breaker(state)
            state.force = False
            await self._apply(state, entry, kustomization, plan, revision, force=force)
        except ImageUpdaterError as error:
            state.force = state.force or force
            await self._refuse(state, entry, error)

    async def _suspend(self, state: State, entry: Entry, kustomization: Kustomization) -> None:
        before = self._context.status.current(entry)
        self._verdicts.stop(state.key)
        await self._kustomizing.inventory(state, entry, kustomization)
        ready = suspended(before, "suspended: nothing is applied or pruned")
        await self._kustomizing.tell(state, entry, ready, _standing_fields(before), handled=True)
        state.settled = before.get("lastAppliedContent") if ready.state else None
        state.ready, state.generation, state.tried, state.force = ready, entry.generation, None, False
        self._alarm(state, None)

    def _check_breaker(self, state: State) -> None:
        breaker = state.breaker
        if breaker.error is None:
            return
        if state.content == state.applied and not state.force and state.generation == state.entry.generation:
            raise breaker.error
        breaker.reset()

    # ------------------------------------------------------------------------------------------- does it?

    async def _apply(
        self,
        state: State,
        entry: Entry,
        kustomization: Kustomization,
        plan: Plan,
        revision: Revision,
        *,
        force: bool,
    ) -> None:
        content, started = state.content, self._context.monotonic()
        self._planning.refresh_others()
        synced = await self._kustomizing.run(
            state,
            entry,
            kustomization,
            plan,
            revision=str(revision),
            force=force,
            yields=partial(self._planning.yields, state),
        )
        report = synced.report
        self._metrics.count(report)
        self._metrics.sync_seconds.observe(self._context.monotonic() - started)
        if report.preempted and not report.errors:
            self._metrics.syncs["preempted"] += 1
            state.force = state.force or force
            return
        self._verdicts.applied(entry, kustomization, synced, str(revision))
        state.yielded = {ref: since for ref, since in state.yielded.items() if ref in report.yielded}
        before = self._context.status.current(entry)
        if not report.ok:
            self._metrics.syncs["failed"] += 1
            ready = failed(str(revision), report, (manifest.ref for manifest in synced.manifests))
            fields = {"lastAttemptedRevision": str(revision), **report_fields(report.done)}
            stands = standing(before)
            await self._tell(state, entry, ready, fields, synced)
            self._retell(state, stands, ready)
            self._failed(state, kustomization, report.errors[0], lasting=False)
            return
        self._metrics.syncs["applied" if report.changed else "unchanged"] += 1
        same = content == before.get("lastAppliedContent")
        told = before.get("lastAppliedRevision") if same and not report.changed else None
        at = str(told or revision)
        fields = {
            "lastAppliedRevision": at,
            "lastAttemptedRevision": before.get("lastAttemptedRevision") if told else at,
            "lastAppliedContent": content,
            **report_fields(report.done),
        }
        if report.changed and not same and before.get("lastAppliedContent") and revision.committed is not None:
            self._metrics.commit_to_applied.observe((self._context.clock() - revision.committed).total_seconds())
        if state.applied == content:
            self._count_corrections(state, synced)
        else:
            state.deadline = None
        tripped = state.breaker.error
        state.applied, state.held = content, report.held
        good = applied(at, len(synced.manifests), report) if tripped is None else Ready.of(tripped)
        refs = await self._kustomizing.checked(kustomization, synced) if good.state else []
        happened = self._happened(state, at, synced)
        if refs:
            wait = self._wait(state, entry, kustomization, synced, refs, good, fields, happened, at)
            state.waiter = self._tasks.start(wait)
            return
        await self._tell(state, entry, good, fields, synced, happened)
        self._succeeded(state, kustomization)

    def _happened(self, state: State, revision: str, synced: Synced) -> tuple[Happening, ...]:
        """An Event for what was changed, unless the transition of Ready tells it."""
        if not synced.report.changed or state.ready is None or state.ready.state is not True:
            return ()
        return (Happening(reason=APPLIED, message=f"{short(revision)}: {changes(synced.report.done)}"),)

    def _count_corrections(self, state: State, synced: Synced) -> None:
        """The content is what it was: whatever was written now, somebody else had changed."""
        now = self._context.monotonic()
        for done in synced.report.done:
            if done.action in (Action.CONFIGURED, Action.RECREATED, Action.CREATED):
                self._metrics.corrections += 1
                if state.breaker.corrected(done.ref, done.fields, now) and state.breaker.error is None:
                    state.breaker.trip(done.ref)

    # ------------------------------------------------------------------------------------------- is it healthy?

    async def _wait(
        self,
        state: State,
        entry: Entry,
        kustomization: Kustomization,
        synced: Synced,
        refs: list[Ref],
        good: Ready,
        fields: dict[str, Any],
        happened: tuple[Happening, ...],
        revision: str,
    ) -> None:
        stop = state.stop
        limit = (kustomization.timeout or kustomization.interval).total_seconds()
        now = self._context.monotonic()
        if state.deadline is None:
            state.deadline = now + limit
        written = [
            done.ref
            for done in synced.report.done
            if done.action in (Action.CREATED, Action.CONFIGURED, Action.RECREATED)
        ]
        task = asyncio.create_task(
            synced.syncer.wait(
                kustomization,
                refs,
                timeout=max(state.deadline - now, PATIENCE),
                preempted=stop,
                changed=written,
                foreign=set(refs).difference(manifest.ref for manifest in synced.manifests),
            )
        )
        try:
            try:
                done, _ = await asyncio.wait({task}, timeout=PATIENCE)
                failing = state.ready is not None and state.ready.state is False and not synced.report.changed
                if not done and not stop.is_set() and not failing:
                    ready = progressing(
                        f"{short(revision)} is applied; waiting for {count(len(refs), 'object')} to be ready"
                    )
                    await self._tell(state, entry, ready, fields, synced, happened)
                    happened = ()
                healths = await task
                if stop.is_set():
                    return
                state.deadline = None
                ready = judged(good, revision, healths, limit)
                await self._tell(state, entry, ready, fields | health_fields(healths), synced, happened)
                if stop.is_set():
                    return
                if ready.state:
                    self._succeeded(state, kustomization)
                else:
                    self._failed(state, kustomization, None, lasting=False)
            except ImageUpdaterError as error:
                if not stop.is_set():
                    await self._refuse(state, entry, error)
        except ImageUpdaterError as error:  # nothing could be said of it
            log.warning("Kustomization %s: %s", state.key, error)
            self._alarm(state, FAULT)
        except Exception:
            self._alarm(state, FAULT)
            raise
        finally:
            task.cancel()

    # ------------------------------------------------------------------------------------------- what is said of it

    async def _tell(
        self,
        state: State,
        entry: Entry,
        ready: Ready,
        fields: Mapping[str, Any],
        synced: Synced,
        happened: tuple[Happening, ...] = (),
    ) -> None:
        state.ready, state.listed = None, state.tried
        lines = synced.report.inventory
        await self._kustomizing.tell(state, entry, ready, fields, lines=lines, happened=happened, handled=True)
        state.ready, state.generation = ready, entry.generation

    def _retell(self, state: State, before: Ready | None, now: Ready) -> None:
        """Those that wait for it say why it is not ready: another reason is looked at."""
        if before is None or before.reason != now.reason:
            for other in self._states.values():
                if state.key in other.waits_for and other.owned:
                    self._alarm(other, 0.0)

    def _succeeded(self, state: State, kustomization: Kustomization) -> None:
        state.failures = 0
        state.settled = state.applied if state.ready is not None and state.ready.state else None
        routine = routine_after(kustomization, self._context.dice)
        self._alarm(state, min(routine, LOOK_AGAIN if state.yielded else 60.0 if state.held else routine))
        if state.settled is not None:
            self._became_ready(state)

    def _failed(
        self, state: State, kustomization: Kustomization, error: ImageUpdaterError | None, *, lasting: bool
    ) -> None:
        state.failures += 1
        state.settled = None
        wait = retry_after(
            kustomization,
            error,
            state.failures,
            lasting=lasting,
            now=self._context.clock(),
            dice=self._context.dice,
        )
        self._alarm(state, wait)

    async def _refuse(self, state: State, entry: Entry, error: ImageUpdaterError) -> None:
        """It was not applied."""
        before = self._context.status.current(entry)
        fields = {} if state.tried_another(before.get("lastAppliedContent")) else _standing_fields(before)
        lasting = isinstance(error, RenderError | DocumentError | SpecError)
        if lasting and state.revision is not None and state.tried == state.content:
            fields["lastAttemptedRevision"] = str(state.revision)
        ready = Ready.of(error)
        if isinstance(error, SourceNotFound):
            ready = replace(ready, waits=False)  # it comes by itself only at the start, where no Event is made
        stands = standing(before)
        if (
            isinstance(error, SourceNotReady)
            and stands is None
            and self._admitting.may_come(state, error)
            and (left := self._early(state)) > 0
        ):
            self._alarm(state, left)
            return
        if (
            isinstance(error, SourceNotReady)
            and stands is not None
            and stands.reason not in (SourceNotReady.reason, SourceNotFound.reason)
            and before.get("observedGeneration") == entry.generation
        ):
            self._alarm(state, LOOK_AGAIN)
            return
        if (
            isinstance(error, RenderError)
            and isinstance(error.__cause__, RenderError)
            and (stands is None or stands.message != ready.message)
        ):
            log.warning("Kustomization %s: all that the build said: %s", state.key, error.__cause__)
        same = stands is not None and (stands.state, stands.reason) == (ready.state, ready.reason)
        soon = entry.generation not in (
            state.generation,
            before.get("observedGeneration"),
        ) and self._admitting.may_come(state, error)
        happened = (Happening(reason=ready.reason, message=ready.message, warning=not ready.waits),)
        await self._kustomizing.tell(
            state, entry, ready, fields, happened=happened if same and state.untold else (), handled=True, quiet=soon
        )
        state.untold = soon and not same
        state.ready, state.generation, state.settled = ready, entry.generation, None
        self._retell(state, stands, ready)
        kustomization = entry.value
        if isinstance(kustomization, Kustomization):
            await self._planning.note_unbuilt(state, kustomization)
        if soon:
            self._alarm(state, LOOK_AGAIN)
        elif not isinstance(kustomization, Kustomization):
            self._alarm(state, None)
        elif isinstance(error, Waiting):
            others = any(not known.owned for key in state.waits_for if (known := self._states.get(key)) is not None)
            alone = isinstance(error, DependencyNotReady) and not others
            self._alarm(state, None if alone else LOOK_AGAIN)
        elif isinstance(error, DependencyCycle | FieldConflict):
            self._alarm(state, None)
        else:
            self._metrics.syncs["failed"] += 1
            self._failed(state, kustomization, error, lasting=lasting)

    def _early(self, state: State) -> float:
        """Seconds that a new object still waits for its source without a word: they are mostly made together."""
        now = self._context.monotonic()
        if state.since is None:
            state.since = now
        return state.since + PATIENCE - now


def _standing_fields(before: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of objects stays said while nothing new is known of them."""
    return {name: before.get(name) for name in ("drift", "unhealthy", "healthCounts", "failed")}
