"""What people ask through the state file, and how far each tag came."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.wishes import (
    ApprovalWish,
    DenyWish,
    HoldWish,
    ResumeWish,
    RollbackWish,
    UndenyWish,
    Wishes,
)
from image_updater.policy.situation import Proven
from image_updater.store import Milestone, Stage, Store
from image_updater.store.migrations import APPLICATION_ID, MIGRATIONS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = "apps/web"
STAGING, PROD = "flux/staging", "flux/prod"


# ------------------------------------------------------------------------------------------- wishes


def test_wishes_survive_a_restart_and_add_up(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        assert store.wishes(WEB) == Wishes()
        store.save_wish(WEB, HoldWish(reason="the queue is full", by="ada", at=NOW, until=NOW + MINUTE), NOW)
        store.save_wish(WEB, ApprovalWish(tag="1.2", by="ada", at=NOW), NOW)
        store.save_wish(WEB, ApprovalWish(tag="1.2", by="bob", at=NOW, digest=f"sha256:{'0' * 64}"), NOW)
        store.save_wish(WEB, DenyWish(what="1.1", by="ada", at=NOW, reason="ünsound"), NOW)
        store.save_wish("apps/api", RollbackWish(at=NOW + timedelta(microseconds=7), to="1.0"), NOW)
    with Store.open(file) as store:
        wishes = store.wishes(WEB)
        assert wishes.hold == HoldWish(reason="the queue is full", by="ada", at=NOW, until=NOW + MINUTE)
        assert [each.by for each in wishes.approvals] == ["ada", "bob"]
        assert wishes.denied == (DenyWish(what="1.1", by="ada", at=NOW, reason="ünsound"),)
        assert store.all_wishes() == {
            WEB: wishes,
            "apps/api": Wishes(rollback=RollbackWish(at=NOW + timedelta(microseconds=7), to="1.0")),
        }
        store.save_wish(WEB, ResumeWish(at=NOW + MINUTE, by="bob"), NOW)
        assert store.save_wish(WEB, UndenyWish(what="1.1"), NOW) == Wishes(
            resumed=NOW + MINUTE, resumed_by="bob", approvals=wishes.approvals
        )


def test_the_version_moves_with_each_wish_of_any_process_and_with_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as run, Store.open(file) as command:
        before = run.wishes_version()
        command.put_blob("s", "k", b"x")
        command.note_milestone(WEB, "", "1", None, Stage.SEEN, NOW)
        assert run.wishes_version() == before
        command.save_wish(WEB, HoldWish(reason="x"), NOW)
        assert run.wishes_version() == before + 1
        assert run.wishes(WEB).hold == HoldWish(reason="x")


ASKING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from image_updater.api.wishes import ApprovalWish, DenyWish
from image_updater.store import Store

now = datetime(2026, 1, 1, tzinfo=UTC)
with Store.open(Path(sys.argv[1])) as store:
    for i in range(20):
        store.save_wish("apps/web", DenyWish(what=f"{sys.argv[2]}-{i}", by=sys.argv[2], at=now), now)
    store.save_wish("apps/web", ApprovalWish(tag="1", by=sys.argv[2], at=now), now)
"""


