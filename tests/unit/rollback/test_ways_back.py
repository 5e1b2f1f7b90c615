"""Which side of a value another one lies on, and what somebody took back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from image_updater.api.model import DigestPolicy, NewestPolicy
from image_updater.pipeline.rollback.placements import Value
from image_updater.pipeline.rollback.waysback import Side, side, taken_back
from image_updater.policy import TagFacts
from tests.unit.policy.making import compiled, day, semver, sha

if TYPE_CHECKING:
    from image_updater.policy import CompiledPolicy

ORDERED: Final = compiled(semver("*"))
DATED: Final = compiled(NewestPolicy())
FOLLOWING: Final = compiled(DigestPolicy(tag="main"))
FACTS: Final = {"old": TagFacts(created=day(1)), "new": TagFacts(created=day(2)), "dark": TagFacts()}


@pytest.mark.parametrize(
    ("made", "value", "of", "found"),
    [
        (ORDERED, Value("1.0.0"), Value("1.1.0"), Side.DOWN),
        (ORDERED, Value("1.10.0"), Value("1.9.0"), Side.UP),
        (ORDERED, Value("1.0.0", sha("a")), Value("1.0.0", sha("b")), Side.BESIDE),
        (ORDERED, Value("1.0.0"), Value("hotfix"), Side.BESIDE),
        (ORDERED, Value("hotfix"), Value("1.0.0"), Side.UNKNOWN),
        (ORDERED, Value(None, sha("a")), Value("1.0.0"), Side.BESIDE),
        (DATED, Value("old"), Value("new"), Side.DOWN),
        (DATED, Value("new"), Value("old"), Side.UP),
        (DATED, Value("dark"), Value("new"), Side.UNKNOWN),
        (FOLLOWING, Value("main", sha("a")), Value("main", sha("b")), Side.BESIDE),
    ],
)
@pytest.mark.parametrize("downgrades", [False, True])
def test_the_policys_own_order_says_what_is_down(
    made: CompiledPolicy, value: Value, of: Value, found: Side, downgrades: bool
) -> None:
    made = replace(made, policy=replace(made.policy, allow_downgrade=downgrades))
    assert side(made, FACTS, value, of) is found


def test_what_was_replaced_by_something_that_is_not_newer_is_taken_back() -> None:
    low, mid, high = Value("1.0.0"), Value("1.1.0"), Value("1.2.0")

    def back(value: Value, *displaced: tuple[Value, Value]) -> bool:
        return taken_back(ORDERED, {}, value, displaced)

    assert back(mid, (mid, low))
    assert back(mid, (low, high), (mid, low)), "a person took it back, and went further up after that"
    assert not back(low, (low, high), (mid, low)), "what only became old"
    assert not back(mid, (high, mid), (mid, low)), "it came again"
    assert not back(mid)


def test_bytes_of_a_tag_that_is_followed_are_taken_back_by_whoever_replaces_them() -> None:
    good, bad = Value("main", sha("a")), Value("main", sha("b"))
    assert taken_back(FOLLOWING, {}, bad, [(bad, good)])
    assert not taken_back(FOLLOWING, {}, good, [(bad, good)])
