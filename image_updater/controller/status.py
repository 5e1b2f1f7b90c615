"""Writing status: kstatus conditions, one server-side apply for each decision, nothing when nothing changed.

`Ready`, `Reconciling` and `Stalled` are written as kstatus reads them (sigs.k8s.io/cli-utils, pkg/kstatus): a terminal
error is `Stalled` and not `Ready`, a transient one is `Reconciling` (it is tried again) and not `Ready`, as is a Secret
that is missing, which may come; the abnormal two are absent when they are not true. An Event goes out on transitions
only: when the status or the reason of `Ready` changes, or when the writer says that something happened (a commit).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import API_VERSION
from image_updater.api.moments import format_rfc3339
from image_updater.api.status import ready_of
from image_updater.cluster.errors import Conflict, ObjectNotFound
from image_updater.cluster.model import Resource
from image_updater.controller.cache import OF_THE_CLUSTER, PLURALS
from image_updater.errors import ImageUpdaterError, SecretNotFound, Terminal, Waiting
from image_updater.sync.model import MANAGER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from image_updater.api.model import ObjectKey
    from image_updater.cluster import Cluster, Recorder
    from image_updater.controller.cache import Cache, Entry

log = logging.getLogger("image_updater.status")

MAX_MESSAGE: Final = 4_000
"""Characters of a condition's message; the schema takes 32,768."""
LOGGED: Final = frozenset({"GitRepository", "Kustomization"})
"""Kinds whose transitions nobody else writes to the log: policies and automations are the daemon's."""
WRITERS: Final = 16
"""Status writes in flight."""
RETRIES: Final = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before a failed write is tried again; the last one repeats."""
TIDY: Final = 1_000
"""Statuses kept at which those of objects that are gone are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the `Ready` condition says. `state`: True, False, or None = unknown, still working on it.

    `stalled`: nothing helps until the input changes. `reconciling`: work goes on (or is tried again). `waits`: nothing
    is wrong, something else has to happen first; its Event is no warning.
    """

    state: bool | None
    reason: str
    message: str
    stalled: bool = False
    reconciling: bool = False
    waits: bool = False

    @classmethod
    def of(cls, error: ImageUpdaterError) -> Ready:
        """Not ready, because of that."""
        terminal = isinstance(error, Terminal) and not isinstance(error, SecretNotFound)
        return cls(
            state=False,
            reason=error.reason,
            message=str(error),
            stalled=terminal,
            reconciling=not terminal,
            waits=isinstance(error, Waiting),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, told as an Event beside the transitions of `Ready`."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one object's status shall say. `fields` are the kind's own; those left out are removed from status.

    `handled`: the value of the requestedAt annotation that this answers (None = keep what status has).
    """

    ready: Ready
    fields: Mapping[str, Any] = field(default_factory=dict)
    handled: str | None = None
    happened: tuple[Happening, ...] = ()
    quiet: bool = False
    """A step on the way: a transition of `Ready` is no Event."""


