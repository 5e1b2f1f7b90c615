"""What goes in comes out after a restart, and what is unchanged costs no write."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.store import BlobCache, StateError, Store, StoredTags
from image_updater.store.codec import pack, pack_words, unpack, unpack_words

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REPO, ME, OTHER = "ghcr.io/acme/web", "anonymous", "secret:abc"


def tag_list(*tags: str, fingerprint: str = "f1", at: datetime = NOW) -> StoredTags:
    return StoredTags(tags=tags, fingerprint=fingerprint, scanned_at=at)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.sqlite"


def test_everything_survives_a_restart(file: Path) -> None:
    tags = StoredTags(
        tags=("1.10", "latest", "ünï", "1.9"),
        fingerprint="f1",
        scanned_at=NOW,
        pushed={"1.9": NOW - MINUTE},
        digests={"1.9": "sha256:1"},
    )
    facts = {"sha256:1": {"created": "2026-01-01T00:00:00Z", "platforms": ["linux/amd64"], "none": None}}
    with Store.open(file) as store:
        assert store.save_tags(REPO, ME, tags)
        assert store.note_seen(REPO, ME, tags.tags, NOW) == ()
        assert store.note_seen(REPO, ME, (*tags.tags, "1.11"), NOW + MINUTE) == ("1.11",)
        store.save_facts(REPO, ME, facts)
        store.save_tag_digests(REPO, ME, {"1.9": "sha256:1", "latest": "sha256:2"})
        store.put_blob("renders", "k", b"x" * 1000)
        assert store.save_decision("apps/web", "1.10", None, "the highest", NOW)
    with Store.open(file) as store:
        loaded = store.load_tags(REPO, ME)
        assert loaded is not None
        assert loaded.tags == tags.tags
        assert (loaded.fingerprint, loaded.scanned_at, loaded.first_complete_at) == ("f1", NOW, NOW)
        assert loaded.pushed == tags.pushed
        assert loaded.digests == tags.digests
        assert store.first_seen(REPO, ME) == {"1.11": NOW + MINUTE}
        assert store.facts(REPO, ME, ["sha256:1", "sha256:9"]) == facts
        assert store.facts(REPO, ME) == facts
        assert store.tag_digests(REPO, ME) == {"1.9": "sha256:1", "latest": "sha256:2"}
        assert store.tag_digests(REPO, ME, ["latest"]) == {"latest": "sha256:2"}
        assert store.get_blob("renders", "k") == b"x" * 1000
        (decision,) = store.decisions("apps/web")
        assert (decision.tag, decision.digest, decision.reason, decision.at) == ("1.10", None, "the highest", NOW)


def test_one_identity_never_sees_what_another_fetched(file: Path) -> None:
    with Store.open(file) as store:
        store.save_tags(REPO, ME, tag_list("1"))
        store.note_seen(REPO, ME, ["1"], NOW)
        store.note_seen(REPO, ME, ["1", "2"], NOW)
        store.save_facts(REPO, ME, {"sha256:1": {"a": 1}})
        store.save_tag_digests(REPO, ME, {"1": "sha256:1"})
        for repository, identity in ((REPO, OTHER), (REPO + "x", ME)):
            assert store.load_tags(repository, identity) is None
            assert store.first_seen(repository, identity) == {}
            assert store.facts(repository, identity, ["sha256:1"]) == {}
            assert store.tag_digests(repository, identity) == {}


def test_an_unchanged_list_writes_nothing_but_its_time_at_the_end(file: Path) -> None:
    tags = tuple(hashlib.sha1(str(i).encode()).hexdigest() for i in range(50_000))
    watcher = None
    with Store.open(file) as store:
        store.save_tags(REPO, ME, tag_list(*tags))
        watcher = sqlite3.connect(file)
        before = watcher.execute("PRAGMA data_version").fetchone()
        assert not store.save_tags(REPO, ME, tag_list(*tags, at=NOW + MINUTE))
        assert not store.save_tags(REPO, ME, StoredTags(tags=(), fingerprint="f1", scanned_at=NOW + 2 * MINUTE))
        assert watcher.execute("PRAGMA data_version").fetchone() == before
        loaded = store.load_tags(REPO, ME)
        assert loaded is not None
        assert loaded.scanned_at == NOW + 2 * MINUTE
    watcher.close()
    with Store.open(file) as store:
        loaded = store.load_tags(REPO, ME)
        assert loaded is not None
        assert loaded.tags == tags
        assert (loaded.scanned_at, loaded.first_complete_at) == (NOW + 2 * MINUTE, NOW)


def test_a_changed_list_replaces_the_old_and_keeps_its_first_time(file: Path) -> None:
    with Store.open(file) as store:
        store.save_tags(REPO, ME, tag_list("1"))
        assert store.save_tags(REPO, ME, tag_list("1", "2", fingerprint="f2", at=NOW + MINUTE))
        loaded = store.load_tags(REPO, ME)
    assert loaded is not None
    assert (loaded.tags, loaded.scanned_at, loaded.first_complete_at) == (("1", "2"), NOW + MINUTE, NOW)


def test_a_list_without_fingerprint_equals_no_other() -> None:
    with Store.open(None) as store:
        assert store.save_tags(REPO, ME, tag_list("1", fingerprint=""))
        assert store.save_tags(REPO, ME, tag_list("1", "2", fingerprint=""))
        loaded = store.load_tags(REPO, ME)
    assert loaded is not None
    assert loaded.tags == ("1", "2")


def test_tags_of_the_first_complete_listing_have_no_date() -> None:
    with Store.open(None) as store:
        assert store.note_seen(REPO, ME, [], NOW) == ()
        assert store.note_seen(REPO, ME, ["a", "b", "a"], NOW + MINUTE) == ("a", "b")
        assert store.note_seen(REPO, ME, ["b", "c@sha256:1"], NOW + 2 * MINUTE) == ("c@sha256:1",)
        assert store.note_seen(REPO, ME, ["a", "b"], NOW + 3 * MINUTE) == ()
        assert store.first_seen(REPO, ME) == {
            "a": NOW + MINUTE,
            "b": NOW + MINUTE,
            "c@sha256:1": NOW + 2 * MINUTE,
        }


def test_a_time_without_zone_is_refused() -> None:
    with Store.open(None) as store, pytest.raises(ValueError, match="time zone"):
        store.save_tags(REPO, ME, tag_list("1", at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_decisions_are_noted_when_they_change_and_the_last_hundred_stay() -> None:
    with Store.open(None) as store:
        assert store.save_decision("p", "1", "sha256:1", "why", NOW)
        assert not store.save_decision("p", "1", "sha256:1", "why", NOW + MINUTE)
        assert store.save_decision("p", None, None, "nothing is left", NOW)
        assert store.save_decision("q", "1", None, "why", NOW)
        for i in range(150):
            store.save_decision("p", str(i), None, "why", NOW)
        assert [d.tag for d in store.decisions("p")] == [str(i) for i in range(149, 49, -1)]
        assert len(store.decisions("q")) == 1
        assert store.decisions("none") == ()


def test_tag_digests_move_alone() -> None:
    with Store.open(None) as store:
        store.save_tag_digests(REPO, ME, {"a": "sha256:1", "b": "sha256:2"})
        store.save_tag_digests(REPO, ME, {"a": "sha256:3"})
        store.save_tag_digests(REPO, ME, {})
        assert store.tag_digests(REPO, ME) == {"a": "sha256:3", "b": "sha256:2"}


def test_threads_share_one_store(file: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                store.save_tags(REPO, str(number), tag_list(str(i), fingerprint=str(i)))
                store.note_seen(REPO, str(number), [str(i)], NOW)
                store.put_blob("s", f"{number}-{i}", b"data")
                assert store.get_blob("s", f"{number}-{i}") == b"data"
        except BaseException as exc:
            failures.append(exc)

    with Store.open(file) as store:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for number in range(8):
            assert len(store.first_seen(REPO, str(number))) == 19


# ------------------------------------------------------------------------------------------- content caches


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


def test_a_space_stays_within_its_limit_and_the_least_used_go(file: Path) -> None:
    clock = Clock()
    with Store.open(file, clock=clock, limits={"s": 10_000}) as store:
        for i in range(9):
            store.put_blob("s", str(i), noise(i, 1000))
        store.put_blob("other", "0", noise(0, 50_000))
        clock.now += timedelta(hours=1)
        assert store.get_blob("s", "0") is not None
        store.put_blobs("s", {"9": noise(9, 1000), "10": noise(10, 1000)})
        left = store.get_blobs("s", [str(i) for i in range(11)])
        assert set(left) == {"0", "4", "5", "6", "7", "8", "9", "10"}
        assert left["0"] == noise(0, 1000)
        assert store.get_blob("other", "0") is not None


def test_uses_are_remembered_over_a_restart(file: Path) -> None:
    clock = Clock()
    with Store.open(file, clock=clock) as store:
        for i in range(3):
            store.put_blob("s", str(i), noise(i, 1000))
    clock.now += timedelta(hours=1)
    with Store.open(file, clock=clock) as store:
        store.get_blobs("s", ["0", "1"])
    with Store.open(file, clock=clock, limits={"s": 3_500}) as store:
        store.put_blob("s", "3", noise(3, 1000))
        assert set(store.get_blobs("s", "0123")) == {"0", "1", "3"}


def test_a_blob_larger_than_its_space_is_not_kept() -> None:
    with Store.open(None, limits={"s": 1000}) as store:
        store.put_blobs("s", {"small": b"x", "large": noise(1, 2000)})
        assert store.get_blobs("s", ["small", "large"]) == {"small": b"x"}


def test_a_blob_is_replaced_by_a_later_one() -> None:
    with Store.open(None) as store:
        store.put_blob("s", "k", b"a")
        store.put_blob("s", "k", b"")
        assert store.get_blob("s", "k") == b""
        assert store.get_blob("t", "k") is None


def test_a_cache_gathers_its_writes(file: Path) -> None:
    with Store.open(file) as store:
        cache = store.cache("scan")
        cache.put("a", b"1")
        assert cache.get("a") == b"1"
        assert store.get_blob("scan", "a") is None
        cache.flush()
        assert store.get_blob("scan", "a") == b"1"
        again = store.cache("scan")
        again.prefetch(["a", "b"])
        assert (again.get("a"), again.get("a"), again.get("b")) == (b"1", b"1", None)
        for i in range(300):
            cache.put(str(i), b"x")
        assert store.get_blob("scan", "0") == b"x"


@given(st.lists(st.text()))
def test_words_come_back_whatever_is_in_them(words: list[str]) -> None:
    assert unpack_words(pack_words(words)) == words


@given(st.binary(max_size=2000))
def test_packed_bytes_come_back_and_never_grow_by_more_than_one(data: bytes) -> None:
    packed = pack(data)
    assert unpack(packed) == data
    assert len(packed) <= len(data) + 1


def test_a_cache_that_cannot_be_written_warns_and_goes_on(tmp_path: Path) -> None:
    """What can be made again must not fail the work that made it; closing does not fail it either."""
    warnings: list[str] = []
    store = Store.open(tmp_path / "state", warn=warnings.append)
    store.save_tags("r", "i", tag_list("1"))
    connection = store._database._open()
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    cache = store.cache("renders")
    cache.put("k", os.urandom(1_000_000))
    cache.flush()
    assert cache.get("k") is None
    assert len(warnings) == 1
    assert "1 renders are not kept" in warnings[0]
    connection.execute("PRAGMA query_only = ON")
    store.save_tags("r", "i", tag_list("1", at=NOW + timedelta(hours=1)))
    store.close()
    assert len(warnings) == 2
    with pytest.raises(StateError, match="closed"):
        store.get_blob("renders", "k")


def test_a_cache_is_shared_by_threads() -> None:
    with Store.open(None) as store:
        cache = BlobCache(store._blobs, "s", batch=2, warn=pytest.fail)

        def fill(number: int) -> None:
            for each in range(300):
                cache.put(f"{number}-{each}", b"x")

        threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cache.flush()
        keys = [f"{number}-{each}" for number in range(8) for each in range(300)]
        assert len(store.get_blobs("s", keys)) == len(keys)
