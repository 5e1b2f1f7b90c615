"""What nobody asks for any more does not fill the disk; what somebody does ask for is never touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.store import Store, StoredTags
from image_updater.store.aging import UNUSED

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REPO = "ghcr.io/acme/web"


def fill(store: Store, identity: str, asked: datetime) -> None:
    tags = StoredTags(tags=("1.0.0",), fingerprint="f", scanned_at=asked)
    store.save_tags(REPO, identity, tags)
    store.note_seen(REPO, identity, tags.tags, asked)
    store.note_seen(REPO, identity, ("1.0.0", "1.1.0"), asked)
    store.save_tag_digests(REPO, identity, {"1.0.0": "sha256:1"})
    for beside in ("", "#signed", "#preflight"):
        store.save_facts(REPO, identity + beside, {"sha256:1": {"x": 1}})


def kept(store: Store, identity: str) -> tuple[bool, ...]:
    return (
        store.load_tags(REPO, identity) is not None,
        bool(store.first_seen(REPO, identity)),
        bool(store.tag_digests(REPO, identity)),
        *(bool(store.facts(REPO, identity + beside)) for beside in ("", "#signed", "#preflight")),
    )


def rows(store: Store) -> int:
    tables = ("scopes", "lists", "bodies", "baselines", "seen", "facts", "tag_digests")
    count = "SELECT " + " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return int(store._database.read(lambda connection: connection.execute(count).fetchone()[0]))


def test_what_was_asked_for_last_long_ago_goes_with_all_that_stands_beside_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state") as store:
        fill(store, "preview", NOW - UNUSED - timedelta(seconds=1))
        before = rows(store)
        fill(store, "prod", NOW - UNUSED)
        store.forget_unused(NOW)
        assert not any(kept(store, "preview"))
        assert all(kept(store, "prod"))
        assert rows(store) == before, "the one is as large as the other"


def test_a_list_that_is_asked_for_and_never_changes_is_in_use(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state") as store:
        fill(store, "prod", NOW - UNUSED * 2)
        assert not store.save_tags(REPO, "prod", StoredTags(tags=("1.0.0",), fingerprint="f", scanned_at=NOW))
        store.forget_unused(NOW)
        assert all(kept(store, "prod"))


def test_what_has_no_list_of_its_own_stays(tmp_path: Path) -> None:
    """Tags files are no lists that were asked for."""
    with Store.open(tmp_path / "state") as store:
        store.note_seen(REPO, "tags-file", ("1.0.0",), NOW - UNUSED * 2)
        store.note_seen(REPO, "tags-file", ("1.0.0", "1.1.0"), NOW - UNUSED * 2)
        store.forget_unused(NOW)
        assert store.first_seen(REPO, "tags-file")


def test_a_disk_that_is_full_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with Store.open(tmp_path / "state", warn=said.append) as store:
        fill(store, "preview", NOW - UNUSED * 2)
        with monkeypatch.context() as patch:
            patch.setattr(store._database, "_connection", None)
            patch.setattr(store._database, "_connect", full)
            store.forget_unused(NOW)
        assert "full" in said[0]


def full() -> None:
    import sqlite3

    raise sqlite3.OperationalError("database or disk is full")