class StatusWriter:
    """See the module. `write` returns at once; the last decision of an object wins."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        recorder: Recorder,
        *,
        clock: Callable[[], datetime],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._recorder = recorder
        self._clock = clock
        self._may_write = may_write
        self._wanted: dict[tuple[str, ObjectKey], tuple[str, int, Decision]] = {}
        self._written: dict[tuple[str, ObjectKey], tuple[str, dict[str, Any]]] = {}
        """By object its uid and the status that we wrote last: the watch may be behind it."""
        self._tasks: dict[tuple[str, ObjectKey], asyncio.Task[None]] = {}
        self._locks: dict[tuple[str, ObjectKey], asyncio.Lock] = {}
        """One write at a time for each object, so that an older decision never lands after a newer one."""
        self._gate = asyncio.Semaphore(WRITERS)
        self._tidy_at = TIDY
        self.writes = 0
        self.failures = 0
        """Writes that failed; each is tried again."""
        self.failing: dict[tuple[str, ObjectKey], ImageUpdaterError] = {}
        """Objects whose last write failed: nobody sees there what was decided."""

    def write(self, entry: Entry, decision: Decision) -> None:
        """Let the status of this object (as it was when it was judged) say that."""
        self._put(entry.place, (entry.uid, entry.generation, self._with_waiting(entry, decision)))

    def _put(self, place: tuple[str, ObjectKey], wanted: tuple[str, int, Decision]) -> None:
        self._wanted[place] = wanted
        task = self._tasks.get(place)
        if task is None or task.done():
            self._tasks[place] = asyncio.create_task(self._drain(place), name=f"status {place[0]} {place[1]}")

    async def amend(self, entry: Entry, fields: Mapping[str, Any], own: Collection[str]) -> bool:
        """Let these fields say something else, and all the rest what was decided last; None takes a field away.

        `own`: the names of the kind's own fields, to keep. False: nothing was ever decided of this object.
        """
        place = entry.place
        async with self._lock(place):  # what is being written now is what stands then
            known = self._wanted.get(place)
            if known is not None and known[0] == entry.uid:
                uid, generation, decision = known
                decision = replace(decision, fields={**decision.fields, **fields})
            else:
                before = self.current(entry)
                ready = standing(before)
                if ready is None:
                    return False
                uid, generation = entry.uid, int(before.get("observedGeneration") or 0)
                kept = {name: before.get(name) for name in own}
                decision = Decision(ready=ready, fields={**kept, **fields}, quiet=True)
            self._put(place, (uid, generation, decision))
        return True

    async def save(self, entry: Entry, decision: Decision) -> None:
        """Write it now; it is on the server when this returns.

        Raises what keeps it from being written, and Waiting when this process may not write, or the object is gone.
        """
        place = entry.place
        async with self._lock(place), self._gate:
            decision = self._with_waiting(entry, decision)
            self._wanted.pop(place, None)
            if not await self._write(place, entry.uid, entry.generation, decision):
                raise Waiting(f"the status of {entry.kind} {entry.key} may not be written by this process now")

    def _with_waiting(self, entry: Entry, decision: Decision) -> Decision:
        """With what the decision before, when it is not written yet, had to tell."""
        # Whose status it is need not be said there.
        own = f"{entry.kind} {entry.key}: "
        decision = replace(
            decision,
            ready=replace(decision.ready, message=decision.ready.message.removeprefix(own)),
            happened=tuple(replace(each, message=each.message.removeprefix(own)) for each in decision.happened),
        )
        known = self._wanted.get(entry.place)
        if known is None or known[0] != entry.uid:
            return decision
        return replace(
            decision,
            handled=decision.handled or known[2].handled,
            happened=(*known[2].happened, *decision.happened),
        )

    def _lock(self, place: tuple[str, ObjectKey]) -> asyncio.Lock:
        return self._locks.setdefault(place, asyncio.Lock())

    def current(self, entry: Entry) -> Mapping[str, Any]:
        """The status of this object: ours if it was just written, else what the watch has seen."""
        written = self._written.get(entry.place)
        return written[1] if written is not None and written[0] == entry.uid else entry.status

    async def settle(self) -> None:
        """Wait until all that was asked for is written (or given up)."""
        while tasks := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(tasks)

    async def close(self, grace: float = 5.0) -> None:
        """Give what is under way some seconds, then drop it."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, place: tuple[str, ObjectKey]) -> None:
        failures = 0
        while place in self._wanted:
            try:
                async with self._lock(place), self._gate:
                    if (wanted := self._wanted.pop(place, None)) is None:
                        break
                    await self._write(place, *wanted)
                failures = 0
                self.failing.pop(place, None)
            except ImageUpdaterError as error:
                assert wanted is not None
                self._wanted.setdefault(place, wanted)
                self.failures += 1
                self.failing[place] = error
                if failures == 0:
                    log.warning("%s %s: the status cannot be written: %s", place[0], place[1], error)
                await asyncio.sleep(RETRIES[min(failures, len(RETRIES) - 1)])
                failures += 1
        self._tasks.pop(place, None)

    async def _write(self, place: tuple[str, ObjectKey], uid: str, generation: int, decision: Decision) -> bool:
        """False: the object is gone, or this process may not write."""
        kind, key = place
        entry = self._cache.get(kind, key)
        if entry is None or entry.uid != uid:
            self._written.pop(place, None)
            return False
        before = self.current(entry)
        wanted = document(before, decision, generation=generation, now=self._clock())
        moved = _transition(before, wanted)
        if wanted != dict(before):
            if not self._may_write():
                return False
            body = {
                "apiVersion": API_VERSION,
                "kind": kind,
                "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
                "status": wanted,
            }
            try:
                await self._cluster.apply(resource_of(kind), body, manager=MANAGER, subresource="status")
            except ObjectNotFound:
                return False
            except Conflict:
                # The uid did not match: another object has this name now, and the watch will tell.
                log.info("%s %s was replaced: its status was not written", kind, key)
                return False
            self.writes += 1
            self._written[place] = (uid, wanted)
            self._tidy()
        ready = decision.ready
        if moved and not decision.quiet:
            if kind in LOGGED:
                level = logging.WARNING if ready.state is False and not ready.waits else logging.INFO
                log.log(level, "%s %s: %s: %s", kind, key, ready.reason, ready.message, extra={"reason": ready.reason})
            self._recorder.event(
                about=entry.reference,
                type="Warning" if ready.state is False and not ready.waits else "Normal",
                reason=ready.reason,
                message=ready.message,
            )
        for each in decision.happened:
            self._recorder.event(
                about=entry.reference,
                type="Warning" if each.warning else "Normal",
                reason=each.reason,
                message=each.message,
            )
        return True

    def _tidy(self) -> None:
        """Forget objects that are gone, now and then: names come and go for as long as the process lives."""
        if len(self._written) < self._tidy_at:
            return
        for place, (uid, _) in list(self._written.items()):
            entry = self._cache.get(*place)
            if (entry is None or entry.uid != uid) and place not in self._tasks and not self._lock(place).locked():
                del self._written[place], self._locks[place]
        self._tidy_at = max(TIDY, 2 * len(self._written))


