"""Ranges mean what Masterminds/semver says; versions order as semver 2.0 says."""

from __future__ import annotations

import itertools
import json
import pathlib

import pytest
import semver as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.policy.ranges import RangeError, parse_range
from image_updater.policy.versions import is_prerelease, parse_version

_TABLE = [
    line
    for line in pathlib.Path(__file__).with_name("masterminds.tsv").read_text().splitlines()
    if not line.startswith("#")
]
_VERSIONS = _TABLE[0].split()
_ROWS = [(json.loads(text), bits) for text, _, bits in (line.partition("\t") for line in _TABLE[1:])]


@pytest.mark.parametrize(("text", "bits"), _ROWS, ids=[repr(text) for text, _ in _ROWS])
def test_a_range_holds_what_masterminds_says(text: str, bits: str) -> None:
    if bits == "error":
        with pytest.raises(RangeError):
            parse_range(text)
        return
    plain, prereleases = parse_range(text), parse_range(text, prereleases=True)
    answers = ""
    for version in _VERSIONS:
        key = parse_version(version)
        assert not isinstance(key, str)
        answers += "1" if plain.accepts(key) else "2" if prereleases.accepts(key) else "0"
        assert prereleases.accepts(key) or not plain.accepts(key)
        assert (plain.refusal(key) is None) == plain.accepts(key)
    assert answers == bits


@pytest.mark.parametrize(("text", "bits"), _ROWS, ids=[repr(text) for text, _ in _ROWS])
def test_the_hull_of_a_range_leaves_out_nothing_that_it_holds(text: str, bits: str) -> None:
    if bits == "error":
        return
    held = parse_range(text, prereleases=True)
    majors = held.majors(16)
    for version in _VERSIONS:
        key = parse_version(version)
        assert not isinstance(key, str)
        if held.accepts(key):
            assert held.may_hold(key[:2])
            assert majors is None or key[0] in majors


@pytest.mark.parametrize(
    ("text", "version", "reason"),
    [
        ("^1.2", "1.1.9", "outside ^1.2"),
        ("^1.2", "1.3.0-rc.1", "a pre-release, and the range ^1.2 has none"),
        ("^1.2", "1.2.0-rc.1", "outside ^1.2"),
        ("^1.2.0-0", "1.2.0-rc.1", None),
    ],
)
def test_a_refusal_says_which_rule(text: str, version: str, reason: str | None) -> None:
    key = parse_version(version)
    assert not isinstance(key, str)
    assert parse_range(text).refusal(key) == reason


def test_a_hostile_range_is_refused_quickly() -> None:
    with pytest.raises(RangeError, match="512 bytes"):
        parse_range("1 " * 300)
    with pytest.raises(RangeError, match="32 alternatives"):
        parse_range("||".join(["1"] * 33))
    with pytest.raises(RangeError, match="not a version range"):
        parse_range("1" + " " * 500 + "!")


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("1.2.3", True, True),
        ("v1.2.3", True, True),
        ("01.002.0003", True, True),
        ("1.2.3-rc.1", True, True),
        ("1.2.3-rc.1+build.5", True, True),
        ("1.2.3+build", True, True),
        ("1", False, True),
        ("v1", False, True),
        ("1.2", False, True),
        ("1.2-rc.1", False, True),
        ("1.2.3.4", False, False),
        ("V1.2.3", False, False),
        ("1.2.x", False, False),
        ("1.2.3-", False, False),
        ("1.2.3-01", False, False),
        ("1.2.3-rc..1", False, False),
        ("1.2.3_1", False, False),
        ("1.2.3\n", False, False),
        ("1.2.٣", False, False),
        ("", False, False),
        ("latest", False, False),
        ("18446744073709551615.0.0", True, True),
        ("18446744073709551616.0.0", False, False),
        ("1.0.00000000000000000000000001", True, True),
        (f"1.0.0-{'9' * 250}", True, True),
        (f"1.0.0-{'9' * 5000}", False, False),
        (f"{'9' * 5000}.0.0", False, False),
    ],
)
def test_strict_versions_have_three_numbers_and_loose_ones_up_to_three(text: str, strict: bool, loose: bool) -> None:
    for value, expected in ((parse_version(text), strict), (parse_version(text, loose=True), loose)):
        assert isinstance(value, tuple) is expected
        if isinstance(value, str):
            assert value.startswith("not a version: ")


def test_missing_numbers_are_zero_and_leading_zeros_do_not_count() -> None:
    assert parse_version("1", loose=True) == parse_version("v01.0.00") == parse_version("1.0.0+build")
    assert parse_version("1.2-rc.1", loose=True) == parse_version("1.2.0-rc.1")


def test_versions_order_as_the_specification_says() -> None:
    ascending = "1.0.0-0 1.0.0-1 1.0.0-2 1.0.0-11 1.0.0-A 1.0.0-a-b 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta"
    ascending += " 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1-0 1.0.1 1.0.10 1.2.0 1.10.0 2.0.0"
    keys = [parse_version(text) for text in ascending.split()]
    for (n, low), (m, high) in itertools.combinations(enumerate(keys), 2):
        assert n < m
        assert low < high  # type: ignore[operator]
    assert [is_prerelease(key) for key in keys[:14]] == [True] * 13 + [False]  # type: ignore[arg-type]


_number = st.integers(0, 12) | st.integers(0, 2**63)
_identifier = st.from_regex(r"0|[1-9][0-9]{0,3}|[0-9]{0,2}[a-zA-Z-][0-9a-zA-Z-]{0,3}", fullmatch=True)
_pre = st.lists(_identifier, max_size=3).map(lambda parts: f"-{'.'.join(parts)}" if parts else "")
versions = st.builds("{}.{}.{}{}".format, _number, _number, _number, _pre)


@settings(max_examples=200, deadline=None)
@given(versions, versions)
def test_two_versions_compare_as_the_semver_package_compares_them(one: str, other: str) -> None:
    left, right = parse_version(one), parse_version(other)
    expected = reference.Version.parse(one).compare(other)
    assert (left > right) - (left < right) == expected  # type: ignore[operator]
