from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400),
        ("100ms", 0.1),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("0", 0),
        ("0s", 0),
        ("-5m", -300),
        ("+5m", 300),
        ("72h", 259200),
        ("1m30s", 90),
        ("500us", 0.0005),
        ("500µs", 0.0005),
        ("1500ns", 0.000002),
        ("1h1h", 7200),
    ],
)
def test_a_duration_reads_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a duration"),
        ("5", "has a number without a unit"),
        ("1h5", "has a number without a unit"),
        ("5d", "has the unknown unit 'd'"),
        ("5 m", "has the unknown unit ' m'"),
        ("m", "is not a duration"),
        ("-", "is not a duration"),
        ("1h ", "is not a duration"),
        ("five", "is not a duration"),
        ("3000000h", "is longer than 292 years"),
        ("1" * 70 + "ns", "is too long for a duration"),
        ("٣m", "is not a duration"),
    ],
)
def test_what_is_no_duration_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(days=-30_000), max_value=timedelta(days=30_000)))
def test_a_formatted_duration_parses_back(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=1, minutes=30), "1h30m"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(milliseconds=100), "100ms"),
        (timedelta(hours=72), "72h"),
    ],
)
def test_a_duration_is_written_in_its_shortest_form(value: timedelta, text: str) -> None:
    assert format_duration(value) == text