def resource_of(kind: str) -> Resource:
    """Our kinds need no discovery."""
    group, _, version = API_VERSION.partition("/")
    return Resource(
        group=group, version=version, kind=kind, plural=PLURALS[kind], namespaced=kind not in OF_THE_CLUSTER
    )


def document(before: Mapping[str, Any], decision: Decision, *, generation: int, now: datetime) -> dict[str, Any]:
    """The whole status: times of conditions move only when their status does."""
    handled = decision.handled or before.get("lastHandledReconcileAt")
    wanted: dict[str, Any] = {
        **{name: value for name, value in decision.fields.items() if value is not None},
        "observedGeneration": generation,
        "conditions": _conditions(before, decision.ready, generation, now),
    }
    if handled is not None:
        wanted["lastHandledReconcileAt"] = handled
    return wanted


def standing(status: Mapping[str, Any]) -> Ready | None:
    """What the conditions of a status say; None: there is no Ready condition yet."""
    conditions = {str(each.get("type")): each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None:
        return None
    return Ready(
        state={"True": True, "False": False}.get(str(ready.get("status"))),
        reason=str(ready.get("reason")),
        message=str(ready.get("message")),
        stalled="Stalled" in conditions,
        reconciling="Reconciling" in conditions,
    )


def suspended(before: Mapping[str, Any], message: str) -> Ready:
    """A suspended object is as ready as it was: nobody is alarmed, and nothing waits for it. A state that is unknown
    would be work in progress to whoever waits or watches.
    """
    known = standing(before)
    return Ready(state=known.state if known is not None else None, reason="Suspended", message=message)


def _conditions(before: Mapping[str, Any], ready: Ready, generation: int, now: datetime) -> list[dict[str, Any]]:
    known = {str(each.get("type")): each for each in before.get("conditions") or ()}
    state = {True: "True", False: "False", None: "Unknown"}[ready.state]
    wanted = [("Ready", state)]
    if ready.reconciling:
        wanted.append(("Reconciling", "True"))
    if ready.stalled:
        wanted.append(("Stalled", "True"))
    message = ready.message if len(ready.message) <= MAX_MESSAGE else ready.message[: MAX_MESSAGE - 1] + "…"
    conditions = []
    for type_, status in wanted:
        old = known.get(type_)
        same = old is not None and old.get("status") == status
        conditions.append(
            {
                "type": type_,
                "status": status,
                "reason": ready.reason,
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"]
                if same and old is not None and "lastTransitionTime" in old
                else format_rfc3339(now),
            }
        )
    return conditions


def _transition(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Did the status or the reason of `Ready` change?"""

    def said(status: Mapping[str, Any]) -> tuple[object, object] | None:
        found = ready_of(status)
        return (found.get("status"), found.get("reason")) if found else None

    return said(before) != said(wanted)
