"""ImagePolicy from YAML: every field, every mistake with its line, its path and what to do."""

from __future__ import annotations

from datetime import timedelta
from textwrap import indent

import pytest

from image_updater import api
from image_updater.api import model
from image_updater.errors import SpecError

HEAD = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web, namespace: apps}
spec:
"""

SOUND = "image: ghcr.io/acme/web\npolicy: {semver: {range: '^1'}}\n"


def load(spec: str) -> model.ImagePolicy:
    (policy,) = api.load_text(HEAD + indent(spec, "  "), "p.yaml").policies
    return policy


def errors_of(spec: str) -> tuple[SpecError, ...]:
    with pytest.raises(api.SpecErrors) as caught:
        load(spec)
    return caught.value.errors


def error_of(spec: str) -> SpecError:
    (error,) = errors_of(spec)
    return error


def test_a_policy_with_every_field_is_read() -> None:
    policy = load("""\
image: ghcr.io/acme/web
interval: 1h30m
timeout: 10s
secretRef: {name: ghcr}
serviceAccountName: default
provider: aws
certSecretRef: {name: ca}
proxySecretRef: {name: proxy}
insecure: true
filterTags: {pattern: '^main-(?P<ts>\\d+)-[0-9a-f]+$', extract: '$ts', exclude: ['-rc', '-beta']}
policy:
  semver: {range: '^1.2', prereleases: true, loose: true}
