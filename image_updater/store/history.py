"""What is known of a repository's tags over time, put together for a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_updater.api.moments import parse_rfc3339
from image_updater.store.codec import Damaged, from_micros, unpack_dates, unpack_fact, unpack_strings, unpack_words
from image_updater.store.model import SeenTag, TagHistory

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime


def _scope(connection: sqlite3.Connection, repository: str) -> int | None:
    """The scope that was listed last, of whichever identity."""
    row = connection.execute(
        "SELECT id FROM scopes LEFT JOIN lists ON lists.scope = scopes.id"
        " WHERE repository = ? ORDER BY scanned_at DESC NULLS LAST LIMIT 1",
        (repository,),
    ).fetchone()
    return int(row[0]) if row is not None else None


def read(connection: sqlite3.Connection, repository: str) -> TagHistory | None:
    scope = _scope(connection, repository)
    if scope is None:
        return None
    listed = connection.execute(
        "SELECT tags, pushed, digests FROM lists JOIN bodies USING (scope) WHERE scope = ?", (scope,)
    ).fetchone()
    baseline = connection.execute("SELECT keys, at FROM baselines WHERE scope = ?", (scope,)).fetchone()
    dated = connection.execute("SELECT key, at FROM seen WHERE scope = ? ORDER BY at", (scope,)).fetchall()
    facts = connection.execute("SELECT digest, body FROM facts WHERE scope = ?", (scope,)).fetchall()
    last = dict(connection.execute("SELECT tag, digest FROM tag_digests WHERE scope = ?", (scope,)).fetchall())
    tags = unpack_words(listed[0]) if listed is not None else []
    pushed = unpack_dates(listed[1]) if listed is not None and listed[1] is not None else {}
    last |= unpack_strings(listed[2]) if listed is not None and listed[2] is not None else {}
    first: dict[str, datetime] = {}
    digests: dict[str, dict[str, datetime | None]] = {}
    known: dict[str, None] = dict.fromkeys(tags)
    for key in unpack_words(baseline[0]) if baseline is not None else ():
        tag, at, digest = key.partition("@")
        known.setdefault(tag)
        if at:
            digests.setdefault(tag, {})[digest] = None
    for key, moment in dated:
        tag, at, digest = str(key).partition("@")
        known.setdefault(tag)
        if at:
            digests.setdefault(tag, {})[digest] = from_micros(moment)
        else:
            first[tag] = from_micros(moment)
    for tag, digest in last.items():
        if tag in known:
            digests.setdefault(tag, {}).setdefault(digest, None)
    present = set(tags)
    return TagHistory(
        repository=repository,
        since=from_micros(baseline[1]) if baseline is not None else None,
        tags=tuple(
            SeenTag(
                tag=tag,
                first_seen=first.get(tag),
                pushed=pushed.get(tag),
                digests=tuple(digests.get(tag, {}).items()),
                listed=tag in present,
            )
            for tag in known
        ),
        created=_created(facts),
        platforms=_platforms(facts),
    )


def _created(rows: list[tuple[Any, ...]]) -> dict[str, datetime]:
    found = {}
    for digest, body in rows:
        value = unpack_fact(body).get("created")
        if not isinstance(value, str):
            continue
        try:
            found[str(digest)] = parse_rfc3339(value)
        except ValueError as exc:
            raise Damaged("a stored date cannot be read") from exc
    return found


def _platforms(rows: list[tuple[Any, ...]]) -> dict[str, tuple[str, ...]]:
    found = {}
    for digest, body in rows:
        value = unpack_fact(body).get("platforms")
        if isinstance(value, list):
            found[str(digest)] = tuple(str(each) for each in value)
    return found
