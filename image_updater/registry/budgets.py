"""How hard one registry host may be asked: concurrency, rate, what it said about limits, and how long it told us to
stay away.

One `Budget` a host, shared by everything that talks to it. It refuses (RateLimited) rather than make a worker wait for
longer than `max_wait`. Time, sleep and randomness are arguments; nothing here knows HTTP beyond the text of four
headers.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from image_updater.registry.errors import RateLimited

_QUIET = 20 * 60.0
_FLOOR = 0.1
_LOW = 0.1
_LONGEST = 24 * 3600.0
"""Seconds that a registry can keep us away at most, whatever it says: a slip of its clock must not be for ever."""
_HOSTS = 10_000
_INSTANT = 1e-6
"""Seconds that are no wait: below the resolution of a clock a sleep could be slept for ever."""
_LIMIT = re.compile(r"\s*(\d{1,9})\s*(?:;\s*w\s*=\s*(\d{1,9}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one host is asked at most. Rates are requests a second, times are seconds."""

    rate: float = 200.0
    burst: int = 400
    concurrency: int = 16
    max_wait: float = 60.0
    """A Retry-After (or a spent budget) beyond this ends the operation with RateLimited instead of holding a worker."""
    attempts: int = 5
    """Tries of one request that is answered by 429."""
    backoff: float = 1.0
    """First own pause after a 429 that does not say how long; doubled each time, with jitter, up to `max_wait`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock, the sleep and the dice, so that tests need no real time."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    """Uniform in [0, 1)."""


@dataclass(slots=True)
class Allowance:
    """The registry's own count of what is left (`RateLimit-Limit: 100;w=21600`): Docker Hub counts GETs of
    manifests only.
    """

    limit: int
    remaining: int
    window: float
    seen_at: float


@dataclass(slots=True)
class Operation:
    """One call of the client (a listing, a description): halves the host's rate once at most, however often it
    meets a 429.
    """

    halved: bool = False


def retry_after(text: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After asks for (RFC 9110, 10.2.3). None: absent, unreadable, zero or in the past, so
    our own backoff.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _LONGEST) or None
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = (when - now).total_seconds()
    return min(seconds, _LONGEST) if seconds > 0 else None


class Budget:
    """One host. `enter()` waits for the turn, `leave()` ends it; `limited()` and `note()` tell it what came back."""

    def __init__(self, host: str, limits: Limits, timing: Timing) -> None:
        self.host, self.limits = host, limits
        self.rate = limits.rate
        self.allowance: Allowance | None = None
        self._timing = timing
        self._level = float(limits.burst)
        self._filled_at = timing.monotonic()
        self._blocked_until = 0.0
        self._changed_at = self._filled_at
        self._halved_at: float | None = None
        self._counted_at: float | None = None
        self._active = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    # ------------------------------------------------------------------------------------------ before a request

    async def enter(self, *, counted: bool = False) -> float:
        """Wait for the turn, then hold a slot; gives the time on the monotonic clock.

        Raises RateLimited where a wait that the registry caused would be longer than `max_wait`.
        """
        await self._reserve()
        try:
            while True:
                pause = max(self.blocked_for, self._counted_pause() if counted else 0.0)
                if pause > self.limits.max_wait:
                    raise self._refusal(pause)
                if pause > _INSTANT:
                    # The slot is not held while waiting: others of the host wait as well, but none for us.
                    self._hand_on()
                    await self._timing.sleep(pause)
                    continue
                if self._active < self.limits.concurrency:
                    break
                await self._wait_for_slot()
        except BaseException:
            # Whoever was told of a free slot and does not take it must tell the next one.
            self._hand_on()
            raise
        self._active += 1
        if counted:
            self._counted_at = self._timing.monotonic()
            if self.allowance is not None and self.allowance.remaining > 0:
                self.allowance.remaining -= 1
        return self._timing.monotonic()

    async def _reserve(self) -> None:
        """Take one request from the bucket, which may go below zero: each waiter then has a time of its own."""
        now = self._timing.monotonic()
        self._recover(now)
        self._level = min(float(self.limits.burst), self._level + (now - self._filled_at) * self.rate) - 1
        self._filled_at = now
        if self._level >= 0:
            return
        pause = -self._level / self.rate
        if pause > self.limits.max_wait and self.rate < self.limits.rate:
            self._level += 1
            raise self._refusal(pause)
        await self._timing.sleep(pause)

    async def calm(self) -> None:
        """Wait until the host may be asked again after a 429, so that a token is not made before a long wait."""
        while (pause := self.blocked_for) > _INSTANT:
            if pause > self.limits.max_wait:
                raise self._refusal(pause)
            await self._timing.sleep(pause)

    def leave(self) -> None:
        self._active -= 1
        self._hand_on()

    def _hand_on(self) -> None:
        """Tell one that waits of a free slot, if there is one."""
        while self._waiters and self._active < self.limits.concurrency:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    async def _wait_for_slot(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _counted_pause(self) -> float:
        """Slow down before the registry says 429: with a tenth left, one request each `window / limit`; with none,
        none.
        """
        allowance = self.allowance
        if allowance is None:
            return 0.0
        now = self._timing.monotonic()
        if now - allowance.seen_at >= allowance.window:
            self.allowance = None
            return 0.0
        if allowance.remaining > allowance.limit * _LOW:
            return 0.0
        step = allowance.window / max(allowance.limit, 1)
        last = self._counted_at
        if allowance.remaining <= 0:
            # The window slides or is fixed, nobody says which: the next unit is a step away at the earliest.
            last = max(last or 0.0, allowance.seen_at)
        return 0.0 if last is None else last + step - now

    def _recover(self, now: float) -> None:
        """Half as fast again after each 20 minutes without a 429, up to the configured rate."""
        while self.rate < self.limits.rate and now - self._changed_at >= _QUIET:
            self.rate = min(self.limits.rate, self.rate * 1.5)
            self._changed_at += _QUIET

    def _refusal(self, pause: float) -> RateLimited:
        until = self._timing.now() + timedelta(seconds=pause)
        return RateLimited(
            f"{self.host} limits how often it is asked; next try at {until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            until=until,
            remedy="log in for a higher limit, or ask less often (spec.interval)",
        )

    # ------------------------------------------------------------------------------------------ after an answer

    def limited(self, header: str | None, attempt: int, operation: Operation, *, sent_at: float | None = None) -> None:
        """A 429: stay away from the whole host as long as it says, or for an own pause. `attempt` counts from 0.

        The rate is halved once an operation, and not for requests that were on their way when it was halved last:
        sixteen answers to one burst are one sign, not sixteen.
        """
        now = self._timing.monotonic()
        pause = retry_after(header, now=self._timing.now())
        if pause is None:
            ceiling = min(self.limits.max_wait, self.limits.backoff * 2.0**attempt)
            pause = ceiling * (0.5 + self._timing.random() / 2)
        self._blocked_until = max(self._blocked_until, now + pause)
        known = sent_at is not None and self._halved_at is not None and sent_at <= self._halved_at
        if not operation.halved and not known:
            self._halved_at = now
            self.rate = max(_FLOOR, self.rate / 2)
            self._level = min(self._level, max(1.0, self.rate))
        operation.halved = True
        self._changed_at = now

    def refusal(self) -> RateLimited:
        """The error for a request that met 429 too often; its time is the one the host is blocked until."""
        return self._refusal(max(self._blocked_until - self._timing.monotonic(), 0.0))

    def note(self, headers: Mapping[str, str]) -> None:
        """Read `RateLimit-Limit` and `RateLimit-Remaining` (Docker Hub sends them with every manifest, HEAD
        included).
        """
        remaining = _LIMIT.match(headers.get("ratelimit-remaining", ""))
        if remaining is None:
            return
        limit = _LIMIT.match(headers.get("ratelimit-limit", ""))
        window = (limit and limit[2]) or remaining[2]
        reset = headers.get("ratelimit-reset", "")
        if window is None:
            window = reset if reset.isascii() and reset.isdigit() and len(reset) < 10 else "60"
        left = int(remaining[1])
        self.allowance = Allowance(
            int(limit[1]) if limit else max(left, 1), left, min(float(window), _LONGEST), self._timing.monotonic()
        )

    @property
    def at_rest(self) -> bool:
        """Nothing is under way, and nothing is known that a new budget would not know."""
        busy = self._active or self._waiters or self.blocked_for > 0
        return not busy and self.allowance is None and self.rate == self.limits.rate

    @property
    def blocked_for(self) -> float:
        """Seconds until the host may be asked again; 0 = now."""
        return max(0.0, self._blocked_until - self._timing.monotonic())


@dataclass(slots=True)
class Budgets:
    """The budgets of all hosts, made when first asked for."""

    timing: Timing
    limits: Limits = field(default_factory=Limits)
    per_host: Mapping[str, Limits] = field(default_factory=dict)
    _budgets: dict[str, Budget] = field(default_factory=dict)

    def __getitem__(self, host: str) -> Budget:
        budget = self._budgets.get(host)
        if budget is None:
            if len(self._budgets) >= _HOSTS:
                # Realms and redirects are named by servers: there may be no end of them.
                self._budgets = {name: each for name, each in self._budgets.items() if not each.at_rest}
            budget = self._budgets[host] = Budget(host, self.per_host.get(host, self.limits), self.timing)
        return budget

    def __iter__(self) -> Iterator[Budget]:
        return iter(self._budgets.values())
