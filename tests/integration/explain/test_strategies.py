"""Which tag wins, by each of the six strategies: by design sections 5 and 10, and Flux's meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.explain.running import check, digest, explain, policy

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = digest("a"), digest("b"), digest("c")


def semver(text: str, extra: str = "") -> str:
    return f"{{semver: {{range: '{text}'{extra}}}}}"


SEMVER = [
    ("^1.2", "1.2.0 1.10.0 2.0.0 1.1.9", "1.10.0"),
    ("^1.2.3", "1.2.2", None),
    ("~1.2", "1.2.9 1.3.0", "1.2.9"),
    ("~1", "1.9.9 2.0.0", "1.9.9"),
    ("~1.2.3", "1.2.2 1.2.4 1.3.0", "1.2.4"),
    ("~>1.2", "1.2.9 1.3.0", "1.2.9"),
    (">=1.0 <3", "2.9.9 3.0.0", "2.9.9"),
    (">=1.0, <3", "2.9.9 3.0.0", "2.9.9"),
    (">= 1.0, < 2.0 || >= 3.0", "1.5.0 3.5.0 2.5.0", "3.5.0"),
    ("1.2 - 1.4.5", "1.4.5 1.4.6 1.1.0", "1.4.5"),
    ("1.2 - 1.4", "1.4.9 1.5.0", "1.4.9"),
    ("1.x || 2.x", "2.3.4 3.0.0", "2.3.4"),
    ("1.x", "1.9.9 2.0.0", "1.9.9"),
    ("1.2.x", "1.2.9 1.3.0", "1.2.9"),
    ("1.2.*", "1.2.9 1.3.0", "1.2.9"),
    ("1.2", "1.2.9 1.3.0", "1.2.9"),
    ("*", "0.0.1 12.0.0", "12.0.0"),
    ("x", "1.2.3", "1.2.3"),
    ("=1.2.3", "1.2.3 1.2.4", "1.2.3"),
    ("1.2.3", "1.2.3 1.2.4", "1.2.3"),
    ("!=1.2.4", "1.2.3 1.2.4", "1.2.3"),
    (">1.2", "1.2.9 1.3.0", "1.3.0"),
    ("<1.2", "1.1.9 1.2.0", "1.1.9"),
    ("<=1.2", "1.2.9 1.3.0", "1.2.9"),
    ("=>1.2", "1.1.0 1.2.9", "1.2.9"),
    ("^0.2.3", "0.2.9 0.3.0", "0.2.9"),
    ("^0.0.3", "0.0.3 0.0.4", "0.0.3"),
    ("^0", "0.9.0 1.0.0", "0.9.0"),
    ("v1.2", "1.2.3 1.3.0", "1.2.3"),
    ("^1.2 ^3", "1.2.0 3.0.0", None),
    ("*", "1.0.0 3.0.0-rc.1", "1.0.0"),
    (">=1.0.0-0", "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"),
    ("^1.x-0", "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"),
    ("^1.2.0-rc.1", "1.2.0-alpha 1.2.0-rc.2", "1.2.0-rc.2"),
    ("*", "latest main 1 1.2 1.2.3.4", None),
    ("*", "v1.2.3", "v1.2.3"),
    ("*", "01.02.03", "01.02.03"),
    ("*", "1.2.3 v1.2.3", "v1.2.3"),
    ("*", "1.2.3 01.2.3", "1.2.3"),
    (">=1.0.0-0", "1.0.0-2 1.0.0-10", "1.0.0-10"),
    (">=1.0.0-0", "1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-rc", "1.0.0-rc"),
    (">=1.0.0-0", "1.0.0-rc.9 1.0.0", "1.0.0"),
    ("*", "1.0.0 18446744073709551615.0.0 18446744073709551616.0.0", "18446744073709551615.0.0"),
]


@pytest.mark.parametrize(("text", "tags", "chosen"), SEMVER, ids=[f"{row[0]} of {row[1]}" for row in SEMVER])
def test_semver_follows_masterminds_ranges(text: str, tags: str, chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(semver(text)), tags.split())
    assert (answer.code, answer.chosen) == (0, chosen)
    check(answer.report(), tags.split())


@pytest.mark.parametrize(
    ("text", "extra", "tags", "chosen"),
    [
        ("^1", ", prereleases: true", "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"),
        ("^1", ", prereleases: true", "1.1.0 1.1.0-rc.1", "1.1.0"),
        ("^1", ", prereleases: true", "2.0.0-rc.1 1.0.0", "1.0.0"),
        ("^1.2", ", prereleases: true", "1.2.0-rc.1", None),
        ("^1", ", prereleases: false", "1.0.0 1.1.0-rc.1", "1.0.0"),
        ("*", ", loose: true", "1 1.2 0.9.9", "1.2"),
        ("*", ", loose: true", "1.2 1.2.0", "1.2.0"),
        ("*", ", loose: true", "v2 1.9", "v2"),
        ("*", ", loose: true", "1.2.3.4 latest", None),
        ("^1", ", loose: true, prereleases: true", "1.2-rc.1 1.1", "1.2-rc.1"),
    ],
)
def test_semver_options_let_more_in(text: str, extra: str, tags: str, chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(semver(text, extra)), tags.split())
    assert (answer.code, answer.chosen) == (0, chosen)


OTHERS = [
    ("{numerical: {}}", "9 10 100 99", "100"),
    ("{numerical: {order: asc}}", "9 10", "10"),
    ("{numerical: {order: desc}}", "9 10", "9"),
    ("{numerical: {}}", "1.5 1.25", "1.5"),
    ("{numerical: {}}", "1e3 999", "1e3"),
    ("{numerical: {}}", "1 1.0 01", "1.0"),
    ("{numerical: {}}", "20240101 latest v3 20240102", "20240102"),
    ("{numerical: {}}", "nan inf Infinity 0x1F", None),
    ("{numerical: {}}", "1e999 7", "7"),
    ("{numerical: {}}", "9007199254740993 9007199254740992", "9007199254740993"),
    ("{alphabetical: {}}", "a B c", "c"),
    ("{alphabetical: {}}", "a B _", "a"),
    ("{alphabetical: {order: desc}}", "a B c", "B"),
    ("{alphabetical: {}}", "1.10 1.9", "1.9"),
    ("{alphabetical: {}}", "2024-01-01 2024-02-01", "2024-02-01"),
    ("{calver: {format: YYYY.0M.MICRO}}", "2024.01.5 2024.02.1 2023.12.99 latest", "2024.02.1"),
    ("{calver: {format: YYYY.MM.DD}}", "2024.2.10 2024.2.9 2024.2.30", "2024.2.10"),
    ("{calver: {format: YYYY.0M}}", "2024.1 2024.02", "2024.02"),
    ("{calver: {format: YY.0M}}", "24.04 22.10 9.04", "24.04"),
    ("{calver: {format: YYYY.0M.0D-MICRO}}", "2024.01.02-3 2024.01.02-10", "2024.01.02-10"),
    ("{calver: {format: YYYY.0W}}", "2024.53 2020.53 2024.52", "2024.52"),
    ("{calver: {format: 0D.0M.YYYY}}", "31.01.2024 01.02.2024", "01.02.2024"),
    ("{calver: {format: YYYY.0M.MICRO-MODIFIER}}", "2024.01.1 2024.01.1-rc1", "2024.01.1"),
    ("{calver: {format: vYYYY.0M}}", "2024.05 v2024.04", "v2024.04"),
    ("{calver: {format: YYYY.MAJOR.MINOR}}", "2024.9.1 2024.10.0", "2024.10.0"),
    ("{calver: {format: YYYY.0M.MICRO}}", "1.2.3 2024.13.1 2024.00.1", None),
]


@pytest.mark.parametrize(("strategy", "tags", "chosen"), OTHERS, ids=[f"{row[0]} of {row[1]}" for row in OTHERS])
def test_numerical_alphabetical_and_calver(strategy: str, tags: str, chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(strategy), tags.split())
    assert (answer.code, answer.chosen) == (0, chosen)
    check(answer.report(), tags.split())


def test_a_tag_that_is_no_number_is_rejected_alone(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{numerical: {}}"), ["1", "x"])
    assert answer.verdicts() == {"1": "chosen", "x": "rejected"}
    assert "number" in answer.reason("x")


def dated(*rows: tuple[str, ...]) -> list[dict[str, object]]:
    """`("a", "2024-01-01", A)` as an entry of a tags file; '' is no date, the digest may be left out."""
    return [
        {"tag": tag, "created": f"{date}T00:00:00Z" if date else None, **({"digest": rest[0]} if rest else {})}
        for tag, date, *rest in rows
    ]


NEWEST = {
    "the latest date": (dated(("a", "2024-01-01"), ("b", "2024-03-01"), ("c", "2024-02-01")), "b"),
    "one alone": (dated(("a", "2024-01-01")), "a"),
    "an unknown date holds": (dated(("a", "2024-01-01"), ("b", "")), None),
    "bare tags hold": (["a", "b"], None),
    "before 1990 is unknown": (dated(("a", "2024-01-01"), ("b", "1970-01-01")), None),
    "1990 itself is known": (dated(("a", "1990-01-01"), ("b", "1991-01-01")), "b"),
    "shared by different digests holds": (dated(("a", "2024-01-01", A), ("b", "2024-01-01", B)), None),
    "shared by unknown digests holds": (dated(("a", "2024-01-01"), ("b", "2024-01-01")), None),
    "shared by a known and an unknown digest holds": (dated(("a", "2024-01-01", A), ("b", "2024-01-01")), None),
    "shared by equal bytes: the greatest tag": (dated(("a", "2024-01-01", A), ("b", "2024-01-01", A)), "b"),
    "a shared date below the top is nothing": (
        dated(("a", "2024-01-01"), ("b", "2024-01-01"), ("c", "2024-02-01")),
        "c",
    ),
    "offsets count": (
        [{"tag": "a", "created": "2024-01-01T12:00:00+02:00"}, {"tag": "b", "created": "2024-01-01T11:00:00Z"}],
        "b",
    ),
    "fractions count": (
        [{"tag": "a", "created": "2024-01-01T12:00:00.25Z"}, {"tag": "b", "created": "2024-01-01T12:00:00.5Z"}],
        "b",
    ),
    "cosign's own need no date": ([*dated(("a", "2024-01-01")), f"sha256-{'a' * 64}.sig"], "a"),
    "illegal tags need no date": ([*dated(("a", "2024-01-01")), "no tag"], "a"),
    "nothing at all": ([], None),
}


@pytest.mark.parametrize(("tags", "chosen"), NEWEST.values(), ids=NEWEST)
def test_newest_never_picks_from_unknown_dates(tags: list[object], chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{newest: {by: created}}"), tags)
    assert (answer.code, answer.chosen) == (0, chosen)
    if chosen is None and tags:
        assert "held" in answer.verdicts().values()


def test_newest_says_how_many_dates_are_known_and_what_to_do(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{newest: {}}"), dated(("a", "2024-01-01"), ("b", ""), ("c", "")))
    assert "1 of 3 dates known" in answer.reason()
    assert "filterTags" in answer.reason()


def test_the_filters_spare_newest_the_dates_of_what_they_leave_out(tmp_path: Path) -> None:
    filtered = policy("{newest: {}}", "filterTags: {pattern: '^main-'}", "deny: [main-bad]")
    answer = explain(tmp_path, filtered, [*dated(("main-a", "2024-01-01")), "dev-1", "main-bad"])
    assert answer.chosen == "main-a"
    assert answer.verdicts() == {"main-a": "chosen", "dev-1": "rejected", "main-bad": "rejected"}


def test_pushed_has_no_dates_in_a_tags_file(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{newest: {by: pushed}}"), dated(("a", "2024-01-01")))
    assert (answer.code, answer.chosen) == (0, None)


def test_first_seen_without_state_is_invalid_input(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{newest: {by: firstSeen}}"), ["a"])
    assert answer.code == 2
    [error] = answer.errors
    assert error["field"] == "spec.policy.newest.by"
    assert "--state" in error["remedy"]


def test_first_seen_tags_of_the_first_list_never_win_and_later_ones_do(tmp_path: Path) -> None:
    objects, state = policy("{newest: {by: firstSeen}}"), ("--state", str(tmp_path / "state.sqlite"))
    answer = explain(tmp_path, objects, ["a", "b"], *state)
    assert (answer.code, answer.chosen) == (0, None)
    answer = explain(tmp_path, objects, ["a", "b", "0"], *state)
    assert (answer.code, answer.chosen) == (0, "0")
    assert answer.verdicts() == {"0": "chosen", "a": "rejected", "b": "rejected"}


DIGESTS = {
    "followed": ("{digest: {tag: latest}}", "", [{"tag": "latest", "digest": A}, "1.0.0"], ("latest", A)),
    "followed without a digest": ("{digest: {tag: latest}}", "", ["latest"], None),
    "followed and not there": ("{digest: {tag: latest}}", "", [{"tag": "main", "digest": A}], None),
    "followed and denied": ("{digest: {tag: latest}}", f"deny: ['{A}']", [{"tag": "latest", "digest": A}], None),
    "never": (semver("*"), "", [{"tag": "1.0.0", "digest": A}], ("1.0.0", None)),
    "always": (semver("*"), "digestReflectionPolicy: Always", [{"tag": "1.0.0", "digest": A}], ("1.0.0", A)),
    "if not present": (
        semver("*"),
        "digestReflectionPolicy: IfNotPresent",
        [{"tag": "1.0.0", "digest": A}],
        ("1.0.0", A),
    ),
    "always, the best has none": (
        semver("*"),
        "digestReflectionPolicy: Always",
        [{"tag": "1.0.0", "digest": A}, "2.0.0"],
        ("1.0.0", A),
    ),
    "always, none has any": (semver("*"), "digestReflectionPolicy: Always", ["1.0.0"], None),
    "a denied digest": (
        semver("*"),
        f"deny: ['{B}']",
        [{"tag": "1.0.0", "digest": A}, {"tag": "2.0.0", "digest": B}],
        ("1.0.0", None),
    ),
    "newest with a digest": (
        "{newest: {}}",
        "digestReflectionPolicy: Always",
        dated(("a", "2024-01-01", A), ("b", "2024-02-01", B)),
        ("b", B),
    ),
    "newest, the newest has none": (
        "{newest: {}}",
        "digestReflectionPolicy: Always",
        dated(("a", "2024-01-01", A), ("b", "2024-02-01")),
        ("a", A),
    ),
    "sha512": (
        semver("*"),
        "digestReflectionPolicy: Always",
        [{"tag": "1.0.0", "digest": "sha512:" + "a" * 128}],
        ("1.0.0", "sha512:" + "a" * 128),
    ),
}


@pytest.mark.parametrize(("strategy", "field", "tags", "chosen"), DIGESTS.values(), ids=DIGESTS)
def test_a_digest_that_must_be_written_must_be_known(
    strategy: str, field: str, tags: list[object], chosen: tuple[str, str | None] | None, tmp_path: Path
) -> None:
    answer = explain(tmp_path, policy(strategy, *filter(None, [field])), tags)
    assert answer.code == 0
    wanted = None if chosen is None else {"tag": chosen[0], "digest": chosen[1]}
    assert answer.report()["chosen"] == wanted
    for row in answer.report()["tags"]:
        if isinstance(tags[0], str) and row["verdict"] == "rejected":
            assert "digest" in row["reason"]


FILTERS: dict[str, tuple[str, list[str], str, str | None]] = {
    "a pattern is not anchored": ("{alphabetical: {}}", ["filterTags: {pattern: 'rc'}"], "a-rc1 b", "a-rc1"),
    "an anchored pattern": ("{alphabetical: {}}", ["filterTags: {pattern: '^rc'}"], "a-rc1 rc-2", "rc-2"),
    "an exclude": ("{alphabetical: {}}", ["filterTags: {exclude: ['-rc']}"], "a b-rc1", "a"),
    "two excludes": ("{alphabetical: {}}", ["filterTags: {exclude: ['-rc', '^z']}"], "a b-rc z", "a"),
    "pattern and exclude": ("{numerical: {}}", ["filterTags: {pattern: '^[0-9]+$', exclude: ['^9']}"], "8 9 x", "8"),
    "a named group": (
        "{numerical: {}}",
        ["filterTags: {pattern: '^main-(?P<ts>\\d+)-[0-9a-f]+$', extract: '$ts'}"],
        "main-10-ab main-9-ff dev-11-aa",
        "main-10-ab",
    ),
    "a braced group": (
        "{numerical: {}}",
        ["filterTags: {pattern: '^(?P<a>\\d+)-(?P<b>\\d+)$', extract: '${a}${b}'}"],
        "1-9 2-0",
        "2-0",
    ),
    "a numbered group": (
        "{semver: {range: '*'}}",
        ["filterTags: {pattern: '^v?(\\d+\\.\\d+\\.\\d+)-alpine$', extract: '$1'}"],
        "1.2.0-alpine v1.3.0-alpine 9.0.0",
        "v1.3.0-alpine",
    ),
    "the whole match": (
        "{numerical: {}}",
        ["filterTags: {pattern: '\\d+', extract: '$0'}"],
        "build-7 build-12",
        "build-12",
    ),
    "text around the group": (
        "{semver: {range: '*'}}",
        ["filterTags: {pattern: '^r(\\d+)$', extract: '0.0.$1'}"],
        "r9 r10",
        "r10",
    ),
    "equal extracts: the greatest tag": (
        "{numerical: {}}",
        ["filterTags: {pattern: '^[a-z]+-(\\d+)$', extract: '$1'}"],
        "a-5 c-5 b-5",
        "c-5",
    ),
    "an extract that is no number": (
        "{numerical: {}}",
        ["filterTags: {pattern: '^([a-z0-9]+)$', extract: '$1'}"],
        "x 5",
        "5",
    ),
    "a group that took no part": (
        "{alphabetical: {}}",
        ["filterTags: {pattern: '^(?:a(?P<n>\\d)|b)$', extract: '$n'}"],
        "a1 b",
        "a1",
    ),
    "a denied tag": ("{semver: {range: '*'}}", ["deny: ['1.4.2']"], "1.4.1 1.4.2", "1.4.1"),
    "a denied tag is whole": ("{semver: {range: '*'}}", ["deny: ['1.4']"], "1.4.1 1.4.2", "1.4.2"),
    "RE2 classes": ("{alphabetical: {}}", ["filterTags: {pattern: '^\\pL+$'}"], "abc 123", "abc"),
    "flags": ("{alphabetical: {}}", ["filterTags: {pattern: '(?i)^MAIN'}"], "main-1 dev-2", "main-1"),
}


@pytest.mark.parametrize(("strategy", "fields", "tags", "chosen"), FILTERS.values(), ids=FILTERS)
def test_filters(strategy: str, fields: list[str], tags: str, chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(strategy, *fields), tags.split())
    assert (answer.code, answer.chosen) == (0, chosen)
    check(answer.report(), tags.split())


COSIGN = [
    f"sha256-{'a' * 64}.sig",
    f"sha256-{'a' * 64}.att",
    f"sha256-{'a' * 64}.sbom",
    f"sha256-{'a' * 64}",
    "1.0.0.sig",
    "web.att",
    "web.sbom",
]


@pytest.mark.parametrize("tag", COSIGN)
@pytest.mark.parametrize("fields", [[], ["filterTags: {pattern: '.*', exclude: []}"]], ids=["bare", "with a filter"])
def test_cosign_s_own_tags_are_always_out(tag: str, fields: list[str], tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{alphabetical: {}}", *fields), ["0", tag])
    assert answer.verdicts() == {"0": "chosen", tag: "rejected"}
    assert "cosign" in answer.reason(tag)


ILLEGAL = [
    "a b",
    "-a",
    ".a",
    "a/b",
    "a:b",
    "a@b",
    "1.0.0+build",
    "é",
    "a" * 129,
    "a\tb",
    "a\nb",
    "a\n",
    "'a'",
    "\x1b[1m",
    "\u2028",
]


@pytest.mark.parametrize("tag", ILLEGAL, ids=[ascii(tag)[:20] for tag in ILLEGAL])
def test_what_is_no_legal_tag_never_wins(tag: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{alphabetical: {}}"), [tag, "0"])
    assert answer.verdicts() == {"0": "chosen", tag: "rejected"}
    assert "legal" in answer.reason(tag)


ACTIVE = ["yes", "no", "on", "off", "null", "true", "1.10", "1e3", "0x1f", "0o7", "2024-01-01", "1_0", "_", "y", "N"]


@pytest.mark.parametrize("tag", [*ACTIVE, "a" * 128])
def test_tags_that_mean_something_to_yaml_are_tags(tag: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{alphabetical: {}}"), [tag])
    assert answer.chosen == tag
    assert explain(tmp_path, policy("{alphabetical: {}}"), f"{tag}\n").chosen == tag


def test_order_and_repeats_of_the_input_decide_nothing(tmp_path: Path) -> None:
    tags = ["1.0.0", "v1.2.0", "1.2.0", "latest", "1.1.0"]
    first = explain(tmp_path, policy(semver("*")), tags).stdout
    assert explain(tmp_path, policy(semver("*")), [*reversed(tags), *tags]).stdout == first


def test_eligible_tags_are_told_best_first(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(semver("^1")), ["1.2.0", "1.10.0", "2.0.0", "1.9.0", "0.1.0"])
    assert [(row["tag"], row["verdict"]) for row in answer.report()["tags"]] == [
        ("1.10.0", "chosen"),
        ("1.9.0", "eligible"),
        ("1.2.0", "eligible"),
        ("0.1.0", "rejected"),
        ("2.0.0", "rejected"),
    ]


def test_a_hundred_thousand_tags_are_all_told(tmp_path: Path) -> None:
    tags = [f"1.{n // 1000}.{n % 1000}" for n in range(100_000)]
    answer = explain(tmp_path, policy(semver("^1")), "\n".join(tags))
    assert answer.chosen == "1.99.999"
    check(answer.report(), tags)


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*(.*)*(.*)*x$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a*)*b"]
)
def test_patterns_that_are_catastrophic_elsewhere_take_linear_time(pattern: str, tmp_path: Path) -> None:
    tags = ["a" * 120 + f".{n}" for n in range(2_000)]
    fields = [f"filterTags: {{pattern: '{pattern}', exclude: ['{pattern}']}}"]
    answer = explain(tmp_path, policy("{alphabetical: {}}", *fields), tags)
    assert (answer.code, answer.chosen) == (0, None)
