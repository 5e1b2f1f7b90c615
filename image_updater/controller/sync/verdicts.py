"""Which workloads of which Kustomizations are rolling out, and what their status says of it.

A workload is followed after an apply that changed its pod template, whether or not `spec.wait` is set, and after a
start where status does not say that it has settled. Once healthy it is not looked at again until its template changes:
what is set back after drift is the template that was healthy, and what breaks hours later is no failure of a rollout.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.status import COMMON, KUSTOMIZATION_STATUS, status_fields
from image_updater.controller.rollouts import LISTED, from_status, revisions_of, to_status, unproven_of
from image_updater.pipeline.tasks import Tasks, pause
from image_updater.sync.inventory import object_id
from image_updater.sync.manifests import owner_labels
from image_updater.sync.model import Action
from image_updater.sync.policies import replica_owners
from image_updater.sync.rollout.evidence import STALE, Memory
from image_updater.sync.rollout.following import Following, Slots
from image_updater.sync.rollout.model import PROMOTED, Culprit, Rollout, RolloutState
from image_updater.sync.rollout.reading import Readers
from image_updater.sync.rollout.subject import Wanted
from image_updater.sync.rollout.templates import container_names, images_of, template_digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.rollouts import Rollouts
    from image_updater.controller.sync.kustomizing import Synced
    from image_updater.controller.sync.rolloutmetrics import RolloutMetrics
    from image_updater.errors import ImageUpdaterError
    from image_updater.sync.model import Manifest
    from image_updater.sync.rollout.templates import Images

log = logging.getLogger("image_updater.sync")

FIELDS: Final = ("rollouts", "rolloutsUnproven", "rolloutsSettled")
"""Of status, that are written here."""

OWN: Final = frozenset(each.name for each in KUSTOMIZATION_STATUS.fields) - {each.name for each in COMMON}
"""All that a Kustomization's status has of its own."""

TOGETHER: Final = 1.0
"""Seconds in which verdicts become one write of status; a failure is written at once."""

_WRITTEN: Final = frozenset({Action.CREATED, Action.CONFIGURED, Action.RECREATED})
_STANDS: Final = _WRITTEN | {Action.UNCHANGED, Action.EQUAL}
"""What the cluster holds as Git says."""

_FAILURES: Final = {
    Culprit.TAG: "the tag's failure",
    Culprit.ENVIRONMENT: "the environment's failure",
    Culprit.UNKNOWN: "it is not known whose failure",
}


@dataclass(frozen=True, slots=True)
class _Template:
    """What is kept of a workload in Git."""

    manifest: str
    """Digest of the whole manifest: while it is equal nothing else is read."""
    digest: str
    images: Images
    own: frozenset[str]


