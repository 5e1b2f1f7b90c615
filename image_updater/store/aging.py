"""What nobody has asked for in a long time goes: previews, renamed images and changed logins would stay for ever."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

UNUSED: Final = timedelta(days=180)
"""Since the last look at its list. A policy that is suspended for so long begins anew: its images have no age."""

_TABLES: Final = ("lists", "bodies", "baselines", "seen", "facts", "tag_digests")
_BESIDE: Final = (
    "SELECT id FROM scopes WHERE instr(identity, '#')"
    " AND (repository, substr(identity, 1, instr(identity, '#') - 1)) IN"
    " (SELECT repository, identity FROM scopes WHERE id IN (SELECT value FROM json_each(?)))"
)


def forget(connection: sqlite3.Connection, before: int) -> None:
    """Scopes whose list was asked last before this moment (microseconds), with those of what was found out beside
    (`IDENTITY#…`).
    """
    unused = [row[0] for row in connection.execute("SELECT scope FROM lists WHERE scanned_at < ?", (before,))]
    if not unused:
        return
    unused += [row[0] for row in connection.execute(_BESIDE, (json.dumps(unused),))]
    for table in _TABLES:
        connection.executemany(f"DELETE FROM {table} WHERE scope = ?", [(each,) for each in unused])  # noqa: S608 - ours
    connection.executemany("DELETE FROM scopes WHERE id = ?", [(each,) for each in unused])
