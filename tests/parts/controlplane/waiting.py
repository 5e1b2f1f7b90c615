"""Polling for what a controller does in its own time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tests.parts.tools import PartFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(condition: Callable[[], T | None], timeout: float = 30.0, what: str = "", pause: float = 0.02) -> T:
    """The first truthy answer of `condition`, asked every `pause` seconds.

    An AssertionError of the condition means "not yet". The failure says `what` was waited for and the last answer.
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            answer = condition()
        except PartFailedError:
            raise
        except AssertionError as exc:
            last = exc
        else:
            if answer:
                return answer
            last = answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; last answer: {last!r}")
        time.sleep(pause)
