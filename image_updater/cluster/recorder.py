"""Kubernetes Events (events.k8s.io/v1): what happened to an object, for those who ask `kubectl describe`.

Told and forgotten: a caller never waits and never fails for an Event. Repeats within ten minutes become one series, an
object gets a few Events at once and then one every half minute, and the queue is bounded; what is too much is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from image_updater.cluster.errors import NamespaceMissing, ObjectNotFound
from image_updater.cluster.model import Resource
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from image_updater.cluster.client import Cluster
    from image_updater.cluster.model import Body

log = logging.getLogger("image_updater.events")

EVENTS = Resource(group="events.k8s.io", version="v1", kind="Event", plural="events", namespaced=True)

CONTROLLER = "image-updater.dev/controller"
NOTE = 1024
"""Bytes of a note, the server's limit; 128 of a reason, an action and an instance."""
WORD = 128
SERIES = 600.0
"""Seconds within which the same again is one more of a series."""
BURST = 25
REFILL = 30.0
"""Events of one object at once (as client-go has it: two bad tags in a row, with all that follows, are a dozen), and
seconds until it may have one more.
"""
QUEUE = 1_000
OBJECTS = 5_000
"""Buckets and series that are kept."""

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Series:
    """What was told, how often, and what the server knows of it."""

    body: Body
    last: str
    last_at: float
    count: int = 1
    queued: bool = False
    created: bool = False


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(slots=True)
class RecorderMetrics:
    sent: int = 0
    dropped: int = 0
    """Over an object's rate, or beyond the queue."""
    failed: int = 0


@dataclass(slots=True)
class _Said:
    """Failures that the log has: each kind once until one goes well again."""

    reasons: set[str] = field(default_factory=set)


class Recorder:
    """`event()` from anywhere in the loop; `await run()` sends until cancelled, `await drain()` before an end."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        instance: str,
        controller: str = CONTROLLER,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`instance` is the pod's name; `token` makes names of Events unique."""
        self._cluster = cluster
        self._controller = controller
        self._instance = _clip(instance, WORD) or "image-updater"
        self._monotonic = monotonic
        self._clock = clock
        self._token = token
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._buckets: OrderedDict[_Key, _Bucket] = OrderedDict()
        self._queue: deque[_Key] = deque()
        self._waiting = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._said = _Said()
        self.metrics = RecorderMetrics()

    def event(
        self,
        *,
        about: Mapping[str, str],
        type: Literal["Normal", "Warning"],  # noqa: A002 - the field's own name
        reason: str,
        message: str,
        action: str = "Reconcile",
    ) -> None:
        """Something happened to `about` (apiVersion, kind, name, namespace, uid). Never raises, never waits."""
        names = ("apiVersion", "kind", "namespace", "name", "uid")
        regarding = {name: str(about[name]) for name in names if about.get(name)}
        note = _clip(message, NOTE)
        subject = (regarding.get("uid") or "", *(regarding.get(name, "") for name in names[:4]))
        key = (*subject, type, reason, action, note)
        now, stamp = self._monotonic(), self._stamp()
        known = self._series.get(key)
        if known is not None and now - known.last_at < SERIES:
            known.count += 1
            known.last, known.last_at = stamp, now
            self._series.move_to_end(key)
        else:
            known = _Series(self._body(regarding, type, reason, note, action, stamp), stamp, now)
            self._series[key] = known
            self._series.move_to_end(key)
            while len(self._series) > OBJECTS:
                self._series.popitem(last=False)
        if known.queued:
            return
        if len(self._queue) >= QUEUE or not self._allowed(subject, now):
            self.metrics.dropped += 1
            if not known.created:
                self._series.pop(key, None)  # the next one of its kind is a first one again
            return
        known.queued = True
        self._queue.append(key)
        self._idle.clear()
        self._waiting.set()

    async def run(self) -> None:
        """Sends what is told, one at a time, until it is cancelled."""
        while True:
            await self._waiting.wait()
            while self._queue:
                key = self._queue.popleft()
                known = self._series.get(key)
                if known is not None and known.queued:
                    known.queued = False
                    await self._send(known)
            self._waiting.clear()
            self._idle.set()

    async def drain(self, seconds: float = 2.0) -> None:
        """Until what was told is sent, but not for longer. `run` must be running."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _send(self, known: _Series) -> None:
        try:
            if known.created:
                try:
                    await self._repeat(known)
                except ObjectNotFound:  # the server keeps Events for an hour
                    known.body["metadata"]["name"] = self._name(known.body["regarding"])
                    known.body["eventTime"] = known.last
                    known.created, known.count = False, 1
            if not known.created:
                await self._cluster.create(EVENTS, known.body)
                known.created = True
                if known.count > 1:
                    await self._repeat(known)
            self.metrics.sent += 1
            self._said.reasons.clear()
        except NamespaceMissing:
            self.metrics.failed += 1  # the object goes with its namespace, and so would the Event
        except ImageUpdaterError as error:
            self.metrics.failed += 1
            if error.reason not in self._said.reasons:
                self._said.reasons.add(error.reason)
                log.warning("Events cannot be written: %s", error)

    async def _repeat(self, known: _Series) -> None:
        metadata = known.body["metadata"]
        series = {"series": {"count": known.count, "lastObservedTime": known.last}}
        await self._cluster.patch(EVENTS, metadata["name"], metadata["namespace"], series)

    def _body(self, regarding: dict[str, str], kind: str, reason: str, note: str, action: str, stamp: str) -> Body:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            # Events of objects without a namespace are in `default`, as the server wants them.
            "metadata": {"name": self._name(regarding), "namespace": regarding.get("namespace") or "default"},
            "eventTime": stamp,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "action": _clip(action, WORD),
            "reason": _clip(reason, WORD),
            "type": kind,
            "regarding": regarding,
            "note": note,
        }

    def _name(self, regarding: Mapping[str, str]) -> str:
        return f"{regarding.get('name', 'object')[:230].replace(':', '-').lower()}.{self._token()}"

    def _stamp(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _allowed(self, subject: _Key, now: float) -> bool:
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._buckets[subject] = _Bucket(BURST, now)
            while len(self._buckets) > OBJECTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(subject)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _clip(text: str, limit: int) -> str:
    """Within `limit` bytes of UTF-8, without control characters."""
    clean = "".join(each if each.isprintable() or each == "\n" else " " for each in text).strip()
    data = clean.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"
