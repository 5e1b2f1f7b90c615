"""A workload with a Canary: every row of Flagger's tables, and what the tables do not say."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater.cluster.model import Ref
from image_updater.sync.health import Seen
from image_updater.sync.rollout.evidence import Memory
from image_updater.sync.rollout.model import Culprit, RolloutState
from tests.unit.sync_rollout.bodies import (
    NOW,
    at,
    condition,
    crashing,
    deployment,
    evidence,
    judged,
    pod,
    running,
    stamp,
    whole,
)

CANARY = Ref("flagger.app", "Canary", "prod", "web")
S = RolloutState
OFF = deployment(replicas=0, status={}, progressing="NewReplicaSetAvailable")
"""A target as Flagger leaves it: no replicas, and "available"."""


def canary(
    phase: str, applied: str = "", promoted: str = "", *, spec: Any = None, gone: bool = False, **status: Any
) -> Any:
    status |= {"phase": phase, "lastAppliedSpec": applied, "lastPromotedSpec": promoted}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "web", "namespace": "prod", **({"deletionTimestamp": stamp()} if gone else {})},
        "spec": {"analysis": {"interval": "30s"}, **(spec or {})},
        "status": status,
    }


def of(body: Any, *pods: Any, **fields: Any) -> Any:
    return evidence(OFF, *pods, canary=CANARY, canary_body=body, **fields)


def state(body: Any, seconds: float = 0, **fields: Any) -> RolloutState:
    return judged(of(body), seconds, **fields).rollout.state


ROWS = [
    # 2.1 and 2.6: phases
    ("initializing", canary("Initializing"), S.PROGRESSING),
    ("initialized", canary("Initialized", "A", "A"), S.HEALTHY),
    ("gate before", canary("Waiting", "A", "A"), S.WAITING_APPROVAL),
    ("analysis", canary("Progressing", "B", "A", canaryWeight=20, failedChecks=2), S.PROGRESSING),
    ("gate after", canary("WaitingPromotion", "B", "A"), S.WAITING_APPROVAL),
    ("promoting", canary("Promoting", "B", "A"), S.PROGRESSING),
    ("finalising", canary("Finalising", "B", "A"), S.PROGRESSING),
    ("succeeded", canary("Succeeded", "B", "B"), S.HEALTHY),
    ("failed", canary("Failed", "B", "A", canaryWeight=0), S.FAILED),
    ("rolled back", canary("Failed", "A", "A"), S.ROLLED_BACK),
    ("primary broken", canary("Failed", "B", "A", canaryWeight=100), S.PRIMARY_BROKEN),
    ("terminating", canary("Terminating", "A", "A"), S.TERMINATING),
    ("terminated", canary("Terminated", "A", "A"), S.TERMINATING),
    ("being deleted", canary("Succeeded", "A", "A", gone=True), S.TERMINATING),
    ("suspended", canary("Progressing", "B", "A", spec={"suspend": True}), S.SUSPENDED),
    ("suspended when it had failed", canary("Failed", "B", "A", spec={"suspend": True}), S.SUSPENDED),
    ("not analysed", canary("Succeeded", "B", "B", spec={"skipAnalysis": True}), S.HEALTHY_UNANALYSED),
    # and what they leave open
    ("new", canary(""), S.PENDING),
    ("the next one is applied", canary("Succeeded", "C", "B"), S.PENDING),
    ("not analysed at first", canary("Initialized", "A", "A", spec={"skipAnalysis": True}), S.HEALTHY_UNANALYSED),
    ("a phase of a later Flagger", canary("Pondering", "B", "A"), S.PROGRESSING),
    ("gone", None, S.PENDING),
]


@pytest.mark.parametrize(("body", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_canary(body: Any, expected: RolloutState) -> None:
    rollout = judged(of(body)).rollout
    assert rollout.state is expected, rollout
    assert rollout.canary == CANARY
    assert rollout.busy is (expected in (S.PENDING, S.PROGRESSING, S.WAITING_APPROVAL))
    assert rollout.healthy is (expected in (S.HEALTHY, S.HEALTHY_UNANALYSED, S.ROLLED_BACK))


def test_a_failed_analysis_is_the_tag_s_and_a_broken_primary_nobody_s() -> None:
    assert judged(of(canary("Failed", "B", "A"))).rollout.culprit is Culprit.TAG
    assert judged(of(canary("Failed", "B", "A", canaryWeight=50))).rollout.culprit is Culprit.UNKNOWN


def test_a_target_without_replicas_is_not_healthy_by_itself() -> None:
    assert judged(evidence(OFF)).rollout.state is S.HEALTHY_UNANALYSED
    assert judged(of(canary("Failed", "B", "A"))).rollout.state is S.FAILED
    full = evidence(deployment(status=whole()), canary=CANARY, canary_body=canary("Progressing", "B", "A"))
    assert judged(full).rollout.state is S.PROGRESSING


# ------------------------------------------------------------------------------------------- seen too early


def seen(body: Any) -> Seen:
    return Seen.of(body, NOW)


OLD = canary("Succeeded", "A", "A")


@pytest.mark.parametrize(
    ("body", "seconds", "expected"),
    [
        (OLD, 0, S.PENDING),
        (OLD, 59, S.PENDING),
        (OLD, 60, S.HEALTHY_UNANALYSED),
        (canary("Progressing", "B", "A"), 1, S.PROGRESSING),
        (canary("Succeeded", "B", "B"), 1, S.HEALTHY),
        (canary("Failed", "B", "A"), 1, S.FAILED),
        (canary("Waiting", "A", "A"), 1, S.WAITING_APPROVAL),
    ],
    ids=["at once", "before two intervals", "after", "it moved", "promoted", "failed", "the phase alone moved"],
)
def test_until_flagger_has_looked(body: Any, seconds: float, expected: RolloutState) -> None:
    """What was never analysed proves nothing, however long nothing moves."""
    assert state(body, seconds, seen=seen(OLD)) is expected


def test_what_flagger_has_said_once_counts_although_it_looks_as_before() -> None:
    memory = judged(of(canary("Progressing", "B", "A")), 5, seen=seen(OLD)).memory
    assert memory.seen is None
    assert judged(of(OLD), 10, memory).rollout.state is S.HEALTHY  # an edit back to the promoted template


def test_it_is_looked_at_again_when_two_intervals_are_over() -> None:
    assert judged(of(OLD), 10, seen=seen(OLD)).until == at(60)
    fast = canary("Succeeded", "A", "A", spec={"analysis": {"interval": "1s"}})
    assert judged(of(fast), 1, seen=seen(fast)).until == at(20), "Flagger looks every 10 s at most"


def test_after_a_rollback_a_failure_of_before_is_no_new_one() -> None:
    """Flagger is slow, or down: it still speaks of the tag that was taken back."""
    failed = canary("Failed", "B", "A")
    assert state(failed, 5, seen=seen(failed)) is S.PENDING
    late = judged(of(failed), 600, seen=seen(failed)).rollout
    assert (late.state, late.culprit) == (S.FAILED, Culprit.UNKNOWN)
    assert state(canary("Failed", "A", "A"), 5, seen=seen(failed)) is S.ROLLED_BACK


# ------------------------------------------------------------------------------------------- whose failure


def after_analysis(*pods: Any, events: tuple[str, ...] = ()) -> Any:
    """Its pods are gone when it has failed."""
    memory = judged(of(canary("Progressing", "B", "A"), *pods), 5, Memory(began=NOW)).memory
    return judged(of(canary("Failed", "B", "A"), events=events), 60, memory).rollout


@pytest.mark.parametrize(
    ("pods", "culprit", "words"),
    [
        ((), Culprit.TAG, "the analysis failed"),
        ((pod(running(ready=True), ready=True),), Culprit.TAG, "the analysis failed"),
        ((pod(crashing(4)),), Culprit.TAG, "exit code 1"),
        (
            (pod(phase="Pending", node=None, conditions=[condition("PodScheduled", False, "Unschedulable")]),),
            Culprit.ENVIRONMENT,
            "scheduled",
        ),
        ((pod(crashing(4)), pod(phase="Failed", name="b", status={"reason": "Evicted"})), Culprit.TAG, "exit code 1"),
    ],
    ids=["nothing seen", "ready, and bad", "crash", "no place", "crash and eviction"],
)
def test_what_its_pods_showed_tells_whose_failure_it_was(pods: tuple[Any, ...], culprit: Culprit, words: str) -> None:
    rollout = after_analysis(*pods)
    assert (rollout.state, rollout.culprit) == (S.FAILED, culprit)
    assert words in rollout.reason


def test_pods_that_go_when_it_fails_take_no_sign_with_them() -> None:
    analysed = canary("Progressing", "B", "A")
    memory = judged(of(analysed, pod(crashing(4))), 5, Memory(began=NOW)).memory
    memory = judged(of(analysed, pod(crashing(4), gone=True)), 19, memory).memory
    memory = judged(of(analysed), 20, memory).memory
    assert judged(of(canary("Failed", "B", "A")), 21, memory).rollout.failing == ("web",)
    memory = judged(of(analysed, pod(running(ready=True), ready=True)), 20, memory).memory
    assert judged(of(canary("Failed", "B", "A")), 21, memory).rollout.failing == ()


ROLLING = ("Rolling back web.prod failed checks threshold reached 2", "Canary failed! Scaling down web.prod")


@pytest.mark.parametrize(
    ("events", "culprit"),
    [
        (("Halt web.prod advancement success rate 50.00% < 99%", *ROLLING), Culprit.TAG),
        (("Halt web.prod advancement external check gate failed web hook returned 500", *ROLLING), Culprit.TAG),
        (
            ("Halt advancement no values found for kubernetes metric request-success-rate", *ROLLING),
            Culprit.ENVIRONMENT,
        ),
        (("Prometheus query failed: running query failed: connection refused", *ROLLING), Culprit.ENVIRONMENT),
        (("Metric query failed for latency: timeout", *ROLLING), Culprit.ENVIRONMENT),
        (("Metric template latency.prod error: not found", *ROLLING), Culprit.ENVIRONMENT),
        (
            ("Halt web.prod advancement external check gate failed Post http://gate: connection refused", *ROLLING),
            Culprit.ENVIRONMENT,
        ),
        (("Prometheus query failed: x", "Halt web.prod advancement success rate 50.00% < 99%", *ROLLING), Culprit.TAG),
        (("Rolling back web.prod manual webhook invoked", *ROLLING), Culprit.TAG),
        (ROLLING, Culprit.TAG),
    ],
    ids=[
        "rate",
        "gate",
        "no traffic",
        "no prometheus",
        "no metrics",
        "no template",
        "no gate",
        "some",
        "by hand",
        "none",
    ],
)
def test_what_flagger_warned_of_tells_whose_failure_it_was(events: tuple[str, ...], culprit: Culprit) -> None:
    """An analysis in which nothing could be measured says nothing of the tag."""
    assert after_analysis(events=events).culprit is culprit


@pytest.mark.parametrize(
    ("primary", "culprit"),
    [
        (None, Culprit.TAG),
        (deployment(status=whole(), progressing="NewReplicaSetAvailable"), Culprit.TAG),
        (deployment(status={**whole(), "availableReplicas": 0, "readyReplicas": 0}), Culprit.UNKNOWN),
        (deployment(), Culprit.UNKNOWN),
    ],
    ids=["not to be read", "healthy", "its pods are not ready", "it is rolling"],
)
def test_a_primary_that_is_not_healthy_leaves_it_open(primary: Any, culprit: Culprit) -> None:
    rollout = judged(of(canary("Failed", "B", "A"), primary=primary)).rollout
    assert (rollout.state, rollout.culprit) == (S.FAILED, culprit)
