"""Windows against clocks: cron, zones, daylight saving; and against a scan of every minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.api.model import Window
from image_updater.policy.gates.windows import Opening, opening

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def window(cron: str, duration: timedelta = HOUR, zone: str = "UTC") -> Window:
    return Window(cron=cron, duration=duration, time_zone=zone)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def state(now: str, *windows: Window) -> tuple[bool, datetime | None]:
    found = opening(windows, moment(now))
    assert bool(found.reason) is not found.open
    return found.open, found.until


def test_without_windows_it_is_always_open() -> None:
    assert opening((), moment("2026-11-25T12:00Z")) == Opening(open=True)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-25T08:59:59+01:00", (False, "2026-11-25T09:00+01:00")),
        ("2026-11-25T09:00+01:00", (True, "2026-11-25T17:00+01:00")),
        ("2026-11-25T16:59:59+01:00", (True, "2026-11-25T17:00+01:00")),
        ("2026-11-25T17:00+01:00", (False, "2026-11-26T09:00+01:00")),
        ("2026-11-27T18:00+01:00", (False, "2026-11-30T09:00+01:00")),
        ("2026-03-27T17:00+01:00", (False, "2026-03-30T09:00+02:00")),
    ],
    ids=["before", "first moment", "last moment", "end", "weekend", "over the change of clocks"],
)
def test_an_office_day(now: str, expected: tuple[bool, str]) -> None:
    assert state(now, window("0 9 * * 1-5", 8 * HOUR, "Europe/Berlin")) == (expected[0], moment(expected[1]))


@pytest.mark.parametrize(
    ("cron", "duration", "now", "expected"),
    [
        # Berlin, 2026-03-29: 02:00 to 03:00 does not exist. A start there opens when the clocks have moved on.
        ("30 2 * * *", HOUR, "2026-03-29T01:59+01:00", (False, "2026-03-29T03:00+02:00")),
        ("30 2 * * *", HOUR, "2026-03-29T03:00+02:00", (True, "2026-03-29T04:00+02:00")),
        ("0,30 2 * * *", HOUR, "2026-03-29T03:30+02:00", (True, "2026-03-29T04:00+02:00")),
        # A duration is elapsed time: 8 hours from 23:00 end an hour later by the clocks.
        ("0 23 * * *", 8 * HOUR, "2026-03-29T07:59+02:00", (True, "2026-03-29T08:00+02:00")),
        ("0 23 * * *", 8 * HOUR, "2026-03-29T08:00+02:00", (False, "2026-03-29T23:00+02:00")),
        # 2026-10-25: 02:00 to 03:00 exists twice. A named hour opens once, at the first.
        ("30 2 * * *", timedelta(minutes=15), "2026-10-25T02:00+02:00", (False, "2026-10-25T02:30+02:00")),
        ("30 2 * * *", timedelta(minutes=15), "2026-10-25T02:30+02:00", (True, "2026-10-25T02:45+02:00")),
        ("30 2 * * *", timedelta(minutes=15), "2026-10-25T02:30+01:00", (False, "2026-10-26T02:30+01:00")),
        ("* 2 * * *", MINUTE, "2026-10-25T02:59+02:00", (True, "2026-10-25T02:00+01:00")),
        ("* 2 * * *", MINUTE, "2026-10-25T02:00+01:00", (False, "2026-10-26T02:00+01:00")),
        # … and every hour means every hour.
        ("30 * * * *", timedelta(minutes=15), "2026-10-25T02:00+01:00", (False, "2026-10-25T02:30+01:00")),
        ("0 * * * *", HOUR, "2026-10-25T02:10+01:00", (True, None)),
        ("0 23 * * *", 8 * HOUR, "2026-10-25T05:59+01:00", (True, "2026-10-25T06:00+01:00")),
    ],
)
def test_daylight_saving(cron: str, duration: timedelta, now: str, expected: tuple[bool, str | None]) -> None:
    until = None if expected[1] is None else moment(expected[1])
    assert state(now, window(cron, duration, "Europe/Berlin")) == (expected[0], until)


def test_a_day_that_a_zone_skipped_opens_at_the_first_moment_behind_it() -> None:
    # Samoa went from Thursday, 29 December 2011 to Saturday.
    friday = window("0 9 30 12 *", HOUR, "Pacific/Apia")
    assert state("2011-12-30T09:59:59Z", friday) == (False, moment("2011-12-31T00:00+14:00"))
    assert state("2011-12-30T10:00:00Z", friday) == (True, moment("2011-12-31T01:00+14:00"))


def test_an_hour_that_a_zone_moves_by_half() -> None:
    # Lord Howe Island moves its clocks by 30 minutes: 02:00 to 02:30 does not exist.
    skipped = window("15 2 * * *", HOUR, "Australia/Lord_Howe")
    assert state("2026-10-04T01:59+10:30", skipped) == (False, moment("2026-10-04T02:30+11:00"))


def test_windows_that_overlap_are_one() -> None:
    two = window("0 8 * * *", 4 * HOUR), window("0 11 * * *", 2 * HOUR)
    assert state("2026-11-25T08:00Z", *two) == (True, moment("2026-11-25T13:00Z"))
    assert state("2026-11-25T13:00Z", *two) == (False, moment("2026-11-26T08:00Z"))


def test_windows_that_touch_are_one() -> None:
    two = window("0 8 * * *", HOUR), window("0 10 * * *", HOUR, "Europe/Berlin")
    assert state("2026-11-25T08:30Z", *two) == (True, moment("2026-11-25T10:00Z"))


def test_windows_of_two_zones_that_leave_no_gap_never_close() -> None:
    day, night = window("0 6 * * *", 12 * HOUR), window("0 18 * * *", 12 * HOUR)
    assert state("2026-11-25T12:00Z", day, night) == (True, None)


def test_a_window_that_is_longer_than_its_period_never_closes() -> None:
    assert state("2026-11-25T12:34Z", window("0 9 * * *", 25 * HOUR)) == (True, None)
    assert state("2026-11-25T12:34Z", window("* * * * *", MINUTE)) == (True, None)
    assert state("2026-11-25T12:34Z", window("0 0 1 1 *", timedelta(days=380))) == (True, None)


def test_a_long_window_closes_where_its_period_has_a_gap() -> None:
    # Every working day for 30 hours: one stretch a week, from Monday to Saturday.
    long = window("0 9 * * 1-5", 30 * HOUR)
    assert state("2026-11-23T10:00Z", long) == (True, moment("2026-11-28T15:00Z"))
    assert state("2026-11-28T15:00Z", long) == (False, moment("2026-11-30T09:00Z"))


def test_the_last_day_of_february_in_leap_years() -> None:
    leap = window("0 0 29 2 *", 24 * HOUR)
    assert state("2026-11-25T12:00Z", leap) == (False, moment("2028-02-29T00:00Z"))
    assert state("2096-03-01T00:00Z", leap) == (False, moment("2104-02-29T00:00Z"))
    # 50 years long, it is still open from the last one.
    assert state("2026-11-25T12:00Z", window("0 0 29 2 *", timedelta(days=1200)))[0] is True


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (window("0 0 30 2 *"), "'0 0 30 2 *' names no time (Bad day-of-month)"),
        (window("0 0 */31 2 MON#5"), "'0 0 */31 2 MON#5' names no day"),
        (window("0 0 1 1"), "'0 0 1 1' has not five fields"),
        (window("0 0 0 1 1 *"), "'0 0 0 1 1 *' has not five fields"),
        (window("60 0 * * *"), "'60 0 * * *' names no time (Bad minute)"),
        (window("0 0 * * *", timedelta(0)), "'0 0 * * *' opens for no time"),
        (window("0 0 * * *", HOUR, "Europe/Atlantis"), "'Europe/Atlantis' is no known time zone"),
        (window("0 0 * * *", HOUR, "../etc/passwd"), "'../etc/passwd' is no known time zone"),
        (window("0 0 * * *", HOUR, "Europe"), "'Europe' is no known time zone"),
    ],
)
def test_a_window_that_never_opens_says_why(broken: Window, why: str) -> None:
    found = opening((broken,), moment("2026-11-25T12:00Z"))
    assert found == Opening(open=False, until=None, reason=f"the windows never open: {why}")
    # Another one still opens.
    assert state("2026-11-25T12:00Z", broken, window("0 12 * * *")) == (True, moment("2026-11-25T13:00Z"))


def test_days_of_month_and_of_week_count_as_cron_has_it() -> None:
    either = window("0 0 13 * 5", 24 * HOUR)
    both = window("0 0 */13 * 5", 24 * HOUR)  # begins with `*`: the 1st, 14th and 27th that are Fridays
    assert state("2026-11-12T00:00Z", either) == (False, moment("2026-11-13T00:00Z"))
    assert state("2026-11-15T00:00Z", either) == (False, moment("2026-11-20T00:00Z"))
    assert state("2026-11-12T00:00Z", both) == (False, moment("2026-11-27T00:00Z"))


# ------------------------------------------------------------------------------------------------- a scan of minutes

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu"]
"""Havana moves its clocks at midnight, Lord Howe by half an hour."""
WEEKENDS = {
    "UTC": ["2026-03-28", "2026-10-24"],
    "Europe/Berlin": ["2026-03-28", "2026-10-24"],
    "America/New_York": ["2026-03-07", "2026-10-31"],
    "Australia/Lord_Howe": ["2026-10-03", "2026-04-04"],
    "America/Havana": ["2026-03-07", "2026-10-31"],
    "Asia/Kathmandu": ["2026-05-01"],
}


def starts(cron: str, zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[datetime]:
    """By reading every minute of UTC: the clock shows a named minute, or has just skipped one."""
    fields = CronSim(cron, datetime(2000, 1, 1))  # noqa: DTZ001

    def named(wall: datetime) -> bool:
        return (
            wall.minute in fields.minutes
            and wall.hour in fields.hours
            and wall.month in fields.months
            and fields.match_day(wall.date())
        )

    every_hour = cron.split()[1].startswith("*")
    shown: set[datetime] = set()
    now = first - 3 * HOUR
    before = (now - MINUTE).astimezone(zone).replace(tzinfo=None)
    while now <= last:
        wall = now.astimezone(zone).replace(tzinfo=None)
        skipped = [before + MINUTE * n for n in range(1, max(1, (wall - before) // MINUTE))]
        if any(map(named, skipped)) or (named(wall) and (every_hour or wall not in shown)):
            yield now
        shown.add(wall)
        before = max(wall, before) if not every_hour else wall
        now += MINUTE


_field = st.sampled_from
_cron = st.builds(
    lambda *fields: " ".join(fields),
    _field(["0", "30", "*/20", "5,35", "*", "59"]),
    _field(["0", "1", "2", "3", "*", "*/2", "1-3", "23", "2,14"]),
    _field(["*", "*", "*", "29", "1"]),
    _field(["*", "*", "3,4,10,11"]),
    _field(["*", "*", "0", "6,0"]),
)
_durations = st.sampled_from([1, 15, 30, 60, 61, 120, 600, 1500]).map(lambda minutes: MINUTE * minutes)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(ZONES), st.lists(st.tuples(_cron, _durations), min_size=1, max_size=2))
def test_windows_are_open_when_a_scan_of_minutes_says_so(data, zone, specs) -> None:  # type: ignore[no-untyped-def]
    begin = datetime.fromisoformat(data.draw(st.sampled_from(WEEKENDS[zone]))).replace(tzinfo=UTC)
    end = begin + timedelta(hours=60)
    windows = tuple(window(cron, duration, zone) for cron, duration in specs)
    open_minutes: set[datetime] = set()
    for cron, duration in specs:
        for start in starts(cron, ZoneInfo(zone), begin - duration, end):
            open_minutes.update(start + MINUTE * n for n in range(duration // MINUTE))
    minutes = [begin + MINUTE * n for n in range(60 * 60)]
    expected = [minute in open_minutes for minute in minutes]
    for index in data.draw(st.lists(st.integers(0, len(minutes) - 1), min_size=1, max_size=25)):
        now = minutes[index]
        found = opening(windows, now)
        assert found.open is expected[index], now
        change = next((n for n in range(index, len(minutes)) if expected[n] is not found.open), None)
        if change is not None:
            assert found.until == minutes[change], now
        else:
            assert found.until is None or found.until >= end
