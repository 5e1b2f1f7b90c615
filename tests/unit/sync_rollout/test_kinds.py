"""How far a workload is, kind by kind, when nothing fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster.model import Ref
from image_updater.sync.rollout.model import Culprit, RolloutState
from tests.unit.sync_rollout.bodies import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    STATEFUL_SET,
    condition,
    crashing,
    deployment,
    evidence,
    judged,
    pod,
    running,
    stamp,
    terminated,
    whole,
    workload,
)

if TYPE_CHECKING:
    from image_updater.sync.rollout.evidence import Evidence

S = RolloutState
POD = Ref("", "Pod", "prod", "web")
REPLICA_SET = Ref("apps", "ReplicaSet", "prod", "web")
CONTROLLER = Ref("", "ReplicationController", "prod", "web")
CUSTOM = Ref("example.com", "Service", "prod", "web")


def stateful(spec: Any = None, **status: Any) -> Any:
    known = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "currentRevision": "2", "updateRevision": "2"}
    return workload("StatefulSet", spec={"replicas": 2} | (spec or {}), status=known | status)


def daemon(spec: Any = None, **status: Any) -> Any:
    names = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberReady")
    known = dict.fromkeys((*names, "numberAvailable"), 2)
    return workload("DaemonSet", spec=spec, status=known | status)


def custom(**status: Any) -> Any:
    return workload("Service", api="example.com/v1", status=status)


def ready(status: str, reason: str = "") -> Any:
    return {"conditions": [condition("Ready", status, reason)]}


ROWS: list[tuple[str, Ref, Any, RolloutState]] = [
    ("not there", DEPLOYMENT, None, S.PENDING),
    ("being deleted", DEPLOYMENT, deployment() | {"metadata": {"deletionTimestamp": stamp()}}, S.TERMINATING),
    ("not seen", DEPLOYMENT, deployment(observed=1, status=whole(), progressing="NewReplicaSetAvailable"), S.PENDING),
    ("rolling", DEPLOYMENT, deployment(), S.PROGRESSING),
    ("done", DEPLOYMENT, deployment(status=whole(), progressing="NewReplicaSetAvailable"), S.HEALTHY),
    ("done, without a deadline", DEPLOYMENT, deployment(status=whole(), progressing=""), S.HEALTHY),
    (
        "done, and a pod broke later",
        DEPLOYMENT,
        deployment(
            status={**whole(), "readyReplicas": 0, "availableReplicas": 0}, progressing="NewReplicaSetAvailable"
        ),
        S.HEALTHY,
    ),
    (
        "done, and scaled up since by its HPA",
        DEPLOYMENT,
        deployment(
            replicas=9,
            status={**whole(9), "readyReplicas": 2, "availableReplicas": 2},
            progressing="NewReplicaSetAvailable",
        ),
        S.HEALTHY,
    ),
    (
        "back to an old revision",
        DEPLOYMENT,
        deployment(
            status={"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}, progressing="NewReplicaSetAvailable"
        ),
        S.PROGRESSING,
    ),
    (
        "no replicas",
        DEPLOYMENT,
        deployment(replicas=0, status={}, progressing="NewReplicaSetAvailable"),
        S.HEALTHY_UNANALYSED,
    ),
    ("paused", DEPLOYMENT, deployment(paused=True, progressing="DeploymentPaused"), S.SUSPENDED),
    ("set", STATEFUL_SET, stateful(), S.HEALTHY),
    ("set rolling", STATEFUL_SET, stateful(updatedReplicas=1, currentRevision="1"), S.PROGRESSING),
    (
        "set at its partition",
        STATEFUL_SET,
        stateful({"updateStrategy": {"rollingUpdate": {"partition": 1}}}, updatedReplicas=1, currentRevision="1"),
        S.HEALTHY,
    ),
    (
        "set held by its partition",
        STATEFUL_SET,
        stateful({"updateStrategy": {"rollingUpdate": {"partition": 2}}}, updatedReplicas=0, currentRevision="1"),
        S.HEALTHY_UNANALYSED,
    ),
    (
        "set on delete",
        STATEFUL_SET,
        stateful({"updateStrategy": {"type": "OnDelete"}}, updatedReplicas=0, currentRevision="1"),
        S.HEALTHY_UNANALYSED,
    ),
    ("set without replicas", STATEFUL_SET, stateful({"replicas": 0}, replicas=0), S.HEALTHY_UNANALYSED),
    ("set not seen", STATEFUL_SET, stateful(observedGeneration=0), S.PENDING),
    ("daemons", DAEMON_SET, daemon(), S.HEALTHY),
    ("daemons rolling", DAEMON_SET, daemon(updatedNumberScheduled=1), S.PROGRESSING),
    (
        "daemons on delete",
        DAEMON_SET,
        daemon({"updateStrategy": {"type": "OnDelete"}}, updatedNumberScheduled=0),
        S.HEALTHY_UNANALYSED,
    ),
    ("daemons without a node", DAEMON_SET, daemon(desiredNumberScheduled=0), S.HEALTHY_UNANALYSED),
    ("job", JOB, workload("Job", api="batch/v1", status={"conditions": [condition("Complete", True)]}), S.HEALTHY),
    ("job at work", JOB, workload("Job", api="batch/v1", status={"startTime": stamp(), "active": 1}), S.PROGRESSING),
    ("job stopped", JOB, workload("Job", api="batch/v1", spec={"suspend": True}), S.SUSPENDED),
    ("pod", POD, pod(running(ready=True), ready=True), S.HEALTHY),
    ("pod that has run", POD, pod(terminated(0, "Completed"), phase="Succeeded"), S.HEALTHY),
    ("pod at work", POD, pod(running()), S.PROGRESSING),
    (
        "replica set",
        REPLICA_SET,
        workload("ReplicaSet", spec={"replicas": 2}, status={**whole(), "fullyLabeledReplicas": 2}),
        S.HEALTHY,
    ),
    ("replica set of none", REPLICA_SET, workload("ReplicaSet", spec={"replicas": 0}), S.HEALTHY_UNANALYSED),
    (
        "controller",
        CONTROLLER,
        workload("ReplicationController", api="v1", spec={"replicas": 2}, status=whole()),
        S.PROGRESSING,
    ),
    ("custom", CUSTOM, custom(**ready("True")), S.HEALTHY),
    ("custom, of whatever generation", CUSTOM, custom(observedGeneration=None, **ready("True")), S.HEALTHY_UNANALYSED),
    ("custom without a status", CUSTOM, custom(observedGeneration=None), S.HEALTHY_UNANALYSED),
    ("custom at work", CUSTOM, custom(**ready("Unknown")), S.PROGRESSING),
    ("custom not seen", CUSTOM, custom(observedGeneration=0), S.PROGRESSING),
    ("custom failed", CUSTOM, custom(conditions=[condition("Stalled", True, "Broken")]), S.FAILED),
]


@pytest.mark.parametrize(("ref", "body", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_how_far_it_is(ref: Ref, body: Any, expected: RolloutState) -> None:
    rollout = judged(with_body(ref, body)).rollout
    assert rollout.state is expected, rollout
    assert rollout.canary is None
    assert not rollout.busy


def with_body(ref: Ref, body: Any, *pods: Any) -> Evidence:
    """Also without one."""
    return replace(evidence(None, *pods, ref=ref), workload=body)


def test_custom_kinds_fail_without_a_culprit() -> None:
    rollout = judged(with_body(CUSTOM, custom(conditions=[condition("Stalled", True, "Broken")]))).rollout
    assert (rollout.culprit, rollout.reason) == (Culprit.UNKNOWN, "Broken")


def test_a_bare_pod_is_its_own_pod() -> None:
    body = pod(crashing(3))
    rollout = judged(with_body(POD, body, body)).rollout
    assert (rollout.state, rollout.culprit) == (S.FAILED, Culprit.TAG)


def test_a_set_that_was_whole_before_we_began_is_not_judged_by_what_broke_since() -> None:
    broken = stateful(readyReplicas=0)
    assert judged(evidence(broken, ref=STATEFUL_SET)).rollout.state is S.PROGRESSING
    assert judged(evidence(broken, ref=STATEFUL_SET), ours=False).rollout.state is S.HEALTHY


# ------------------------------------------------------------------------------------------- CronJobs


def made(name: str, minute: int, image: str = "web:2", **status: Any) -> Any:
    body = workload("Job", api="batch/v1", status={"startTime": stamp(), **status})
    body["metadata"] |= {"name": name, "uid": name, "creationTimestamp": stamp(60 * minute)}
    body["spec"] = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    return body


OVER: Any = {"conditions": [condition("Complete", True)]}
FAILED: Any = {"conditions": [condition("Failed", True, "BackoffLimitExceeded")]}


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ((), S.PENDING),
        ((made("a", 1, "web:1", **FAILED),), S.PENDING),
        ((made("a", 1),), S.PROGRESSING),
        ((made("a", 1, **OVER),), S.HEALTHY),
        ((made("a", 1, **OVER), made("b", 2, **FAILED)), S.FAILED),
        ((made("a", 1, **FAILED), made("b", 2, **OVER)), S.HEALTHY),
    ],
    ids=["not run yet", "only the image before", "at work", "well", "the last failed", "well again"],
)
def test_a_cron_job_is_as_its_last_run(jobs: tuple[Any, ...], expected: RolloutState) -> None:
    assert judged(evidence(workload("CronJob", api="batch/v1"), ref=CRON_JOB, jobs=jobs)).rollout.state is expected


def test_whose_failure_the_last_run_was() -> None:
    last = pod(terminated(3), phase="Failed", owner="b")
    other = pod(phase="Failed", owner="a", name="a", status={"reason": "Evicted"})
    jobs = (made("a", 1, **FAILED), made("b", 2, **FAILED))
    rollout = judged(evidence(workload("CronJob", api="batch/v1"), last, other, ref=CRON_JOB, jobs=jobs)).rollout
    assert (rollout.ref, rollout.culprit, rollout.failing) == (CRON_JOB, Culprit.TAG, ("web",))


def test_a_cron_job_that_is_stopped_or_gone() -> None:
    stopped = workload("CronJob", api="batch/v1", spec={"suspend": True})
    assert judged(evidence(stopped, ref=CRON_JOB)).rollout.state is S.SUSPENDED
    assert judged(with_body(CRON_JOB, None)).rollout.state is S.PENDING
