"""One SQLite file: opened, migrated, shared by threads and processes, and made anew when it is corrupt.

WAL with `synchronous=NORMAL`: a killed process loses nothing that was committed, a power cut at most the last
transactions, and neither ever leaves half of one. WAL needs a local file system.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from image_updater.errors import Where
from image_updater.store.asked import carry_over
from image_updater.store.errors import StateError, StateFailed
from image_updater.store.migrations import APPLICATION_ID, VERSION, migrate, version_of

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows, where two processes must not repair one file at once
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator
    from datetime import datetime

T = TypeVar("T")

BUSY_SECONDS: Final = 15.0
"""How long a writer waits for another process's transaction; ours take milliseconds."""

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Database:
    """A connection that all threads share, one at a time. `path` None is memory only."""

    def __init__(
        self,
        path: pathlib.Path | None,
        *,
        warn: Callable[[str], None],
        clock: Callable[[], datetime],
        busy: float | None = None,
    ) -> None:
        self.path = path
        self.warn = warn
        self._clock = clock
        self._busy = BUSY_SECONDS if busy is None else busy
        self._lock = threading.RLock()
        self._inode: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self.generation = 0
        """Counts the files: whoever remembers row ids forgets them when it moves."""
        with self._translated():
            try:
                self._connection = self._connect()
            except sqlite3.DatabaseError as exc:
                if not _is_corrupt(exc):
                    raise
                self._remake(exc)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection; after a corruption once more, on the new and empty file."""
        with self._lock, self._translated():
            try:
                return work(self._open())
            except sqlite3.DatabaseError as exc:
                if not _is_corrupt(exc):
                    raise
                self._remake(exc)
                return work(self._open())

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction, which other processes' writers wait for."""

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                # A failed COMMIT or a full disk may have rolled back by itself.
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            return result

        return self.read(transaction)

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StateError("the state file is closed", where=self._where())
        if self._connection is None:
            # A repair failed (a full disk, say): whoever comes next tries again.
            self._connection = self._connect()
        return self._connection

    def _where(self) -> Where:
        return Where(file=str(self.path) if self.path else None)

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        else:
            self._prepare(self.path)
            connection = sqlite3.connect(self.path, timeout=self._busy, isolation_level=None, check_same_thread=False)
        try:
            self._identify(connection)
            if self.path is not None:
                self._tune(connection)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        if self.path is not None:
            self._inode = os.stat(self.path).st_ino
        self.generation += 1
        return connection

    def _prepare(self, path: pathlib.Path) -> None:
        """The folder and the file, for the user alone: the names of private images are nobody else's business."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.is_dir():
                raise StateError("is a folder", where=self._where(), remedy="name a file: --state FILE")
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as exc:
            message = f"the state file cannot be opened: {exc.strerror or exc}"
            raise StateError(message, where=self._where(), remedy="choose another place with --state FILE") from exc

    def _identify(self, connection: sqlite3.Connection) -> None:
        """Is this file ours, and not from the future? Nothing is written before that is known."""
        version = version_of(connection)
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        if application != APPLICATION_ID and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise StateError(
                "is a database of another program", where=self._where(), remedy="name another file: --state FILE"
            )
        if version > VERSION:
            raise StateError(
                f"was written by a newer version (schema {version}, this one knows {VERSION})",
                where=self._where(),
                remedy="use that version, or another file: the state is a cache, a new one costs requests only",
            )

    def _tune(self, connection: sqlite3.Connection) -> None:
        # SQLite does not always ask its busy handler when the journal mode changes, so two starts at once wait here.
        deadline = time.monotonic() + self._busy
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute("PRAGMA temp_store = MEMORY")

    def _remake(self, cause: sqlite3.DatabaseError) -> None:
        """Move the corrupt file aside and begin a new one; another process may have done so already."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self.path is None:
            raise StateFailed(f"memory is corrupt: {cause}") from cause
        with _folder_lock(self.path.parent):
            if self._inode is None or _inode(self.path) == self._inode:
                stamp = self._clock().strftime("%Y%m%dT%H%M%S")
                aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
                for count in range(1, 1000):
                    if not aside.exists():
                        break
                    aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{count}")
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
                _keep_newest(aside, f"{self.path.name}.corrupt-")
                self._connection = self._connect()
                carried = carry_over(aside, self._connection)
                asked = f"; what was asked of {carried} policies was carried over" if carried else ""
                if carried is None:
                    asked = "; holds, approvals and denials that were asked through it are lost: ask again"
                self.warn(f"{self.path} is corrupt ({cause}): moved to {aside.name}, begun anew{asked}")
            else:
                self._connection = self._connect()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """sqlite3's errors become ours, here and nowhere else."""
        try:
            yield
        except sqlite3.Error as exc:
            code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
            remedy = {
                sqlite3.SQLITE_FULL: "free some space",
                sqlite3.SQLITE_BUSY: "another process holds the file: wait for it, or use another with --state FILE",
                sqlite3.SQLITE_READONLY: "make it writable, or choose another place with --state FILE",
            }.get(code)
            raise StateFailed(f"the state file failed: {exc}", where=self._where(), remedy=remedy) from exc


def _keep_newest(aside: pathlib.Path, prefix: str) -> None:
    """Only the last corrupt file stays, for who wants to look: a failing disk must not fill up with them."""
    for other in aside.parent.iterdir():
        if other.name.startswith(prefix) and not other.name.startswith(aside.name):
            with contextlib.suppress(OSError):
                other.unlink()


def _is_corrupt(exc: sqlite3.DatabaseError) -> bool:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def _inode(path: pathlib.Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


@contextlib.contextmanager
def _folder_lock(folder: pathlib.Path) -> Iterator[None]:
    """Only one process repairs; the lock is on the folder, so that no lock file stays behind."""
    if fcntl is None:  # pragma: no cover
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
