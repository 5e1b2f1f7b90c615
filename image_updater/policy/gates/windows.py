"""`windows`: times at which a policy, or an automation, may write.

A window opens at the moments that a cron of five fields names in its zone, each time for its duration of elapsed
time; several windows are open together. Daylight saving, as Debian's cron has it: a start that does not exist opens
at the first moment that does; one that exists twice opens at the first of the two, but with `*` in the hour field at
both (every hour means every hour). As there too, day of month and day of week both count when one of them begins with
`*`, else either is enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from image_updater.policy.gates.blocked import clock

if TYPE_CHECKING:
    from image_updater.api.model import Window

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_NEVER = timedelta(days=50 * 366)
"""What names no day in fifty years names none: leap days, and which weekday they are, come round in forty."""
_FORESEEN = timedelta(days=731)
"""Windows that stay open for so long are not seen to close: something else comes first."""
_ODD_DAYS = 32
_MOST_SPANS = 20_000
"""Spans that are put together at most; then the last of them is taken for the end, and looked at again."""

Moment = TypeVar("Moment", datetime, timedelta)

Span = tuple[datetime, datetime]
"""From a moment on, until another; in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Are windows open now? `until`: when that ends (None = as far as can be foreseen never). `reason` says why they
    are closed, as a sentence; '' while they are open."""

    open: bool
    until: datetime | None = None
    reason: str = ""


def opening(windows: Sequence[Window], now: datetime) -> Opening:
    """Of all these windows together; none = always open."""
    if not windows:
        return Opening(open=True)
    calendars = [calendar for calendar in map(_calendar, windows) if isinstance(calendar, Calendar)]
    now = now.astimezone(UTC)
    current = [span[1] for calendar in calendars if (span := calendar.at(now)) is not None]
    if current:
        return Opening(open=True, until=_closing(calendars, max(current), now))
    following = [
        (span[0], number)
        for number, calendar in enumerate(calendars)
        if (span := next(calendar.after(now), None)) is not None
    ]
    if following:
        begin, number = min(following)
        return Opening(
            open=False,
            until=begin,
            reason=f"the windows are closed, and open at {_text(begin, now, calendars[number])}",
        )
    whys = [_calendar(window) for window in windows]
    reasons = [why if isinstance(why, str) else f"{why.text!r} names no day" for why in whys]
    return Opening(open=False, reason=f"the windows never open: {'; '.join(reasons)}")


def _closing(calendars: list[Calendar], end: datetime, now: datetime) -> datetime | None:
    spans = heapq.merge(*(calendar.after(now) for calendar in calendars))
    for count, (begin, closing) in enumerate(spans):
        if begin > end or count == _MOST_SPANS:
            break
        end = max(end, closing)
        if end - now > _FORESEEN and begin - now > _FORESEEN:
            return None
    return end


def _text(moment: datetime, now: datetime, calendar: Calendar) -> str:
    return clock(moment, now, UTC if calendar.zone.key == "UTC" else calendar.zone)


@lru_cache(maxsize=4096)
def _calendar(window: Window) -> Calendar | str:
    """A window made ready, or why it never opens."""
    if len(window.cron.split()) != 5:
        return f"{window.cron!r} has not five fields"
    if window.duration <= timedelta(0):
        return f"{window.cron!r} opens for no time"
    try:
        zone = ZoneInfo(window.time_zone)
        cron = CronSim(window.cron, datetime(2000, 1, 1))  # noqa: DTZ001  Its fields are read, never its time.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{window.time_zone!r} is no known time zone"
    except CronSimError as error:
        return f"{window.cron!r} names no time ({error})"
    return Calendar(window, cron, zone)


class Calendar:
    """When one window is open."""

    def __init__(self, window: Window, cron: CronSim, zone: ZoneInfo) -> None:
        self.text = window.cron
        self.zone = zone
        self._cron = cron
        self._duration = window.duration
        self._minutes = sorted(60 * hour + minute for hour in cron.hours for minute in cron.minutes)
        self._every_hour = cron.parts[2].startswith("*")
        self._odd: dict[date, list[Span]] = {}
        """Days on which clocks move, already read."""
        self._usual = _merged([timedelta(minutes=minute) for minute in self._minutes], window.duration)
        """From midnight, on a day of 24 hours."""

    def at(self, now: datetime) -> Span | None:
        """The span that holds this moment: with equal durations the last one that began ends last."""
        today = now.astimezone(self.zone).date()
        first = today - min(self._duration, _NEVER) - 2 * _DAY
        for day in self._days(today + _DAY, first):
            for begin, end in reversed(self._spans(day)):
                if begin <= now:
                    return (begin, end) if now < end else None
        return None

    def after(self, now: datetime) -> Iterator[Span]:
        """The spans that begin later, in order."""
        today = now.astimezone(self.zone).date()
        for day in self._days(today - _DAY, today + _NEVER):
            for span in self._spans(day):
                if span[0] > now:
                    yield span

    def _days(self, first: date, last: date) -> Iterator[date]:
        """The days that the cron names, from one to the other, in either direction."""
        step = _DAY if first <= last else -_DAY
        cron, day = self._cron, first
        while (day <= last) if step is _DAY else (day >= last):
            if day.month not in cron.months:
                day = _next_month(day) if step is _DAY else day.replace(day=1) - _DAY
                continue
            if cron.match_day(day):
                yield day
            day += step

    def _spans(self, day: date) -> list[Span]:
        midnight = datetime.combine(day, time())
        night = midnight.replace(hour=23, minute=59, second=59)
        offsets = {
            moment.replace(tzinfo=self.zone, fold=fold).utcoffset() for moment in (midnight, night) for fold in (0, 1)
        }
        if len(offsets) == 1:
            begin = midnight.replace(tzinfo=self.zone).astimezone(UTC)
            return [(begin + start, begin + end) for start, end in self._usual]
        found = self._odd.get(day)
        if found is None:
            begins: set[datetime] = set()
            for minute in self._minutes:
                begins.update(self._moments(midnight + timedelta(minutes=minute)))
            if len(self._odd) == _ODD_DAYS:
                self._odd.clear()
            found = self._odd[day] = _merged(sorted(begins), self._duration)
        return found

    def _moments(self, wall: datetime) -> Iterator[datetime]:
        """The moments at which clocks in the zone show this, or the first one behind it."""
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first <= second:
            yield first
            if first < second and self._every_hour:
                yield second
            return
        # The clocks skip it: `second` lies before the moment at which they do, `first` behind it.
        before, behind = second, first
        offset = behind.astimezone(self.zone).utcoffset()
        while behind - before > _SECOND:
            middle = (before + (behind - before) / 2).replace(microsecond=0)
            if middle.astimezone(self.zone).utcoffset() == offset:
                behind = middle
            else:
                before = middle
        yield behind


def _merged(begins: Sequence[Moment], duration: timedelta) -> list[tuple[Moment, Moment]]:
    """Spans of one duration, those that touch as one."""
    spans: list[tuple[Moment, Moment]] = []
    for begin in begins:
        end = begin + duration
        if spans and begin <= spans[-1][1]:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((begin, end))
    return spans


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