@dataclass(slots=True)
class _Record:
    """Of one Kustomization."""

    entry: Entry
    target: str
    following: Following
    revision: str = ""
    templates: dict[Ref, _Template] = field(default_factory=dict)
    settled: dict[Ref, str] = field(default_factory=dict)
    """The template that was healthy last."""
    unproven: set[Ref] = field(default_factory=set)
    """Of those, what is healthy and proves nothing."""
    began: dict[Ref, datetime] = field(default_factory=dict)
    told: dict[Ref, Rollout] = field(default_factory=dict)
    """The verdicts that Events and numbers were made of."""
    rollouts: tuple[Rollout, ...] = ()
    revisions: dict[Ref, str] = field(default_factory=dict)
    """What was applied when their templates changed."""
    saved: Mapping[str, Any] = field(default_factory=dict)
    """What status says, or is about to."""
    due: float | None = None
    """When what it does not say yet is written."""
    writer: asyncio.Task[None] | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class Verdicts:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        rollouts: Rollouts,
        metrics: RolloutMetrics,
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`turn`: waits while there is something to apply, for a while."""
        self._context = context
        self._turn = turn
        self._rollouts = rollouts
        self._metrics = metrics
        self._records: dict[ObjectKey, _Record] = {}
        self._slots = Slots()
        self._tasks = Tasks()
        self._unreadable: set[str] = set()

    @property
    def followed(self) -> int:
        return sum(len(record.following.open) for record in list(self._records.values()))

    async def close(self) -> None:
        records, self._records = list(self._records.values()), {}
        for record in records:
            await record.following.close()
        await self._tasks.stop()

    def stop(self, key: ObjectKey) -> None:
        """It is suspended, gone, or not ours any more. What its status says stays."""
        record = self._records.pop(key, None)
        if record is not None:
            self._end(record)
        self._rollouts.forget(key)

    def _end(self, record: _Record) -> None:
        if record.writer is not None:
            record.writer.cancel()
        self._tasks.start(record.following.close())

    # ------------------------------------------------------------------------------------------- what was applied

    def applied(self, entry: Entry, kustomization: Kustomization, synced: Synced, revision: str) -> None:
        """After a sync: follow what it has changed. Costs nothing where no workload is another one."""
        record = self._records.get(kustomization.key)
        if record is not None and (record.target != synced.target.name or record.entry.uid != entry.uid):
            self.stop(kustomization.key)
            record = None
        actions = {done.ref: done.action for done in synced.report.done}
        first = record is None
        if record is None:
            record = self._records[kustomization.key] = self._record(entry, kustomization, synced)
        record.entry, record.revision = entry, revision
        templates = _templates(synced.manifests, actions, record.templates)
        gone = record.templates.keys() - templates.keys()
        record.following.forget(gone)
        for ref in gone:
            for known in (record.settled, record.began, record.told, record.revisions):
                known.pop(ref, None)
        record.unproven -= gone
        listed: dict[Ref, Rollout] = {}
        if first:
            before = self._context.status.current(entry)
            listed = {each.ref: each for each in from_status(before)}
            record.settled = _settled(templates, listed, before)
            record.unproven = set(unproven_of(before)) & record.settled.keys()
            record.revisions = revisions_of(before)
            record.saved = {name: before.get(name) for name in FIELDS}
        moved = [
            ref
            for ref, template in templates.items()
            if record.settled.get(ref) != template.digest
            and (ref not in record.templates or record.templates[ref].digest != template.digest)
        ]
        record.templates = templates
        if moved:
            self._follow(record, synced, moved, listed, actions, first=first)
        if moved or gone or first:
            self._gather(kustomization.key, record)

    def _record(self, entry: Entry, kustomization: Kustomization, synced: Synced) -> _Record:
        means, key = synced.syncer.means, kustomization.key
        labels = ",".join(f"{name}={value}" for name, value in sorted(owner_labels(key).items()))
        readers = Readers(
            own=means.reading,
            account=means.cluster,
            scaling=means.scaling,
            namespaces=means.watches.namespaces if means.watches is not None else (),
            sleep=self._context.sleep,
            dice=self._context.dice,
        )
        following = Following(
            readers,
            labels=labels,
            slots=self._slots,
            clock=self._context.clock,
            monotonic=self._context.monotonic,
            changed=lambda: self._changed(key),
            unreadable=self._cannot_read,
            turn=self._turn,
        )
        return _Record(entry=entry, target=synced.target.name, following=following)

    def _follow(
        self,
        record: _Record,
        synced: Synced,
        refs: Iterable[Ref],
        listed: Mapping[Ref, Rollout],
        actions: Mapping[Ref, Action],
        *,
        first: bool,
    ) -> None:
        now = self._context.clock()
        canaries = replica_owners(m.body for m in synced.manifests if m.ref.kind == "Canary")
        wanted = {}
        for ref in refs:
            template, told = record.templates[ref], listed.get(ref)
            if told is not None and (told.images != template.images or actions.get(ref) in _WRITTEN):
                told = None
            began = told.since if told is not None and told.since is not None else now
            record.began[ref] = began
            record.settled.pop(ref, None)
            record.unproven.discard(ref)
            record.told.pop(ref, None)
            if told is not None:
                record.told[ref] = told
            else:
                record.revisions[ref] = record.revision
            wanted[ref] = Wanted(
                images=template.images,
                own=template.own,
                # After a start it may have been healthy long before, unless it was written just now or status says no.
                memory=Memory(began=began, told=told, ours=not first or told is not None or actions[ref] in _WRITTEN),
                canary=canaries.get(ref),
            )
        record.following.follow(wanted)

    def _cannot_read(self, what: str, error: ImageUpdaterError) -> None:
        """Told once: verdicts rest on the workloads' own conditions then."""
        if what not in self._unreadable:
            self._unreadable.add(what)
            log.warning("rollouts are judged without looking at %s: %s", what, error)

    # ------------------------------------------------------------------------------------------- what came of it

    def _changed(self, key: ObjectKey) -> None:
        record = self._records.get(key)
        if record is not None:
            self._gather(key, record)

    def _gather(self, key: ObjectKey, record: _Record) -> None:
        known = record.following.rollouts
        record.rollouts = tuple(known[ref] for ref in sorted(known))
        failed = False
        for rollout in record.rollouts:
            before = record.told.get(rollout.ref)
            if rollout.healthy and rollout.ref in record.templates and rollout.ref not in record.following.open:
                record.settled[rollout.ref] = record.templates[rollout.ref].digest
                if rollout.state is RolloutState.HEALTHY_UNANALYSED:
                    record.unproven.add(rollout.ref)
                else:
                    record.unproven.discard(rollout.ref)
            if before is None or (before.state, before.culprit) != (rollout.state, rollout.culprit):
                self._note(record, rollout, before)
                failed = failed or rollout.failed
            record.told[rollout.ref] = rollout
        self._rollouts.settle(key, record.settled)
        self._rollouts.publish(key, record.revision, record.rollouts, record.revisions)
        self._save(key, record, at_once=failed)

    def _note(self, record: _Record, rollout: Rollout, before: Rollout | None) -> None:
        """An Event and numbers for a verdict that is another one."""
        now, began = self._context.clock(), record.began.get(rollout.ref)
        was_failed = before is not None and before.failed
        if began is not None and not was_failed and (rollout.failed or rollout.state is RolloutState.HEALTHY):
            self._metrics.ended("failed" if rollout.failed else "healthy", (now - began).total_seconds())
        if rollout.failed:
            self._metrics.failed(rollout.culprit)
            whose = "" if rollout.state is RolloutState.PRIMARY_BROKEN else f" ({_FAILURES[rollout.culprit]})"
            failing = [image for name, image in rollout.images if name in rollout.failing]
            beside = f" with {', '.join(failing)}" if failing else ""
            reason, message = "RolloutFailed", f"{rollout.ref}{beside}: {rollout.reason}{whose}"
        elif was_failed and rollout.state is RolloutState.HEALTHY:
            reason, message = "RolloutHealthy", f"{rollout.ref} is healthy again"
        else:
            return
        level = logging.WARNING if rollout.failed else logging.INFO
        log.log(level, "Kustomization %s: %s: %s", record.entry.key, reason, message, extra={"reason": reason})
        self._context.recorder.event(
            about=record.entry.reference,
            type="Warning" if rollout.failed else "Normal",
            reason=reason,
            message=message,
            action="Judge",
        )

    # ------------------------------------------------------------------------------------------- status

    def fields(self, key: ObjectKey) -> dict[str, Any]:
        """Of status, as they are to be now; empty where nothing is known better than what it says."""
        record = self._records.get(key)
        if record is None:
            return {}
        rollouts = to_status(record.rollouts, record.revisions)
        digests = {ref: digest for ref, digest in record.settled.items() if ref in record.templates}
        unproven = [object_id(ref) for ref in sorted(record.unproven)][:LISTED] or None
        return {"rollouts": rollouts, "rolloutsUnproven": unproven, "rolloutsSettled": _fold(digests)}

    def telling(self, key: ObjectKey) -> dict[str, Any]:
        """`fields`, which are being written now with what else status says."""
        fields = self.fields(key)
        record = self._records.get(key)
        if record is not None:
            record.saved, record.due = fields, None
        return fields

    def _save(self, key: ObjectKey, record: _Record, *, at_once: bool) -> None:
        """Write what has changed: failures now, decisions soon, mere reasons later."""
        fields = self.fields(key)
        if fields == record.saved:
            return
        delay = 0.0 if at_once else TOGETHER if _decision(fields) != _decision(record.saved) else STALE
        due = self._context.monotonic() + delay
        if record.due is None or due < record.due:
            record.due = due
            record.hurry.set()
        if record.writer is None or record.writer.done():
            record.writer = self._tasks.start(self._write(key, record))

    async def _write(self, key: ObjectKey, record: _Record) -> None:
        while record.due is not None and self._records.get(key) is record:
            seconds = record.due - self._context.monotonic()
            if seconds > 0:
                record.hurry.clear()
                await pause(record.hurry, seconds)
                continue
            record.due = None
            fields = self.fields(key)
            if fields != record.saved:
                record.saved = fields
                declared = status_fields("Kustomization", fields)
                await self._context.status.amend(record.entry, {name: declared.get(name) for name in fields}, OWN)


