"""What outlives the process: the file in Git, statuses, names of objects, storms."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Objects, Quarantine, SemverPolicy
from image_updater.controller.cache import read
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.quarantines import Quarantines, body, is_derived, name_of
from image_updater.controller.loop.status import Rollback
from image_updater.controller.loop.storms import JUDGED, Storms, said
from image_updater.errors import DocumentError, GitError, SpecError
from image_updater.git.errors import GitUnavailable
from image_updater.pipeline import provenfile
from image_updater.pipeline.answers.situations import Situations
from image_updater.pipeline.people.standing import proven_of
from image_updater.pipeline.report import CommitReport
from image_updater.pipeline.rollback.decision import STORM, IntentState, good_value
from image_updater.pipeline.rollback.placements import Value
from image_updater.pipeline.rollback.reverting import Answer
from image_updater.policy.situation import Origin, Proven, Quarantined
from image_updater.store.model import Milestone

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


def proven(tag: str, minutes: int = 0, environment: str = "shop/apps", **more: object) -> Proven:
    return Proven(tag=tag, at=NOW + timedelta(minutes=minutes), environment=environment, **more)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- provenFile

TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,12}", fullmatch=True)
PROVEN = st.builds(
    Proven,
    tag=TAGS,
    at=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
        lambda at: at.replace(tzinfo=UTC, microsecond=0, fold=0)
    ),
    digest=st.none() | st.just(DIGEST),
    environment=st.sampled_from(["shop/apps", "shop/more"]),
    withdrawn=st.none() | st.just(NOW),
)


@given(st.dictionaries(st.sampled_from(["shop/web", "shop/1.10", "shop/yes"]), st.lists(PROVEN, max_size=5)))
def test_what_is_written_is_read(mine: dict[str, list[Proven]]) -> None:
    data = provenfile.write({}, mine, environments=["shop/apps", "shop/more"])
    found = provenfile.read(data, "proven.yaml")
    wanted = {name: each for name, each in mine.items() if each}
    assert found.keys() == wanted.keys()
    for name, entries in wanted.items():
        assert sorted(map(repr, found[name])) == sorted(map(repr, entries))
    again = provenfile.write(found, mine, environments=["shop/apps", "shop/more"])
    assert again == data, "writing it again is no change"


def test_it_stands_in_order_and_others_lines_stay() -> None:
    before = {"shop/web": [proven("1.0.0", environment="far/apps"), proven("0.9.0", environment="shop/apps")]}
    data = provenfile.write(before, {"shop/web": [proven("1.1.0", 5, withdrawn=NOW)]}, environments=["shop/apps"])
    assert data.decode() == (
        "# Kept by image-updater (spec.git.provenFile of an ImageUpdateAutomation): tags whose rollout was healthy.\n"
        "# Policies elsewhere read it through spec.after.provenFile.\n"
        "proven:\n"
        '  "shop/web":\n'
        '    - tag: "1.1.0"\n'
        '      environment: "shop/apps"\n'
        '      since: "2026-11-26T12:05:00Z"\n'
        '      withdrawn: "2026-11-26T12:00:00Z"\n'
        '    - tag: "1.0.0"\n'
        '      environment: "far/apps"\n'
        '      since: "2026-11-26T12:00:00Z"\n'
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- a\n", 1, "is not a provenFile"),
        ("proven: 1\n", 1, "is not a provenFile"),
        ("proven: {}\n---\nproven: {}\n", 1, "is not a provenFile"),
        ("proven:\n  a: 1\n", 2, "is not a list"),
        ("proven:\n  a:\n    - {tag: 1.0, since: x}\n", 3, "in quotes"),
        ("proven:\n  a:\n    - {tag: '1.0', since: x}\n", 3, "RFC 3339"),
        ("proven:\n  a:\n    - {tag: '1.0', sinc: x}\n", 3, "unknown field"),
    ],
)
def test_half_of_it_is_no_answer(text: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        provenfile.read(text.encode(), "proven.yaml")
    assert (caught.value.where.file, caught.value.where.line) == ("proven.yaml", line)


def test_an_empty_file_says_nothing() -> None:
    assert provenfile.read(b"", "proven.yaml") == {}
    assert provenfile.read(b"proven: {}\n", "proven.yaml") == {}


# ------------------------------------------------------------------------------------------------- status


def test_a_rollback_is_read_back_as_it_was_written() -> None:
    made = Rollback(
        state=IntentState.PUSHED,
        image="acme/web",
        bad=Value("1.5.0", DIGEST),
        to=Value("1.4.2"),
        kustomization="shop/apps",
        object="Deployment.apps shop/web",
        reason="it crashes",
        since=NOW,
        commit="c" * 40,
        requested=NOW + timedelta(microseconds=7),
        message="on its way",
    )
    fields = loopstatus.rollback_fields(made, {})
    assert loopstatus.rollback_of(fields, made.place) == made
    assert loopstatus.requested(fields) == made.requested, "two wishes within a second are two"
    assert loopstatus.rollback_of({}) is None
    assert loopstatus.rollback_of({"rollback": {"state": "Unheard"}}) is None


def test_a_rollback_puts_none_of_another_workload_out_of_status_that_is_not_at_its_end() -> None:
    def made(place: str, state: IntentState, **more: Any) -> loopstatus.Rollback:
        return loopstatus.Rollback(state=state, bad=Value("1.5.0"), kustomization=place, object="web", **more)

    status: dict[str, Any] = {}
    for place in ("shop/a", "shop/b", "shop/c"):
        status |= loopstatus.rollback_fields(made(place, IntentState.INTENDED), status)
    status |= loopstatus.rollback_fields(made("shop/a", IntentState.PUSHED, commit="c" * 40), status)
    status |= loopstatus.rollback_fields(made("shop/b", IntentState.DONE), status)
    status |= loopstatus.rollback_fields(made("shop/a", IntentState.DONE), status)
    assert [(each.kustomization, each.state) for each in loopstatus.rollbacks_of(status)] == [
        ("shop/a", IntentState.DONE),
        ("shop/c", IntentState.INTENDED),
    ]
    assert loopstatus.rollback_fields(made("shop/c", IntentState.DONE), status)["rollbacks"] is None
    wish = loopstatus.Rollback(state=IntentState.ENDED, requested=NOW)
    status = loopstatus.rollback_fields(wish, {})
    status = loopstatus.rollback_fields(made("shop/a", IntentState.INTENDED), status)
    assert loopstatus.requested(status) == NOW, "a wish is answered once"


def test_an_automation_with_nothing_to_do_hides_no_commit_of_another_one() -> None:
    asked = {"policy": "shop/web", "spec": SPEC, "reason": "asked for by jo", "since": NOW, "asked": NOW}
    status, _ = loopstatus.reverted(Answer(**asked, commit=COMMIT), {})  # type: ignore[arg-type]
    fields, happened = loopstatus.reverted(Answer(**asked, message="nothing to do"), status)  # type: ignore[arg-type]
    assert (fields, happened.reason) == ({}, "RollbackRefused")


def test_proven_tags_keep_the_date_of_their_first_proof() -> None:
    first = loopstatus.with_healthy((), proven("1.0.0"))
    again = loopstatus.with_healthy(first, proven("1.0.0", 9, revision="main@sha1:b"))
    assert [(each.at, each.revision) for each in again] == [(NOW, "main@sha1:b")]
    failed = loopstatus.with_failed(again, "shop/apps", Value("1.0.0"), NOW + timedelta(minutes=10))
    assert failed[0].withdrawn == NOW + timedelta(minutes=10)
    assert loopstatus.with_failed(failed, "shop/apps", Value("1.0.0"), NOW + timedelta(minutes=11)) == failed
    assert loopstatus.with_failed(again, "other/apps", Value("1.0.0"), NOW) == again
    healthy = loopstatus.with_healthy(failed, proven("1.0.0", 20))
    assert [(each.at, each.withdrawn) for each in healthy] == [(NOW + timedelta(minutes=20), None)]
    assert proven_of(loopstatus.proven_fields(healthy)) == healthy


def test_of_many_proven_tags_each_environment_keeps_its_last() -> None:
    known: tuple[Proven, ...] = (proven("0.1.0", -1000, environment="rare/apps"),)
    for number in range(30):
        known = loopstatus.with_healthy(known, proven(f"1.{number}.0", number))
    assert len(known) == loopstatus.KEPT
    assert any(each.environment == "rare/apps" for each in known)
    assert known[0].tag == "1.29.0"


def test_the_last_proven_value_is_the_newest_that_stands_and_fits() -> None:
    known = [proven("1.0.0"), proven("1.1.0", 1), proven("1.2.0", 2, withdrawn=NOW)]
    assert good_value(known, lambda _: True) == Value("1.1.0")
    assert good_value(known, lambda value: value.tag != "1.1.0") == Value("1.0.0")
    assert good_value([], lambda _: True) is None


def test_lead_times_are_of_what_was_applied() -> None:
    done = Milestone(
        policy="shop/web",
        tag="1.1.0",
        environment="shop/apps",
        seen=NOW,
        applied=NOW,
        healthy=NOW + timedelta(seconds=90),
    )
    older = Milestone(policy="shop/web", tag="1.0.0", environment="shop/apps", applied=NOW)
    fields = loopstatus.lead_times([done, older, Milestone(policy="shop/web", tag="2.0.0", seen=NOW)])
    assert (fields["leadTime"]["tag"], fields["leadTime"]["seconds"]) == ("1.1.0", 90)
    assert [each["tag"] for each in fields["history"]] == ["1.0.0"]
    assert loopstatus.lead_times([]) == {"leadTime": None, "history": None}
    late = replace(done, seen=NOW + timedelta(milliseconds=900), healthy=NOW + timedelta(milliseconds=5_100))
    said = loopstatus.lead_times([late])["leadTime"]
    assert said["seconds"] == 5, "as the times beside it say, which have no fractions"


def quarantined(**more: object) -> Quarantined:
    known: dict[str, object] = {"image": "acme/web", "tag": "1.5.0", "source": "Kustomization shop/apps", "reason": "x"}
    return Quarantined(**known | more)  # type: ignore[arg-type]


def test_a_rollouts_hold_is_read_back_and_a_persons_is_not() -> None:
    fields = loopstatus.hold_fields([quarantined(since=NOW, digest=DIGEST, origin=Origin.ROLLOUT)])
    assert loopstatus.held_by_rollout(fields, "acme/web") == (
        quarantined(since=NOW, digest=DIGEST, origin=Origin.ROLLOUT),
    )
    assert loopstatus.held_by_rollout({"hold": {"reason": "x", "tag": "1", "by": "jo"}}, "acme/web") == ()
    assert loopstatus.hold_fields([]) == {"hold": None}


def test_a_breaker_is_read_back() -> None:
    assert loopstatus.breaker_of(loopstatus.breaker_fields("too many", NOW)) == ("too many", NOW)
    assert loopstatus.breaker_of({}) == ("", None)
    assert loopstatus.breaker_fields("", NOW) == {"breaker": None}


SPEC = ImagePolicy(meta=Meta(key=ObjectKey("shop", "web")), image="acme/web", strategy=SemverPolicy(range="*"))
COMMIT = CommitReport(
    repository="r", branch="main", commit="c" * 40, automation="shop/all", subject="Roll back", pushed=True
)


@pytest.mark.parametrize(
    ("answer", "state", "handled"),
    [
        ({"commit": COMMIT}, "Pushed", True),
        ({"message": "nothing to do"}, "Ended", True),
        ({"error": SpecError("no such tag")}, "Refused", True),
        ({"error": GitUnavailable("away")}, "Refused", False),
    ],
    ids=["made", "nothing-to-do", "never", "later"],
)
def test_what_became_of_a_wish(answer: dict[str, object], state: str, handled: bool) -> None:
    assert issubclass(GitUnavailable, GitError)
    made = Answer(policy="shop/web", spec=SPEC, reason="asked for by jo", since=NOW, asked=NOW, **answer)  # type: ignore[arg-type]
    fields, happened = loopstatus.reverted(made, {})
    assert fields["rollback"]["state"] == state
    assert (loopstatus.requested(fields) == NOW) is handled
    assert happened.message


# ------------------------------------------------------------------------------------------------- objects, storms


def test_a_derived_quarantine_has_one_name_wherever_it_is_made() -> None:
    one = quarantined(image="docker.io/library/nginx", tag="1.5.0_x", source="commit 123456789012")
    same = quarantined(image="nginx", tag="1.5.0_x", source="commit abcdefabcdef")
    assert name_of(one) == name_of(same)
    assert name_of(one) != name_of(quarantined(image="nginx", tag="1.5.0_x", digest=DIGEST))
    assert name_of(one).startswith("nginx-1.5.0-x-")
    long = name_of(quarantined(image="registry.example/" + "x" * 200, tag="T" * 128))
    assert len(long) <= 63
    made = body(ObjectKey("shop", name_of(one)), one)
    assert made["spec"] == {"image": one.image, "tag": "1.5.0_x", "reason": "x", "source": "commit 123456789012"}
    key = ObjectKey("shop", "a")
    assert is_derived(Quarantine(meta=Meta(key=key), image="nginx", source="commit 123456789012"))
    assert not is_derived(Quarantine(meta=Meta(key=key), image="nginx"))


@given(st.text(max_size=1200))
@example("exit 1: \x1b[31mno such table\x7f")
def test_a_derived_quarantine_is_read_whatever_the_reason_holds(reason: str) -> None:
    bad = quarantined(image="nginx", tag="1.5.0", source="commit 123456789012")
    made = body(ObjectKey("shop", "a"), replace(bad, reason=reason))
    found = read("Quarantine", made)
    assert found.error is None
    assert isinstance(found.value, Quarantine)


def test_three_policies_within_ten_minutes_are_a_storm() -> None:
    storms = Storms()
    storms.note("a", NOW)
    storms.note("b", NOW + timedelta(minutes=4))
    storms.note("b", NOW + timedelta(minutes=1))
    assert storms.together(NOW + timedelta(minutes=5)) == ()
    storms.note("c", NOW + STORM)
    assert storms.together(NOW + STORM) == ("a", "b", "c")
    assert "3 policies failed within 10 minutes: a, b, c" in said(("a", "b", "c"))
    assert storms.together(NOW + STORM + timedelta(seconds=1)) == (), "the first is too long ago"
    storms.note("d", NOW + STORM)
    assert storms.together(NOW + STORM + timedelta(minutes=1)) == ("b", "c", "d")
    storms.calm("d")
    assert storms.together(NOW + STORM + timedelta(minutes=1)) == ()
    assert storms.together(NOW - timedelta(days=1)) == (), "a clock that jumps makes no storm"


def test_what_is_not_judged_yet_gathers_until_it_is() -> None:
    storms = Storms()
    for name in ("a", "b", "c"):
        storms.expect(name, NOW, name)
    assert storms.gathers(NOW)
    storms.note("a", NOW, "a")
    assert storms.gathers(NOW)
    assert storms.together(NOW) == ()
    storms.judged(["b"])  # a person's change
    assert not storms.gathers(NOW)
    storms.expect("b", NOW, "b")
    assert storms.gathers(NOW)
    assert not storms.gathers(NOW + JUDGED + timedelta(seconds=1)), "Git is away: nobody waits for ever"
    storms.note("b", NOW, "b")
    storms.note("c", NOW, "c")
    storms.expect("a", NOW, "a")
    assert not storms.gathers(NOW), "all are judged"
    assert storms.together(NOW) == ("a", "b", "c")
    storms.retain(())
    assert not storms.gathers(NOW)


def test_one_workload_with_three_images_of_ours_is_no_storm() -> None:
    storms = Storms()
    for name in "abc":
        storms.note(name, NOW, "Deployment web")
    assert storms.together(NOW) == ()
    storms.note("d", NOW, "Deployment api")
    assert storms.together(NOW) == ("a", "b", "c", "d")


async def test_what_may_not_be_written_is_asked_for_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    async def wait(_: asyncio.Event, seconds: float | None) -> None:
        waits.append(seconds)

    class Cache:
        def subscribe(self, _: object) -> Cache:
            return self

        async def next(self) -> None:
            await asyncio.Event().wait()

    class Refused(Quarantines):
        async def _reconcile(self) -> bool:
            if len(waits) == 9:
                raise asyncio.CancelledError
            return len(waits) == 8

    monkeypatch.setattr("image_updater.controller.loop.quarantines.pause", wait)
    nothing: Any = SimpleNamespace(cache=Cache())
    with pytest.raises(asyncio.CancelledError):
        await Refused(nothing, nothing, nothing, nothing).run()
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 60.0]


def test_where_a_derived_object_stands_it_counts_and_a_person_may_give_it_an_end() -> None:
    situations = Situations()
    record = quarantined(source="commit 123456789012")
    situations.recorded("all", [record], namespace="shop")
    situations.adopt(Objects(policies=(SPEC,)))
    assert situations.of(SPEC).quarantined == (record,)
    made = Quarantine(
        meta=Meta(key=ObjectKey("shop", name_of(record))),
        image="acme/web",
        tag="1.5.0",
        source=record.source,
        expires=NOW,
    )
    situations.adopt(Objects(policies=(SPEC,), quarantines=(made,)))
    (found,) = situations.of(SPEC).quarantined
    assert (found.expires, found.origin) == (NOW, Origin.COMMIT)
    situations.adopt(Objects(policies=(SPEC,)))
    assert situations.of(SPEC).quarantined == (record,), "it was deleted, and binds all the same"
