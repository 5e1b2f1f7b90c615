"""The schema, as the steps that lead to it. `PRAGMA user_version` counts the steps taken; steps are only ever appended.

Times are microseconds since 1970 UTC. A *scope* is a repository as one credential identity sees it: nothing is shared
between two scopes, so that a policy without rights never reads what another's secret fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x494D5550
"""`IMUP`: tells our files from other programs' databases."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: what the registry said
    (
        (
            "CREATE TABLE scopes (id INTEGER PRIMARY KEY, repository TEXT NOT NULL, identity TEXT NOT NULL,"
            " UNIQUE (repository, identity))"
        ),
        # The body is apart, so that a look at the fingerprint does not read it and a new scan time does not rewrite it.
        (
            "CREATE TABLE lists (scope INTEGER PRIMARY KEY REFERENCES scopes, fingerprint TEXT NOT NULL,"
            " scanned_at INTEGER NOT NULL, first_complete_at INTEGER NOT NULL)"
        ),
        (
            "CREATE TABLE bodies (scope INTEGER PRIMARY KEY REFERENCES scopes, tags BLOB NOT NULL,"
            " pushed BLOB, digests BLOB)"
        ),
        # Tags of the first complete listing have no date: they are one blob, only later ones are rows.
        "CREATE TABLE baselines (scope INTEGER PRIMARY KEY REFERENCES scopes, keys BLOB NOT NULL, at INTEGER NOT NULL)",
        (
            "CREATE TABLE seen (scope INTEGER NOT NULL REFERENCES scopes, key TEXT NOT NULL, at INTEGER NOT NULL,"
            " PRIMARY KEY (scope, key)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE facts (scope INTEGER NOT NULL REFERENCES scopes, digest TEXT NOT NULL, body TEXT NOT NULL,"
            " PRIMARY KEY (scope, digest)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE tag_digests (scope INTEGER NOT NULL REFERENCES scopes, tag TEXT NOT NULL,"
            " digest TEXT NOT NULL, PRIMARY KEY (scope, tag)) WITHOUT ROWID"
        ),
    ),
    # 2: what was decided; of `tips` nothing is kept any more
    (
        (
            "CREATE TABLE decisions (id INTEGER PRIMARY KEY, policy TEXT NOT NULL, tag TEXT, digest TEXT,"
            " reason TEXT NOT NULL, at INTEGER NOT NULL)"
        ),
        "CREATE INDEX decisions_by_policy ON decisions (policy, id)",
        (
            "CREATE TABLE tips (repository TEXT NOT NULL, branch TEXT NOT NULL, commit_id TEXT NOT NULL,"
            " PRIMARY KEY (repository, branch)) WITHOUT ROWID"
        ),
    ),
    # 3: caches of what is computed from content
    (
        (
            "CREATE TABLE blobs (id INTEGER PRIMARY KEY, space TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL,"
            " size INTEGER NOT NULL, used INTEGER NOT NULL, UNIQUE (space, key))"
        ),
        "CREATE INDEX blobs_by_use ON blobs (space, used, id, size)",
    ),
    # 4: what people ask, and what became of the tags that were chosen
    (
        "CREATE TABLE wishes (policy TEXT PRIMARY KEY, body TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        # The environment of what comes before a tag is applied anywhere is ''; a tag without a digest has ''.
        (
            "CREATE TABLE milestones (id INTEGER PRIMARY KEY, policy TEXT NOT NULL, environment TEXT NOT NULL,"
            " tag TEXT NOT NULL, digest TEXT NOT NULL, pushed INTEGER, seen INTEGER, eligible INTEGER,"
            " committed INTEGER, applied INTEGER, healthy INTEGER, failed INTEGER, revision TEXT, commit_id TEXT,"
            " UNIQUE (policy, environment, tag, digest))"
        ),
    ),
)

VERSION: Final = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing, all or none.

    Several processes may come at once: one takes them, the others see it.
    """
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version_of(connection), VERSION):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
