from __future__ import annotations

from datetime import timedelta

import pytest

from image_updater import api
from image_updater.api import model
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


def test_annotations_of_a_workload_are_read_together() -> None:
    read = api.parse_annotations(
        {
            P + "policy": "semver ^1",
            P + "policy.web": "newest",
            P + "filter.web": "^main-",
            P + "min-age": "1h30m",
            P + "requestedAt": "2026-01-01",
            "other.dev/policy": "whatever",
        }
    )
    assert read.policy_for("web") == model.NewestPolicy()
    assert read.policy_for("sidecar") == model.SemverPolicy(range="^1")
    assert read.filter_for("web") == "^main-"
    assert read.filter_for("sidecar") is None
    assert read.min_age == timedelta(minutes=90)
    assert not read.ignore


@pytest.mark.parametrize(("text", "ignore"), [("true", True), ("false", False)])
def test_ignore_takes_true_and_false(text: str, ignore: bool) -> None:
    assert api.parse_annotations({P + "ignore": text}).ignore is ignore


def test_every_mistake_of_a_workload_is_told_with_its_key() -> None:
    with pytest.raises(api.SpecErrors) as caught:
        api.parse_annotations(
            {
                P + "polcy": "newest",
                P + "policy.": "newest",
                P + "policy.web": "newst",
                P + "ignore.web": "true",
                P + "ignore": "yes",
                P + "min-age": "3 days",
                P + "filter": "",
            },
            where=Where(file="d.yaml", line=3),
        )
    found = {error.where.field: (error.message, error.remedy) for error in caught.value.errors}
    assert found[f"metadata.annotations[{P}polcy]"] == ("unknown annotation", "did you mean 'policy'?")
    assert found[f"metadata.annotations[{P}policy.web]"][1] == "did you mean 'newest'?"
    assert found[f"metadata.annotations[{P}min-age]"] == (
        "'3 days' has the unknown unit ' days'",
        "write a duration such as 72h, or remove the annotation",
    )
    assert len(found) == 7
