"""What stops a whole policy: whom a freeze is for, when it begins and ends, and what a rollback may pass."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater.api.model import (
    FilterTags,
    Freeze,
    ImagePolicy,
    LabelSelector,
    Meta,
    NumericalPolicy,
    ObjectKey,
    SemverPolicy,
    Start,
    Strategy,
    Window,
)
from image_updater.policy.gates.groups import disagreement
from image_updater.policy.gating import applies, may_roll_back
from image_updater.policy.situation import Hold, Situation
from tests.unit.policy.making import NOW
from tests.unit.policy_gates.gating import HOUR, freeze, gated, made, pick


def policy_of(
    name: str = "web",
    namespace: str = "apps",
    strategy: Strategy | None = None,
    filters: FilterTags | None = None,
    **labels: str,
) -> ImagePolicy:
    return ImagePolicy(
        meta=Meta(key=ObjectKey(namespace, name), labels=labels),
        image="ghcr.io/acme/web",
        strategy=strategy or SemverPolicy(range="^1"),
        filter_tags=filters or FilterTags(),
    )


def labels(**values: str) -> LabelSelector:
    return LabelSelector(match_labels=values)


@pytest.mark.parametrize(
    ("stop", "policy", "expected"),
    [
        (freeze(), policy_of(), True),
        (freeze(namespace="other"), policy_of(), False),
        (freeze(namespace=""), policy_of(), True),
        (freeze(namespace="", namespaces=("apps", "db")), policy_of(), True),
        (freeze(namespace="", namespaces=("db",)), policy_of(), False),
        (freeze(policies=labels(tier="front")), policy_of(tier="front"), True),
        (freeze(policies=labels(tier="front")), policy_of(tier="back"), False),
        (freeze(exceptions=labels(urgent="yes")), policy_of(), True),
        (freeze(exceptions=labels(urgent="yes")), policy_of(urgent="yes"), False),
        (freeze(policies=labels(tier="front"), exceptions=labels(urgent="yes")), policy_of(tier="front"), True),
        (
            freeze(policies=labels(tier="front"), exceptions=labels(urgent="yes")),
            policy_of(tier="front", urgent="yes"),
            False,
        ),
        (freeze(namespace="", exceptions=labels(urgent="yes")), policy_of(urgent="yes"), False),
        (freeze(exceptions=LabelSelector()), policy_of(), False),
    ],
)
def test_whom_a_freeze_is_for(stop: Freeze, policy: ImagePolicy, expected: bool) -> None:
    assert applies(stop, policy) is expected


@pytest.mark.parametrize(
    ("fields", "chosen", "until"),
    [
        ({}, None, None),
        ({"expires": NOW + HOUR}, None, NOW + HOUR),
        ({"expires": NOW}, "1.6.0", None),
        ({"starts": NOW}, None, None),
        ({"starts": NOW + HOUR}, "1.6.0", NOW + HOUR),
        ({"starts": NOW + HOUR, "expires": NOW + 2 * HOUR}, "1.6.0", NOW + HOUR),
        ({"starts": NOW + 2 * HOUR, "expires": NOW + HOUR}, "1.6.0", None),
    ],
)
def test_a_freeze_counts_by_its_own_times(fields: dict[str, Any], chosen: str | None, until: Any) -> None:
    answer = gated(made(), freezes=(freeze(**fields),))
    assert (pick(answer), answer.until, answer.held) == (chosen, until, chosen is None)


def test_all_that_stops_a_policy_is_said() -> None:
    closed = made(windows=(Window(cron="0 9 * * *", duration=HOUR),))
    stops = (freeze("b", expires=NOW + HOUR, reason="audit"), freeze("a", reason="fair"))
    answer = gated(closed, freezes=stops, breaker="three failed")
    assert answer.reason == (
        "1.6.0 would win, but the breaker is open: three failed; Freeze apps/a stops it until it is deleted: fair;"
        " Freeze apps/b stops it until 13:00: audit; the windows are closed, and open at 2026-11-26T09:00Z"
    )
    assert answer.until == NOW + HOUR
    assert [one.tag for one in answer.because] == [None] * 4
    assert answer.wanted == "1.6.0"
    assert answer.stopped is not None
    assert answer.stopped.tag == "1.6.0"


def test_a_start_with_the_proven_waits_while_nobody_can_know_it_and_no_resume_is_offered() -> None:
    answer = gated(made(start=Start.PROVEN), start_problem="proven.yaml:2: not valid YAML")
    assert answer.chosen is None
    assert answer.reason == (
        "1.6.0 would win, but start: proven waits, as what was proven is not known: proven.yaml:2: not valid YAML"
    )


def test_closed_windows_stop_nothing_where_no_tag_would_win() -> None:
    closed = made(windows=(Window(cron="0 9 * * *", duration=HOUR),))
    answer = gated(closed, tags=("x",))
    assert (answer.reason, answer.held) == ("the only tag is not eligible for semver ^1.2", False)


FROZEN = "Freeze apps/holidays stops it until it is deleted: nobody is here"


@pytest.mark.parametrize(
    ("situation", "automatic", "by_person"),
    [
        (Situation(), None, None),
        (Situation(freezes=(freeze(),)), FROZEN, FROZEN),
        (Situation(freezes=(freeze(allow_rollback=True),)), None, None),
        (Situation(freezes=(freeze(allow_rollback=True), freeze())), FROZEN, FROZEN),
        (Situation(freezes=(freeze(expires=NOW),)), None, None),
        (Situation(freezes=(freeze(starts=NOW + HOUR),)), None, None),
        (Situation(hold=Hold(reason="demo", since=NOW)), "it is held: demo (resume ends it)", None),
        (Situation(hold=Hold(reason="demo", until=NOW)), None, None),
        (Situation(hold=Hold(reason="reverted", tag="1.6.0")), None, None),
        (
            Situation(hold=Hold(reason="reverted", tag="1.6.0", since=NOW, until_resume=True)),
            "it is held: reverted (resume ends it)",
            None,
        ),
        (Situation(breaker="three failed"), "the breaker is open: three failed", None),
    ],
)
def test_what_a_rollback_may_pass(situation: Situation, automatic: str | None, by_person: str | None) -> None:
    gates = made(windows=(Window(cron="0 9 * * *", duration=HOUR),), approvals=2, min_age=HOUR)
    assert may_roll_back(gates, situation, NOW) == automatic
    assert may_roll_back(gates, situation, NOW, by_person=True) == by_person


def test_members_of_a_group_order_alike() -> None:
    assert disagreement([]) == ""
    assert disagreement([policy_of("a"), policy_of("b")]) == ""
    assert disagreement([policy_of("a"), policy_of("b", filters=FilterTags(exclude=("-rc",)))]) == ""
    assert disagreement([policy_of("b"), policy_of("a", strategy=NumericalPolicy()), policy_of("c")]) == (
        "a and b choose differently (numerical; semver ^1)"
    )
    stamped = FilterTags(pattern=r"^(?P<n>\d+)", extract="$n")
    other = FilterTags(pattern=r"(?P<n>\d+)$", extract="$n")
    assert disagreement([policy_of("a", filters=stamped), policy_of("b", filters=other)]) != ""