def test_people_who_ask_at_once_all_get_what_they_asked(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    people = [subprocess.Popen([sys.executable, "-c", ASKING, str(file), f"p{i}"]) for i in range(3)]
    assert [each.wait(timeout=60) for each in people] == [0, 0, 0]
    with Store.open(file) as store:
        wishes = store.wishes(WEB)
        assert len(wishes.denied) == 60
        assert {each.by for each in wishes.approvals} == {"p0", "p1", "p2"}
        assert store.wishes_version() == 63


def test_threads_that_ask_at_once_all_get_what_they_asked() -> None:
    with Store.open(None) as store:
        threads = [
            threading.Thread(target=store.save_wish, args=(WEB, DenyWish(what=f"1.{i}"), NOW)) for i in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.wishes(WEB).denied) == 16


@pytest.mark.parametrize(
    "body",
    ["{rotten", "[]", '{"image-updater.dev/resume": 5}', '{"image-updater.dev/resume": "soon"}', "\x00", "[" * 9000],
    ids=["cut", "a-list", "a-number", "no-time", "zero", "deep"],
)
def test_what_cannot_be_read_holds_the_policy_until_somebody_resumes(tmp_path: Path, body: str) -> None:
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        store.save_wish(WEB, HoldWish(reason="x"), NOW)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE wishes SET body = ?", (body,))
    with Store.open(file) as store:
        hold = store.wishes(WEB).hold
        assert hold is not None
        assert "cannot be read from the state file" in hold.reason
        store.save_wish(WEB, ResumeWish(at=NOW), NOW)
        assert store.wishes(WEB) == Wishes(resumed=NOW)


def test_wishes_are_carried_over_from_a_file_that_is_corrupt_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    with Store.open(file, warn=warnings.append) as store:
        store.save_wish(WEB, HoldWish(reason="x"), NOW)
        store.save_facts("r", "i", {"sha256:1": {"a": 1}})
        before = store.wishes_version()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE facts SET body = '{rotten'")
    with Store.open(file, warn=warnings.append) as store:
        assert store.facts("r", "i") == {}
        assert store.wishes(WEB).hold == HoldWish(reason="x")
        assert store.wishes_version() > before
    (warning,) = warnings
    assert "what was asked of 1 policies was carried over" in warning


def test_wishes_that_are_lost_are_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    file.write_bytes(b"no database at all, but a letter\n" * 500)
    with Store.open(file, warn=warnings.append) as store:
        assert store.all_wishes() == {}
    (warning,) = warnings
    assert "are lost: ask again" in warning


def test_a_file_of_version_three_has_no_wishes_and_takes_some(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    old = sqlite3.connect(file)
    for statements in MIGRATIONS[:3]:
        for statement in statements:
            old.execute(statement)
    old.execute("INSERT INTO decisions VALUES (1, 'apps/web', '1.0', NULL, 'why', 5)")
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute("PRAGMA user_version = 3")
    old.commit()
    old.close()
    with Store.open(file) as store:
        assert store.wishes(WEB) == Wishes()
        assert store.wishes_version() == 0
        assert store.milestones(WEB) == ()
        store.save_wish(WEB, HoldWish(reason="x"), NOW)
        store.note_milestone(WEB, PROD, "1.0", None, Stage.HEALTHY, NOW)
        assert [each.tag for each in store.decisions(WEB)] == ["1.0"]
    with Store.open(file) as store:
        assert store.wishes(WEB).hold is not None
        assert [each.tag for each in store.proven(WEB)] == ["1.0"]


# ------------------------------------------------------------------------------------------- milestones


def note(
    store: Store, stage: Stage, minutes: int, *, place: str = "", tag: str = "1.0", digest: str | None = None
) -> bool:
    return store.note_milestone(WEB, place, tag, digest, stage, NOW + minutes * MINUTE)


def test_what_is_true_everywhere_is_in_the_row_of_each_environment() -> None:
    with Store.open(None) as store:
        note(store, Stage.PUSHED, 0)
        note(store, Stage.SEEN, 1)
        note(store, Stage.ELIGIBLE, 2)
        store.note_milestone(WEB, "", "1.0", "sha256:1", Stage.COMMITTED, NOW + 3 * MINUTE, commit="c0ffee")
        for place, minutes in ((STAGING, 10), (PROD, 20)):
            note(store, Stage.APPLIED, minutes, place=place, digest="sha256:1")
            note(store, Stage.HEALTHY, minutes + 5, place=place, digest="sha256:1")
        note(store, Stage.SEEN, 40, tag="1.1")
        newest, prod, staging = store.milestones(WEB)
        assert (newest.tag, newest.environment, newest.lead_time) == ("1.1", "", None)
        assert prod == Milestone(
            policy=WEB,
            environment=PROD,
            tag="1.0",
            digest="sha256:1",
            pushed=NOW,
            seen=NOW + MINUTE,
            eligible=NOW + 2 * MINUTE,
            committed=NOW + 3 * MINUTE,
            applied=NOW + 20 * MINUTE,
            healthy=NOW + 25 * MINUTE,
            commit="c0ffee",
        )
        assert staging.environment == STAGING
        assert (staging.lead_time, prod.lead_time) == (15 * MINUTE, 25 * MINUTE)
        assert [(each.environment, each.at) for each in store.proven(WEB)] == [
            (PROD, NOW + 25 * MINUTE),
            (STAGING, NOW + 15 * MINUTE),
        ]


def test_other_bytes_under_a_tag_are_another_row() -> None:
    with Store.open(None) as store:
        for digest in ("sha256:1", "sha256:2"):
            note(store, Stage.HEALTHY, 1, place=PROD, digest=digest)
        assert {each.digest for each in store.milestones(WEB)} == {"sha256:1", "sha256:2"}


def test_what_was_noted_before_the_digest_was_known_is_of_the_only_one() -> None:
    with Store.open(None) as store:
        note(store, Stage.APPLIED, 1, place=PROD, digest=None)
        note(store, Stage.HEALTHY, 2, place=PROD, digest="sha256:1")
        note(store, Stage.FAILED, 3, place=PROD, digest=None)
        (only,) = store.milestones(WEB)
        assert (only.digest, only.applied, only.healthy) == ("sha256:1", NOW + MINUTE, NOW + 2 * MINUTE)
        assert only.withdrawn == NOW + 3 * MINUTE
        note(store, Stage.HEALTHY, 4, place=PROD, digest="sha256:2")
        assert len(store.milestones(WEB)) == 3


def test_a_stage_is_reached_once_and_says_so() -> None:
    with Store.open(None) as store:
        assert note(store, Stage.APPLIED, 5, place=PROD)
        assert not note(store, Stage.APPLIED, 5, place=PROD)
        assert not note(store, Stage.APPLIED, 9, place=PROD)
        assert note(store, Stage.HEALTHY, 6, place=PROD)
        assert not note(store, Stage.HEALTHY, 8, place=PROD)
        (only,) = store.milestones(WEB)
        assert (only.applied, only.healthy) == (NOW + 5 * MINUTE, NOW + 6 * MINUTE)


def test_a_tag_that_fails_after_it_was_healthy_is_withdrawn_until_it_is_healthy_again() -> None:
    with Store.open(None) as store:
        note(store, Stage.HEALTHY, 1, place=PROD)
        note(store, Stage.FAILED, 5, place=PROD)
        assert store.proven(WEB) == (Proven(tag="1.0", at=NOW + MINUTE, environment=PROD, withdrawn=NOW + 5 * MINUTE),)
        note(store, Stage.FAILED, 7, place=PROD)
        assert not note(store, Stage.HEALTHY, 6, place=PROD), "it was healthy before that failure"
        assert note(store, Stage.HEALTHY, 9, place=PROD)
        assert store.proven(WEB) == (Proven(tag="1.0", at=NOW + 9 * MINUTE, environment=PROD),)
        assert not note(store, Stage.FAILED, 3, place=PROD), "an older failure that comes late"


def test_a_tag_that_only_failed_is_not_proven() -> None:
    with Store.open(None) as store:
        note(store, Stage.FAILED, 5, place=PROD)
        assert store.proven(WEB) == ()


def test_the_last_five_hundred_rows_stay() -> None:
    with Store.open(None) as store:
        for i in range(503):
            note(store, Stage.SEEN, i, tag=f"1.{i}")
        store.note_milestone("apps/api", "", "1", None, Stage.SEEN, NOW)
        tags = [each.tag for each in store.milestones(WEB)]
        assert (len(tags), tags[0], tags[-1]) == (500, "1.502", "1.3")
        assert len(store.milestones("apps/api")) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(list(Stage)), st.sampled_from([STAGING, PROD]), st.integers(0, 30)), max_size=12
)


