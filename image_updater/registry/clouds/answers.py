"""What the cloud logins share: how they ask, and how an answer that is none becomes an error without secrets in it."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from image_updater.registry.errors import AuthenticationFailed, InvalidAnswer, RegistryUnavailable
from image_updater.registry.http import Answer
from image_updater.registry.manifests import rfc3339
from image_updater.registry.tokens import words

Fetch = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[Answer]]
"""method, URL, headers, body → answer."""

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_MAX_FILE = 64 * 1024


def expect(answer: Answer, who: str, secrets: tuple[str, ...] = ()) -> bytes:
    """The body of a good answer. Raises RegistryUnavailable (5xx, 429), AuthenticationFailed (other)."""
    if answer.status == 200:
        return answer.body
    if answer.status >= 500 or answer.status == 429:
        raise RegistryUnavailable(f"{who} answers {answer.status}")
    said = words(answer.body, secrets)
    raise AuthenticationFailed(
        f"{who} refuses the login ({answer.status})" + (f": {said}" if said else ""),
        remedy="check the identity of the pod or machine, and spec.provider",
    )


def read_object(answer: Answer, who: str, secrets: tuple[str, ...] = ()) -> Mapping[str, object]:
    body = expect(answer, who, secrets)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"{who} does not answer in JSON") from None
    if not isinstance(value, dict):
        raise InvalidAnswer(f"{who} does not answer with a JSON object")
    return value


def text(value: Mapping[str, object], key: str, who: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise InvalidAnswer(f"{who} answers without `{key}`")
    return found


def seconds(value: object) -> float | None:
    """A number of seconds, written as number or text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def when(value: object) -> datetime | None:
    """A date as RFC 3339 or as seconds since 1970."""
    if isinstance(value, str) and (date := rfc3339(value)):
        return date
    number = seconds(value)
    try:
        return datetime.fromtimestamp(number, UTC) if number is not None else None
    except (OverflowError, ValueError, OSError):
        return None


def read_file(path: str, what: str) -> str:
    """A small file that the environment names (projected tokens are replaced from time to time: read each time)."""
    try:
        with pathlib.Path(path).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        return data[:_MAX_FILE].decode().strip()
    except OSError as error:
        raise AuthenticationFailed(f"{what} cannot be read: {error.strerror}", remedy=f"see {path}") from None
    except UnicodeDecodeError:
        raise AuthenticationFailed(f"{what} is not text", remedy=f"see {path}") from None
