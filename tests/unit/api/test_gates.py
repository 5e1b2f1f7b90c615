"""The gates of an ImagePolicy from YAML: what they take, and every mistake with its place and what to do."""

from __future__ import annotations

from datetime import timedelta
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater import api
from image_updater.api import model
from image_updater.api.kinds.gates import check_cron, check_zone, suggest_zone
from image_updater.errors import SpecError

HEAD = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web, namespace: apps}
spec:
"""
SOUND = "image: ghcr.io/acme/web\npolicy: {semver: {range: '^1'}}\n"
KEYLESS = "issuer: https://issuer.example.com, subject: ci@example.com"


def load(spec: str) -> model.ImagePolicy:
    (policy,) = api.load_text(HEAD + indent(spec, "  "), "p.yaml").policies
    return policy


def error_of(spec: str) -> SpecError:
    with pytest.raises(api.SpecErrors) as caught:
        load(spec)
    (error,) = caught.value.errors
    return error


def test_every_gate_is_read() -> None:
    policy = load(
        SOUND.replace("}}", "}, start: proven}")
        + """\
minAge: 72h
platforms: [linux/amd64, fromNodes, linux/arm/v7, linux/amd64]
verify:
  provider: cosign
  keyless: {issuerRegExp: 'https://.*', subject: ci@example.com}
  trustRootSecretRef: {name: root}
  attestations: ['https://slsa.dev/provenance/v1', 'https://slsa.dev/provenance/v1']
