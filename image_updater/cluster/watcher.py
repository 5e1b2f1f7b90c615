"""List and watch one resource for ever: what is there, and then what happens to it.

The rest of the process sees one stream of events. Expired versions, disconnects, servers that restart and rights that
are missing are dealt with here; what is kept of each object is its uid and resourceVersion, never its body.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from image_updater.cluster.errors import ClusterUnavailable, Forbidden, Gone, KindUnknown
from image_updater.cluster.model import Happened, WatchEvent
from image_updater.errors import ImageUpdaterError, Transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from image_updater.cluster.client import Cluster
    from image_updater.cluster.model import Body, Resource

SECONDS = 240.0
"""Of one watch request; up to twice that, so that a hundred watches do not end at once."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SLOW_PAUSE = 30.0
"""Between tries that only a person can help: rights that are missing, a kind that is not installed."""
HASTY = 6
"""Refusals, after it had worked, that are asked about again soon."""
SHORT_LIVED = 5.0
"""A watch that ends sooner than after so many seconds is not simply begun anew at once."""


class Watcher:
    """`await run()` until it is cancelled.

    `on_event` is called for every ADDED, MODIFIED and DELETED, also for those DELETED that only a later list finds
    (with apiVersion, kind, name, namespace and uid alone), and for SYNCED (empty body) after each whole list.
    `on_state` hears an error once watching does not work any more, and None as soon as it does again.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        *,
        on_event: Callable[[WatchEvent], None],
        on_state: Callable[[ImageUpdaterError | None], None] = lambda _: None,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._cluster = cluster
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._metadata_only = metadata_only
        self._on_event = on_event
        self._on_state = on_state
        self._monotonic = monotonic
        self._clock = clock
        self._sleep = sleep
        self._dice = dice
        self._known: dict[tuple[str, str], tuple[str, str]] = {}
        """(namespace, name) → (uid, resourceVersion)."""
        self._version = ""
        """Watched from here on; empty: list first."""
        self._failures = 0
        self._worked = False
        """It has listed or watched before."""
        self._told: ImageUpdaterError | None = None
        self._opened_at = 0.0

    async def run(self) -> None:
        """Ends only when cancelled, or by an error of a callback."""
        while True:
            self._opened_at = float("inf")
            try:
                if not self._version:
                    self._version = await self._list()
                await self._watch()
            except ImageUpdaterError as error:
                await self._sleep(self._failed(error))
            else:
                lived = self._monotonic() - self._opened_at
                if lived < SHORT_LIVED:
                    await self._sleep(self._pause())
                else:
                    self._failures = 0

    # ------------------------------------------------------------------------------------------- list

    async def _list(self) -> str:
        """Tells the difference to what is known; the version to watch from."""
        seen: set[tuple[str, str]] = set()
        version = ""
        async for items, at in self._cluster.pages(
            self._resource,
            self._namespace,
            labels=self._labels,
            fields=self._fields,
            metadata_only=self._metadata_only,
        ):
            version = at
            for body in items:
                seen.add(_key(body))
                self._listed(body)
        for key in [key for key in self._known if key not in seen]:
            self._vanished(key)
        self._told_well()
        self._on_event(WatchEvent(Happened.SYNCED, {}))
        return version

    def _listed(self, body: Body) -> None:
        key = _key(body)
        uid, version = _state(body)
        before = self._known.get(key)
        if before is not None and before[0] != uid:
            self._vanished(key)
            before = None
        if before is None or before[1] != version:
            self._known[key] = (uid, version)
            self._on_event(WatchEvent(Happened.MODIFIED if before else Happened.ADDED, body))

    def _vanished(self, key: tuple[str, str]) -> None:
        uid, _ = self._known.pop(key)
        namespace, name = key
        metadata = {"name": name, "uid": uid} | ({"namespace": namespace} if namespace else {})
        body = {"apiVersion": self._resource.api_version, "kind": self._resource.kind, "metadata": metadata}
        self._on_event(WatchEvent(Happened.DELETED, body))

    # ------------------------------------------------------------------------------------------- watch

    async def _watch(self) -> None:
        async for kind, body in self._cluster.events(
            self._resource,
            self._namespace,
            labels=self._labels,
            fields=self._fields,
            resource_version=self._version,
            metadata_only=self._metadata_only,
            seconds=SECONDS * (1 + self._dice()),
        ):
            if kind == "OPENED":
                self._opened_at = self._monotonic()
                self._told_well()
                continue
            if kind != "BOOKMARK":
                self._deliver(Happened(kind), body)
            self._version = str(body["metadata"]["resourceVersion"])

    def _deliver(self, happened: Happened, body: Body) -> None:
        if happened is Happened.DELETED:
            self._known.pop(_key(body), None)
        else:
            self._known[_key(body)] = _state(body)
        self._on_event(WatchEvent(happened, body))

    # ------------------------------------------------------------------------------------------- failures

    def _told_well(self) -> None:
        self._worked = True
        if self._told is not None:
            self._told = None
            self._on_state(None)

    def _failed(self, error: ImageUpdaterError) -> float:
        """Tells the error if it is one to tell; how long to wait."""
        lived = self._monotonic() - self._opened_at
        if lived >= SHORT_LIVED:
            self._failures = 0
        if isinstance(error, Gone):
            # The way of things after a long break. Many Gones in a row wait longer and longer.
            self._version = ""
            return self._pause() if self._failures else self._count()
        if isinstance(error, KindUnknown):
            self._version = ""
            for key in list(self._known):
                self._vanished(key)
        # A connection that broke once is no news: it is made anew.
        if not isinstance(error, ClusterUnavailable) or self._failures:
            self._tell(error)
        if isinstance(error, Transient) and error.until is not None:
            self._failures += 1
            return max((error.until - self._clock()).total_seconds(), 0.0) + self._dice()
        if isinstance(error, KindUnknown | Forbidden) or not isinstance(error, Transient):
            # A server that has just started says so for a moment, before it has read its roles and kinds.
            if self._worked and self._failures < HASTY:
                return self._pause()
            return SLOW_PAUSE * (0.5 + self._dice())
        return self._pause()

    def _count(self) -> float:
        self._failures += 1
        return 0.0

    def _pause(self) -> float:
        pause: float = min(FIRST_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures += 1
        return pause * (0.5 + self._dice())

    def _tell(self, error: ImageUpdaterError) -> None:
        told, self._told = self._told, error
        if told is None or str(told) != str(error):
            self._on_state(error)


def _key(body: Body) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _state(body: Body) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata["uid"], metadata["resourceVersion"]