digestReflectionPolicy: IfNotPresent
preflight: false
allowDowngrade: true
deny: ['1.4.2', 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']
suspend: true
""")
    assert policy == model.ImagePolicy(
        meta=model.Meta(key=model.ObjectKey("apps", "web")),
        image="ghcr.io/acme/web",
        strategy=model.SemverPolicy(range="^1.2", prereleases=True, loose=True),
        interval=timedelta(minutes=90),
        timeout=timedelta(seconds=10),
        secret_ref="ghcr",
        service_account_name="default",
        provider=model.Provider.AWS,
        cert_secret_ref="ca",
        proxy_secret_ref="proxy",
        insecure=True,
        filter_tags=model.FilterTags(pattern=r"^main-(?P<ts>\d+)-[0-9a-f]+$", extract="$ts", exclude=("-rc", "-beta")),
        reflection=model.DigestReflection.IF_NOT_PRESENT,
        preflight=False,
        allow_downgrade=True,
        deny=("1.4.2", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        suspend=True,
    )


def test_what_is_absent_has_the_defaults_of_the_model() -> None:
    assert load(SOUND) == model.ImagePolicy(
        meta=model.Meta(key=model.ObjectKey("apps", "web")),
        image="ghcr.io/acme/web",
        strategy=model.SemverPolicy(range="^1"),
    )


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("semver: {range: '>=1.0 <2'}", model.SemverPolicy(range=">=1.0 <2")),
        ("numerical: {}", model.NumericalPolicy()),
        ("numerical: {order: desc}", model.NumericalPolicy(order=model.Order.DESC)),
        ("alphabetical: {order: asc}", model.AlphabeticalPolicy()),
        ("calver: {format: YYYY.0M.MICRO}", model.CalverPolicy(format="YYYY.0M.MICRO")),
        ("newest: {}", model.NewestPolicy()),
        ("newest: {by: firstSeen}", model.NewestPolicy(by=model.NewestBy.FIRST_SEEN)),
        ("newest: {by: pushed}\n  semver:\n  digest: null", model.NewestPolicy(by=model.NewestBy.PUSHED)),
    ],
)
def test_each_strategy_is_read(text: str, strategy: model.Strategy) -> None:
    policy = load(f"image: nginx\npolicy:\n  {text}\n")
    assert policy.strategy == strategy
    assert policy.reflection is model.DigestReflection.NEVER


@pytest.mark.parametrize("stated", ["", "digestReflectionPolicy: Always"])
def test_following_a_tag_implies_that_digests_are_written(stated: str) -> None:
    policy = load(f"image: nginx\npolicy: {{digest: {{tag: latest}}}}\n{stated}\n")
    assert policy.strategy == model.DigestPolicy(tag="latest")
    assert policy.reflection is model.DigestReflection.ALWAYS


@pytest.mark.parametrize("stated", ["Never", "IfNotPresent"])
def test_following_a_tag_without_writing_its_digest_is_a_contradiction(stated: str) -> None:
    error = error_of(f"image: nginx\npolicy: {{digest: {{tag: latest}}}}\ndigestReflectionPolicy: {stated}\n")
    assert error.where.field == "spec.digestReflectionPolicy"
    assert "contradicts policy.digest" in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, "null") for field in ("minAge", "platforms", "verify", "windows", "after", "group", "approvals")),
        ("minAge", "0"),
        ("minAge", "0s"),
        ("platforms", "[]"),
        ("verify", "{}"),
        ("windows", "[]"),
        ("after", "{}"),
        ("group", "''"),
        ("approvals", "0"),
    ],
)
def test_gates_that_ask_for_nothing_are_none(field: str, value: str) -> None:
    assert load(f"{SOUND}{field}: {value}\n") == load(SOUND)


@pytest.mark.parametrize(
    ("spec", "field", "line", "message", "remedy"),
    [
        (SOUND + "intervall: 5m", "spec.intervall", 7, "unknown field", "did you mean 'interval'?"),
        (SOUND + "Interval: 5m", "spec.Interval", 7, "unknown field", "did you mean 'interval'?"),
        (SOUND + "zzz: 5m", "spec.zzz", 7, "unknown field", "known fields: after, allowDowngrade"),
        (SOUND + "imageRepositoryRef: {name: x}", "spec.imageRepositoryRef", 7, "unknown field", "spec.image"),
        (SOUND + "interval: 5", "spec.interval", 7, "'5' has a number without a unit", "5s, 5m or 5h"),
        (SOUND + "interval: 100ms", "spec.interval", 7, "below the minimum of 1s", None),
        (SOUND + "interval: -5m", "spec.interval", 7, "below the minimum of 1s", None),
        (SOUND + "timeout: 2h", "spec.timeout", 7, "above the maximum of 1h", None),
        (SOUND + "interval: [5m]", "spec.interval", 7, "must be a duration such as 5m, not a list", None),
        (SOUND + "insecure: 'true'", "spec.insecure", 7, "not the string 'true'", "remove the quotes"),
        (SOUND + "insecure: 1", "spec.insecure", 7, "must be true or false", None),
        (
            SOUND + "provider: AWS",
            "spec.provider",
            7,
            "'AWS' is not one of generic, aws, azure, gcp",
            "did you mean 'aws'?",
        ),
        (SOUND + "deny: 1.2.3", "spec.deny", 7, "must be a list, not a string", "write a list: [1.2.3]"),
        (SOUND + "deny: [1.2]", "spec.deny[0]", 7, "YAML reads the number 1.2", "quote it: '1.2'"),
        (SOUND + "deny: [a, 'b c']", "spec.deny[1]", 7, "neither a tag nor a digest", None),
        (SOUND + "deny: [a, null]", "spec.deny[1]", 7, "is nothing", None),
        (SOUND + "secretRef: ghcr", "spec.secretRef", 7, "must be a mapping, not a string", None),
        (SOUND + "secretRef: {nme: x}", "spec.secretRef.nme", 7, "unknown field", "did you mean 'name'?"),
        (SOUND + "secretRef: {name: Ghcr}", "spec.secretRef.name", 7, "is not a name", None),
        (SOUND + "suspend: true\nsuspend: false", "spec.suspend", 8, "is set twice, in lines 7 and 8", "remove one"),
        (SOUND + "filterTags: {extract: '$1'}", "spec.filterTags.extract", 7, "needs a pattern", None),
        (
            SOUND + "digestReflectionPolicy: never",
            "spec.digestReflectionPolicy",
            7,
            "is not one",
            "did you mean 'Never'?",
        ),
        ("policy: {newest: {}}", "spec.image", 5, "is required", "where the image is"),
        ("image: nginx", "spec.policy", 5, "is required", "exactly one strategy"),
        ("image: nginx\npolicy: {}", "spec.policy", 6, "has no strategies", "set exactly one of semver"),
        ("image: nginx\npolicy:\n  newest:\n", "spec.policy", 7, "has no strategies", "write newest: {}"),
        ("image: nginx\npolicy: {latest: {}}", "spec.policy.latest", 6, "unknown field", "use newest"),
        ("image: nginx\npolicy: newest", "spec.policy", 6, "must be a mapping, not a string", None),
        ("image: nginx\npolicy: {semver: {}}", "spec.policy.semver.range", 6, "is required", "Masterminds"),
        (
            "image: nginx\npolicy:\n  semver:\n    range: 1.2\n",
            "spec.policy.semver.range",
            8,
            "YAML reads the number 1.2",
            "quote it: '1.2'",
        ),
        (
            "image: nginx\npolicy: {digest: {tag: 1.10}}",
            "spec.policy.digest.tag",
            6,
            "YAML reads the number 1.10",
            "quote it: '1.10'",
        ),
        (
            "image: nginx\npolicy: {digest: {tag: on}}",
            "spec.policy.digest.tag",
            6,
            "YAML reads the boolean on",
            "quote it: 'on'",
        ),
        ("image: nginx\npolicy: {digest: {tag: 'a b'}}", "spec.policy.digest.tag", 6, "is not a tag", None),
        (
            "image: nginx\npolicy:\n  semver: {range: '1'}\n  newest: {}\n",
            "spec.policy",
            8,
            "has 2 strategies: semver (line 7) and newest (line 8)",
            "keep exactly one",
        ),
    ],
)
def test_a_mistake_says_where_it_is_and_what_to_do(
    spec: str, field: str, line: int, message: str, remedy: str | None
) -> None:
    errors = errors_of(spec)
    error = next(error for error in errors if error.where.field == field and message in error.message)
    assert (error.where.file, error.where.line) == ("p.yaml", line)
    assert error.where.object == "ImagePolicy apps/web"
    assert remedy is None or remedy in (error.remedy or "")


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "ghcr.io/acme/web",
        "localhost:5000/web",
        "127.0.0.1:5000/a/b",
        "[::1]:5000/web",
        "a.b/c_d/e-f.g",
        "REG.io/a",
    ],
)
def test_an_image_is_a_name(image: str) -> None:
    assert load(f"image: '{image}'\npolicy: {{newest: {{}}}}\n").image == image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("https://ghcr.io/acme/web", "has a scheme"),
        ("ghcr.io/acme/web:1.2", "has a tag"),
        ("nginx:1.2", "has a tag"),
        ("localhost:5000/web:1", "has a tag"),
        ("nginx@sha256:0123", "has a digest"),
        ("ghcr.io/Acme/web", "repositories are lower case"),
        ("ghcr.io//web", "is not an image name"),
        ("a b", "is not an image name"),
        ("ghcr.io/", "is not an image name"),
    ],
)
def test_an_image_is_no_reference(image: str, message: str) -> None:
    error = error_of(f"image: '{image}'\npolicy: {{newest: {{}}}}\n")
    assert error.where.field == "spec.image"
    assert message in error.message


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    errors = errors_of("policy: {semver: {range: 1.2}}\nintervall: 5m\ntimeout: x\nimage: a:b\n")
    assert [error.where.line for error in errors] == [5, 6, 7, 8]


def test_an_error_reads_as_a_sentence() -> None:
    assert str(error_of("image: nginx\npolicy: {semver: {range: 1.2}}")) == (
        "p.yaml:6: ImagePolicy apps/web: spec.policy.semver.range: must be a string, but YAML reads the number 1.2"
        " (quote it: '1.2')"
    )


def test_a_place_is_known_after_loading_without_the_nodes() -> None:
    where = load("image: nginx\ndeny:\n- a\n- b\npolicy:\n  semver:\n    range: '1'\n").meta.source.where
    assert where is not None
    assert where("spec.policy.semver.range").line == 11
    assert where("spec.policy.semver.loose").line == 11, "an absent field: the mapping above it"
    assert where("spec.deny[1]").line == 8
    assert where("spec.interval").line == 5
    assert where("nonsense").line == 1
    assert str(where("spec.deny[1]")) == "p.yaml:8: ImagePolicy apps/web: spec.deny[1]"


def test_merge_keys_and_aliases_are_read() -> None:
    text = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web}
spec:
  <<: &common {interval: 7m, timeout: 9s}
  timeout: 1s
  image: nginx
  policy: &p {newest: {}}
"""
    (policy,) = api.load_text(text).policies
    assert (policy.interval, policy.timeout) == (timedelta(minutes=7), timedelta(seconds=1))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("*", "a value that begins with * needs quotes"),
        (">=1.0 <2", "a value that begins with > needs quotes"),
        ("|| 1", "a value that begins with | needs quotes"),
        ("@x", "a value that begins with @ needs quotes"),
        ("!=1.2", "quote it: '!=1.2'"),
        ("1e3", "quote it: '1e3'"),
        ("0x1F", "quote it: '0x1F'"),
        ("yes", "quote it: 'yes'"),
    ],
)
def test_a_range_that_yaml_reads_otherwise_says_to_quote_it(text: str, remedy: str) -> None:
    error = error_of(f"image: nginx\npolicy:\n  semver:\n    range: {text}\n")
    assert error.where.line == 8
    assert error.remedy == remedy


@pytest.mark.parametrize("text", ["^1.2", "~1.2", "1.x", "=1", "1.2.3", "!!str 1.2", "2024-01-01"])
def test_a_range_that_is_a_string_to_every_reader_needs_no_quotes(text: str) -> None:
    strategy = load(f"image: nginx\npolicy:\n  semver:\n    range: {text}\n").strategy
    assert strategy == model.SemverPolicy(range=text.removeprefix("!!str "))
