"""Laws of judging: the order of the input never matters, what is rejected never matters, increments give the same."""

from __future__ import annotations

import random

import pytest
import semver as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    DigestReflection,
    NewestBy,
    NewestPolicy,
    NumericalPolicy,
    Order,
)
from image_updater.policy import Fate, Judgement, TagFacts, TagSet
from tests.unit.policy.making import chosen, compiled, day, judge, pick, semver, sha

STAMP = {"pattern": r"^(?:main|v)-?(?P<n>[0-9.]+)", "extract": "$n"}
POLICIES = [
    compiled(semver("^1")),
    compiled(semver(">=1.0.0-0 || 0.x", loose=True)),
    compiled(semver("*", prereleases=True), filters={"exclude": ("rc.1$",)}, deny=("1.2.0",)),
    compiled(semver("*"), filters=STAMP),
    compiled(semver("*"), deny=(sha("b"),)),
    compiled(semver("*"), reflection=DigestReflection.ALWAYS),
    compiled(NumericalPolicy()),
    compiled(NumericalPolicy(order=Order.DESC), filters=STAMP),
    compiled(AlphabeticalPolicy(order=Order.DESC)),
    compiled(AlphabeticalPolicy(), filters={"pattern": "^main", "extract": ""}),
    compiled(CalverPolicy(format="YYYY.0M.MICRO-MODIFIER")),
    compiled(NewestPolicy(), filters={"exclude": ("^v",)}),
    compiled(NewestPolicy(by=NewestBy.FIRST_SEEN), deny=(sha("b"),)),
    compiled(DigestPolicy(tag="latest")),
]

_number = st.sampled_from(["0", "1", "2", "10", "01"])
_version = st.builds(
    lambda v, parts, end: f"{v}{'.'.join(parts)}{end}",
    st.sampled_from(["", "", "v", "main-"]),
    st.lists(_number, min_size=1, max_size=3),
    st.sampled_from(["", "", "-rc.1", "-rc.2", "-a"]),
)
_odd = st.sampled_from(
    ["latest", "2024.01.2", "2024.02.1-rc1", "2024.02.1", "sha256-00.sig", "a\nb", "", "main", "1e1"]
)
_tags = st.lists(_version | _odd, max_size=25)
_fact = st.builds(
    TagFacts,
    digest=st.sampled_from([None, sha("a"), sha("b"), sha("c")]),
    created=st.sampled_from([None, *map(day, (1, 2, 3)), day(4).replace(year=1970)]),
    first_seen=st.sampled_from([None, day(1), day(2)]),
    created_known=st.booleans(),
)
_policies = st.sampled_from(POLICIES)
_seeds = st.integers(0, 2**32)


def _facts(tags: list[str], facts: list[TagFacts], seed: int) -> dict[str, TagFacts]:
    dice = random.Random(seed)
    return {tag: dice.choice(facts) for tag in sorted(set(tags)) if dice.random() < 0.8}


def _all(judged: Judgement) -> tuple[object, ...]:
    return judged.chosen, judged.reason, tuple(judged.needs_facts), tuple(judged.verdicts)


