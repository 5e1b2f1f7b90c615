"""What people asked of policies through the state file, for a `run` that has no cluster.

One row a policy, as the annotations of an ImagePolicy would say it. A counter moves with every change, so that another
process sees with one look whether it must read anew.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Final

from image_updater.api.wishes import HoldWish, Wishes, read_wishes, to_annotations, wish
from image_updater.store.codec import to_micros

if TYPE_CHECKING:
    import pathlib
    from datetime import datetime

    from image_updater.api.wishes import Wish

_COUNTER: Final = "wishes"


def read(connection: sqlite3.Connection, policy: str) -> Wishes:
    row = connection.execute("SELECT body FROM wishes WHERE policy = ?", (policy,)).fetchone()
    return decode(row[0]) if row is not None else Wishes()


def read_all(connection: sqlite3.Connection) -> dict[str, Wishes]:
    rows = connection.execute("SELECT policy, body FROM wishes ORDER BY policy").fetchall()
    return {str(policy): decode(body) for policy, body in rows}


def save(connection: sqlite3.Connection, policy: str, new: Wish, now: datetime) -> Wishes:
    """Within a transaction: two people who ask at once both get what they asked."""
    wishes = wish(read(connection, policy), new)
    put(connection, policy, encode(wishes), to_micros(now))
    return wishes


def put(connection: sqlite3.Connection, policy: str, body: str, at: int) -> None:
    connection.execute("INSERT OR REPLACE INTO wishes (policy, body, at) VALUES (?, ?, ?)", (policy, body, at))
    connection.execute(
        "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
        (_COUNTER,),
    )


def version(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (_COUNTER,)).fetchone()
    return int(row[0]) if row is not None else 0


def carry_over(old: pathlib.Path, new: sqlite3.Connection) -> int | None:
    """From a file that is corrupt elsewhere into its successor: how many policies; None when it cannot be read."""
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as connection:
        try:
            rows = connection.execute("SELECT policy, body, at FROM wishes").fetchall()
            count = version(connection)
        except sqlite3.Error as exc:
            return 0 if str(exc).startswith("no such table") else None
    new.execute("BEGIN IMMEDIATE")
    new.executemany("INSERT OR IGNORE INTO wishes (policy, body, at) VALUES (?, ?, ?)", rows)
    new.execute("INSERT OR REPLACE INTO counters (name, value) VALUES (?, ?)", (_COUNTER, count + 1))
    new.execute("COMMIT")
    return len(rows)


def encode(wishes: Wishes) -> str:
    said = {name: text for name, text in to_annotations(wishes).items() if text is not None}
    return json.dumps(said, ensure_ascii=False)


def decode(body: object) -> Wishes:
    """What cannot be read holds the policy: it may have been a hold."""
    problem = "it is no JSON object of strings"
    try:
        said = json.loads(str(body))
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and all(isinstance(text, str) for text in said.values()):
        wishes, errors = read_wishes(said)
        if not errors:
            return wishes
        problem = str(errors[0])
    return Wishes(hold=HoldWish(reason=f"what was asked of this policy cannot be read from the state file: {problem}"))
