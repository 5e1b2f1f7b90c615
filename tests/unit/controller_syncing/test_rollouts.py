"""The hub of rollouts, and how a status keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.model import ObjectKey
from image_updater.api.status import status_fields
from image_updater.cluster.model import Ref
from image_updater.controller.rollouts import LISTED, Rollouts, from_status, revisions_of, to_status
from image_updater.controller.sync.verdicts import _decision
from image_updater.sync.rollout.model import PROMOTED, Culprit, Rollout, RolloutState

KEY = ObjectKey("prod", "apps")
WEB = Ref("apps", "Deployment", "prod", "web")
CANARY = Ref("flagger.app", "Canary", "prod", "web")
SINCE = datetime(2026, 11, 26, 12, tzinfo=UTC)


def rollout(state: RolloutState = RolloutState.PROGRESSING, ref: Ref = WEB, **fields: Any) -> Rollout:
    return Rollout(ref=ref, state=state, **fields)


def test_each_change_is_told_once() -> None:
    hub, told = Rollouts(), list[ObjectKey]()
    hub.subscribe(told.append)
    hub.publish(KEY, "main@sha1:1", [rollout()])
    hub.publish(KEY, "main@sha1:1", [rollout()])
    assert (told, hub.of(KEY), hub.revision(KEY)) == ([KEY], (rollout(),), "main@sha1:1")
    hub.publish(KEY, "main@sha1:2", [rollout()])
    hub.publish(KEY, "main@sha1:2", [rollout(RolloutState.HEALTHY)])
    hub.forget(KEY)
    hub.forget(KEY)
    assert (told, hub.of(KEY), hub.revision(KEY)) == ([KEY] * 4, (), "")


def test_nothing_of_it_is_another_thing_than_nothing_known_of_it() -> None:
    hub = Rollouts()
    assert not hub.knows(KEY)
    hub.publish(KEY, "r", ())
    assert hub.knows(KEY)
    hub.publish(KEY, "r", [rollout(RolloutState.FAILED, canary=CANARY)])
    assert hub.counts() == {RolloutState.FAILED: 1}
    hub.forget(KEY)
    assert not hub.knows(KEY)


def test_only_a_canary_makes_a_rollout_busy_and_a_status_keeps_that() -> None:
    made = [rollout(reason=PROMOTED, canary=CANARY), rollout(ref=CANARY)]
    canary, plain = from_status({"rollouts": to_status(made, {})})
    assert (canary.busy, canary.promoting, canary.reason) == (True, True, PROMOTED)
    assert (plain.busy, plain.promoting) == (False, False)


def test_a_status_has_what_is_not_healthy_the_failed_ones_first() -> None:
    healthy = [
        rollout(state, Ref("apps", "Deployment", "prod", f"a{number}"))
        for number, state in enumerate(RolloutState)
        if rollout(state).healthy
    ]
    bad = [rollout(ref=Ref("apps", "Deployment", "prod", f"b{number:02}")) for number in range(LISTED + 5)]
    failed = rollout(RolloutState.FAILED, Ref("apps", "Deployment", "prod", "z"))
    listed = to_status([*healthy, *bad, failed], {})
    assert listed is not None
    assert (len(listed), listed[0]["id"], listed[1]["id"]) == (
        LISTED,
        "prod_z_apps_Deployment",
        "prod_b00_apps_Deployment",
    )
    assert to_status(healthy, {}) is None


@given(
    st.builds(
        Rollout,
        ref=st.sampled_from([WEB, CANARY]),
        state=st.sampled_from([state for state in RolloutState if not rollout(state).healthy]),
        reason=st.text(st.characters(codec="ascii", categories=["L", "P"]), max_size=20),
        since=st.just(SINCE),
        images=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["web:1", "x/y@sha256:1=2"])), max_size=5).map(
            tuple
        ),
        failing=st.lists(st.sampled_from("ab"), max_size=5).map(tuple),
        canary=st.sampled_from([None, CANARY]),
    ),
    st.sampled_from(list(Culprit)),
)
def test_what_a_status_has_is_read_back(written: Rollout, culprit: Culprit) -> None:
    if written.state is RolloutState.FAILED:
        written = rollout(
            written.state, written.ref, culprit=culprit, reason=written.reason, since=SINCE, canary=written.canary
        )
    listed = to_status([written], {written.ref: "main@sha1:1"})
    status = status_fields("Kustomization", {"rollouts": listed})
    assert from_status(status) == (written,)
    assert revisions_of(status) == {written.ref: "main@sha1:1"}


def test_what_cannot_be_read_is_left_out() -> None:
    good = to_status([rollout()], {})
    assert good is not None
    strange: list[Any] = [{}, {"id": "x", "state": "progressing"}, {**good[0], "state": "later"}, "text", *good]
    assert from_status({"rollouts": strange}) == (rollout(),)
    assert from_status({}) == ()


def test_that_a_promotion_begins_is_written_as_soon_as_a_verdict_and_a_weight_is_not() -> None:
    def decision(reason: str) -> object:
        return _decision({"rollouts": to_status([rollout(reason=reason, canary=CANARY)], {})})

    assert decision("it is being analysed (weight 20)") == decision("it is being analysed (weight 30)")
    assert decision("it is being analysed (weight 30)") != decision(PROMOTED)
