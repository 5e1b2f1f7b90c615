"""A Lease (coordination.k8s.io/v1): at most one holder, a successor soon, and no clock is compared with another's.

- The holder counts from before it sent a renewal that succeeded, by its own clock; `valid_for` is what is left.
- Others count from when they first saw the renewal, so they always wait longer than the holder believes. A Lease whose
  holder and renewTime did not change for its duration is free.
- Every write names the resourceVersion that it was made for, so two never both succeed.
- An annotation says where its holder answers, for those who wait.

Time is counted by a clock that goes on while a process or its machine is suspended: who wakes up after that finds
`valid_for() <= 0` before it does anything.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from image_updater.cluster.errors import ClusterUnavailable, Conflict, ObjectNotFound
from image_updater.cluster.model import Resource
from image_updater.errors import ImageUpdaterError, Where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from image_updater.cluster.client import Cluster
    from image_updater.cluster.model import Body

LEASES = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", namespaced=True)

DURATION = 10.0
RENEW = 3.0
RETRY = 1.5
MARGIN = 0.2
"""Part of the duration that a holder gives up before the end: time to stop in."""
ADDRESS = "image-updater.dev/address"
"""Annotation: `host:port` of the holder."""
ATTEMPT = 5.0
"""Seconds that one look at the Lease may take."""


def boottime() -> float:
    """Seconds; goes on while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """One Lease as one `holder`, which must be unique to this process: a restarted one is another holder.

    `acquire` waits until it is ours, `keep` renews it until it is lost, `hold` does both for ever. `take` is a single
    attempt, for those who go on without it.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        holder: str,
        address: str = "",
        duration: float = DURATION,
        renew: float = RENEW,
        retry: float = RETRY,
        on_error: Callable[[ImageUpdaterError | None], None] = lambda _: None,
        monotonic: Callable[[], float] = boottime,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """Seconds: `duration` of the Lease (whole ones), between renewals, and between looks at another's Lease.
        `address`: where this one answers, as `host:port`; "" = nowhere.
        """
        assert renew < duration * (1 - MARGIN), "a renewal must come before the margin"
        self._cluster = cluster.unqueued()
        self._namespace = namespace
        self._name = name
        self._holder = holder
        self._address = address
        self._duration = float(max(1, round(duration)))
        self._renew = renew
        self._retry = retry
        self._on_error = on_error
        self._monotonic = monotonic
        self._clock = clock
        self._sleep = sleep
        self._dice = dice
        self._lock = asyncio.Lock()
        self._body: Body | None = None
        """As it was after our last write, while it is ours."""
        self._valid_until = float("-inf")
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._free_at = float("-inf")
        self._seen_address = ""
        self.seen_holder: str | None = None
        """Who held it at the last look; None: nobody."""
        self.term = 0
        """leaseTransitions while we hold it: greater for each later holder."""

    def valid_for(self) -> float:
        """Seconds for which nobody else can have it; zero or less: it is not ours."""
        return self._valid_until - self._monotonic()

    @property
    def elsewhere(self) -> str:
        """Where its holder answered at the last look, if that is another one; "" = not known, or nowhere."""
        return self._seen_address if self.seen_holder not in (None, self._holder) else ""

    # ------------------------------------------------------------------------------------------- one attempt

    async def take(self, *, within: float = ATTEMPT) -> bool:
        """One attempt to get it, or to renew it. Raises what the API server answers, and ClusterUnavailable."""
        async with self._lock:
            try:
                async with asyncio.timeout(within):
                    return await self._take()
            except TimeoutError:
                raise ClusterUnavailable("no answer in time", where=self._where) from None

    async def _take(self) -> bool:
        if self._body is not None:
            try:
                return await self._write(self._body, ours=True)
            except (Conflict, ObjectNotFound):
                self._body = None  # somebody wrote to it, perhaps not to its spec: look
        body = await self._cluster.get(LEASES, self._name, self._namespace)
        holder = self._look(body) if body is not None else None
        if holder not in (None, self._holder) and self._monotonic() < self._free_at:
            self._lose()
            return False
        try:
            return await self._write(body, ours=holder == self._holder)
        except (Conflict, ObjectNotFound):
            return False  # a race was lost; to whom is seen at the next look

    def _look(self, body: Body) -> str | None:
        """Who holds it. A change of holder or renewTime begins its duration anew, counted from now."""
        spec = body.get("spec") or {}
        self.seen_holder = holder = spec.get("holderIdentity") or None
        self._seen_address = str((body["metadata"].get("annotations") or {}).get(ADDRESS) or "")
        seen = (body["metadata"].get("uid"), holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._monotonic()
        self._free_at = self._seen_at + float(spec.get("leaseDurationSeconds") or self._duration)
        return holder

    async def _write(self, body: Body | None, *, ours: bool) -> bool:
        now = self._now()
        before = (body or {}).get("spec") or {}
        term = int(before.get("leaseTransitions") or 0) + (0 if ours or body is None else 1)
        spec = {
            **before,
            "holderIdentity": self._holder,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": term,
        }
        sent = self._monotonic()
        if body is None:
            new: Body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "spec": spec}
            new["metadata"] = self._annotated({"name": self._name, "namespace": self._namespace})
            written = await self._cluster.create(LEASES, new)
        else:
            metadata = self._annotated(body["metadata"])
            written = await self._cluster.replace(LEASES, {**body, "metadata": metadata, "spec": spec})
        self._body = written
        self._valid_until = sent + self._duration
        self.seen_holder, self.term = self._holder, term
        return True

    def _annotated(self, metadata: Body) -> Body:
        """Nobody is sent to where the holder before answered."""
        annotations = {name: each for name, each in (metadata.get("annotations") or {}).items() if name != ADDRESS}
        if self._address:
            annotations[ADDRESS] = self._address
        return {**metadata, "annotations": annotations}

    def _lose(self) -> None:
        self._body = None
        self._valid_until = float("-inf")

    # ------------------------------------------------------------------------------------------- for long

    async def acquire(self) -> None:
        """Until it is ours. Failures go to `on_error` and are tried again."""
        while not await self._try():
            wait = self._retry * (0.75 + 0.5 * self._dice())
            left = self._free_at - self._monotonic()
            if 0 < left < wait:
                wait = left + 0.1 * self._dice()
            await self._sleep(wait)

    async def keep(self) -> None:
        """Renew it until it is not ours any more, or will not be in a moment (MARGIN). Returns then."""
        renewed = True
        while True:
            left = self.valid_for() - MARGIN * self._duration
            if left <= 0:
                break
            wait = self._renew if renewed else self._retry
            await self._sleep(min(wait * (0.75 + 0.5 * self._dice()), left))
            # Also after a sleep that took far longer than it should: then it may be somebody else's already.
            if self.valid_for() <= MARGIN * self._duration:
                break
            renewed = bool(await self._try(within=min(ATTEMPT, self.valid_for() - MARGIN * self._duration)))
        self._lose()

    async def hold(self, *, held: Callable[[], None], lost: Callable[[], None]) -> None:
        """For ever: acquire, `held()`, keep, `lost()`. When cancelled, it is released.

        Cancel only when the work that it protects has stopped: another takes it at once.
        """
        try:
            while True:
                await self.acquire()
                held()
                try:
                    await self.keep()
                finally:
                    lost()
        finally:
            await asyncio.shield(self.release())

    async def _try(self, within: float = ATTEMPT) -> bool | None:
        """None: it is not known."""
        try:
            taken = await self.take(within=within)
        except ImageUpdaterError as error:
            self._on_error(error)
            return None
        self._on_error(None)
        return taken

    async def release(self) -> None:
        """Give it back, if it is ours: the next one need not wait. A failure is told to `on_error`."""
        async with self._lock:
            body, ours = self._body, self.valid_for() > 0
            self._lose()
            if not ours:
                return
            try:
                async with asyncio.timeout(ATTEMPT):
                    await self._give_back(body)
            except ImageUpdaterError as error:
                self._on_error(error)
            except TimeoutError:
                self._on_error(ClusterUnavailable("no answer in time", where=self._where))

    async def _give_back(self, body: Body | None) -> None:
        if body is not None:
            try:
                await self._cluster.replace(LEASES, self._without_holder(body))
                return
            except (Conflict, ObjectNotFound):
                pass  # written to since, perhaps by a renewal of ours whose answer was lost: look
        body = await self._cluster.get(LEASES, self._name, self._namespace)
        if body is not None and self._look(body) == self._holder:
            await self._cluster.replace(LEASES, self._without_holder(body))

    def _without_holder(self, body: Body) -> Body:
        spec = {**body["spec"], "leaseDurationSeconds": 1, "renewTime": self._now()}
        del spec["holderIdentity"]
        return {**body, "spec": spec}

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def _where(self) -> Where:
        return Where(object=f"Lease.coordination.k8s.io {self._namespace}/{self._name}")
