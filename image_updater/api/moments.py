"""RFC 3339 moments, read strictly (`datetime.fromisoformat` takes far more) and written in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))\Z", re.ASCII
)


def parse_rfc3339(text: str) -> datetime:
    """`2024-05-01T12:00:00Z` as an aware UTC value; digits below a microsecond are dropped. Raises ValueError."""
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2024-05-01T12:00:00Z")
    date, minutes, seconds, fraction, sign, hours, offset = match.groups()
    # A leap second (:60) is a legal RFC 3339 second that Python does not have.
    leap = seconds == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{minutes}:{'59' if leap else seconds}")
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from error
    shift = timedelta(0)
    if sign:
        if int(hours) > 23 or int(offset) > 59:
            raise ValueError(f"{text!r} is not a time: its offset is out of range")
        shift = timedelta(hours=int(hours), minutes=int(offset)) * (1 if sign == "+" else -1)
    try:
        moment += timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")), seconds=1 if leap else 0)
        return (moment - shift).replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def moment_of(value: Any) -> datetime | None:
    """A time that somebody else wrote; None where it is none."""
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except ValueError:
        return None


def format_rfc3339(moment: datetime) -> str:
    """In UTC, whole seconds: `2024-05-01T12:00:00Z`. The value must have a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment has a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_rfc3339(moment: datetime) -> str:
    """The same to the microsecond, where there are any: two wishes of one second are two."""
    text = format_rfc3339(moment)
    return f"{text[:-1]}.{moment.microsecond:06d}Z" if moment.microsecond else text
