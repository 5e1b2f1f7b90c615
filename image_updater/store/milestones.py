"""How far each tag of each policy came, and when: what is proven, and how long it took."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.policy.situation import Proven
from image_updater.store.codec import from_micros, to_micros
from image_updater.store.model import EVERYWHERE, Milestone, Stage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime

KEPT: Final = 500
"""Rows of one policy that are kept."""

_TIMES: Final = tuple(stage.value for stage in Stage)
_COLUMNS: Final = ", ".join(("environment", "tag", "digest", *_TIMES, "revision", "commit_id"))


def note(
    connection: sqlite3.Connection,
    policy: str,
    environment: str,
    tag: str,
    digest: str | None,
    stage: Stage,
    at: datetime,
    *,
    revision: str | None,
    commit: str | None,
) -> bool:
    """False when that is known already. A stage is reached once, but for a failure (the last one counts) and for
    health after a failure.
    """
    row = connection.execute(
        f"SELECT id, {_COLUMNS} FROM milestones WHERE policy = ? AND environment = ? AND tag = ? AND digest = ?",  # noqa: S608  our own column names
        (policy, environment, tag, digest or ""),
    ).fetchone()
    when = to_micros(at)
    if row is None:
        connection.execute(
            f"INSERT INTO milestones (policy, environment, tag, digest, {stage.value}, revision, commit_id)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (policy, environment, tag, digest or "", when, revision, commit),
        )
        connection.execute(
            "DELETE FROM milestones WHERE policy = ? AND id <="
            " (SELECT id FROM milestones WHERE policy = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (policy, policy, KEPT),
        )
        return True
    known = dict(zip(("id", *_COLUMNS.split(", ")), row, strict=True))
    moves = _moves(stage, known, when)
    changes: dict[str, Any] = {stage.value: when} if moves else {}
    changes |= {
        column: value
        for column, value in (("revision", revision), ("commit_id", commit))
        if value is not None and (known[column] is None or moves) and known[column] != value
    }
    if not changes:
        return False
    sets = ", ".join(f"{column} = ?" for column in changes)
    connection.execute(f"UPDATE milestones SET {sets} WHERE id = ?", (*changes.values(), known["id"]))  # noqa: S608
    return True


def _moves(stage: Stage, known: dict[str, Any], when: int) -> bool:
    before, failed = known[stage.value], known[Stage.FAILED.value]
    if before is None:
        return True
    if stage is Stage.FAILED:
        return bool(when > before)
    return stage is Stage.HEALTHY and failed is not None and failed > before and when > failed


def read(connection: sqlite3.Connection, policy: str) -> tuple[Milestone, ...]:
    """A row for each tag and environment, what happened last first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM milestones WHERE policy = ?", (policy,)).fetchall()  # noqa: S608
    found = [_milestone(policy, row) for row in rows]
    return merge(found)


def merge(milestones: Iterable[Milestone]) -> tuple[Milestone, ...]:
    """What is true of a tag everywhere goes into the rows of its environments."""
    found = unite(milestones)
    general = [each for each in found if each.environment == EVERYWHERE]
    placed = [each for each in found if each.environment != EVERYWHERE]
    used: set[int] = set()
    result = []
    for each in placed:
        for other in general:
            if other.tag == each.tag and (other.digest == each.digest or None in (other.digest, each.digest)):
                used.add(id(other))
                each = _joined(each, other)
        result.append(each)
    result += [each for each in general if id(each) not in used]
    return tuple(sorted(result, key=lambda each: (each.last is not None, each.last, each.tag), reverse=True))


def unite(milestones: Iterable[Milestone]) -> list[Milestone]:
    """One row for a tag in an environment: what was noted of it before its digest was known is of the only digest that
    it has had there. With several digests nobody knows whose it is, and it stays a row of its own.
    """
    rows: dict[tuple[str, str], dict[str | None, Milestone]] = {}
    for each in milestones:
        of_tag = rows.setdefault((each.tag, each.environment), {})
        known = of_tag.get(each.digest)
        of_tag[each.digest] = each if known is None else _united(known, each)
    result: list[Milestone] = []
    for of_tag in rows.values():
        if len(of_tag) == 2 and None in of_tag:
            early = of_tag.pop(None)
            (named,) = of_tag.values()
            result.append(_united(named, early))
        else:
            result += of_tag.values()
    return result


def _united(each: Milestone, other: Milestone) -> Milestone:
    """Stages are reached once, but for a failure (the last counts) and for health after one."""
    failed = max((at for at in (each.failed, other.failed) if at is not None), default=None)
    healthy = [at for at in (each.healthy, other.healthy) if at is not None]
    return replace(
        _joined(each, other),
        applied=each.applied or other.applied,
        healthy=(min(healthy) if failed is None else max(healthy)) if healthy else None,
        failed=failed,
    )


def _joined(each: Milestone, other: Milestone) -> Milestone:
    return replace(
        each,
        digest=each.digest or other.digest,
        pushed=each.pushed or other.pushed,
        seen=each.seen or other.seen,
        eligible=each.eligible or other.eligible,
        committed=each.committed or other.committed,
        revision=each.revision or other.revision,
        commit=each.commit or other.commit,
    )


def proven(milestones: Iterable[Milestone]) -> tuple[Proven, ...]:
    """Those that were healthy, the last proven first; withdrawn ones too."""
    found = [
        Proven(
            tag=each.tag,
            at=each.healthy,
            digest=each.digest,
            environment=each.environment,
            revision=each.revision,
            withdrawn=each.withdrawn,
        )
        for each in milestones
        if each.healthy is not None
    ]
    return tuple(sorted(found, key=lambda each: each.at, reverse=True))


def _milestone(policy: str, row: tuple[Any, ...]) -> Milestone:
    environment, tag, digest, *times, revision, commit = row
    moments = {name: from_micros(at) if at is not None else None for name, at in zip(_TIMES, times, strict=True)}
    return Milestone(
        policy=policy,
        environment=str(environment),
        tag=str(tag),
        digest=str(digest) or None,
        revision=revision,
        commit=commit,
        **moments,
    )
