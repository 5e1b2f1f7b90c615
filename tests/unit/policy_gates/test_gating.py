"""How gates work together: what gives way to what, what is asked for, what a long list costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from image_updater import policy
from image_updater.api.model import After, DigestPolicy, DigestReflection, NewestPolicy
from image_updater.api.wishes import ApprovalWish
from image_updater.policy import Fate, TagFacts
from image_updater.policy.gating import MOST_ASKED, GateName, gate, takes
from image_updater.policy.situation import Hold, Need, Quarantined, Situation
from tests.unit.policy.making import NOW, sha
from tests.unit.policy_gates.gating import (
    DAY,
    HOUR,
    bad,
    denied,
    gated,
    known,
    made,
    nobody_knows,
    pick,
    proven,
    said,
    seen,
)

AGED = made(min_age=72 * HOUR)
MANY = tuple(f"1.{minor}.{patch}" for minor in range(2, 22) for patch in range(100))
"""2,000 tags, 1.21.99 the best."""
BEST = tuple(reversed(MANY))


# ------------------------------------------------------------------------------------------------- nothing to gate


def test_without_gates_the_judgement_is_the_answer() -> None:
    for tags in (("1.2.0", "1.3.0"), ("x",), ()):
        judged = policy.judge(made(), tags, {}, now=NOW)
        answer = gate(judged, made(), {}, Situation(), now=NOW)
        assert (answer.chosen, answer.reason, answer.verdicts) == (judged.chosen, judged.reason, judged.verdicts)
        assert (answer.until, answer.held, dict(answer.needs), answer.because) == (None, False, {}, ())


def test_what_the_judgement_itself_waits_for_is_asked_as_before() -> None:
    answer = gated(made(reflection=DigestReflection.ALWAYS))
    assert tuple(answer.needs_facts) == ("1.6.0",)
    assert answer.held
    assert dict(answer.needs) == {}
    dated = gated(made(NewestPolicy()))
    assert set(dated.needs_facts) == {"1.4.0", "1.5.0", "1.6.0", "latest"}
    assert dated.held


def test_a_selection_is_made_of_what_is_gated() -> None:
    facts = {"1.6.0": seen("a", HOUR), "1.5.0": seen("b", 80 * HOUR)}
    aged = made(min_age=72 * HOUR, reflection=DigestReflection.ALWAYS)
    chosen = policy.select(aged, gated(aged, facts), facts)
    assert chosen is not None
    assert (chosen.tag, chosen.digest) == ("1.5.0", sha("b"))


# ------------------------------------------------------------------------------------------------- partial data


def test_nothing_lower_is_chosen_while_a_better_one_is_not_known() -> None:
    answer = gated(AGED, {"1.5.0": seen("b", 80 * HOUR)})
    assert pick(answer) is None
    assert answer.wanted == "1.6.0"
    assert dict(answer.needs) == {"1.6.0": {Need.DIGEST}}
    assert tuple(answer.needs_facts) == ("1.6.0",)
    assert said(answer, "1.5.0") == (Fate.ELIGIBLE, "eligible, but 1.6.0 is newer")


def test_what_is_held_for_certain_needs_no_facts_to_give_way() -> None:
    both = made(platforms=("linux/amd64",), after=After(name="staging"))
    facts = {"1.5.0": known("b", platforms=("linux/amd64",))}
    answer = gated(both, facts, upstream=(proven("1.5.0", DAY),))
    assert pick(answer) == "1.5.0"
    assert dict(answer.needs) == {}


def test_a_tag_that_is_held_otherwise_is_asked_for_its_digest_so_that_its_age_begins() -> None:
    both = made(min_age=72 * HOUR, approvals=1)
    answer = gated(both)
    assert pick(answer) is None
    assert dict(answer.needs) == dict.fromkeys(("1.6.0", "1.5.0", "1.4.0"), frozenset({Need.DIGEST}))


def test_bytes_seen_too_lately_hold_although_they_may_have_moved_since() -> None:
    always = made(min_age=72 * HOUR, reflection=DigestReflection.ALWAYS)
    facts = {"1.6.0": TagFacts(bytes_seen=NOW - HOUR), "1.5.0": seen("b", 80 * HOUR)}
    answer = gated(always, facts)
    assert (pick(answer), tuple(answer.needs_facts)) == ("1.5.0", ("1.6.0",))
    # Old enough, they must be known to be the same.
    older = gated(always, {**facts, "1.6.0": TagFacts(bytes_seen=NOW - 80 * HOUR)})
    assert (pick(older), tuple(older.needs_facts)) == (None, ("1.6.0",))


def test_a_push_time_of_the_registry_needs_no_digest() -> None:
    answer = gated(AGED, {"1.6.0": TagFacts(pushed=NOW - 80 * HOUR)})
    assert (pick(answer), dict(answer.needs)) == ("1.6.0", {})
    earlier = gated(AGED, {"1.6.0": seen("a", 80 * HOUR, pushed=NOW)})
    assert pick(earlier) == "1.6.0"


def test_facts_are_asked_for_in_growing_numbers_and_not_for_ever() -> None:
    facts: dict[str, TagFacts] = {}
    rounds = []
    while True:
        answer = gated(AGED, facts, MANY)
        assert pick(answer) is None
        if not answer.needs:
            break
        rounds.append(len(answer.needs))
        facts |= dict.fromkeys(answer.needs, seen("a", HOUR))
    assert rounds[:5] == [1, 2, 4, 8, 16]
    assert MOST_ASKED <= sum(rounds) <= 2 * MOST_ASKED
    assert list(facts) == list(BEST[: len(facts)])
    assert answer.reason.startswith(
        f"{BEST[len(facts)]} would win, but it is not looked at, as {len(facts)} better ones"
    )
    assert answer.until == NOW + 71 * HOUR
    # One that is older is found behind as many as are known.
    facts[BEST[len(facts)]] = seen("b", 80 * HOUR)
    assert pick(gated(AGED, facts, MANY)) == BEST[len(facts) - 1]


# ------------------------------------------------------------------------------------------------- long lists


@pytest.mark.parametrize(
    ("fields", "situation"),
    [
        ({"after": After(name="staging")}, {"upstream": (proven(BEST[1500], DAY), proven("0.1.0", DAY))}),
        ({"approvals": 1}, {"approvals": (ApprovalWish(tag=BEST[1500], by="ann", at=NOW),)}),
        ({"group": "g"}, {"group": {"a": frozenset(BEST[1490:1600]), "b": frozenset((BEST[3], BEST[1500]))}}),
    ],
    ids=["after", "approvals", "group"],
)
def test_only_what_can_pass_is_looked_at_far_down(fields: Any, situation: Any) -> None:
    answer = gated(made(**fields), tags=MANY, **situation)
    assert pick(answer) == BEST[1500]
    assert len({blocked.tag for blocked in answer.because}) == 50
    assert "(and many more do not pass)" in answer.reason
    # Whoever reads the verdicts sees the others held as well.
    assert said(answer, BEST[700])[0] is Fate.HELD
    assert said(answer, BEST[700])[1] == said(answer, BEST[0])[1]
    assert said(answer, BEST[1700])[0] is Fate.HELD
    assert answer.best(10) == answer.verdicts[:10]


def test_what_ranks_below_the_chosen_one_is_told_what_surely_does_not_let_it_pass() -> None:
    quarantined = (Quarantined(image="ghcr.io/acme/web", tag="1.4.0", reason="crash loop"),)
    facts = {
        "1.6.0": TagFacts(platforms=("linux/arm64",)),
        "1.5.0": TagFacts(platforms=("linux/amd64",)),
        "1.4.0": TagFacts(platforms=("linux/arm64",)),
    }
    tags = ("1.3.0", "1.4.0", "1.5.0", "1.6.0")
    answer = gated(made(platforms=("linux/arm64",)), facts, tags=tags, quarantined=quarantined)
    assert pick(answer) == "1.6.0"
    assert said(answer, "1.5.0") == (Fate.REJECTED, "not for linux/arm64: it is for linux/amd64")
    assert said(answer, "1.4.0") == (Fate.REJECTED, "quarantined: crash loop")
    # Nobody asked for its platforms, and nobody will.
    assert said(answer, "1.3.0") == (Fate.ELIGIBLE, "eligible, but 1.6.0 is newer")
    assert [verdict.tag for verdict in answer.verdicts] == ["1.6.0", "1.3.0", "1.4.0", "1.5.0"]


def test_the_best_of_a_long_list_are_those_of_all_verdicts() -> None:
    entries = tuple(Quarantined(image="ghcr.io/acme/web", tag=tag) for tag in (BEST[0], *BEST[2:30:3]))
    answer = gated(made(), tags=MANY, quarantined=entries)
    few = answer.best(10)
    assert list(few) == list(answer.verdicts[:10])
    assert not {verdict.tag for verdict in few} & {entry.tag for entry in entries}


def test_a_hold_ends_the_way_down() -> None:
    answer = gated(made(), tags=MANY, hold=Hold(reason="reverted", tag=BEST[1]))
    assert pick(answer) == BEST[0]
    held = gated(made(), tags=MANY, hold=Hold(reason="reverted", tag="1.30.0"))
    assert (pick(held), len(held.because)) == (None, 1)
    assert said(held, BEST[900]) == (Fate.HELD, "held up to 1.30.0: reverted")


def test_leading_shows_what_a_person_wants_to_see_first() -> None:
    facts = {"1.6.0": seen("a", HOUR), "1.5.0": seen("b", 80 * HOUR)}
    answer = gated(AGED, facts, ("1.4.0", "1.5.0", "1.6.0", "1.7.0", "x"), denied=denied("1.7.0"))
    assert [(verdict.tag, verdict.fate) for verdict in answer.leading(4)] == [
        ("1.7.0", Fate.REJECTED),
        ("1.6.0", Fate.HELD),
        ("1.5.0", Fate.CHOSEN),
        ("1.4.0", Fate.ELIGIBLE),
    ]
    assert [verdict.tag for verdict in gated(made(), tags=("x", "y")).leading(2)] == ["x", "y"]


# ------------------------------------------------------------------------------------------------- holds


@pytest.mark.parametrize(
    ("tag", "digest", "expected"),
    [("1.5.0", None, "1.6.0"), ("1.6.0", None, None), ("1.7.0", None, None), ("latest", None, None)],
    ids=["newer passes", "the same", "older", "not comparable"],
)
def test_a_hold_blocks_up_to_its_tag(tag: str, digest: str | None, expected: str | None) -> None:
    assert pick(gated(made(), hold=Hold(reason="reverted", tag=tag, digest=digest))) == expected


def test_other_bytes_of_a_held_tag_are_new() -> None:
    hold = Hold(reason="rolled back", tag="1.6.0", digest=sha("a"))
    assert pick(gated(made(), {"1.6.0": known("b")}, hold=hold)) == "1.6.0"
    assert pick(gated(made(), {"1.6.0": known("a")}, hold=hold)) is None
    unknown = gated(made(), hold=hold)
    assert (pick(unknown), dict(unknown.needs)) == (None, {"1.6.0": {Need.DIGEST}})
    assert pick(gated(made(), {"1.6.0": nobody_knows(Need.DIGEST)}, hold=hold)) is None
    latest = made(DigestPolicy(tag="latest"))
    moved = Hold(reason="rolled back", tag="latest", digest=sha("a"))
    assert pick(gated(latest, {"latest": known("b")}, hold=moved)) == "latest"
    assert pick(gated(latest, {"latest": known("a")}, hold=moved)) is None


def test_a_hold_of_what_is_dated_ends_with_a_later_date() -> None:
    newest = made(NewestPolicy())
    facts = {
        tag: TagFacts(created=NOW - age, created_known=True)
        for tag, age in {"1.4.0": 6 * HOUR, "1.5.0": 5 * HOUR, "1.6.0": 4 * HOUR, "latest": 9 * HOUR}.items()
    }
    assert pick(gated(newest, facts, hold=Hold(reason="reverted", tag="1.5.0"))) == "1.6.0"
    assert pick(gated(newest, facts, hold=Hold(reason="reverted", tag="1.6.0"))) is None
    # The held tag is gone from the registry: what came after it was taken back is newer.
    gone = Hold(reason="reverted", tag="1.5.9", since=NOW - 4 * HOUR - timedelta(minutes=1))
    assert pick(gated(newest, facts, hold=gone)) == "1.6.0"
    assert pick(gated(newest, facts, hold=Hold(reason="reverted", tag="1.5.9", since=NOW - 4 * HOUR))) is None
    assert pick(gated(newest, facts, hold=Hold(reason="reverted", tag="1.5.9"))) is None


def test_a_hold_that_is_over_holds_nothing() -> None:
    answer = gated(made(), hold=Hold(reason="demo", until=NOW))
    assert (pick(answer), answer.until) == ("1.6.0", None)


def test_until_is_when_a_hold_ends_although_the_best_tag_is_out_for_good() -> None:
    hold = Hold(reason="reverted", tag="1.6.0", until=NOW + HOUR)
    answer = gated(made(), hold=hold, denied=denied("1.6.0"))
    assert (pick(answer), answer.until, answer.wanted) == (None, NOW + HOUR, "1.5.0")


# ------------------------------------------------------------------------------------------------- promotion


def test_a_tag_that_is_proven_again_is_not_withdrawn() -> None:
    staged = made(after=After(name="staging", soak=HOUR))
    failed = proven("1.6.0", 9 * HOUR, withdrawn=NOW - 5 * HOUR)
    assert pick(gated(staged, upstream=(failed, proven("1.6.0", 4 * HOUR)))) == "1.6.0"
    # In another environment it may still be bad.
    elsewhere = proven("1.6.0", 4 * HOUR, environment="apps/other")
    assert said(gated(staged, upstream=(failed, elsewhere)), "1.6.0")[0] is Fate.REJECTED
    before = proven("1.6.0", 6 * HOUR)
    assert said(gated(staged, upstream=(failed, before)), "1.6.0")[0] is Fate.REJECTED


def test_it_soaks_from_the_first_environment() -> None:
    staged = made(after=After(name="staging", soak=3 * HOUR))
    two = proven("1.6.0", 4 * HOUR), proven("1.6.0", HOUR, environment="apps/other")
    assert pick(gated(staged, upstream=two)) == "1.6.0"


def test_bytes_that_nobody_knows_are_proven_by_their_tag() -> None:
    staged = made(after=After(name="staging"))
    upstream = (proven("1.6.0", DAY, digest=sha("a")),)
    assert pick(gated(staged, {"1.6.0": nobody_knows(Need.DIGEST)}, upstream=upstream)) == "1.6.0"
    assert pick(gated(staged, {"1.6.0": known("a")}, upstream=upstream)) == "1.6.0"


def test_of_many_that_were_not_looked_at_no_number_is_told() -> None:
    tags = [f"1.{number}.0" for number in range(2, 300)]
    yes = (ApprovalWish(tag="1.2.0", by="ann", at=NOW),)
    answer = gated(made(approvals=1), tags=tags, approvals=yes)
    assert pick(answer) == "1.2.0"
    assert answer.reason.endswith("; 1.299.0 is at 0 of 1 approvals (and many more do not pass)")


def test_one_person_approves_once() -> None:
    two = made(approvals=2)
    twice = [ApprovalWish(tag="1.6.0", by="ann", at=NOW), ApprovalWish(tag="1.6.0", by="ann", at=NOW, digest=sha("a"))]
    assert pick(gated(two, {"1.6.0": known("a")}, approvals=tuple(twice))) is None
    both = (*twice, ApprovalWish(tag="1.6.0", by="bob", at=NOW, digest=sha("a")))
    assert pick(gated(two, {"1.6.0": known("a")}, approvals=both)) == "1.6.0"
    # Other bytes were pushed since.
    assert pick(gated(two, {"1.6.0": known("b")}, approvals=both)) is None


# ------------------------------------------------------------------------------------------------- groups


def test_a_group_takes_the_best_that_all_take() -> None:
    group = made(group="checkout")
    ours = policy.judge(group, ("1.4.0", "1.5.0", "1.6.0"), {}, now=NOW)
    theirs = policy.judge(group, ("1.4.0", "1.5.0", "1.7.0"), {}, now=NOW)
    denies = Situation(denied=denied("1.5.0"))
    mine = takes(ours, group, {}, Situation(), now=NOW)
    other = takes(theirs, group, {}, denies, now=NOW)
    assert (mine.tags, other.tags) == (("1.6.0", "1.5.0", "1.4.0"), ("1.7.0", "1.4.0"))
    one = gate(ours, group, {}, Situation(group={"b": frozenset(other.tags)}), now=NOW)
    two = gate(theirs, group, {}, Situation(group={"a": frozenset(mine.tags)}, denied=denied("1.5.0")), now=NOW)
    assert pick(one) == pick(two) == "1.4.0"


def test_a_member_that_is_stopped_takes_nothing() -> None:
    group = made(group="checkout")
    judged = policy.judge(group, ("1.4.0", "1.5.0"), {}, now=NOW)
    hold = Hold(reason="demo", until=NOW + HOUR)
    found = takes(judged, group, {}, Situation(hold=hold), now=NOW)
    assert (found.tags, found.until, found.reason) == ((), NOW + HOUR, "it is held until 13:00: demo")
    alone = gate(judged, group, {}, Situation(group={"b": frozenset(found.tags)}), now=NOW)
    assert pick(alone) is None


def test_a_member_says_what_it_must_know_and_until_when() -> None:
    aged = made(group="checkout", min_age=72 * HOUR)
    facts = {"1.6.0": seen("a", HOUR), "1.5.0": seen("b", 80 * HOUR)}
    judged = policy.judge(aged, ("1.3.0", "1.4.0", "1.5.0", "1.6.0"), facts, now=NOW)
    found = takes(judged, aged, facts, Situation(), now=NOW)
    assert (found.tags, found.until) == (("1.5.0",), NOW + 71 * HOUR)
    assert dict(found.needs) == {tag: {Need.DIGEST} for tag in ("1.4.0", "1.3.0")}
    assert takes(judged, aged, facts, Situation(), now=NOW, among={"1.5.0", "1.9.0"}).needs == {}
    none = takes(judged, aged, facts, Situation(), now=NOW, among={"1.6.0"})
    assert (none.tags, none.reason) == ((), "1.6.0 is eligible at 2026-11-28T11:00Z (minAge 72h)")


def test_a_member_asks_for_growing_numbers_too() -> None:
    aged = made(group="checkout", min_age=72 * HOUR)
    facts: dict[str, TagFacts] = {}
    rounds = []
    while (found := takes(policy.judge(aged, MANY, facts, now=NOW), aged, facts, Situation(), now=NOW)).needs:
        rounds.append(len(found.needs))
        facts |= dict.fromkeys(found.needs, seen("a", 80 * HOUR))
    assert rounds == [1, 2, 4, 8, 16, 19]
    assert found.tags == BEST[:50]


def test_a_member_is_asked_for_nothing_that_its_other_gates_hold() -> None:
    staged = made(group="checkout", min_age=72 * HOUR, after=After(name="staging"))
    judged = policy.judge(staged, MANY, {}, now=NOW)
    situation = Situation(upstream=(proven(BEST[80], DAY), proven(BEST[90], DAY)))
    everything = takes(judged, staged, {}, situation, now=NOW)
    assert dict(everything.needs) == {BEST[80]: {Need.DIGEST}}
    few = takes(judged, staged, {}, situation, now=NOW, among={BEST[70], BEST[90]})
    assert dict(few.needs) == {BEST[90]: {Need.DIGEST}}


def test_what_a_gate_and_the_judgement_both_need_is_asked_in_one() -> None:
    both = made(platforms=("linux/amd64",), reflection=DigestReflection.ALWAYS)
    answer = gated(both)
    assert dict(answer.needs) == {"1.6.0": {Need.DIGEST, Need.PLATFORMS}}
    assert tuple(answer.needs_facts) == ("1.6.0",)


def test_of_many_that_are_held_otherwise_only_the_best_are_asked_for_their_digest() -> None:
    answer = gated(made(min_age=72 * HOUR, approvals=1), tags=MANY)
    assert list(answer.needs) == list(BEST[:10])


def test_far_down_a_member_takes_what_the_others_list() -> None:
    group = made(group="checkout")
    judged = policy.judge(group, MANY, {}, now=NOW)
    assert takes(judged, group, {}, Situation(), now=NOW, among=set(BEST[1990:])).tags == BEST[1990:]
    assert takes(judged, group, {}, Situation(), now=NOW, limit=7).tags == BEST[:7]


def test_the_gate_of_what_must_be_known_is_named() -> None:
    answer = gated(made(), {"1.6.0": known("z")}, quarantined=(bad("1.5.9", "a"),), tags=("1.6.0", "1.7.0"))
    assert [(one.gate, one.tag) for one in answer.because] == [(GateName.QUARANTINE, "1.7.0")]
