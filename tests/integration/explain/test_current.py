"""`--current`: the never-down rule of a site, told beside the verdicts (design sections 2, 7 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.explain.running import IMAGE, digest, explain, policy

if TYPE_CHECKING:
    from pathlib import Path

A, B = digest("a"), digest("b")
SEMVER = "{semver: {range: '*'}}"
DATES = [
    {"tag": "old", "created": "2024-01-01T00:00:00Z", "digest": A},
    {"tag": "new", "created": "2024-02-01T00:00:00Z", "digest": B},
]

# strategy, fields, tags, --current, chosen, said
CASES: dict[str, tuple[str, list[str], list[object], str, str | None, str]] = {
    "newer wins": (SEMVER, [], ["1.1.0"], "1.0.0", "1.1.0", "newer than 1.0.0"),
    "equal stays": (SEMVER, [], ["1.1.0"], "1.1.0", "1.1.0", "is what is chosen"),
    "older is refused": (SEMVER, [], ["1.1.0"], "2.0.0", None, "2.0.0 is newer than 1.1.0"),
    "older is allowed": (SEMVER, ["allowDowngrade: true"], ["1.1.0"], "2.0.0", "1.1.0", "allowDowngrade"),
    "outside the range counts": ("{semver: {range: ^1}}", [], ["1.1.0"], "2.0.0", None, "2.0.0 is newer"),
    "a pre-release counts": (SEMVER, [], ["1.1.0"], "1.2.0-rc.1", None, "1.2.0-rc.1 is newer"),
    "latest may be replaced": (SEMVER, [], ["1.1.0"], "latest", "1.1.0", "latest cannot be compared"),
    "another shape may be replaced": (SEMVER, [], ["1.1.0"], "main-5", "1.1.0", "main-5 cannot be compared"),
    "a v is no difference": (SEMVER, [], ["v1.1.0"], "1.1.0", "v1.1.0", "as good as"),
    "a current that is gone counts": (SEMVER, [], ["1.0.0"], "1.0.1", None, "1.0.1 is newer"),
    "a denied current counts": (SEMVER, ["deny: ['2.0.0']"], ["1.0.0", "2.0.0"], "2.0.0", None, "2.0.0 is newer"),
    "numerical up": ("{numerical: {}}", [], ["10"], "9", "10", "higher than 9"),
    "numerical down": ("{numerical: {}}", [], ["9"], "10", None, "10 is higher"),
    "numerical desc": ("{numerical: {order: desc}}", [], ["9"], "10", "9", "lower than 10"),
    "numerical desc down": ("{numerical: {order: desc}}", [], ["10"], "9", None, "9 is lower"),
    "numerical, no number": ("{numerical: {}}", [], ["9"], "latest", "9", "cannot be compared"),
    "alphabetical down": ("{alphabetical: {}}", [], ["a"], "b", None, "b is later"),
    "alphabetical desc": ("{alphabetical: {order: desc}}", [], ["a"], "b", "a", "earlier"),
    "calver down": ("{calver: {format: YYYY.0M}}", [], ["2024.01"], "2024.02", None, "2024.02 is newer"),
    "an extracted value": (
        "{numerical: {}}",
        ["filterTags: {pattern: '^main-(\\d+)', extract: '$1'}"],
        ["main-9"],
        "main-10",
        None,
        "main-10 is higher",
    ),
    "another shape than the pattern": (
        "{alphabetical: {}}",
        ["filterTags: {pattern: '^main-'}"],
        ["main-a"],
        "zzz",
        "main-a",
        "does not match",
    ),
    "newest up": ("{newest: {}}", [], list(DATES), "old", "new", "newer than old"),
    "newest equal": ("{newest: {}}", [], list(DATES), "new", "new", "is what is chosen"),
    "newest down": ("{newest: {}}", ["deny: [new]"], list(DATES), "new", None, "new is newer than old"),
    "newest down allowed": (
        "{newest: {}}",
        ["deny: [new]", "allowDowngrade: true"],
        list(DATES),
        "new",
        "old",
        "allow",
    ),
    "newest, a current that is gone": ("{newest: {}}", [], list(DATES), "gone", None, "date of gone"),
    "newest, latest": ("{newest: {}}", [], list(DATES), "latest", None, "date of latest"),
    "followed, other bytes": ("{digest: {tag: new}}", [], list(DATES), f"new@{A}", "new", "other bytes"),
    "followed, the same bytes": ("{digest: {tag: new}}", [], list(DATES), f"new@{B}", "new", "is what is chosen"),
    "followed, another tag": ("{digest: {tag: new}}", [], list(DATES), f"old@{A}", "new", "not the followed tag"),
    "a digest is added": (
        SEMVER,
        ["digestReflectionPolicy: Always"],
        [{"tag": "1.0.0", "digest": A}],
        "1.0.0",
        "1.0.0",
        "digest is added",
    ),
    "a digest that moved": (
        SEMVER,
        ["digestReflectionPolicy: Always"],
        [{"tag": "1.0.0", "digest": A}],
        f"1.0.0@{B}",
        "1.0.0",
        "other bytes",
    ),
    "a digest that moved stays if present": (
        SEMVER,
        ["digestReflectionPolicy: IfNotPresent"],
        [{"tag": "1.0.0", "digest": A}],
        f"1.0.0@{B}",
        "1.0.0",
        "IfNotPresent keeps the digest",
    ),
    "a digest goes": (SEMVER, [], ["1.0.0"], f"1.0.0@{A}", "1.0.0", "digest goes"),
    "by image": (SEMVER, [], ["1.1.0"], f"{IMAGE}=2.0.0", None, "2.0.0 is newer"),
    "by image and digest": (SEMVER, [], ["1.1.0"], f"{IMAGE}=2.0.0@{A}", None, "2.0.0 is newer"),
    "of another image": (SEMVER, [], ["1.1.0"], "acme/other=2.0.0", "1.1.0", "the newest version"),
}


@pytest.mark.parametrize(("strategy", "fields", "tags", "current", "chosen", "said"), CASES.values(), ids=CASES)
def test_what_a_site_holds_is_never_replaced_by_something_older(
    strategy: str, fields: list[str], tags: list[object], current: str, chosen: str | None, said: str, tmp_path: Path
) -> None:
    answer = explain(tmp_path, policy(strategy, *fields), tags, "--current", current)
    assert (answer.code, answer.chosen) == (0, chosen), answer.stderr
    assert said in answer.reason()
    if chosen is None:
        assert "held" in answer.verdicts().values()


def test_each_image_has_its_own_current_and_the_last_one_counts(tmp_path: Path) -> None:
    objects = "---\n".join(policy(SEMVER, name=name, image=f"acme/{name}") for name in ("a", "b", "c"))
    currents = ["--current", "3.0.0", "--current", "acme/a=0.1.0", "--current", "docker.io/acme/b=9.0.0"]
    answer = explain(tmp_path, objects, ["2.0.0"], *currents, "--current", "acme/b=1.0.0")
    assert [each["chosen"] is not None for each in answer.reports] == [True, True, False]


def test_a_current_of_an_image_that_no_policy_has_is_told(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(SEMVER), ["1.0.0"], "--current", "acme/wbe=2.0.0")
    assert (answer.code, answer.chosen) == (0, "1.0.0")
    assert "acme/wbe" in answer.stderr


BAD = [
    "",
    "a b",
    "=1.0.0",
    "acme/web=",
    "Acme/Web=1.0.0",
    "1.0.0@",
    "1.0.0@sha256:abc",
    "https://a/b=1",
    f"@{A}",
    "a/b:1",
]


@pytest.mark.parametrize("current", BAD)
@pytest.mark.parametrize("output", ["text", "json"])
def test_a_current_that_is_none_is_a_usage_error(current: str, output: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(SEMVER), ["1.0.0"], "-o", output, "--current", current)
    assert answer.code == 2
    assert "--current" in answer.stderr
    if output == "json":
        [error] = answer.errors
        assert "--current" in error["message"]


@pytest.mark.parametrize("now", ["yesterday", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "", "0"])
def test_a_moment_that_is_none_is_a_usage_error(now: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(SEMVER), ["1.0.0"], "--now", now)
    assert answer.code == 2
    assert "--now" in answer.stderr


@pytest.mark.parametrize("now", ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5+02:00", "9999-12-31T23:59:59Z"])
def test_moments(now: str, tmp_path: Path) -> None:
    assert explain(tmp_path, policy(SEMVER), ["1.0.0"], "--now", now).chosen == "1.0.0"