windows:
- {cron: '0  9 * * mon-fri', duration: 8h, timeZone: Europe/Berlin}
- {cron: '0 22 L * *', duration: 90m}
after: {name: web-staging, soak: 1h30m, provenFile: ./state//proven.yaml}
group: checkout
approvals: 2
hold: untilResume
"""
    )
    assert policy == model.ImagePolicy(
        meta=policy.meta,
        image="ghcr.io/acme/web",
        strategy=model.SemverPolicy(range="^1"),
        min_age=timedelta(hours=72),
        platforms=("linux/amd64", "linux/arm/v7"),
        from_nodes=True,
        verify=model.Verify(
            keyless=model.Keyless(issuer_pattern="https://.*", subject="ci@example.com"),
            trust_root="root",
            attestations=("https://slsa.dev/provenance/v1",),
        ),
        windows=(
            model.Window(cron="0 9 * * mon-fri", duration=timedelta(hours=8), time_zone="Europe/Berlin"),
            model.Window(cron="0 22 L * *", duration=timedelta(minutes=90)),
        ),
        after=model.After(name="web-staging", soak=timedelta(minutes=90), proven_file="state/proven.yaml"),
        group="checkout",
        approvals=2,
        hold=model.HoldUntil.RESUME,
        start=model.Start.PROVEN,
    )


def test_public_keys_are_a_way_to_verify() -> None:
    policy = load(f"{SOUND}verify: {{secretRef: {{name: keys}}}}\n")
    assert policy.verify == model.Verify(secret_ref="keys")


def test_a_policy_may_wait_for_its_namesake_elsewhere() -> None:
    assert load(f"{SOUND}after: {{name: web, provenFile: proven.yaml}}\n").after == model.After(
        name="web", proven_file="proven.yaml"
    )


def test_start_is_no_strategy() -> None:
    error = error_of("image: a\npolicy: {start: proven}\n")
    assert (error.where.field, error.message) == ("spec.policy", "has no strategies")
    assert "start" not in (error.remedy or "")


@pytest.mark.parametrize(
    ("field", "value", "place", "message", "remedy"),
    [
        ("minAge", "5", "minAge", "has a number without a unit", "5s, 5m or 5h"),
        ("minAge", "-1h", "minAge", "below the minimum", None),
        ("minAge", "''", "minAge", "is not a duration", None),
        ("minAge", "{}", "minAge", "must be a duration", None),
        ("platforms", "linux/amd64", "platforms", "must be a list", "[linux/amd64]"),
        ("platforms", "[amd64]", "platforms[0]", "is neither os/arch", "such as linux/amd64"),
        ("platforms", "[linux/x86_64]", "platforms[0]", "write linux/amd64", None),
        ("platforms", "[linux/amd64, linux/aarch64]", "platforms[1]", "write linux/arm64", None),
        ("platforms", "[linux/armhf]", "platforms[0]", "write linux/arm/v7", None),
        ("platforms", "[FromNodes]", "platforms[0]", "is written fromNodes", None),
        ("platforms", "[Linux/amd64]", "platforms[0]", "is neither", None),
        ("verify", "{provider: cosign}", "verify", "neither secretRef nor keyless", None),
        ("verify", "{provider: notation, secretRef: {name: a}}", "verify.provider", "is not one of", "write cosign"),
        ("verify", f"{{secretRef: {{name: a}}, keyless: {{{KEYLESS}}}}}", "verify.keyless", "has secretRef and", None),
        (
            "verify",
            "{secretRef: {name: a}, trustRootSecretRef: {name: b}}",
            "verify.trustRootSecretRef",
            "is for",
            None,
        ),
        ("verify", "{keyless: {issuer: a}}", "verify.keyless.subject", "names no subject", "subjectRegExp"),
        ("verify", "{keyless: {subject: a}}", "verify.keyless.issuer", "names no issuer", "issuerRegExp"),
        (
            "verify",
            f"{{keyless: {{{KEYLESS}, subjectRegExp: a}}}}",
            "verify.keyless.subjectRegExp",
            "has subject and subjectRegExp",
            "keep one",
        ),
        (
            "verify",
            "{keyless: {issuer: a, subjectRegExp: '(?=b)'}}",
            "verify.keyless.subjectRegExp",
            "is not a regular expression",
            "RE2",
        ),
        ("verify", "{keyless: {issuerRegex: a, subject: b}}", "verify.keyless.issuerRegex", "unknown field", "RegExp"),
        ("verify", "{secretRef: {name: a}, attestations: [spdx]}", "verify.attestations[0]", "is a URI", "slsa.dev"),
        ("windows", "[{duration: 1h}]", "windows[0].cron", "is required", None),
        ("windows", "[{cron: '* * * * *'}]", "windows[0].duration", "is required", None),
        ("windows", "[{cron: '* * * * *', duration: 1s}]", "windows[0].duration", "below the minimum of 1m", None),
        ("windows", "[{cron: '* * * *', duration: 1h}]", "windows[0].cron", "has 4 fields, not five", None),
        ("windows", "[{cron: '0 * * * * *', duration: 1h}]", "windows[0].cron", "has 6 fields, not five", None),
        ("windows", "[{cron: '@daily', duration: 1h}]", "windows[0].cron", "has 1 field, not five", None),
        ("windows", "[{cron: '60 * * * *', duration: 1h}]", "windows[0].cron", "bad minute", "0 9 * * 1-5"),
        ("windows", "[{cron: '* 24 * * *', duration: 1h}]", "windows[0].cron", "bad hour", None),
        ("windows", "[{cron: '0 0 30 2 *', duration: 1h}]", "windows[0].cron", "bad day-of-month", None),
        (
            "windows",
            "[{cron: '* * * * *', duration: 1h, timeZone: Europe/Berln}]",
            "windows[0].timeZone",
            "'Europe/Berln' is not a time zone",
            "did you mean 'Europe/Berlin'?",
        ),
        (
            "windows",
            "[{cron: '* * * * *', duration: 1h, timeZone: ../../etc/passwd}]",
            "windows[0].timeZone",
            "is not a time zone",
            None,
        ),
        ("after", "{soak: 1h}", "after.name", "is required", None),
        ("after", "{name: web}", "after.name", "waits for itself", "provenFile"),
        ("after", "{name: b, provenFile: ../x}", "after.provenFile", "leaves the repository", None),
        ("after", "{name: b, provenFile: /x}", "after.provenFile", "is absolute", None),
        ("after", "{name: b, provenFile: x/}", "after.provenFile", "names a folder", None),
        ("after", "{name: b, provenFile: .}", "after.provenFile", "names a folder", None),
        ("after", "{name: b, provenFile: .git/x}", "after.provenFile", "is Git's own", None),
        ("after", "{name: b, provenFile: 'x*'}", "after.provenFile", "is a pattern", None),
        ("group", "a b", "group", "is not a name", "such as checkout"),
        ("approvals", "-1", "approvals", "is not from 0 to 20", None),
        ("approvals", "21", "approvals", "is not from 0 to 20", None),
        ("approvals", "'1'", "approvals", "must be a whole number, not a string", None),
        ("approvals", "1.5", "approvals", "must be a whole number", None),
        ("approvals", "true", "approvals", "must be a whole number", None),
        ("approvals", "[]", "approvals", "must be a whole number, not a list", None),
    ],
)
def test_a_mistake_in_a_gate_is_told_with_its_field(
    field: str, value: str, place: str, message: str, remedy: str | None
) -> None:
    error = error_of(f"{SOUND}{field}: {value}\n")
    assert error.where.field == f"spec.{place}"
    assert (error.where.file, error.where.line) == ("p.yaml", 7)
    assert message in error.message
    assert error.remedy
    assert remedy is None or remedy in error.remedy


def test_no_platform_is_too_long_and_no_list_of_windows_either() -> None:
    assert "neither" in error_of(f"{SOUND}platforms: [linux/{'a' * 100}]\n").message
    windows = ", ".join(["{cron: '* * * * *', duration: 1h}"] * 21)
    assert "more than 20" in error_of(f"{SOUND}windows: [{windows}]\n").message


@pytest.mark.parametrize(
    ("word", "zone"),
    [
        ("berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Europe/Berln", "Europe/Berlin"),
        ("america/new york", "America/New_York"),
        ("utc", "UTC"),
        ("GMT+1", "Etc/GMT+1"),
    ],
)
def test_a_time_zone_is_found_by_what_people_call_it(word: str, zone: str) -> None:
    assert check_zone(word) is not None
    assert zone in suggest_zone(word)


def test_a_word_that_is_no_place_gets_an_example() -> None:
    assert "such as Europe/Berlin" in suggest_zone("qqqqqq")


@given(st.text(max_size=40) | st.lists(st.text("0123456789*/,-L#WMONJA ", min_size=1), max_size=6).map(" ".join))
def test_any_cron_line_is_taken_or_refused(text: str) -> None:
    problem = check_cron(text)
    assert problem is None or problem


def test_secrets_of_a_signature_are_looked_for() -> None:
    objects = api.load_text(
        f"{HEAD}  image: a\n  policy: {{newest: {{}}}}\n"
        f"  verify: {{keyless: {{{KEYLESS}}}, trustRootSecretRef: {{name: root}}}}\n---\n"
        f"{HEAD.replace('web', 'api')}  image: a\n  policy: {{newest: {{}}}}\n  verify: {{secretRef: {{name: keys}}}}\n"
    )
    assert [(error.where.field, error.message) for error in api.check_references(objects)] == [
        ("spec.verify.trustRootSecretRef.name", "there is no Secret apps/root"),
        ("spec.verify.secretRef.name", "there is no Secret apps/keys"),
    ]
