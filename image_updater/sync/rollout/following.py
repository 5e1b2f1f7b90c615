"""The workloads of one Kustomization that are rolling out, followed until each has settled.

Costs follow the change: one list and one watch for each kind and namespace, and, of a workload that takes longer than
LOOK, one of its pods by its own selector (so many at a time in a process as there are slots; who has none is judged by
the workload's own conditions). What is healthy is let go at once: when nothing is left no request is made, and no pod
is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.api.moments import format_rfc3339
from image_updater.errors import ImageUpdaterError
from image_updater.sync.health import Seen
from image_updater.sync.health.reading import mapping, text
from image_updater.sync.rollout.judge import judge
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from image_updater.sync.rollout.pods import current_revision, owner_of
from image_updater.sync.rollout.reading import JOBS, PODS, REPLICA_SETS, Source, neighbours, one, selector_of, warnings
from image_updater.sync.rollout.subject import KEEP, LOOK, Subject, Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.cluster.model import Body, Ref
    from image_updater.sync.rollout.evidence import Judged
    from image_updater.sync.rollout.reading import Readers

log = logging.getLogger("image_updater.sync")

SLOTS: Final = 64
"""Workloads of a process whose pods are watched at a time."""
AGAIN: Final = timedelta(seconds=2)
"""After a look that failed on its way."""
LONGEST: Final = 30.0
"""Seconds between two looks at the clock: it may be set."""
JUMP: Final = timedelta(seconds=5)
"""More than clocks are slewed by between two looks: it was set, or the machine has slept."""
TOGETHER: Final = 0.05
"""Seconds in which events are taken together."""


class Slots:
    """See SLOTS."""

    def __init__(self, number: int = SLOTS) -> None:
        self.free = number


class Following:
    """See the module. `follow` begins, `rollouts` is what is known, `await close()` ends. `changed` is called from
    within the event loop whenever `rollouts` are others; `unreadable(kind, error)` when nobody may look at pods.
    """

    def __init__(
        self,
        readers: Readers,
        *,
        labels: str,
        slots: Slots,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        changed: Callable[[], None],
        unreadable: Callable[[str, ImageUpdaterError], None],
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`labels`: selects what the Kustomization owns. `turn`: waits while something else is more urgent than the
        first look at what was applied.
        """
        self._readers = readers
        self._labels = labels
        self._slots = slots
        self._clock = clock
        self._monotonic = monotonic
        self._changed = changed
        self._unreadable = unreadable
        self._turn = turn
        self._subjects: dict[Ref, Subject] = {}
        self._shared: dict[tuple[str, str, str], Source] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()
        self.rollouts: dict[Ref, Rollout] = {}
        """Of all that were followed: those that have settled too."""

    @property
    def open(self) -> frozenset[Ref]:
        """What has not settled."""
        return frozenset(self._subjects)

    def follow(self, wanted: Mapping[Ref, Wanted]) -> None:
        """From now on these too; of one that is followed already, as it is now."""
        for ref, each in wanted.items():
            self._drop(ref)
            subject = self._subjects[ref] = Subject.of(ref, each)
            self.rollouts[ref] = subject.rollout
        self._share(wanted)
        if wanted:
            self._wake.set()
        if self._subjects and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="follow rollouts")

    def forget(self, refs: Iterable[Ref]) -> None:
        """They are not applied any more."""
        for ref in refs:
            self._drop(ref)
            self.rollouts.pop(ref, None)
        self._tidy()

    async def close(self) -> None:
        tasks = [self._task] if self._task is not None else []
        for ref in list(self._subjects):
            self._drop(ref)
        self._tidy()
        tasks += self._ended
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------- sources

    def _share(self, refs: Iterable[Ref]) -> None:
        """A source for each kind and namespace: of the one object, or of all that the Kustomization owns there. It
        begins with a list that is made after the apply: what an older one still shows is the revision before.
        """
        for key in {_place(ref) for ref in refs}:
            names = [ref.name for ref in self._subjects if _place(ref) == key]
            only = f"metadata.name={names[0]}" if len(names) == 1 else None
            self._stop(self._shared.get(key))
            self._shared[key] = Source(
                self._readers,
                key[:2],
                key[2],
                changed=partial(self._on_workload, key),
                labels=None if only else self._labels,
                fields=only,
                turn=self._turn,
            )

    def _stop(self, source: Source | None) -> None:
        if source is not None:
            source.task.cancel()
            self._ended.add(source.task)
            source.task.add_done_callback(self._ended.discard)

    def _drop(self, ref: Ref) -> None:
        subject = self._subjects.pop(ref, None)
        if subject is not None:
            self._stop(subject.canary_source)
            self._stop(subject.jobs_source)
            self._stop_pods(subject)

    def _tidy(self) -> None:
        """No source without a subject."""
        for key in self._shared.keys() - set(map(_place, self._subjects)):
            self._stop(self._shared.pop(key))

    def _on_workload(self, key: tuple[str, str, str], name: str, body: Body | None) -> None:
        for ref, subject in self._subjects.items():
            if _place(ref) == key and name in ("", ref.name):
                if name:
                    subject.workload = body
                self._touch(subject)

    def _touch(self, subject: Subject) -> None:
        subject.dirty = True
        self._wake.set()

    def _watch_canary(self, subject: Subject, canary: Ref) -> None:
        def changed(name: str, body: Body | None) -> None:
            if name:
                subject.canary_body = body
            self._touch(subject)

        fields = f"metadata.name={canary.name}"
        kind = (canary.group, canary.kind)
        subject.canary_source = Source(self._readers, kind, canary.namespace, changed=changed, fields=fields)

    def _watch_jobs(self, subject: Subject) -> None:
        """Of its namespace: Jobs of a CronJob share no label."""
        changed = self._keeps(subject, subject.jobs)
        subject.jobs_source = Source(self._readers, JOBS, subject.ref.namespace, changed=changed)

    def _watch_pods(self, subject: Subject, *, needed: bool) -> None:
        """`needed`: it has failed, and nothing can be said without them."""
        selector = subject.selector()
        if selector is None or (subject.pods_source is not None and selector == subject.pods_selector):
            return
        if subject.pods_source is None and not needed and self._slots.free <= 0:
            return
        self._stop_pods(subject)
        subject.slot, subject.pods_selector = True, selector
        self._slots.free -= 1
        changed = self._keeps(subject, subject.pods)
        subject.pods_source = Source(self._readers, PODS, subject.ref.namespace, changed=changed, labels=selector)

    def _keeps(self, subject: Subject, bodies: dict[str, Body]) -> Callable[[str, Body | None], None]:
        def changed(name: str, body: Body | None) -> None:
            if name and body is None:
                bodies.pop(name, None)
            elif body is not None:
                bodies[name] = body
            self._touch(subject)

        return changed

    def _stop_pods(self, subject: Subject) -> None:
        self._stop(subject.pods_source)
        subject.pods_source = subject.pods_selector = None
        subject.pods.clear()
        if subject.slot:
            subject.slot = False
            self._slots.free += 1

    # ------------------------------------------------------------------------------------------- looking

    async def _run(self) -> None:
        before, ticked = self._clock(), self._monotonic()
        while self._subjects:
            await self._pause()
            self._wake.clear()
            await self._readers.sleep(TOGETHER)
            now, ticks = self._clock(), self._monotonic()
            self._shift(now - before - timedelta(seconds=ticks - ticked))
            before, ticked = now, ticks
            changed = False
            for subject in list(self._subjects.values()):
                if not self._is_followed(subject):
                    continue  # forgotten, or applied anew, while another was looked at
                if subject.dirty or (subject.due is not None and subject.due <= now):
                    subject.dirty, subject.due = False, None
                    try:
                        changed |= await self._look(subject, now)
                    except ImageUpdaterError as error:
                        subject.due = now + AGAIN
                        changed |= self._put(subject, self._unread(subject, error))
                    except Exception:
                        # One object that nobody has thought of ends the following of no other.
                        log.exception("unexpected fault while %s is judged", subject.ref)
                        subject.due = now + timedelta(seconds=LONGEST)
            self._tidy()
            if changed:
                self._changed()

    def _shift(self, jump: timedelta) -> None:
        """A clock that is set is no time in which nothing has moved."""
        if abs(jump) > JUMP:
            for subject in self._subjects.values():
                subject.memory, subject.dirty = subject.memory.shifted(jump), True

    async def _pause(self) -> None:
        dues = [subject.due for subject in self._subjects.values() if subject.due is not None]
        seconds = min([(due - self._clock()).total_seconds() for due in dues], default=LONGEST)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LONGEST)):
                await self._wake.wait()

    def _unread(self, subject: Subject, error: ImageUpdaterError) -> Rollout:
        """What was known of it stays."""
        if subject.rollout.state is not RolloutState.PENDING:
            return subject.rollout
        return replace(subject.rollout, reason=f"it cannot be read: {error.message}")

    def _is_followed(self, subject: Subject) -> bool:
        """Still: not settled, forgotten or applied anew meanwhile."""
        return self._subjects.get(subject.ref) is subject

    def _put(self, subject: Subject, rollout: Rollout) -> bool:
        if not self._is_followed(subject) or self.rollouts.get(subject.ref) == rollout:
            return False
        subject.rollout = self.rollouts[subject.ref] = rollout
        return True

    async def _look(self, subject: Subject, now: datetime) -> bool:
        """Whether its verdict is another one. Raises ClusterError."""
        ref = subject.ref
        source = self._shared[_place(ref)]
        if not source.listed:
            return source.trouble is not None and self._put(subject, self._unread(subject, source.trouble))
        if not await self._read_canary(subject) or not self._is_followed(subject):
            return False
        if ref.kind == "CronJob":
            if subject.jobs_source is None:
                self._watch_jobs(subject)
            if subject.jobs_source is None or not subject.jobs_source.listed:
                return False
        await self._read_revisions(subject)
        if not self._is_followed(subject):
            return False
        judged = judge(subject.evidence(), subject.memory, now=now)
        found = judged.rollout
        if found.failed and subject.canary is None and not subject.released and not subject.pods_answered:
            self._watch_pods(subject, needed=True)
            if subject.pods_source is not None:
                return False  # whose failure it is can be said in a moment
        judged = await self._ask_around(subject, judged, now)
        if not self._is_followed(subject):
            return False
        found = judged.rollout
        if subject.released and found.failed and subject.rollout.failed:
            found = subject.rollout  # as it was judged by its pods
        subject.memory, subject.due = judged.memory, judged.until
        changed = self._put(subject, found)
        if found.healthy:
            self._drop(ref)
        else:
            self._mind_pods(subject, now)
        return changed

    async def _read_canary(self, subject: Subject) -> bool:
        """False: it is not known yet."""
        if not subject.canary_known:
            if subject.canary is None and subject.has_pods:
                subject.canary = await self._readers.scaling.canary(subject.ref, self._readers.account)
            subject.canary_known = True
        if not self._is_followed(subject):
            return False
        if subject.canary is None:
            return True
        if subject.canary_source is None:
            self._watch_canary(subject, subject.canary)
        assert subject.canary_source is not None
        if not subject.canary_source.answered:
            return False
        if subject.fresh and subject.canary_body is not None:
            subject.fresh = False
            subject.memory = replace(subject.memory, seen=Seen.of(subject.canary_body, subject.memory.began))
        return True

    async def _read_revisions(self, subject: Subject) -> None:
        """A Deployment's ReplicaSets, when its pods are known and the present one is not."""
        workload, pods = subject.workload, subject.pods_source
        if subject.ref.kind != "Deployment" or workload is None or pods is None or not pods.listed:
            return
        known = {text(mapping(each, "metadata"), "uid") for each in subject.revisions}
        strange = any(owner_of(pod) not in known | subject.strangers for pod in subject.pods.values())
        if current_revision(workload, subject.revisions) is None or strange:
            bodies = await self._readers.list(
                REPLICA_SETS, subject.ref.namespace, labels=selector_of(workload), metadata_only=True
            )
            subject.revisions = subject.own_revisions(bodies)
            mine = {text(mapping(each, "metadata"), "uid") for each in subject.revisions}
            subject.strangers = {owner_of(pod) for pod in subject.pods.values()} - mine

    async def _ask_around(self, subject: Subject, judged: Judged, now: datetime) -> Judged:
        """Before a failure is the tag's: what else broke on its nodes, and what Flagger has said."""
        found = judged.rollout
        if not found.failed:
            subject.neighbours = subject.events = subject.primary = None
            return judged
        if subject.canary is not None:
            if found.state is not RolloutState.FAILED or not subject.asks_flagger(now):
                return judged
            if subject.events is None:
                began = format_rfc3339(subject.memory.began)
                subject.events = await warnings(self._readers, subject.canary, began)
            resource = await self._readers.account.serving(subject.ref.group, subject.ref.kind)
            name = f"{subject.ref.name}-primary"
            subject.primary = await one(self._readers, resource, subject.ref.namespace, name)
        elif found.culprit is Culprit.TAG and subject.neighbours is None:
            subject.neighbours = await neighbours(self._readers, list(subject.own_pods() or ()))
        else:
            return judged
        return judge(subject.evidence(), subject.memory, now=now)

    def _mind_pods(self, subject: Subject, now: datetime) -> None:
        rollout = subject.rollout
        if rollout.failed and rollout.since is not None:
            over = rollout.since + KEEP
            subject.released = now >= over
            if not subject.released:
                subject.due = min(subject.due or over, over)
        if subject.wants_pods(now):
            self._watch_pods(subject, needed=rollout.failed)
            if subject.pods_source is None:
                subject.due = min(subject.due or now + LOOK, now + LOOK)
            elif subject.pods_source.trouble is not None and not subject.pods_source.listed:
                self._unreadable("pods", subject.pods_source.trouble)
        else:
            if subject.pods_source is not None:
                self._stop_pods(subject)
            if rollout.state is RolloutState.PROGRESSING and subject.has_pods:
                start = subject.memory.began + LOOK
                if now < start:
                    subject.due = min(subject.due or start, start)


def _place(ref: Ref) -> tuple[str, str, str]:
    return ref.group, ref.kind, ref.namespace
