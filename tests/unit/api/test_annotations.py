from __future__ import annotations

from datetime import timedelta

import pytest

from image_updater import api
from image_updater.api import model
from image_updater.api.annotations import misnamed, parse_ignore, parse_min_age
from image_updater.errors import Where

P = "image-updater.dev/"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("semver ^1.2", model.SemverPolicy(range="^1.2")),
        ("semver   >=1.0 <2 || 3.x ", model.SemverPolicy(range=">=1.0 <2 || 3.x")),
        ("numerical", model.NumericalPolicy()),
        ("numerical desc", model.NumericalPolicy(order=model.Order.DESC)),
        ("alphabetical", model.AlphabeticalPolicy()),
        ("alphabetical asc", model.AlphabeticalPolicy()),
        ("calver YYYY.0M.MICRO", model.CalverPolicy(format="YYYY.0M.MICRO")),
        ("newest", model.NewestPolicy()),
        ("newest pushed", model.NewestPolicy(by=model.NewestBy.PUSHED)),
        ("digest latest", model.DigestPolicy(tag="latest")),
        ("ref web", api.PolicyName(name="web")),
        ("ref apps/web", api.PolicyName(name="web", namespace="apps")),
        ("ref apps:web", api.PolicyName(name="web", namespace="apps")),
    ],
)
def test_each_form_is_read(text: str, policy: api.AnnotationPolicy) -> None:
    assert api.parse_annotation_policy(text) == policy


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("", "is empty", "semver RANGE"),
        ("^1.2", "'^1.2' is not a policy", "'semver ^1.2'"),
        (">=1 <2", "'>=1' is not a policy", "'semver >=1 <2'"),
        ("1.x", "'1.x' is not a policy", "'semver 1.x'"),
        ("semver:^1", "'semver:^1' is not a policy", "'semver ^1'"),
        ("numeric", "'numeric' is not a policy", "did you mean 'numerical'?"),
        ("qqq", "'qqq' is not a policy", "one of: semver RANGE"),
        ("semver", "semver needs a range", "semver ^1.2"),
        ("calver", "calver needs a format", "calver YYYY"),
        ("digest", "digest needs a tag", "digest latest"),
        ("digest a b", "'a b' is not a tag", None),
        ("numerical up", "'up' is no order", None),
        ("newest by created", "'by created' is no date", None),
        ("ref", "ref needs a policy's name", "ref web"),
        ("ref Web", "'Web' is not a name", None),
        ("ref a.b/web", "'a.b' is not a namespace", None),
    ],
)
def test_what_is_no_policy_says_what_was_meant(text: str, message: str, remedy: str | None) -> None:
    with pytest.raises(api.SpecErrors) as caught:
        api.parse_annotation_policy(text, where=Where(file="d.yaml", line=7, field="metadata.annotations"))
    (error,) = caught.value.errors
    assert message in error.message
    assert remedy is None or remedy in (error.remedy or "")
    assert (error.where.file, error.where.line) == ("d.yaml", 7)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("policy", None),
        ("policy.web", None),
        ("filter.web", None),
        ("min-age", None),
        ("requestedAt", None),
        ("polcy", "unknown annotation (did you mean 'policy'?)"),
        ("policy.", "names no container behind the dot"),
        ("ignore.web", f"is for all containers: it takes no name of one (write {P}ignore)"),
        ("hold", "counts on an ImagePolicy, not on a workload (write an ImagePolicy, or a trailer into a commit)"),
    ],
)
def test_a_mistyped_name_is_told(key: str, wrong: str | None) -> None:
    said = {"other.dev/polcy": "x", P + key: "x"}
    assert misnamed(said) == (None if wrong is None else f"{P}{key}: {wrong}")


@pytest.mark.parametrize(("text", "ignore"), [("true", True), ("false", False), ("yes", None), ("", None)])
def test_ignore_takes_true_and_false(text: str, ignore: bool | None) -> None:
    if ignore is not None:
        assert parse_ignore(text) is ignore
        return
    with pytest.raises(ValueError, match="is neither 'true' nor 'false'"):
        parse_ignore(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("3 days", "'3 days' has the unknown unit ' days'"), ("-1h", "is not from 0s to ten years|'-1h'")],
)
def test_an_age_that_is_none_is_told(text: str, problem: str) -> None:
    assert parse_min_age("1h30m") == timedelta(minutes=90)
    assert parse_min_age("") == timedelta(0)
    with pytest.raises(ValueError, match=problem):
        parse_min_age(text)
