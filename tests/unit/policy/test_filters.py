"""filterTags and deny: Go's pattern syntax and templates, and what never counts as an image."""

from __future__ import annotations

import pytest

from image_updater.api.model import AlphabeticalPolicy, FilterTags
from image_updater.policy import Fate
from image_updater.policy.filters import FilterError, Filters
from tests.unit.policy.making import compiled, judge, pick, semver, sha, why

DENIED = sha("d")


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("sha256-0123abcd.sig", "a signature or attestation of cosign, not an image"),
        ("sha256-0123abcd.att", "a signature or attestation of cosign, not an image"),
        ("sha256-0123abcd", "a signature or attestation of cosign, not an image"),
        ("v1.sbom", "a signature or attestation of cosign, not an image"),
        ("sha512-00.cosign", "a signature or attestation of cosign, not an image"),
        ("v1 2", "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"),
        ("v1+2", "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"),
        ("v" * 129, "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"),
        ("", "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"),
        ("v1\n", "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"),
        ("v1-bad", "denied by spec.deny"),
        ("main-1", r"does not match filterTags.pattern '^v\d'"),
        ("v1-rc.1", "excluded by filterTags.exclude '-rc'"),
        ("v1-dev", "excluded by filterTags.exclude 'dev$'"),
    ],
)
def test_tags_that_are_out_say_why(tag: str, reason: str) -> None:
    made = compiled(AlphabeticalPolicy(), filters={"pattern": r"^v\d", "exclude": ("-rc", "dev$")}, deny=("v1-bad",))
    judged = judge(made, [tag, "v0"])
    assert judged.chosen is not None
    assert judged.chosen.tag == "v0"
    assert why(judged, tag) == (Fate.REJECTED, reason)


@pytest.mark.parametrize(
    "tag", ["sha-0123abc", "sha256-", "sha256-xyz", "sha256-ab.1.2", "signed.signature", "v1.sig2"]
)
def test_tags_that_only_look_like_signatures_count(tag: str) -> None:
    assert pick(compiled(AlphabeticalPolicy()), [tag]) == tag


@pytest.mark.parametrize(
    ("pattern", "extract", "tag", "value"),
    [
        (r"^main-(?P<ts>\d+)", "$ts", "main-12-abc", "12"),
        (r"^main-(?P<ts>\d+)", "${ts}", "main-12-abc", "12"),
        (r"^main-(?P<ts>\d+)-(\w+)", "$2.$1", "main-12-abc", "abc.12"),
        (r"^main-(\d+)", "${1}0", "main-12", "120"),
        (r"(\d+)", "$0", "main-12-34", "12"),
        (r"(a)|(b)", "$1-$2", "b", "-b"),
        (r"(\d+)", "$$$1", "12", "$12"),
        (r"(\d+)", "v", "12", "v"),
        (r"(?i)REL-(.*)", "$1", "rel-9", "9"),
        (r"\d", "", "12", "12"),
        (r"(?<ts>\d+)", "$ts", "x12", "12"),
        (r"^\D*(?P<é>\d+)", "${é}", "x12", "12"),
    ],
)
def test_extract_expands_as_go_expands(pattern: str, extract: str, tag: str, value: str) -> None:
    filters = Filters.compile(FilterTags(pattern=pattern, extract=extract), ())
    assert filters.read(tag) == (value, None)


@pytest.mark.parametrize(
    ("fields", "deny", "field", "message"),
    [
        ({"pattern": "("}, (), "filterTags.pattern", "missing"),
        ({"pattern": "(?=x)"}, (), "filterTags.pattern", "regular expression"),
        ({"pattern": r"(a)\1"}, (), "filterTags.pattern", "regular expression"),
        ({"pattern": "a{1001}"}, (), "filterTags.pattern", "regular expression"),
        ({"pattern": "x" * 5000}, (), "filterTags.pattern", "longer"),
        ({"exclude": ("ok", "[")}, (), "filterTags.exclude[1]", "regular expression"),
        ({"extract": "$1"}, (), "filterTags.extract", "nothing to extract"),
        ({"pattern": r"(\d)", "extract": "$2"}, (), "filterTags.extract", "no group '2'"),
        ({"pattern": r"(\d)", "extract": "$ts"}, (), "filterTags.extract", "no group 'ts'"),
        ({"pattern": r"(?P<ts>\d)", "extract": "$ts_x"}, (), "filterTags.extract", "no group 'ts_x'"),
        ({"pattern": r"(\d)", "extract": "$01"}, (), "filterTags.extract", "no group '01'"),
        ({"pattern": r"(\d)", "extract": "${1"}, (), "filterTags.extract", "followed by no group"),
        ({"pattern": r"(\d)", "extract": "$-"}, (), "filterTags.extract", "followed by no group"),
        ({"pattern": r"(\d)", "extract": "1$"}, (), "filterTags.extract", "followed by no group"),
        ({}, ("1.2.3", "1.*"), "deny[1]", "neither a tag nor a digest"),
        ({}, ("sha256:abc",), "deny[0]", "neither a tag nor a digest"),
    ],
)
def test_wrong_filters_are_refused(fields: dict[str, str], deny: tuple[str, ...], field: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filters.compile(FilterTags(**fields), deny)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert message in caught.value.message
    assert caught.value.remedy


def test_a_slow_pattern_is_not_slow() -> None:
    made = compiled(AlphabeticalPolicy(), filters={"pattern": r"^(a+)+$"})
    assert pick(made, ["a" * 127 + "b", "aa"]) == "aa"


def test_a_filter_looks_anywhere_and_keeps_whole_tags() -> None:
    made = compiled(semver("*"), filters={"pattern": r"\.5\."})
    assert pick(made, ["1.5.0", "2.6.0", "1.5.1"]) == "1.5.1"
