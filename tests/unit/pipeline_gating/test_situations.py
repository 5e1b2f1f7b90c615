"""What decides beside the tags, put together from its parts; and who hears of a change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from image_updater.api.model import (
    After,
    Freeze,
    LabelSelector,
    Meta,
    ObjectKey,
    Objects,
    Quarantine,
    SemverPolicy,
    Start,
)
from image_updater.api.wishes import ApprovalWish, DenyWish, HoldWish, Wishes
from image_updater.pipeline.answers.situations import NOTHING, Situations
from image_updater.pipeline.answers.wishing import merged
from image_updater.policy.gates import holds
from image_updater.policy.situation import Hold, Origin, Proven, Quarantined
from tests.unit.pipeline_selection.fakes import IMAGE, START, policy

WEB = policy(name="web")
NAME = "default/web"
BAD = Quarantined(image=IMAGE, tag="1.1.0", origin=Origin.ROLLOUT, since=START)


def freeze(namespace: str = "default", **fields: object) -> Freeze:
    return Freeze(meta=Meta(key=ObjectKey(namespace, "night")), reason="the night", **fields)  # type: ignore[arg-type]


def test_a_policy_that_nobody_said_anything_about_has_the_one_empty_situation() -> None:
    assert Situations().of(WEB) is NOTHING


@pytest.mark.parametrize(
    ("stop", "applies"),
    [
        (freeze(), True),
        (freeze("other"), False),
        (freeze(""), True),
        (freeze("", namespaces=("other",)), False),
        (freeze(exceptions=LabelSelector(match_labels={"tier": "lab"})), False),
    ],
    ids=["namespace", "other-namespace", "cluster", "cluster-others", "excepted"],
)
def test_a_freeze_stops_the_policies_that_it_names(stop: Freeze, applies: bool) -> None:
    labelled = replace(WEB, meta=replace(WEB.meta, labels={"tier": "lab"}))
    known = Situations()
    known.adopt(Objects(policies=(labelled,), freezes=(stop,)))
    assert known.of(labelled).freezes == ((stop,) if applies else ())


def test_only_policies_whose_situation_changed_are_told_of() -> None:
    known, told = Situations(), []
    other = policy(name="api", image="registry.test/acme/api")
    known.adopt(Objects(policies=(WEB, other)))
    known.of(WEB)
    known.of(other)
    known.subscribe(lambda names: told.append(names))
    quarantine = Quarantine(meta=Meta(key=ObjectKey("default", "web-1")), image=IMAGE, tag="1.1.0")
    known.adopt(Objects(policies=(WEB, other), quarantines=(quarantine,)))
    known.adopt(Objects(policies=(WEB, other), quarantines=(quarantine,)))
    known.breaker("default/api", "two bad tags in a row")
    assert told == [frozenset({NAME}), frozenset({"default/api"})]
    assert known.of(WEB).quarantined[0].origin is Origin.PERSON


def test_a_quarantine_that_was_derived_from_a_commit_is_the_commits() -> None:
    known = Situations()
    derived = Quarantine(meta=Meta(key=ObjectKey("default", "q")), image=IMAGE, tag="1.1.0", source="commit 12ab34")
    known.adopt(Objects(policies=(WEB,), quarantines=(derived,)))
    found = known.of(WEB).quarantined[0]
    assert (found.origin, found.source) == (Origin.COMMIT, "commit 12ab34")


def test_a_record_binds_the_policies_of_its_namespace_and_of_no_other() -> None:
    known = Situations()
    record = replace(BAD, origin=Origin.COMMIT)
    known.recorded("other/fleet", [record], namespace="other")
    assert known.of(WEB) is NOTHING
    known.recorded("default/fleet", [record], namespace="default")
    assert known.of(WEB).quarantined == (record,)
    known.recorded("default/fleet", [], namespace="default")
    assert known.of(WEB) is NOTHING


def test_resume_ends_the_hold_and_the_failures_from_before_it() -> None:
    known = Situations()
    known.failed(NAME, [BAD])
    known.held(NAME, Hold(reason="rolled back", tag="1.1.0", since=START))
    assert known.of(WEB).hold is not None
    assert known.of(WEB).quarantined == (BAD,)
    known.wished(NAME, Wishes(resumed=START + timedelta(hours=1), resumed_by="ada"))
    assert known.of(WEB) is NOTHING
    known.wished(NAME, Wishes(resumed=START - timedelta(hours=1), resumed_by="ada"))
    assert known.of(WEB).hold is not None


def test_a_persons_hold_comes_before_that_of_a_rollback() -> None:
    known = Situations()
    known.held(NAME, Hold(reason="rolled back", tag="1.1.0", since=START))
    known.wished(NAME, Wishes(hold=HoldWish(reason="a sale is on", by="ada", at=START)))
    hold = known.of(WEB).hold
    assert hold is not None
    assert (hold.reason, hold.by, hold.tag) == ("a sale is on", "ada", None)


def test_the_hold_of_a_rollback_stands_when_a_persons_has_come_to_its_end() -> None:
    known = Situations()
    known.held(NAME, Hold(reason="rolled back", tag="1.1.0", since=START))
    known.wished(NAME, Wishes(hold=HoldWish(reason="a sale is on", at=START, until=START + timedelta(hours=1))))
    hold = known.of(WEB).hold
    now = holds.standing(hold, START)
    assert now is not None
    assert now.reason == "a sale is on"
    later = holds.standing(hold, START + timedelta(hours=1))
    assert later is not None
    assert (later.reason, later.tag) == ("rolled back", "1.1.0")


def test_of_two_holds_the_later_word_wins_and_approvals_add_up() -> None:
    one = Wishes(
        hold=HoldWish(reason="first", at=START),
        approvals=(ApprovalWish(tag="1.0.0", by="ada"),),
        denied=(DenyWish(what="1.1.0"),),
    )
    other = Wishes(
        hold=HoldWish(reason="second", at=START + timedelta(minutes=1)),
        approvals=(ApprovalWish(tag="1.0.0", by="bob"),),
    )
    for found in (merged(one, other), merged(other, one)):
        assert found.hold is not None
        assert found.hold.reason == "second"
        assert {each.by for each in found.approvals} == {"ada", "bob"}
        assert found.denied == one.denied


def test_of_two_holds_none_is_forgotten_for_one_that_ends_sooner() -> None:
    """Somebody holds it for an hour beside the one that stands in the objects file."""
    lasting = Wishes(hold=HoldWish(reason="in the file"))
    hour = Wishes(hold=HoldWish(reason="an hour", at=START, until=START + timedelta(hours=1)))
    begun = HoldWish(reason="after it", at=START + timedelta(minutes=2), until=START + timedelta(hours=1))
    resumed = Wishes(resumed=START + timedelta(minutes=1), hold=begun)
    dated = Wishes(hold=HoldWish(reason="before it", at=START))
    for pair, reason in (
        ((lasting, hour), "in the file"),
        ((dated, resumed), "after it"),
        ((hour, resumed), "after it"),
    ):
        for found in (merged(*pair), merged(*reversed(pair))):
            assert found.hold is not None
            assert found.hold.reason == reason


def test_a_denial_is_told_with_who_and_why() -> None:
    known = Situations()
    known.adopt(Objects(policies=(WEB,)))
    wish = DenyWish(what="1.1.0", by="ada", at=START, reason="loses orders")
    known.wished(NAME, Wishes(denied=(wish, wish)))
    assert known.of(WEB).denied == (DenyWish(what="1.1.0", by="ada", at=START, reason="loses orders"),)


def test_what_follows_another_policy_needs_to_know_what_that_one_has_proven() -> None:
    prod = policy(SemverPolicy(range="*"), name="prod", after=After(name="web"))
    known, told = Situations(), []
    assert known.of(prod).upstream is None
    assert "there is no ImagePolicy default/web" in known.of(prod).upstream_source
    known.subscribe(told.append)
    known.adopt(Objects(policies=(WEB, prod)))
    assert "provenFile" in known.of(prod).upstream_source
    proven = (Proven(tag="1.0.0", at=START),)
    known.proven(NAME, proven)
    assert known.of(prod).upstream == proven
    assert told[-1] == frozenset({"default/prod"})


def test_a_proven_file_that_cannot_be_read_holds_with_its_place() -> None:
    prod = policy(name="prod", after=After(name="web", proven_file="proven.yaml"))
    known = Situations()
    assert "not read yet" in known.of(prod).upstream_source
    known.proven_file("fleet", "default/prod", None, "proven.yaml:3: is no list")
    assert (known.of(prod).upstream, known.of(prod).upstream_source) == (None, "proven.yaml:3: is no list")
    known.proven_file("fleet", "default/prod", (), "default/web in proven.yaml")
    assert known.of(prod).upstream == ()


def test_start_with_the_proven_ends_once_something_is_proven_here() -> None:
    again = policy(name="web", start=Start.PROVEN)
    known = Situations()
    known.started(NAME, ())
    assert known.of(again).start == (), "nothing is known to be proven: it holds"
    known.started(NAME, (Proven(tag="1.0.0", at=START),))
    assert known.of(again).start is not None
    known.proven(NAME, (Proven(tag="1.0.0", at=START),))
    assert known.of(again).start is None


def test_a_policy_that_is_gone_leaves_nothing_behind() -> None:
    known = Situations()
    known.adopt(Objects(policies=(WEB,)))
    known.failed(NAME, [BAD])
    known.adopt(Objects(), {WEB.key: None})
    assert known.of(WEB) is NOTHING
