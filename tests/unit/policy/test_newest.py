"""`newest` never picks from unknown dates, `digest` follows one tag, and digests can be asked for or denied."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from image_updater import policy
from image_updater.api.model import AlphabeticalPolicy, DigestPolicy, DigestReflection, NewestBy, NewestPolicy
from image_updater.policy import Fate, TagFacts
from tests.unit.policy.making import chosen, compiled, day, judge, pick, semver, sha, why

CREATED = compiled(NewestPolicy())
PUSHED = compiled(NewestPolicy(by=NewestBy.PUSHED))
SEEN = compiled(NewestPolicy(by=NewestBy.FIRST_SEEN))


def made_on(number: int, letter: str = "a") -> TagFacts:
    return TagFacts(created=day(number), digest=sha(letter), created_known=True)


def test_the_latest_date_wins_whatever_the_name() -> None:
    facts = {"zzz": made_on(1), "abc": made_on(3, "b"), "mmm": made_on(2, "c")}
    judged = judge(CREATED, list(facts), facts)
    assert chosen(judged) == "abc"
    assert judged.reason == "the newest: created 2026-10-03T00:00:00Z"
    assert [verdict.tag for verdict in judged.verdicts] == ["abc", "mmm", "zzz"]
    assert why(judged, "mmm") == (Fate.ELIGIBLE, "created 2026-10-02T00:00:00Z, before abc")


def test_it_holds_until_every_date_that_the_filters_leave_is_known() -> None:
    made = compiled(NewestPolicy(), filters={"exclude": ("^old",)})
    facts = {f"t{n:04}": made_on(1) for n in range(412)}
    tags = [f"t{n:04}" for n in range(3000)] + ["old1", "sha256-00.sig"]
    judged = judge(made, tags, facts)
    assert judged.chosen is None
    assert judged.held
    assert judged.reason.startswith("412 of 3,000 dates known")
    assert "filterTags" in judged.reason
    assert "--state" in judged.reason
    assert len(judged.needs_facts) == 2588
    assert judged.needs_facts[0] == "t2999"
    assert why(judged, "t2999") == (Fate.HELD, "its date is not known: it was not fetched yet")
    assert why(judged, "t0000")[0] is Fate.HELD
    assert why(judged, "old1")[0] is Fate.REJECTED


@pytest.mark.parametrize(
    ("undated", "reason"),
    [
        (TagFacts(created_known=True), "no creation date"),
        (TagFacts(created=datetime(1970, 1, 1, tzinfo=UTC), digest=sha("e")), "1970-01-01T00:00:00Z lies before 1990"),
        (TagFacts(created=datetime(1989, 12, 31, 23, 59, tzinfo=UTC), created_known=True), "lies before 1990"),
        (TagFacts(created=datetime(1, 1, 1, tzinfo=UTC), created_known=True), "lies before 1990"),
    ],
    ids=["none", "epoch", "eighties", "year-one"],
)
def test_an_image_that_cannot_be_dated_holds_and_is_not_asked_again(undated: TagFacts, reason: str) -> None:
    judged = judge(CREATED, ["a", "b"], {"a": made_on(1), "b": undated})
    assert judged.chosen is None
    assert judged.held
    assert judged.needs_facts == ()
    assert judged.reason.startswith("1 of 2 dates known: b cannot be dated; leave such tags out with filterTags")
    assert why(judged, "b")[0] is Fate.HELD
    assert reason in why(judged, "b")[1]


def test_the_first_of_1990_is_a_date() -> None:
    assert pick(CREATED, ["a"], {"a": TagFacts(created=datetime(1990, 1, 1, tzinfo=UTC))}) == "a"


def test_equal_dates_of_equal_bytes_go_to_the_greatest_tag() -> None:
    facts = {"v1": made_on(3), "latest": made_on(3), "old": made_on(1, "b")}
    judged = judge(CREATED, ["latest", "v1", "old"], facts)
    assert chosen(judged) == "v1"
    assert why(judged, "latest") == (Fate.ELIGIBLE, "the same bytes as v1, which is greater in byte order")


def test_a_date_shared_at_the_top_by_different_bytes_holds() -> None:
    judged = judge(CREATED, ["a", "b", "c"], {"a": made_on(3), "b": made_on(3, "b"), "c": made_on(1)})
    assert judged.chosen is None
    assert judged.held
    assert judged.needs_facts == ()
    assert "2 tags share the newest date 2026-10-03T00:00:00Z (b, a), but not their bytes" in judged.reason
    assert {verdict.fate for verdict in judged.verdicts} == {Fate.HELD}


def test_a_date_shared_below_the_top_is_nobodys_business() -> None:
    assert pick(CREATED, ["a", "b", "c"], {"a": made_on(1), "b": made_on(1, "b"), "c": made_on(2)}) == "c"


def test_a_date_shared_at_the_top_by_unknown_bytes_asks_for_the_digests() -> None:
    facts = {"a": TagFacts(pushed=day(3)), "b": TagFacts(pushed=day(3), digest=sha("b")), "c": TagFacts(pushed=day(1))}
    judged = judge(PUSHED, list(facts), facts)
    assert judged.chosen is None
    assert judged.needs_facts == ("a",)
    assert "digests of some are not known" in judged.reason


def test_a_registry_without_push_times_holds_with_the_other_ways() -> None:
    judged = judge(PUSHED, ["a"], {"a": made_on(1)})
    assert judged.chosen is None
    assert judged.needs_facts == ()
    assert "order by created or firstSeen" in judged.reason


def test_only_tags_that_came_after_the_first_listing_win_by_first_seen() -> None:
    facts = {"old": TagFacts(), "new": TagFacts(first_seen=day(2))}
    judged = judge(SEEN, ["old", "new", "unheard"], facts)
    assert chosen(judged) == "new"
    assert judged.needs_facts == ()
    assert why(judged, "old")[0] is Fate.REJECTED
    assert "first listed" in why(judged, "unheard")[1]
    assert judge(SEEN, ["old"], facts).chosen is None


def test_tags_first_seen_together_ask_for_their_digests() -> None:
    facts = {"a": TagFacts(first_seen=day(2)), "b": TagFacts(first_seen=day(2))}
    assert judge(SEEN, ["a", "b"], facts).needs_facts == ("b", "a")
    same = {tag: TagFacts(first_seen=day(2), digest=sha("a")) for tag in facts}
    assert pick(SEEN, ["a", "b"], same) == "b"


def test_nothing_at_all_is_said_too() -> None:
    assert judge(CREATED, []).reason == "the repository has no tags"
    made = compiled(NewestPolicy(), filters={"pattern": "^x"})
    assert judge(made, ["a", "b"]).reason == "none of 2 tags is eligible for newest by created"


# ------------------------------------------------------------------------------------------------- digests


def test_a_followed_tag_is_chosen_when_its_digest_is_known() -> None:
    made = compiled(DigestPolicy(tag="latest"))
    asked = judge(made, ["latest", "1.0.0"])
    assert asked.chosen is None
    assert asked.needs_facts == ("latest",)
    assert why(asked, "latest")[0] is Fate.HELD
    facts = {"latest": TagFacts(digest=sha("a"))}
    judged = judge(made, ["latest", "1.0.0"], facts, previous=asked)
    assert chosen(judged) == "latest"
    assert why(judged, "1.0.0") == (Fate.REJECTED, "not the followed tag latest")
    selection = policy.select(made, judged, facts)
    assert selection is not None
    assert (selection.tag, selection.digest) == ("latest", sha("a"))
    gone = judge(made, ["1.0.0"], facts, previous=judged)
    assert gone.chosen is None
    assert gone.reason == "the repository has no tag latest"


@pytest.mark.parametrize(
    ("facts", "fields", "reason"),
    [
        ({"latest": TagFacts(created_known=True)}, {}, "it has no known digest"),
        ({"latest": TagFacts(digest=sha("a"))}, {"deny": (sha("a"),)}, "denied by spec.deny"),
        ({"latest": TagFacts(digest=sha("a"))}, {"deny": ("latest",)}, "is out: denied by spec.deny"),
        ({"latest": TagFacts(digest=sha("a"))}, {"filters": {"pattern": "^v"}}, "is out: does not match"),
    ],
)
def test_a_followed_tag_that_may_not_win_says_why(
    facts: dict[str, TagFacts], fields: dict[str, object], reason: str
) -> None:
    judged = judge(compiled(DigestPolicy(tag="latest"), **fields), ["latest"], facts)  # type: ignore[arg-type]
    assert judged.chosen is None
    assert judged.needs_facts == ()
    assert reason in judged.reason
    assert judged.verdicts[0].fate is Fate.REJECTED


@pytest.mark.parametrize("reflection", [DigestReflection.ALWAYS, DigestReflection.IF_NOT_PRESENT])
def test_a_digest_that_is_written_is_asked_for_the_winner_only(reflection: DigestReflection) -> None:
    made = compiled(semver("^1"), reflection=reflection)
    asked = judge(made, ["1.0.0", "1.1.0"])
    assert asked.chosen is None
    assert asked.needs_facts == ("1.1.0",)
    assert asked.reason.startswith("1.1.0 would win, but its digest is not known yet")
    assert [(v.tag, v.fate) for v in asked.verdicts] == [("1.0.0", Fate.ELIGIBLE), ("1.1.0", Fate.HELD)]
    assert policy.select(made, asked, {}) is None
    facts = {"1.1.0": TagFacts(digest=sha("a"))}
    judged = judge(made, ["1.0.0", "1.1.0"], facts, previous=asked)
    selection = policy.select(made, judged, facts)
    assert selection is not None
    assert (selection.policy, selection.name) == ("apps/web", "ghcr.io/acme/web")
    assert (selection.tag, selection.digest) == ("1.1.0", sha("a"))
    assert selection.reason == "the newest version in ^1"


def test_where_a_digest_must_be_written_a_tag_without_one_is_rejected() -> None:
    made = compiled(semver("^1"), reflection=DigestReflection.ALWAYS)
    facts = {"1.1.0": TagFacts(created_known=True), "1.0.0": TagFacts(digest=sha("a"), created_known=True)}
    judged = judge(made, ["1.0.0", "1.1.0"], facts)
    assert chosen(judged) == "1.0.0"
    assert why(judged, "1.1.0") == (
        Fate.REJECTED,
        "it has no known digest, and digestReflectionPolicy Always must write one",
    )


def test_digests_are_not_written_unless_they_are_asked_for() -> None:
    made = compiled(semver("^1"))
    facts = {"1.0.0": TagFacts(digest=sha("a"))}
    judged = judge(made, ["1.0.0"], facts)
    assert judged.needs_facts == ()
    selection = policy.select(made, judged, facts)
    assert selection is not None
    assert selection.digest is None
    assert selection.facts == facts


@pytest.mark.parametrize("strategy", [semver("^1"), AlphabeticalPolicy(), NewestPolicy()])
def test_a_denied_digest_loses_to_the_next(strategy: object) -> None:
    made = compiled(strategy, deny=(sha("b"), "1.3.0"))  # type: ignore[arg-type]
    facts = {
        "1.0.0": made_on(1),
        "1.1.0": made_on(2, "c"),
        "1.2.0": made_on(3, "b"),
        "1.2.1": made_on(4, "b"),
        "1.3.0": made_on(5, "e"),
    }
    judged = judge(made, list(facts), facts)
    assert chosen(judged) == "1.1.0"
    assert why(judged, "1.2.1") == (Fate.REJECTED, f"its digest {sha('b')} is denied by spec.deny")
    assert why(judged, "1.3.0") == (Fate.REJECTED, "denied by spec.deny")
    assert pick(made, list(facts), facts) == "1.1.0"


def test_denied_digests_need_the_winners_digest() -> None:
    made = compiled(semver("^1"), deny=(sha("b"),))
    assert judge(made, ["1.0.0", "1.1.0"]).needs_facts == ("1.1.0",)
    facts = {"1.1.0": TagFacts(digest=sha("b"))}
    assert judge(made, ["1.0.0", "1.1.0"], facts).needs_facts == ("1.0.0",)
    # The complete answer of a tags file: nobody will ever know the digest, and none is written.
    assert pick(made, ["1.1.0"], {"1.1.0": TagFacts(created_known=True)}) == "1.1.0"


def test_a_tag_that_was_denied_by_its_bytes_returns_with_other_bytes() -> None:
    made = compiled(semver("^1"), deny=(sha("b"),))
    tags = ["1.0.0", "1.1.0"]
    bad = judge(made, tags, {"1.0.0": TagFacts(digest=sha("a")), "1.1.0": TagFacts(digest=sha("b"))})
    assert chosen(bad) == "1.0.0"
    facts = {"1.0.0": TagFacts(digest=sha("a")), "1.1.0": TagFacts(digest=sha("c"))}
    assert chosen(judge(made, tags, facts, previous=bad)) == "1.1.0"


def test_a_tie_asks_for_digests_even_where_the_dates_came_alone() -> None:
    facts = {tag: TagFacts(first_seen=day(2), created_known=True) for tag in ("latest", "v1")}
    assert judge(SEEN, list(facts), facts).needs_facts == ("v1", "latest")


def test_an_image_that_was_read_and_has_no_date_is_out_and_an_unknown_date_holds() -> None:
    read = {"a": made_on(1), "b": TagFacts(created_known=True, dateless=True)}
    assert pick(CREATED, ["a", "b"], read) == "a"
    unknown = {"a": made_on(1), "b": TagFacts(created_known=True)}
    assert pick(CREATED, ["a", "b"], unknown) is None
