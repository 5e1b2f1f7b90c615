"""A stream of bytes to lines, without a copy more than needed and without trust in their length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one watch event. etcd holds objects of 1.5 MiB; the JSON of one is at most a few times that."""


class Lines:
    """Feed chunks as they come; whole lines come out, without their ends."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises ClusterError for a line beyond the limit."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end]
            self._check(len(line))
            if self._parts:
                line = b"".join((*self._parts, line))
                self._parts.clear()
                self._size = 0
            start = end + 1
            if line.strip():
                yield line
        rest = chunk[start:]
        if rest:
            self._check(len(rest))
            self._parts.append(rest)
            self._size += len(rest)

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise ClusterError(f"an event of a watch is larger than {self._limit:,} bytes: it was not read")