@given(STEPS)
def test_proven_and_withdrawn_agree_with_the_last_that_happened(steps: list[tuple[Stage, str, int]]) -> None:
    """In order of time: healthy and not failed since = proven."""
    steps.sort(key=lambda step: step[2])
    with Store.open(None) as store:
        state: dict[str, bool] = {}
        for stage, place, minutes in steps:
            note(store, stage, minutes, place=place)
        for place in (STAGING, PROD):
            marks = [
                (minutes, stage)
                for stage, at, minutes in steps
                if at == place and stage in (Stage.HEALTHY, Stage.FAILED)
            ]
            if any(stage is Stage.HEALTHY for _, stage in marks):
                healthy = [minutes for minutes, stage in marks if stage is Stage.HEALTHY]
                failed = [minutes for minutes, stage in marks if stage is Stage.FAILED]
                state[place] = not failed or max(failed) <= min(healthy) or max(healthy) > max(failed)
        assert {each.environment: each.withdrawn is None for each in store.proven(WEB)} == state


# ------------------------------------------------------------------------------------------- history


def test_the_history_of_tags_has_all_that_is_kept_of_them() -> None:
    from image_updater.store import SeenTag, StoredTags

    with Store.open(None) as store:
        assert store.tag_history("r") is None
        store.note_seen("r", "me", ["1.0", "1.0@sha256:a"], NOW)
        store.note_seen("r", "me", ["1.0", "1.1", "1.1@sha256:b", "gone"], NOW + MINUTE)
        store.note_seen("r", "me", ["1.1@sha256:c"], NOW + 5 * MINUTE)
        store.save_tag_digests("r", "me", {"1.1": "sha256:c", "1.0": "sha256:a"})
        store.save_facts("r", "me", {"sha256:c": {"created": "2026-02-01T00:00:00Z", "platforms": ["linux/amd64"]}})
        store.save_tags(
            "r",
            "me",
            StoredTags(tags=("1.0", "1.1"), fingerprint="f", scanned_at=NOW + 9 * MINUTE, pushed={"1.1": NOW}),
        )
        store.save_tags("r", "other", StoredTags(tags=("9",), fingerprint="g", scanned_at=NOW))
        found = store.tag_history("r")
        assert found is not None
        assert found.since == NOW
        assert found.tags == (
            SeenTag(tag="1.0", digests=(("sha256:a", None),)),
            SeenTag(
                tag="1.1",
                first_seen=NOW + MINUTE,
                pushed=NOW,
                digests=(("sha256:b", NOW + MINUTE), ("sha256:c", NOW + 5 * MINUTE)),
            ),
            SeenTag(tag="gone", first_seen=NOW + MINUTE, listed=False),
        )
        assert found.created == {"sha256:c": datetime(2026, 2, 1, tzinfo=UTC)}
        assert found.platforms == {"sha256:c": ("linux/amd64",)}


@pytest.mark.parametrize("body", ["{rotten", '{"created": "yesterday"}'])
def test_a_history_that_rotted_counts_as_corruption(tmp_path: Path, body: str) -> None:
    file = tmp_path / "state.sqlite"
    warnings: list[str] = []
    with Store.open(file, warn=warnings.append) as store:
        store.note_seen("r", "me", ["1.0"], NOW)
        store.save_facts("r", "me", {"sha256:a": {"created": None}})
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE facts SET body = ?", (body,))
    with Store.open(file, warn=warnings.append) as store:
        assert store.tag_history("r") is None
    assert len(warnings) == 1
