"""What was seen, kept between runs: tag lists, first-seen times, facts, decisions, judged tips, content caches.

What was seen is a cache: losing it costs requests, never correctness. What people asked (`save_wish`) is not, and is
carried over from a file that is corrupt where it can still be read. Everything from a registry is kept by repository
*and* credential identity. All calls are short and safe from any thread; several processes may share one file.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from image_updater.store import aging, asked, history, milestones
from image_updater.store.blobs import BlobCache, Blobs
from image_updater.store.codec import (
    Lazy,
    Moments,
    from_micros,
    pack_dates,
    pack_fact,
    pack_strings,
    pack_words,
    to_micros,
    unpack_dates,
    unpack_fact,
    unpack_strings,
    unpack_words,
)
from image_updater.store.database import Database
from image_updater.store.errors import StateFailed
from image_updater.store.model import Decision, StoredTags

if TYPE_CHECKING:
    import pathlib
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from image_updater.api.wishes import Wish, Wishes
    from image_updater.policy.situation import Proven
    from image_updater.store.model import Milestone, Stage, TagHistory

DECISIONS_KEPT: Final = 100
"""Decisions of one policy that are kept."""

_UPSERT_LIST: Final = (
    "INSERT INTO lists (scope, fingerprint, scanned_at, first_complete_at) VALUES (?, ?, ?, ?) ON CONFLICT (scope)"
    " DO UPDATE SET fingerprint = excluded.fingerprint, scanned_at = excluded.scanned_at"
)


_AMONG: Final = "IN (SELECT value FROM json_each(?))"
"""A list of any length as one parameter."""

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, ...]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """The state file. `Store.open(None)` keeps it in memory."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._scanned: dict[tuple[str, str], int] = {}
        """Scan times of unchanged lists, written with the next change or at the end."""

    @classmethod
    def open(
        cls,
        path: pathlib.Path | None,
        *,
        warn: Callable[[str], None] | None = None,
        clock: Callable[[], datetime] = _utc_now,
        limits: Mapping[str, int] | None = None,
    ) -> Store:
        """Open or make the file, bring its schema up to date. `limits` bounds blob spaces (bytes).

        A corrupt file is moved aside, said through `warn` (default: the log). Raises StateError, StateFailed.
        """
        database = Database(path, warn=warn or logging.getLogger(__name__).warning, clock=clock)
        return cls(database, Blobs(database, clock=clock, limits=limits or {}))

    @property
    def path(self) -> pathlib.Path | None:
        return self._database.path

    def close(self) -> None:
        """Write what was held back (a warning where that fails), and close. Closing twice is fine."""
        if self._database.closed:
            return
        try:
            self.flush()
        except StateFailed as exc:
            self._database.warn(str(exc))
        finally:
            self._database.close()

    def flush(self) -> None:
        """Write what was held back (times of unchanged scans, uses of blobs)."""
        if self._scanned or self._blobs.has_touches:
            self._write(lambda connection: None)

    def forget_unused(self, now: datetime) -> None:
        """Forget the lists, and all that is kept beside them, that nobody has asked for in half a year."""
        try:
            self._write(lambda connection: aging.forget(connection, to_micros(now - aging.UNUSED)))
        except StateFailed as exc:
            self._database.warn(str(exc))

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------- tag lists

    def load_tags(self, repository: str, identity: str) -> StoredTags | None:
        """The last complete list, or None."""
        sql = (
            "SELECT fingerprint, scanned_at, first_complete_at, tags, pushed, digests"
            " FROM lists JOIN bodies USING (scope) WHERE scope = ?"
        )

        def work(connection: sqlite3.Connection, scope: int) -> tuple[Any, ...] | None:
            row = connection.execute(sql, (scope,)).fetchone()
            return (*row[:3], tuple(unpack_words(row[3])), *row[4:]) if row is not None else None

        row = self._read(repository, identity, work, None)
        if row is None:
            return None
        fingerprint, scanned_at, first, tags, pushed, digests = row
        return StoredTags(
            tags=tags,
            fingerprint=fingerprint,
            scanned_at=from_micros(max(scanned_at, self._scanned.get((repository, identity), 0))),
            first_complete_at=from_micros(first),
            pushed=Lazy(pushed, unpack_dates),
            digests=Lazy(digests, unpack_strings),
        )

    def save_tags(self, repository: str, identity: str, tags: StoredTags) -> bool:
        """Keep a complete list; False when the very same is there already, which writes nothing but (later) its
        time.
        """
        scanned_at = to_micros(tags.scanned_at)
        sql = "SELECT fingerprint FROM lists WHERE scope = ?"
        row = self._read(repository, identity, lambda c, scope: c.execute(sql, (scope,)).fetchone(), None)
        if row is not None and row[0] == tags.fingerprint != "":
            self._scanned[repository, identity] = scanned_at
            return False
        body = (pack_words(tags.tags), pack_dates(tags.pushed), pack_strings(tags.digests))
        first = to_micros(tags.first_complete_at) if tags.first_complete_at is not None else scanned_at

        def work(connection: sqlite3.Connection) -> None:
            number = self._make_scope(connection, repository, identity)
            connection.execute(_UPSERT_LIST, (number, tags.fingerprint, scanned_at, first))
            connection.execute(
                "INSERT OR REPLACE INTO bodies (scope, tags, pushed, digests) VALUES (?, ?, ?, ?)", (number, *body)
            )

        self._write(work)
        return True

    # ------------------------------------------------------------------------------------------- first seen

    def first_seen(self, repository: str, identity: str, keys: Iterable[str] | None = None) -> Mapping[str, datetime]:
        """When each key (a tag, or `tag@digest`), or each of these, was first seen. Keys of the first complete listing
        are not in it.
        """
        sql, narrow = "SELECT key, at FROM seen WHERE scope = ?", f" AND key {_AMONG}"
        rows: Rows = self._read(repository, identity, lambda c, scope: _select(c, sql, scope, narrow, keys), [])
        return Moments(dict(rows))

    def note_seen(self, repository: str, identity: str, tags: Iterable[str], now: datetime) -> tuple[str, ...]:
        """Date the keys of a *complete* listing that are new; the first listing dates none. Returns the newly dated."""
        keys = tuple(dict.fromkeys(tags))
        at = to_micros(now)
        if self._read(repository, identity, lambda c, scope: _unseen(c, scope, keys), None) == ():
            return ()

        def work(connection: sqlite3.Connection) -> tuple[str, ...]:
            number = self._make_scope(connection, repository, identity)
            fresh = _unseen(connection, number, keys)
            if fresh is None:
                row = (number, pack_words(sorted(keys)), at)
                connection.execute("INSERT INTO baselines (scope, keys, at) VALUES (?, ?, ?)", row)
                return ()
            connection.executemany(
                "INSERT OR IGNORE INTO seen (scope, key, at) VALUES (?, ?, ?)", [(number, key, at) for key in fresh]
            )
            return fresh

        return self._write(work)

    def date_seen(self, repository: str, identity: str, dates: Mapping[str, datetime]) -> None:
        """Date keys one by one, beside any listing; of two dates the earlier counts."""
        if not dates:
            return
        sql = (
            "INSERT INTO seen (scope, key, at) VALUES (?, ?, ?)"
            " ON CONFLICT (scope, key) DO UPDATE SET at = min(at, excluded.at)"
        )

        def work(connection: sqlite3.Connection) -> None:
            number = self._make_scope(connection, repository, identity)
            connection.executemany(sql, [(number, key, to_micros(at)) for key, at in dates.items()])

        self._write(work)

    # ------------------------------------------------------------------------------------------------ facts

    def facts(
        self, repository: str, identity: str, digests: Iterable[str] | None = None
    ) -> Mapping[str, dict[str, Any]]:
        """What is known of these digests (all of them with None); unknown ones are not in it."""
        sql, narrow = "SELECT digest, body FROM facts WHERE scope = ?", f" AND digest {_AMONG}"

        def work(connection: sqlite3.Connection, scope: int) -> dict[str, dict[str, Any]]:
            rows = _select(connection, sql, scope, narrow, digests)
            return {digest: unpack_fact(body) for digest, body in rows}

        return self._read(repository, identity, work, {})

    def save_facts(self, repository: str, identity: str, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep facts by digest, for ever (bytes do not change).

        Values must be JSON; times are the caller's to write.
        """
        if not facts:
            return
        rows = [(digest, pack_fact(body)) for digest, body in facts.items()]

        def work(connection: sqlite3.Connection) -> None:
            number = self._make_scope(connection, repository, identity)
            connection.executemany(
                "INSERT OR REPLACE INTO facts (scope, digest, body) VALUES (?, ?, ?)", [(number, *row) for row in rows]
            )

        self._write(work)

    def tag_digests(self, repository: str, identity: str, tags: Iterable[str] | None = None) -> Mapping[str, str]:
        """The digest that each tag was last seen with."""
        sql, narrow = "SELECT tag, digest FROM tag_digests WHERE scope = ?", f" AND tag {_AMONG}"
        rows: Rows = self._read(repository, identity, lambda c, scope: _select(c, sql, scope, narrow, tags), [])
        return dict(rows)

    def save_tag_digests(self, repository: str, identity: str, digests: Mapping[str, str]) -> None:
        """Keep or move the digests of these tags; others stay as they are."""
        known = self.tag_digests(repository, identity, digests)
        changed = [(tag, digest) for tag, digest in digests.items() if known.get(tag) != digest]
        if not changed:
            return

        def work(connection: sqlite3.Connection) -> None:
            number = self._make_scope(connection, repository, identity)
            connection.executemany(
                "INSERT OR REPLACE INTO tag_digests (scope, tag, digest) VALUES (?, ?, ?)",
                [(number, *row) for row in changed],
            )

        self._write(work)

    # ---------------------------------------------------------------------------------- decisions and tips

    def save_decision(self, policy: str, tag: str | None, digest: str | None, reason: str, now: datetime) -> bool:
        """Note what a policy chose; False when that is what it chose before (nothing is written)."""
        at = to_micros(now)
        latest = "SELECT tag, digest, reason FROM decisions WHERE policy = ? ORDER BY id DESC LIMIT 1"
        if self._database.read(lambda c: c.execute(latest, (policy,)).fetchone()) == (tag, digest, reason):
            return False

        def work(connection: sqlite3.Connection) -> None:
            row = (policy, tag, digest, reason, at)
            connection.execute("INSERT INTO decisions (policy, tag, digest, reason, at) VALUES (?, ?, ?, ?, ?)", row)
            connection.execute(
                "DELETE FROM decisions WHERE policy = ? AND id <="
                " (SELECT id FROM decisions WHERE policy = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (policy, policy, DECISIONS_KEPT),
            )

        self._write(work)
        return True

    def decisions(self, policy: str) -> tuple[Decision, ...]:
        """The last decisions of a policy, the newest first."""
        sql = "SELECT policy, tag, digest, reason, at FROM decisions WHERE policy = ? ORDER BY id DESC"
        rows = self._database.read(lambda c: c.execute(sql, (policy,)).fetchall())
        return tuple(Decision(policy=p, tag=t, digest=d, reason=r, at=from_micros(at)) for p, t, d, r, at in rows)

    # ---------------------------------------------------------------------------- what people ask, what became of it

    def wishes(self, policy: str) -> Wishes:
        """What was asked of a policy (`namespace/name`) through this file."""
        return self._database.read(lambda connection: asked.read(connection, policy))

    def all_wishes(self) -> Mapping[str, Wishes]:
        """Of every policy of which something was asked."""
        return self._database.read(asked.read_all)

    def policies(self) -> tuple[str, ...]:
        """Policies of which anything is kept: decisions, wishes, milestones."""
        sql = "SELECT policy FROM decisions UNION SELECT policy FROM wishes UNION SELECT policy FROM milestones"
        return self._database.read(lambda c: tuple(str(row[0]) for row in c.execute(f"{sql} ORDER BY policy")))

    def save_wish(self, policy: str, new: Wish, now: datetime) -> Wishes:
        """One wish more; the wishes as they are then."""
        return self._write(lambda connection: asked.save(connection, policy, new, now))

    def wishes_version(self) -> int:
        """Another one after each wish, whichever process saved it: one cheap look."""
        return self._database.read(asked.version)

    def note_milestone(
        self,
        policy: str,
        environment: str,
        tag: str,
        digest: str | None,
        stage: Stage,
        at: datetime,
        *,
        revision: str | None = None,
        commit: str | None = None,
    ) -> bool:
        """A tag has come so far; False when that is known (nothing is written). `environment` is the Kustomization, or
        "" for what comes before a tag is applied.
        """

        def work(connection: sqlite3.Connection) -> bool:
            return milestones.note(
                connection, policy, environment, tag, digest, stage, at, revision=revision, commit=commit
            )

        return self._write(work)

    def milestones(self, policy: str) -> tuple[Milestone, ...]:
        """A row for each tag and environment, what happened last first."""
        return self._database.read(lambda connection: milestones.read(connection, policy))

    def proven(self, policy: str) -> tuple[Proven, ...]:
        """The last proven first; those that failed later are marked."""
        return milestones.proven(self.milestones(policy))

    def tag_history(self, repository: str) -> TagHistory | None:
        """Everything that is kept of a repository's tags, as the identity saw it that asked last."""
        self.flush()
        return self._database.read(lambda connection: history.read(connection, repository))

    # --------------------------------------------------------------------------------------- content caches

    def get_blob(self, space: str, key: str) -> bytes | None:
        return self._blobs.get(space, key)

    def get_blobs(self, space: str, keys: Iterable[str]) -> dict[str, bytes]:
        """Those that are there, in one query."""
        return self._blobs.get_many(space, keys)

    def put_blob(self, space: str, key: str, data: bytes) -> None:
        self._blobs.put_many(space, {key: data})

    def put_blobs(self, space: str, blobs: Mapping[str, bytes]) -> None:
        """Keep many in one transaction. One larger than nine tenths of the space is not kept."""
        self._blobs.put_many(space, blobs)

    def cache(self, space: str) -> BlobCache:
        """One space with `get` and `put` (and `prefetch`, `flush`)."""
        return BlobCache(self._blobs, space, warn=self._database.warn)

    # ------------------------------------------------------------------------------------------------- parts

    def _read(self, repository: str, identity: str, work: Callable[[sqlite3.Connection, int], T], nothing: T) -> T:
        """Read within a scope. Its number is not remembered: the file may be a new one, and numbers are used again."""

        def inside(connection: sqlite3.Connection) -> T:
            sql = "SELECT id FROM scopes WHERE repository = ? AND identity = ?"
            row = connection.execute(sql, (repository, identity)).fetchone()
            return work(connection, int(row[0])) if row is not None else nothing

        return self._database.read(inside)

    def _make_scope(self, connection: sqlite3.Connection, repository: str, identity: str) -> int:
        """The number of a scope inside a transaction; never from memory, the file may be a new one."""
        pair = (repository, identity)
        connection.execute("INSERT OR IGNORE INTO scopes (repository, identity) VALUES (?, ?)", pair)
        row = connection.execute("SELECT id FROM scopes WHERE repository = ? AND identity = ?", pair).fetchone()
        return int(row[0])

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def together(connection: sqlite3.Connection) -> T:
            scanned, self._scanned = self._scanned, {}
            connection.executemany(
                "UPDATE lists SET scanned_at = max(scanned_at, ?) WHERE scope ="
                " (SELECT id FROM scopes WHERE repository = ? AND identity = ?)",
                [(at, *pair) for pair, at in scanned.copy().items()],
            )
            self._blobs.write_touches(connection)
            return work(connection)

        return self._database.write(together)


def _unseen(connection: sqlite3.Connection, scope: int, keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """Which keys are new; None when there was no complete listing before."""
    row = connection.execute("SELECT keys FROM baselines WHERE scope = ?", (scope,)).fetchone()
    if row is None:
        return None
    known = set(unpack_words(row[0]))
    fresh = [key for key in keys if key not in known]
    if not fresh:
        return ()
    rows = _select(connection, "SELECT key FROM seen WHERE scope = ?", scope, f" AND key {_AMONG}", fresh)
    dated = {row[0] for row in rows}
    return tuple(key for key in fresh if key not in dated)


def _select(
    connection: sqlite3.Connection, sql: str, scope: int, narrow: str, wanted: Iterable[str] | None
) -> list[tuple[Any, ...]]:
    """The rows of `sql`, all of them or those that `narrow` (a clause with one parameter) leaves."""
    if wanted is None:
        return connection.execute(sql, (scope,)).fetchall()
    return connection.execute(sql + narrow, (scope, json.dumps(list(wanted)))).fetchall()
