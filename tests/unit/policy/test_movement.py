"""Never down: what a selection may be written over."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater import policy
from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    DigestReflection,
    NewestPolicy,
    NumericalPolicy,
    Order,
    Strategy,
)
from image_updater.images import Digest
from image_updater.policy import CompiledPolicy, Movement, Selection, TagFacts
from tests.unit.policy.making import compiled, day, semver, sha

A, B = sha("a"), sha("b")
STAMP = {"pattern": r"^main-(?P<ts>\d+)-", "extract": "$ts"}


def move(
    made: CompiledPolicy,
    new: str,
    current: str | None,
    *,
    digest: Digest | None = None,
    current_digest: str | None = None,
    facts: dict[str, TagFacts] | None = None,
) -> Movement:
    selection = Selection(policy="apps/web", name="web", tag=new, digest=digest)
    moved = policy.may_replace(made, selection, current, current_digest, facts or {})
    assert moved.reason
    return moved


@pytest.mark.parametrize(
    ("strategy", "fields", "current", "new", "kind"),
    [
        (semver("^1"), {}, "1.2.0", "1.2.0", "current"),
        (semver("^1"), {}, "1.2.0", "1.3.0", "up"),
        (semver("^1"), {}, "1.2.0", "1.10.0", "up"),
        (semver("^1"), {}, "1.3.0", "1.2.0", "refused"),
        (semver("^1"), {}, "2.0.0", "1.2.0", "refused"),
        (semver("^1"), {}, "1.3.0-rc.1", "1.2.0", "refused"),
        (semver("^1"), {}, "1.2.0-rc.1", "1.2.0", "up"),
        (semver("^1"), {}, "latest", "1.2.0", "replace"),
        (semver("^1"), {}, "1.3", "1.2.0", "replace"),
        (semver("^1", loose=True), {}, "1.3", "1.2.0", "refused"),
        (semver("^1"), {}, "v1.2.0", "1.2.0", "replace"),
        (semver("^1"), {}, "1.2.0", "v1.2.0", "replace"),
        (semver("^1"), {}, "${TAG}", "1.2.0", "replace"),
        (semver("^1"), {}, None, "1.2.0", "replace"),
        (semver("^1"), {}, "", "1.2.0", "replace"),
        (semver("^1"), {"allow_downgrade": True}, "1.3.0", "1.2.0", "replace"),
        (semver("^1"), {"filters": {"pattern": "^1"}}, "2.0.0", "1.2.0", "refused"),
        (semver("^1"), {"filters": {"exclude": ("-rc",)}}, "1.3.0-rc.1", "1.2.0", "refused"),
        (semver("^1"), {"deny": ("1.3.0",)}, "1.3.0", "1.2.0", "refused"),
        (semver("^1"), {"filters": {"pattern": "^web-(.*)$", "extract": "$1"}}, "1.3.0", "web-1.2.0", "replace"),
        (semver("^1"), {"filters": {"pattern": "^web-(.*)$", "extract": "$1"}}, "web-1.3.0", "web-1.2.0", "refused"),
        (semver("^1"), {"filters": {"pattern": "^web-(.*)$", "extract": "$1"}}, "web-1.1.0", "web-1.2.0", "up"),
        (NumericalPolicy(), {}, "9", "10", "up"),
        (NumericalPolicy(), {}, "10", "9", "refused"),
        (NumericalPolicy(), {}, "x", "9", "replace"),
        (NumericalPolicy(order=Order.DESC), {}, "9", "10", "refused"),
        (NumericalPolicy(order=Order.DESC), {}, "10", "9", "up"),
        (NumericalPolicy(), {"filters": STAMP}, "main-9-aa", "main-10-bb", "up"),
        (NumericalPolicy(), {"filters": STAMP}, "main-10-aa", "main-9-bb", "refused"),
        (NumericalPolicy(), {"filters": STAMP}, "main-10-bb", "main-10-aa", "replace"),
        (NumericalPolicy(), {"filters": STAMP}, "99", "main-10-aa", "replace"),
        (AlphabeticalPolicy(), {}, "a", "b", "up"),
        (AlphabeticalPolicy(), {}, "latest", "b", "refused"),
        (AlphabeticalPolicy(), {"filters": {"pattern": "^b"}}, "latest", "b", "replace"),
        (AlphabeticalPolicy(order=Order.DESC), {}, "a", "b", "refused"),
        (AlphabeticalPolicy(order=Order.DESC), {}, "b", "a", "up"),
        (CalverPolicy(format="YYYY.0M"), {}, "2024.02", "2024.01", "refused"),
        (CalverPolicy(format="YYYY.0M"), {}, "2023.12", "2024.01", "up"),
        (CalverPolicy(format="YYYY.0M"), {}, "2024.13", "2024.01", "replace"),
        (DigestPolicy(tag="latest"), {}, "1.2", "latest", "replace"),
    ],
)
def test_a_site_moves_by_the_policys_own_order(
    strategy: Strategy, fields: dict[str, Any], current: str | None, new: str, kind: str
) -> None:
    digest = A if isinstance(strategy, DigestPolicy) else None
    assert move(compiled(strategy, **fields), new, current, digest=digest).kind == kind


@pytest.mark.parametrize(
    ("strategy", "current", "current_digest", "digest", "kind"),
    [
        (semver("^1"), "1.0.0", None, None, "current"),
        (semver("^1"), "1.0.0", A, A, "current"),
        (semver("^1"), "1.0.0", A, None, "replace"),
        (semver("^1"), "1.0.0", None, A, "up"),
        (semver("^1"), "1.0.0", B, A, "up"),
        (semver("^1"), None, A, A, "replace"),
        (semver("^1"), None, B, A, "replace"),
        (DigestPolicy(tag="1.0.0"), "1.0.0", B, A, "up"),
        (DigestPolicy(tag="1.0.0"), "1.0.0", A, A, "current"),
        (DigestPolicy(tag="1.0.0"), None, B, A, "up"),
        (DigestPolicy(tag="1.0.0"), None, A, A, "current"),
        (DigestPolicy(tag="1.0.0"), None, None, A, "up"),
    ],
)
def test_the_same_tag_moves_by_its_digest(
    strategy: Strategy, current: str | None, current_digest: str | None, digest: Digest | None, kind: str
) -> None:
    made = compiled(strategy, reflection=DigestReflection.ALWAYS if digest else DigestReflection.NEVER)
    assert move(made, "1.0.0", current, digest=digest, current_digest=current_digest).kind == kind


def test_a_site_with_only_a_digest_is_the_newest_tag_that_has_it() -> None:
    made = compiled(semver("^1"))
    facts = {"1.0.0": TagFacts(digest=A), "1.1.0": TagFacts(digest=B), "1": TagFacts(digest=B)}
    assert move(made, "1.0.0", None, current_digest=B, facts=facts).kind == "refused"
    assert move(made, "1.2.0", None, current_digest=B, facts=facts).kind == "up"
    assert move(made, "1.0.0", None, current_digest=A, facts=facts).kind == "replace"


@pytest.mark.parametrize(
    ("current", "facts", "fields", "kind", "says"),
    [
        ("old", {"old": TagFacts(created=day(1)), "new": TagFacts(created=day(2))}, {}, "up", "newer"),
        ("old", {"old": TagFacts(created=day(3)), "new": TagFacts(created=day(2))}, {}, "refused", "old is newer"),
        ("old", {"new": TagFacts(created=day(2))}, {}, "refused", "the date of old (created) is not known"),
        ("old", {"old": TagFacts(created=day(2))}, {}, "refused", "the date of new (created) is not known"),
        ("old", {"new": TagFacts(created=day(2))}, {"allow_downgrade": True}, "replace", "allowDowngrade"),
        ("old", {"new": TagFacts(created=day(2))}, {"filters": {"pattern": "^n"}}, "replace", "does not match"),
        (
            "old",
            {"old": TagFacts(created=day(2), digest=A), "new": TagFacts(created=day(2), digest=A)},
            {},
            "replace",
            "the bytes of old",
        ),
        (
            "old",
            {"old": TagFacts(created=day(2), digest=A), "new": TagFacts(created=day(2), digest=B)},
            {},
            "refused",
            "holds",
        ),
        ("new", {}, {}, "current", "chosen"),
    ],
)
def test_newest_moves_only_between_known_dates(
    current: str, facts: dict[str, TagFacts], fields: dict[str, Any], kind: str, says: str
) -> None:
    moved = move(compiled(NewestPolicy(), **fields), "new", current, facts=facts)
    assert moved.kind == kind
    assert says in moved.reason


def test_a_selection_that_has_no_place_in_the_order_is_not_written() -> None:
    assert move(compiled(semver("^1")), "latest", "1.0.0").kind == "refused"
