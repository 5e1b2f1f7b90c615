"""Bounded caches of what is computed from content: renders by closure, facts of files by blob id.

A space is one cache. When it grows over its limit the least recently used go. Reading would make every hit a write:
uses are noted in steps of ten minutes, in memory, and written together with the next change or at the end.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final

from image_updater.store.codec import pack, to_micros, unpack
from image_updater.store.errors import StateFailed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.store.database import Database

DEFAULT_LIMIT: Final = 128 * 1024 * 1024
"""Bytes of a space, as stored (compressed)."""

_STEP: Final = 600 * 1_000_000
"""Microseconds in which all uses count as one."""

_KEEP: Final = 0.9
"""What is left after pruning, so that the next write does not prune again."""

_TOUCHES: Final = 5_000
"""Uses that are held back at most."""


class Blobs:
    """All spaces of one file."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime], limits: Mapping[str, int]) -> None:
        self._database = database
        self._clock = clock
        self._limits = dict(limits)
        self._sizes: dict[str, int] = {}
        self._touched: dict[int, int] = {}
        self._generation = database.generation

    def get(self, space: str, key: str) -> bytes | None:
        sql = "SELECT id, used, data FROM blobs WHERE space = ? AND key = ?"

        def work(connection: sqlite3.Connection) -> tuple[int, int, bytes] | None:
            row = connection.execute(sql, (space, key)).fetchone()
            return (row[0], row[1], unpack(row[2])) if row is not None else None

        found = self._database.read(work)
        if found is None:
            return None
        rowid, used, data = found
        self._touch(rowid, used)
        return data

    def get_many(self, space: str, keys: Iterable[str]) -> dict[str, bytes]:
        wanted = json.dumps(list(keys))
        sql = "SELECT id, used, key, data FROM blobs WHERE space = ? AND key IN (SELECT value FROM json_each(?))"

        def work(connection: sqlite3.Connection) -> list[tuple[int, int, str, bytes]]:
            rows = connection.execute(sql, (space, wanted)).fetchall()
            return [(rowid, used, key, unpack(data)) for rowid, used, key, data in rows]

        found: dict[str, bytes] = {}
        for rowid, used, key, data in self._database.read(work):
            self._touch(rowid, used)
            found[key] = data
        return found

    def put_many(self, space: str, blobs: Mapping[str, bytes]) -> None:
        limit = self._limits.get(space, DEFAULT_LIMIT)
        used = self._now()
        packed = [(key, pack(data)) for key, data in blobs.items()]
        rows = [(space, key, data, len(data), used) for key, data in packed if len(data) <= limit * _KEEP]
        if not rows:
            return

        def work(connection: sqlite3.Connection) -> None:
            self.write_touches(connection)
            connection.executemany(
                "INSERT INTO blobs (space, key, data, size, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT (space, key)"
                " DO UPDATE SET data = excluded.data, size = excluded.size, used = excluded.used",
                rows,
            )
            self._bound(connection, space, limit, added=sum(row[3] for row in rows))

        self._database.write(work)

    def write_touches(self, connection: sqlite3.Connection) -> None:
        """Write the uses that were held back; inside the caller's transaction."""
        self._check_generation()
        touched, self._touched = self._touched, {}
        if touched:
            connection.executemany(
                "UPDATE blobs SET used = ? WHERE id = ?", [(used, rowid) for rowid, used in touched.copy().items()]
            )

    @property
    def has_touches(self) -> bool:
        self._check_generation()
        return bool(self._touched)

    def _touch(self, rowid: int, used: int) -> None:
        now = self._now()
        if used >= now:
            return
        self._check_generation()
        self._touched[rowid] = now
        if len(self._touched) >= _TOUCHES:
            self._database.write(self.write_touches)

    def _bound(self, connection: sqlite3.Connection, space: str, limit: int, *, added: int) -> None:
        """Keep the space below its limit.

        The size is counted once, then carried on: an overcount only counts again earlier.
        """
        known = self._sizes.get(space)
        if known is None or known + added > limit:
            known = self._count(connection, space)
            if known > limit:
                known = self._prune(connection, space, known, int(limit * _KEEP))
        else:
            known += added
        self._sizes[space] = known

    @staticmethod
    def _count(connection: sqlite3.Connection, space: str) -> int:
        return int(
            connection.execute("SELECT coalesce(sum(size), 0) FROM blobs WHERE space = ?", (space,)).fetchone()[0]
        )

    @staticmethod
    def _prune(connection: sqlite3.Connection, space: str, size: int, target: int) -> int:
        """The file keeps its size: the next writes use the pages again."""
        doomed: list[tuple[int]] = []
        for rowid, length in connection.execute(
            "SELECT id, size FROM blobs WHERE space = ? ORDER BY used, id", (space,)
        ):
            if size <= target:
                break
            doomed.append((rowid,))
            size -= length
        connection.executemany("DELETE FROM blobs WHERE id = ?", doomed)
        return size

    def _now(self) -> int:
        return to_micros(self._clock()) // _STEP

    def _check_generation(self) -> None:
        if self._generation != self._database.generation:
            self._generation = self._database.generation
            self._touched.clear()
            self._sizes.clear()


class BlobCache:
    """One space with `get` and `put`, as the scan and the render caches want it. Thread-safe.

    Writes are gathered: `flush` ends a batch. A batch that cannot be written (a full disk) is dropped with a warning:
    what is in it can be made again, so it must not fail the work that made it.
    """

    def __init__(self, blobs: Blobs, space: str, *, batch: int = 256, warn: Callable[[str], None]) -> None:
        self._blobs = blobs
        self._space = space
        self._batch = batch
        self._warn = warn
        self._lock = threading.Lock()
        self._fresh: dict[str, bytes] = {}
        self._ahead: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        found = self._fresh.get(key)
        if found is None:
            found = self._ahead.pop(key, None)
        return found if found is not None else self._blobs.get(self._space, key)

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._fresh[key] = data
            full = len(self._fresh) >= self._batch
        if full:
            self.flush()

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read many at once; each is handed out by the next `get`."""
        self._ahead.update(self._blobs.get_many(self._space, keys))

    def flush(self) -> None:
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        if fresh:
            try:
                self._blobs.put_many(self._space, fresh)
            except StateFailed as exc:
                self._warn(f"{exc}: {len(fresh)} {self._space} are not kept")
