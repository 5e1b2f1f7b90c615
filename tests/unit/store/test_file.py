"""The file itself: migrations, foreign and broken files, several processes, and a process that is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from image_updater.store import StateError, StateFailed, Store, StoredTags
from image_updater.store.migrations import APPLICATION_ID, MIGRATIONS, VERSION, version_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def tag_list(*tags: str) -> StoredTags:
    return StoredTags(tags=tags, fingerprint=",".join(tags), scanned_at=NOW)


def integrity(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_old_file_is_brought_up_to_date_with_what_it_holds(tmp_path: Path, version: int) -> None:
    file = tmp_path / "state.sqlite"
    old = sqlite3.connect(file)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            old.execute(statement)
    old.execute("INSERT INTO scopes VALUES (1, 'r', 'i')")
    old.execute("INSERT INTO facts VALUES (1, 'sha256:1', '{\"a\":1}')")
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute(f"PRAGMA user_version = {version}")
    old.commit()
    old.close()
    with Store.open(file) as store:
        assert store.facts("r", "i") == {"sha256:1": {"a": 1}}
        store.put_blob("s", "k", b"x")
        store.save_decision("p", "1", None, "why", NOW)
    with Store.open(tmp_path / "new.sqlite"):
        pass
    with sqlite3.connect(file) as a, sqlite3.connect(tmp_path / "new.sqlite") as b:
        assert version_of(a) == version_of(b) == VERSION
        assert schema(a) == schema(b)


def test_a_migration_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        store.save_tags("r", "i", tag_list("1"))
    monkeypatch.setattr("image_updater.store.migrations.MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE t (a)", "nonsense")))
    monkeypatch.setattr("image_updater.store.migrations.VERSION", VERSION + 1)
    monkeypatch.setattr("image_updater.store.database.VERSION", VERSION + 1)
    with pytest.raises(StateFailed):
        Store.open(file)
    monkeypatch.undo()
    with Store.open(file) as store:
        assert store.load_tags("r", "i") is not None


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    Store.open(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = file.read_bytes()
    with pytest.raises(StateError, match="newer version") as caught:
        Store.open(file)
    assert "use that version, or another file" in (caught.value.remedy or "")
    assert file.read_bytes() == before


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "places.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = file.read_bytes()
    with pytest.raises(StateError, match="another program"):
        Store.open(file)
    assert file.read_bytes() == before


def test_a_folder_or_an_impossible_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is a folder"):
        Store.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="cannot be opened"):
        Store.open(tmp_path / "file" / "state.sqlite")


def test_the_file_is_its_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.sqlite"
    with Store.open(file) as store:
        store.put_blob("s", "k", b"x")
        for each in file.parent.iterdir():
            assert each.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["text", "head", "empty-page", "cut"])
def test_a_corrupt_file_is_moved_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        store.save_tags("r", "i", tag_list(*(str(i) * 50 for i in range(2000))))
        store.save_facts("r", "i", {f"sha256:{i}": {"a": "x" * 100} for i in range(2000)})
    data = file.read_bytes()
    broken = {
        "text": b"this is no database, it is a letter to a friend\n" * 100,
        "head": b"\xff" * 200 + data[200:],
        "empty-page": data[:4096] + b"\xff" * (len(data) - 4096),
        "cut": data[: len(data) // 2 + 100],
    }[damage]
    file.write_bytes(broken)
    warnings: list[str] = []
    with Store.open(file, warn=warnings.append, clock=lambda: NOW) as store:
        store.load_tags("r", "i")
        store.facts("r", "i")
        store.save_tags("r", "i", tag_list("1"))
        store.save_facts("r", "i", {"sha256:1": {}})
        assert store.facts("r", "i", ["sha256:1"]) == {"sha256:1": {}}
    (warning,) = warnings
    assert "is corrupt" in warning
    assert "state.sqlite.corrupt-20260102T030405" in warning
    assert (tmp_path / "state.sqlite.corrupt-20260102T030405").exists()
    assert integrity(file) == "ok"


def test_a_file_that_breaks_while_it_is_open_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    store = Store.open(file, warn=warnings.append)
    store.save_facts("r", "i", {f"sha256:{i}": {"a": "x" * 100} for i in range(5000)})
    store.close()
    store = Store.open(file, warn=warnings.append)
    with file.open("r+b") as handle:
        handle.seek(4096)
        handle.write(b"\xff" * (file.stat().st_size - 4096))
    assert store.facts("r", "i") == {}
    store.save_facts("r", "i", {"sha256:1": {"a": 1}})
    assert store.facts("r", "i") == {"sha256:1": {"a": 1}}
    store.close()
    assert len(warnings) == 1
    assert integrity(file) == "ok"


@pytest.mark.parametrize("column", ["bodies.tags", "facts.body", "blobs.data", "baselines.keys"])
def test_a_value_that_rotted_counts_as_corruption(tmp_path: Path, column: str) -> None:
    """SQLite has no checksums: a page can be whole and what is in it not."""
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    table, name = column.split(".")
    with Store.open(file, warn=warnings.append) as store:
        store.save_tags("r", "i", tag_list(*(f"{n}.0.0" for n in range(1000))))
        store.note_seen("r", "i", [f"{n}.0.0" for n in range(1000)], NOW)
        store.save_facts("r", "i", {"sha256:1": {"a": 1}})
        store.put_blob("s", "k", b"x" * 1000)
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE {table} SET {name} = ?", (b"\x01rotten" if table != "facts" else "{rotten",))
    with Store.open(file, warn=warnings.append) as store:
        store.load_tags("r", "i")
        store.facts("r", "i")
        store.get_blobs("s", ["k"])
        store.note_seen("r", "i", ["1.0.0"], NOW)
        assert store.get_blob("s", "k") is None
        store.put_blob("s", "k", b"x")
        assert store.get_blob("s", "k") == b"x"
    assert len(warnings) == 1


def test_dates_that_rotted_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        store.save_tags("r", "i", replace(tag_list("1"), pushed={"1": NOW}))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE bodies SET pushed = ?", (b"\x01rotten",))
    with Store.open(file) as store:
        tags = store.load_tags("r", "i")
        assert tags is not None
        with pytest.raises(StateFailed, match="cache"):
            tags.pushed.get("1")


def test_only_the_last_corrupt_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    other = tmp_path / "notes.corrupt-1"
    other.write_text("somebody's")
    for day in range(1, 5):
        file.write_bytes(b"rotten" * 1000)
        Store.open(file, warn=lambda text: None, clock=lambda day=day: NOW.replace(day=day)).close()  # type: ignore[misc]
    assert len(list(tmp_path.glob("state.sqlite.corrupt-*"))) == 1
    assert other.exists()


def test_a_repair_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk can be full in the moment of the repair, and have room a minute later."""
    file = tmp_path / "state.sqlite"
    Store.open(file).close()
    store = Store.open(file, warn=lambda text: None)
    with file.open("r+b") as handle:
        handle.write(b"\xff" * file.stat().st_size)

    def full(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("image_updater.store.database.migrate", full)
        for _ in range(2):
            with pytest.raises(StateFailed, match="full"):
                store.get_blob("s", "k")
    store.put_blob("s", "k", b"x")
    assert store.get_blob("s", "k") == b"x"
    store.close()


def test_two_stores_that_find_one_corrupt_file_make_one_new_file(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    with Store.open(file) as store:
        store.save_facts("r", "i", {f"sha256:{i}": {"a": "x" * 100} for i in range(5000)})
    first, second = (Store.open(file, warn=warnings.append) for _ in range(2))
    with file.open("r+b") as handle:
        handle.seek(4096)
        handle.write(b"\xff" * (file.stat().st_size - 4096))
    assert first.facts("r", "i") == {}
    first.save_facts("another", "i", {"sha256:2": {"b": 2}})
    first.save_facts("r", "i", {"sha256:1": {"a": 1}})
    assert second.facts("r", "i") == {"sha256:1": {"a": 1}}
    first.close()
    second.close()
    assert len(warnings) == 1
    assert len(list(tmp_path.glob("*.corrupt-*"))) >= 1


def test_a_closed_store_says_so() -> None:
    store = Store.open(None)
    store.close()
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.get_blob("s", "k")


def test_a_file_that_is_locked_for_too_long_is_a_passing_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image_updater.store.database.BUSY_SECONDS", 0.05)
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateFailed, match="locked") as caught:
            store.put_blob("s", "k", b"x")
        assert "another process" in (caught.value.remedy or "")
        other.execute("ROLLBACK")
        other.close()
        store.put_blob("s", "k", b"x")
        assert store.get_blob("s", "k") == b"x"


def test_a_full_disk_is_a_passing_failure_that_loses_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.sqlite") as store:
        store.put_blob("s", "k", b"x")
        limit = store._database._open().execute("PRAGMA page_count").fetchone()[0]
        store._database._open().execute(f"PRAGMA max_page_count = {limit}")
        with pytest.raises(StateFailed, match="full") as caught:
            store.put_blob("s", "big", os.urandom(1_000_000))
        assert caught.value.remedy == "free some space"
        assert store.get_blob("s", "k") == b"x"


WRITER = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from image_updater.store import Store, StoredTags

name, rounds = sys.argv[2], int(sys.argv[3])
now = datetime(2026, 1, 1, tzinfo=UTC)
with Store.open(Path(sys.argv[1])) as store:
    for i in range(rounds):
        tags = tuple(f"{name}-{i}-{n}" for n in range(i, i + 500))
        store.save_tags("r", name, StoredTags(tags=tags, fingerprint=str(i), scanned_at=now))
        store.put_blobs("s", {f"{name}-{i}-{n}": b"y" * 3000 for n in range(20)})
        print(i, flush=True)
"""


def writer(file: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(rounds)], stdout=subprocess.PIPE, text=True
    )


def test_several_processes_write_to_one_new_file(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    processes = [writer(file, f"p{n}", 10) for n in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert integrity(file) == "ok"
    with Store.open(file) as store:
        for n in range(4):
            loaded = store.load_tags("r", f"p{n}")
            assert loaded is not None
            assert loaded.fingerprint == "9"
            assert len(store.get_blobs("s", [f"p{n}-{i}-0" for i in range(10)])) == 10


@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_killed_process_leaves_whole_transactions(tmp_path: Path, after: int) -> None:
    file = tmp_path / "state.sqlite"
    process = writer(file, "p", 1_000_000)
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line)
        if last >= after:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    warnings: list[str] = []
    with Store.open(file, warn=warnings.append) as store:
        loaded = store.load_tags("r", "p")
        assert loaded is not None
        i = int(loaded.fingerprint)
        assert i >= last, "what was said to be written is there"
        assert loaded.tags == tuple(f"p-{i}-{n}" for n in range(i, i + 500))
        assert len(store.get_blobs("s", [f"p-{last}-{n}" for n in range(20)])) == 20
    assert warnings == []
    assert integrity(file) == "ok"