@settings(max_examples=150, deadline=None)
@given(_policies, _tags, st.lists(_fact, min_size=1, max_size=4), _seeds)
def test_order_and_repeats_of_the_input_never_matter(made, tags, known, seed) -> None:  # type: ignore[no-untyped-def]
    facts = _facts(tags, known, seed)
    shuffled = tags + tags[: len(tags) // 2]
    random.Random(seed).shuffle(shuffled)
    assert _all(judge(made, tags, facts)) == _all(judge(made, shuffled, facts))
    pick(made, tags, facts)


@settings(max_examples=150, deadline=None)
@given(_policies, _tags, st.lists(_fact, min_size=1, max_size=4), _seeds)
def test_a_rejected_tag_never_changes_the_choice(made, tags, known, seed) -> None:  # type: ignore[no-untyped-def]
    facts = _facts(tags, known, seed)
    judged = judge(made, tags, facts)
    without = [tag for tag in tags if tag not in {v.tag for v in judged.verdicts if v.fate is Fate.REJECTED}]
    assert judge(made, without, facts).chosen == judged.chosen
    more = [*tags, "not a tag", "sha256-1234.sig"]
    assert judge(made, more, facts).chosen == judged.chosen


@settings(max_examples=150, deadline=None)
@given(_policies, _tags, _tags, st.lists(_fact, min_size=1, max_size=4), _seeds)
def test_increments_give_what_starting_anew_gives(made, tags, pool, known, seed) -> None:  # type: ignore[no-untyped-def]
    dice = random.Random(seed)
    judged = judge(made, tags, _facts(tags, known, seed))
    for step in range(6):
        tags = list(tags)
        for _ in range(dice.randrange(4)):
            if dice.random() < 0.5 and tags:
                tags.pop(dice.randrange(len(tags)))
            elif pool:
                tags.insert(dice.randrange(len(tags) + 1), dice.choice(pool))
        facts = _facts(tags, known, seed if dice.random() < 0.7 else step)
        judged = judge(made, tags, facts, previous=judged)
        assert _all(judged) == _all(judge(made, tags, facts))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([">=1.0.0", "<2.0.0", ">1.2.0", "<=1.10.0", "=1.2.0", "!=1.2.0"]),
    st.lists(st.builds("{}.{}.{}".format, *[st.integers(0, 12)] * 3), max_size=20),
)
def test_the_choice_satisfies_the_range_and_nothing_better_does(range_: str, tags: list[str]) -> None:
    winner = pick(compiled(semver(range_)), tags)
    expression = range_.replace("=1", "==1") if range_.startswith("=") else range_
    inside = [tag for tag in tags if reference.Version.parse(tag).match(expression)]
    expected = max(inside, key=reference.Version.parse, default=None)
    assert winner == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "aa", "b", "1", "", "x\ny", "c"]), max_size=12), _tags, _seeds)
def test_changes_between_two_lists_are_their_difference(one: list[str], other: list[str], seed: int) -> None:
    both = one + other
    random.Random(seed).shuffle(both)
    for before, after in ((one, other), (one, both), (both, other), (both, both)):
        added, removed = TagSet(after).changes(TagSet(before))
        assert {tag for tag in added if "\n" not in tag} == {t for t in set(after) - set(before) if "\n" not in t}
        assert {tag for tag in removed if "\n" not in tag} == {t for t in set(before) - set(after) if "\n" not in t}
        assert len(added) == len(set(added))


@pytest.mark.parametrize("made", POLICIES[:4])
def test_a_long_list_gains_and_loses_its_winner(made) -> None:  # type: ignore[no-untyped-def]
    tags = [f"v{major}.{minor}.{patch}" for major in range(3) for minor in range(30) for patch in range(30)]
    judged = judge(made, tags)
    first = chosen(judged)
    more = judge(made, [*tags, "v1.99.0"], previous=judged)
    less = judge(made, [tag for tag in tags if tag != first], previous=more)
    again = judge(made, tags, previous=less)
    assert chosen(again) == first
    assert chosen(less) == chosen(judge(made, [tag for tag in tags if tag != first]))
    assert chosen(more) == chosen(judge(made, [*tags, "v1.99.0"]))


def test_a_judgement_of_another_policy_is_not_continued() -> None:
    tags = ["1.0.0", "2.0.0"]
    previous = judge(compiled(semver("^1")), tags)
    assert chosen(judge(compiled(semver("^2")), tags, previous=previous)) == "2.0.0"


def test_an_unchanged_list_shares_the_text_of_the_one_before() -> None:
    made = compiled(semver("^1"))
    tags = TagSet(("1.0.0", "1.1.0"))
    first = judge(made, tags.source)
    assert judge(made, tags.source, previous=first).tags is first.tags
    assert chosen(judge(compiled(semver("*")), tags)) == "1.1.0"  # type: ignore[arg-type]
    assert len(tags) == 2
    assert "1.0.0" in tags
    assert "1.0" not in tags
