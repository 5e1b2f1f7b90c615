"""Strategies that order tags by themselves: tables of what has a place, what wins, and the shortcuts of `semver`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.api.model import AlphabeticalPolicy, CalverPolicy, NumericalPolicy, Order, Strategy
from image_updater.policy.calver import Calver, FormatError
from image_updater.policy.numerical import Numerical
from image_updater.policy.ordering import scan
from image_updater.policy.semver import Semver
from image_updater.policy.tagset import TagSet
from tests.unit.policy.making import compiled, judge, pick, semver, why

ASC, DESC = Order.ASC, Order.DESC


@pytest.mark.parametrize(
    ("strategy", "tags", "winner"),
    [
        (semver("^1.2"), "1.1.0 1.2.0 1.10.0 1.9.0 2.0.0", "1.10.0"),
        (semver("*"), "1.0.0 latest 2 3.1", "1.0.0"),
        (semver("*", loose=True), "1.0.0 latest 2 3.1 4.0.0.0", "3.1"),
        (semver("*"), "1.0.0 1.1.0-rc.1", "1.0.0"),
        (semver("*", prereleases=True), "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"),
        (semver("*-0"), "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"),
        (semver("*"), "1.0.0 v1.0.0 01.0.0", "v1.0.0"),
        (semver("*", loose=True), "1.0.0 1.0 1", "1.0.0"),
        (semver("^3"), "1.0.0 2.0.0", None),
        (NumericalPolicy(), "9 10 2e1 latest", "2e1"),
        (NumericalPolicy(), "1_000 999 1000", "1_000"),
        (NumericalPolicy(), "007 7 7.0", "7.0"),
        (NumericalPolicy(order=DESC), "9 10 x -1", "9"),
        (NumericalPolicy(), "nan inf 0x10 1e999 Infinity 1", "1"),
        (NumericalPolicy(), "a b", None),
        (AlphabeticalPolicy(), "a b B _", "b"),
        (AlphabeticalPolicy(order=DESC), "a b B _", "B"),
        (AlphabeticalPolicy(order=DESC), "20 100 3", "100"),
        (CalverPolicy(format="YYYY.0M.MICRO"), "2024.01.9 2024.01.10 2023.12.99 2024.13.1 24.02.1", "2024.01.10"),
        (CalverPolicy(format="YYYY0M0D"), "20240229 20230229 20240230 2024022", "20240229"),
        (CalverPolicy(format="0D.0M.YYYY"), "31.01.2023 01.02.2024 30.01.2024", "01.02.2024"),
        (CalverPolicy(format="MAJOR.0D.0M.YYYY"), "1.31.12.2024 2.01.01.2020", "2.01.01.2020"),
        (CalverPolicy(format="YYYY.MM.DD-MODIFIER"), "2024.1.2-rc1 2024.1.2-rc10 2024.1.2-rc9", "2024.1.2-rc10"),
        (CalverPolicy(format="YYYY.MM.DD-MODIFIER"), "2024.1.2-rc1 2024.1.2 2024.1.1", "2024.1.2"),
        (CalverPolicy(format="YY.MM"), "9.10 24.4 106.1 024.4", "106.1"),
        (CalverPolicy(format="0Y.0W"), "20.53 21.52 21.53", "21.52"),
        (CalverPolicy(format="release-YYYY.0M"), "release-2024.01 2024.02", "release-2024.01"),
    ],
)
def test_the_best_tag_wins(strategy: Strategy, tags: str, winner: str | None) -> None:
    listed = tags.split()
    made = compiled(strategy)
    assert pick(made, listed) == winner
    assert pick(made, listed[::-1] + listed) == winner


@pytest.mark.parametrize(
    ("strategy", "tag", "reason"),
    [
        (semver("^1.2"), "2.0.0", "outside ^1.2"),
        (semver("^1.2"), "1.3.0-rc.1", "a pre-release, and the range ^1.2 has none"),
        (semver("^1.2"), "1.3", "not a version: needs three numeric parts (loose: true would take it)"),
        (semver("^1.2"), "latest", "not a version: needs three numeric parts"),
        (semver("^1.2", loose=True), "1.2.3.4", "not a version: needs one to three numeric parts"),
        (semver("^1.2"), "1.2.3-01", "not a version: the number 01 of its pre-release begins with 0"),
        (NumericalPolicy(), "latest", "not a decimal number"),
        (NumericalPolicy(), "1e999", "not a number of 64 bits: too large"),
        (CalverPolicy(format="YYYY.0M.0D"), "2023.02.29", "not a date: there is no month 2 and day 29 in 2023"),
        (CalverPolicy(format="YYYY.0W"), "2023.53", "not a date: there is no week 53 in 2023"),
        (CalverPolicy(format="YYYY.0M"), "2023.1", "does not have the format YYYY.0M"),
    ],
)
def test_a_rejected_tag_says_why(strategy: Strategy, tag: str, reason: str) -> None:
    assert why(judge(compiled(strategy), [tag, "1.2.3"]), tag)[1] == reason


@pytest.mark.parametrize(
    ("text", "why_not"),
    [
        ("", "no year"),
        ("MAJOR.MINOR", "no year"),
        ("YYYY.QQ", "'Q'"),
        ("YYYY.YY", "year twice"),
        ("YYYY.MM.0M", "month twice"),
        ("YYYY.0W.0D", "week beside"),
        ("YYYY.0W.0M", "week beside"),
        ("YYYY.0D", "day without a month"),
        ("YYYY-MODIFIER.MICRO", "must come last"),
        ("YYYY/0M", "'/'"),
        ("YYYY 0M", "' '"),
        ("YYYY.0M.\n", "neither"),
    ],
)
def test_a_bad_calver_format_is_refused(text: str, why_not: str) -> None:
    with pytest.raises(FormatError, match=why_not):
        Calver.compile(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1E+2", 100.0),
        ("1e-999", 0.0),
        ("1_0.0_1", 10.01),
        *(
            (text, None)
            for text in ["", ".", "1e", "e5", "1.2.3", " 1", "1\n", "١", "_1", "1_", "1__0", "0x1p-2", "nan"]
        ),
        *((text, None) for text in ["-inf", "Infinity", "1e400"]),
    ],
)
def test_numbers_are_read_as_go_reads_decimal_text(text: str, number: float | None) -> None:
    key = Numerical.compile(NumericalPolicy()).key(text)
    assert key == (number,) if number is not None else isinstance(key, str)


def test_extracted_values_are_ordered_and_the_original_tag_wins() -> None:
    filters = {"pattern": r"^main-(?P<ts>\d+)-[0-9a-f]+$", "extract": "$ts"}
    tags = ["main-9-aaa", "main-10-bbb", "main-10-ccc", "main-010-abc", "dev-99-aaa"]
    assert pick(compiled(NumericalPolicy(), filters=filters), tags) == "main-10-ccc"
    assert pick(compiled(AlphabeticalPolicy(), filters=filters), tags) == "main-9-aaa"
    dated = {"pattern": r"^r-(.*)$", "extract": "$1"}
    assert pick(compiled(CalverPolicy(format="YYYY.0M"), filters=dated), ["r-2024.01", "r-2024.02", "x"]) == "r-2024.02"
    version = {"pattern": r"^web-(.*)$", "extract": "${1}"}
    made = compiled(semver("^1"), filters=version)
    assert pick(made, ["web-1.2.0", "web-1.10.0", "web-v1.10.0", "1.11.0", "web-2.0.0"]) == "web-v1.10.0"
    judged = judge(made, ["web-x", "web-1.0.0"])
    assert why(judged, "web-x")[1] == "'x' is not a version: needs three numeric parts"


_RANGES = ["*", "^1", "~1.2", ">=1.0.0-0", "1.x || 3.x", ">1.2 <3", "!=1.2", "0.x", "<=1.2", ">5", "1.2 - 2.1"]
_number = st.sampled_from(["0", "1", "2", "3", "01", "9", "10", "12", "99", "100"])
_suffix = st.sampled_from(["", "", "", "-rc.1", "-0", "-alpine", "-01", ".4", "x"])
_tag = st.builds(
    lambda v, numbers, suffix: v + ".".join(numbers) + suffix,
    st.sampled_from(["", "v"]),
    st.lists(_number, min_size=1, max_size=3),
    _suffix,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_RANGES),
    st.booleans(),
    st.booleans(),
    st.lists(_tag | st.sampled_from(["latest", "", "a\nb", "9" * 5000 + ".1.1"]), max_size=40),
    st.integers(0, 2**32),
)
def test_the_shortcuts_for_long_lists_give_what_reading_every_tag_gives(
    range_: str, prereleases: bool, loose: bool, tags: list[str], seed: int
) -> None:
    ordering = Semver.compile(semver(range_, prereleases=prereleases, loose=loose))
    # Long enough for the shortcuts, with many patches of one minor; none of the padding can win.
    padded = tags + [f"1.2.{n}-x" for n in range(300)] + [f"99.99.{n}.9" for n in range(300)]
    random.Random(seed).shuffle(padded)
    barred = {tag for tag in tags if random.Random(seed).random() < 0.3}

    def passes(tag: str) -> bool:
        return tag not in barred

    quick, slow = ordering.best(TagSet(padded), passes), scan(ordering, padded, passes)
    assert (quick is None) == (slow is None)
    if quick is not None and slow is not None:
        assert quick[0] == slow[0]
        assert set(quick[1]) == set(slow[1])