def _settled(
    templates: Mapping[Ref, _Template], listed: Mapping[Ref, Rollout], before: Mapping[str, Any]
) -> dict[Ref, str]:
    """What status says has settled: all that it does not list, as long as these are the templates that it was of."""
    settled = {ref: template.digest for ref, template in templates.items() if ref not in listed}
    return settled if settled and _fold(settled) == before.get("rolloutsSettled") else {}


def _fold(settled: Mapping[Ref, str]) -> str | None:
    """One digest of all of them."""
    if not settled:
        return None
    lines = sorted(f"{object_id(ref)}={digest}" for ref, digest in settled.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _decision(fields: Mapping[str, Any]) -> object:
    """Without reasons and times, and without the first steps of a rollout, which are no news one by one. That a canary
    is being promoted is one: who rolls back may be another process, and has to know it.
    """
    rollouts = []
    for each in fields.get("rollouts") or ():
        first = "canary" not in each and each["state"] == RolloutState.PENDING
        state = RolloutState.PROGRESSING if first else each["state"]
        promoted = each.get("reason") == PROMOTED
        rollouts.append((each["id"], state, promoted, each.get("culprit"), each.get("failing"), each.get("images")))
    return rollouts, fields.get("rolloutsSettled"), fields.get("rolloutsUnproven")


def _templates(
    manifests: Iterable[Manifest], actions: Mapping[Ref, Action], before: Mapping[Ref, _Template]
) -> dict[Ref, _Template]:
    """Of all workloads that the cluster holds as Git says. One that could not be applied, or was not reached, is what
    it was; one that an annotation, or somebody else, keeps from us is none of ours to judge.
    """
    found = {}
    for manifest in manifests:
        ref, known = manifest.ref, before.get(manifest.ref)
        action = actions.get(ref, Action.FAILED)
        if action is Action.FAILED:
            if known is not None:
                found[ref] = known
        elif action in _STANDS:
            if known is None or known.manifest != manifest.digest:
                known = _template(manifest)
            if known is not None:
                found[ref] = known
    return found


def _template(manifest: Manifest) -> _Template | None:
    ref, body = manifest.ref, manifest.body
    images = images_of(ref, body)
    if not images:
        return None
    return _Template(manifest.digest, template_digest(ref, body), images, container_names(ref, body))
