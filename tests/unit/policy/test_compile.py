"""Wrong policies are errors that name the field, its place and a remedy; right ones are described in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater import policy
from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    FilterTags,
    ImagePolicy,
    Meta,
    NewestBy,
    NewestPolicy,
    NumericalPolicy,
    ObjectKey,
    Order,
    Source,
    Strategy,
)
from image_updater.errors import SpecError, Where
from tests.unit.policy.making import semver

LINES = {"spec.policy.semver.range": 12}


def made(strategy: Strategy, source: Source | None = None, **fields: Any) -> ImagePolicy:
    meta = Meta(key=ObjectKey("apps", "web"), source=source or Source(file="policies.yaml", line=3))
    return ImagePolicy(meta=meta, image="web", strategy=strategy, **fields)


@pytest.mark.parametrize(
    ("strategy", "fields", "field", "message"),
    [
        (semver("1.x.q"), {}, "spec.policy.semver.range", "'1.x.q' is not a version range"),
        (semver("^1 || ^q"), {}, "spec.policy.semver.range", "'^q' in '^1 || ^q' is not a version range"),
        (semver(""), {}, "spec.policy.semver.range", "'' is not a version range"),
        (CalverPolicy(format="YYYY.Q"), {}, "spec.policy.calver.format", "'Q'"),
        (DigestPolicy(tag="a b"), {}, "spec.policy.digest.tag", "'a b' is not a tag"),
        (NumericalPolicy(), {"filter_tags": FilterTags(pattern="(")}, "spec.filterTags.pattern", "'('"),
        (
            NumericalPolicy(),
            {"filter_tags": FilterTags(pattern="x", extract="$ts")},
            "spec.filterTags.extract",
            "no group 'ts'",
        ),
        (NumericalPolicy(), {"filter_tags": FilterTags(exclude=("[",))}, "spec.filterTags.exclude[0]", "'['"),
        (NumericalPolicy(), {"deny": ("*",)}, "spec.deny[0]", "'*'"),
    ],
)
def test_a_wrong_policy_names_the_field(strategy: Strategy, fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        policy.compile(made(strategy, **fields))
    assert caught.value.where == Where(file="policies.yaml", line=3, field=field, object="ImagePolicy apps/web")
    assert message in caught.value.message
    assert caught.value.remedy


def test_the_objects_own_file_knows_the_line() -> None:
    source = Source(where=lambda path: Where(file="policies.yaml", line=LINES.get(path), field=path))
    with pytest.raises(SpecError) as caught:
        policy.compile(made(semver("q"), source))
    assert str(caught.value).startswith("policies.yaml:12: spec.policy.semver.range: ")


def test_two_compilations_of_one_policy_are_equal() -> None:
    assert policy.compile(made(semver("^1"))) == policy.compile(made(semver("^1")))
    assert policy.compile(made(semver("^1"))) != policy.compile(made(semver("^2")))


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (semver("^1.2"), "semver ^1.2"),
        (semver("^1.2", prereleases=True, loose=True), "semver ^1.2, pre-releases too, loose"),
        (NumericalPolicy(), "numerical"),
        (NumericalPolicy(order=Order.DESC), "numerical desc"),
        (AlphabeticalPolicy(), "alphabetical"),
        (AlphabeticalPolicy(order=Order.DESC), "alphabetical desc"),
        (CalverPolicy(format="YYYY.0M"), "calver YYYY.0M"),
        (NewestPolicy(by=NewestBy.PUSHED), "newest by pushed"),
        (DigestPolicy(tag="latest"), "digest latest"),
    ],
)
def test_a_policy_is_described_as_its_annotation_would_be(strategy: Strategy, text: str) -> None:
    assert policy.describe(strategy) == text
    assert policy.describe(made(strategy)) == text
    filtered = made(strategy, filter_tags=FilterTags(pattern=r"^(\d+)", extract="$1"))
    assert policy.describe(filtered) == rf"{text} of tags like '^(\d+)' by '$1'"
