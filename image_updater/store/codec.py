"""Values as they lie in the file: compressed bodies, and mappings that are decoded when somebody looks at them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from image_updater.store.errors import StateFailed

V = TypeVar("V")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_RAW: Final = b"\0"
_ZLIB: Final = b"\1"

_WORTH: Final = 200
"""Bytes below which compressing costs more than it saves."""


class Damaged(sqlite3.DatabaseError):
    """A stored value is not what was stored: SQLite has no checksums. To the database it is any other corruption."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except (zlib.error, ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise Damaged("a stored value cannot be decoded") from exc


def pack(data: bytes) -> bytes:
    """Compressed where that helps. Level 1: half the size of most text at a tenth of the time of the default."""
    if len(data) > _WORTH:
        packed = zlib.compress(data, 1)
        if len(packed) < len(data):
            return _ZLIB + packed
    return _RAW + data


def unpack(data: bytes) -> bytes:
    """Raises Damaged, as all that decodes here."""
    with _decoding():
        return zlib.decompress(memoryview(data)[1:]) if data[:1] == _ZLIB else data[1:]


def pack_words(words: Iterable[str]) -> bytes:
    """Strings one a line; as JSON where one of them has a line break (no legal tag has)."""
    listed = list(words)
    text = "\n".join(listed)
    if text.count("\n") != max(len(listed) - 1, 0):
        return pack(b"J" + json.dumps(listed).encode())
    return pack(b"L" + text.encode("utf-8", "surrogatepass") if listed else b"")


def unpack_words(data: bytes) -> list[str]:
    body = unpack(data)
    if not body:
        return []
    with _decoding():
        if body[:1] == b"J":
            return [str(word) for word in json.loads(body[1:])]
        return body[1:].decode("utf-8", "surrogatepass").split("\n")


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970; a naive time would be somebody's local one and is refused (ValueError)."""
    if moment.tzinfo is None:
        raise ValueError("times in the store have a time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def pack_dates(dates: Mapping[str, datetime]) -> bytes | None:
    if not dates:
        return None
    return pack(json.dumps({key: to_micros(moment) for key, moment in dates.items()}, separators=(",", ":")).encode())


def unpack_dates(data: bytes) -> dict[str, datetime]:
    with _decoding():
        return {key: from_micros(value) for key, value in json.loads(unpack(data)).items()}


def pack_strings(values: Mapping[str, str]) -> bytes | None:
    return pack(json.dumps(dict(values), separators=(",", ":")).encode()) if values else None


def unpack_strings(data: bytes) -> dict[str, str]:
    with _decoding():
        return {str(key): str(value) for key, value in json.loads(unpack(data)).items()}


def pack_fact(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"))


def unpack_fact(text: str) -> dict[str, Any]:
    with _decoding():
        return dict(json.loads(text))


class Moments(Mapping[str, datetime]):
    """Times as they are kept, each read when it is asked for: of very many, mostly few are."""

    __slots__ = ("_micros",)

    def __init__(self, micros: Mapping[str, int]) -> None:
        self._micros = micros

    def __getitem__(self, key: str) -> datetime:
        return from_micros(self._micros[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._micros)

    def __len__(self) -> int:
        return len(self._micros)


class Lazy(Mapping[str, V], Generic[V]):
    """A mapping that is decoded at the first look: most scans never ask for the dates of 50,000 tags."""

    __slots__ = ("_data", "_decode", "_values")

    def __init__(self, data: bytes | None, decode: Callable[[bytes], dict[str, V]]) -> None:
        self._data = data
        self._decode = decode
        self._values: dict[str, V] | None = None if data is not None else {}

    def _load(self) -> dict[str, V]:
        values = self._values
        if values is None:
            assert self._data is not None
            try:
                values = self._values = self._decode(self._data)
            except Damaged as exc:
                raise StateFailed(f"the state file failed: {exc}", remedy="remove it: it is a cache") from exc
            self._data = None
        return values

    def __getitem__(self, key: str) -> V:
        return self._load()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __eq__(self, other: object) -> bool:
        return dict(self._load()) == dict(other) if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Lazy({self._values if self._values is not None else '…'})"
