"""Whose failure it is, row by row; and what is no failure yet."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater.sync.rollout.judge import DEADLINE, SETTLE
from image_updater.sync.rollout.model import Culprit, RolloutState
from tests.unit.sync_rollout.bodies import (
    DAEMON_SET,
    JOB,
    NOW,
    OVERDUE,
    STATEFUL_SET,
    condition,
    crashing,
    deployment,
    ended,
    evidence,
    good,
    judged,
    pod,
    running,
    sick,
    stamp,
    stands,
    terminated,
    waiting,
    workload,
)

TAG, ENVIRONMENT, UNKNOWN = Culprit.TAG, Culprit.ENVIRONMENT, Culprit.UNKNOWN
HEALTHY = (good("web-old-1"), good("web-old-2"))
PULL = 'failed to pull and unpack image "example.com/web:2": failed to resolve reference "example.com/web:2": '


def pulling(message: str, reason: str = "ErrImagePull") -> dict[str, Any]:
    return waiting(reason, message)


# ------------------------------------------------------------------------------------------- images

PULLS = [
    ("containerd", f"rpc error: code = NotFound desc = {PULL}example.com/web:2: not found", TAG),
    ("docker", "Error response from daemon: manifest for example.com/web:2 not found: manifest unknown", TAG),
    ("CRI-O", 'reading manifest 2 in example.com/web: manifest unknown', TAG),
    ("no repository", f"{PULL}example.com/web: name unknown: repository name not known to registry", TAG),
    ("another platform", "no match for platform in manifest: not found", TAG),
    ("a back-off that repeats it", f'Back-off pulling image "web:2": ErrImagePull: {PULL}web:2: not found', TAG),
    ("refused", f"{PULL}dial tcp 10.0.0.9:443: connect: connection refused", ENVIRONMENT),
    ("reset", f"{PULL}read tcp 10.0.0.1:5->10.0.0.9:443: read: connection reset by peer", ENVIRONMENT),
    ("no such host", f"{PULL}dial tcp: lookup example.com on 10.0.0.10:53: no such host", ENVIRONMENT),
    ("timeout", f"{PULL}dial tcp 10.0.0.9:443: i/o timeout", ENVIRONMENT),
    ("deadline", f"{PULL}context deadline exceeded", ENVIRONMENT),
    ("429", f"{PULL}unexpected status from HEAD request to https://example.com/: 429 Too Many Requests", ENVIRONMENT),
    ("500", f"{PULL}unexpected status from HEAD request to https://a.b/: 500 Internal Server Error", ENVIRONMENT),
    ("503", f"{PULL}unexpected status code 503 Service Unavailable", ENVIRONMENT),
    ("401", f"{PULL}failed to authorize: 401 Unauthorized", ENVIRONMENT),
    ("403", f"{PULL}unexpected status: 403 Forbidden", ENVIRONMENT),
    ("denied", "pull access denied for web, repository does not exist or may require 'docker login'", ENVIRONMENT),
    ("certificate", f"{PULL}tls: failed to verify certificate: x509: certificate has expired", ENVIRONMENT),
    ("a full disk", "failed to extract layer: write /var/lib: no space left on device", ENVIRONMENT),
    ("a torn layer", "failed commit on ref: unexpected commit digest", ENVIRONMENT),
    ("nothing said", "", UNKNOWN),
    ("something else", "the moon is full", UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("message", "culprit"), [row[1:] for row in PULLS], ids=[row[0] for row in PULLS])
def test_an_image_that_is_not_pulled(message: str, culprit: Culprit) -> None:
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        found = evidence(OVERDUE, pod(pulling(message, reason), phase="Pending"), *HEALTHY)
        rollout = judged(found).rollout
        assert (rollout.state, rollout.culprit) == (RolloutState.FAILED, culprit), rollout
        early = stands(evidence(None, pod(pulling(message, reason), phase="Pending"), *HEALTHY), 31).rollout
        assert early.failed is (culprit is TAG), "only what the registry has said for sure is no matter of time"


def test_a_tag_that_looks_like_an_error_is_none() -> None:
    message = 'failed to resolve reference "example.com/web:500-timeout": example.com/web:500-timeout: not found'
    rollout = judged(evidence(OVERDUE, pod(pulling(message), phase="Pending"), *HEALTHY)).rollout
    assert rollout.culprit is TAG


def test_a_back_off_is_what_the_error_before_it_was() -> None:
    """Kubelets before 1.30 repeat nothing."""
    error = evidence(None, pod(pulling(f"{PULL}example.com/web:2: not found"), phase="Pending"), *HEALTHY)
    backoff = evidence(
        None, pod(pulling('Back-off pulling image "web:2"', "ImagePullBackOff"), phase="Pending"), *HEALTHY
    )
    memory = judged(error).memory
    memory = judged(backoff, 10, memory).memory
    rollout = judged(backoff, 31, memory).rollout
    assert (rollout.state, rollout.culprit, rollout.failing) == (RolloutState.FAILED, TAG, ("web",))


# ------------------------------------------------------------------------------------------- containers

CONTAINERS = [
    ("crash loop of three", crashing(3), TAG, "ends with exit code 1 again and again", 0),
    ("crash loop of two, for a while", crashing(2), TAG, "exit code 1", 31),
    ("running between two crashes", running(restarts=3, last=ended(2)), TAG, "exit code 2", 0),
    ("it ends well, and should not end", crashing(3, 0, "Completed"), TAG, "exit code 0", 0),
    ("out of memory", crashing(4, 137, "OOMKilled"), TAG, "is out of memory (OOMKilled)", 0),
    ("killed by its liveness probe", crashing(4, 137), TAG, "exit code 137", 0),
    (
        "nothing to run",
        waiting("CrashLoopBackOff", restarts=3, last=ended(128, "StartError", 'exec: "x": executable file not found')),
        TAG,
        "cannot be started",
        0,
    ),
    (
        "another platform",
        waiting("RunContainerError", "failed to create shim task: exec /x: exec format error"),
        TAG,
        "exec format error",
        31,
    ),
    ("its user", waiting("CreateContainerConfigError", "image will run as root"), TAG, "run as root", 31),
    ("a hook", waiting("PostStartHookError", "x"), TAG, "postStart hook", 31),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "culprit", "words", "after"), [row[1:] for row in CONTAINERS], ids=[row[0] for row in CONTAINERS]
)
def test_a_container_of_its_own_is_the_tag_s(status: Any, culprit: Culprit, words: str, after: int) -> None:
    found = evidence(None, pod(status), *HEALTHY)
    if after:
        early = stands(found, SETTLE.total_seconds() - 1)
        assert early.rollout.state is RolloutState.PROGRESSING
        assert early.until == NOW + SETTLE
    rollout = stands(found, after).rollout if after else judged(found).rollout
    assert (rollout.state, rollout.culprit, rollout.failing) == (RolloutState.FAILED, culprit, ("web",))
    assert words in rollout.reason


NOT_YET = [
    ("one restart", crashing(1)),
    ("one restart, and it runs", running(restarts=1, last=ended())),
    ("it is being made", waiting("ContainerCreating")),
    ("init containers first", waiting("PodInitializing")),
    ("it is not ready", running()),
    ("no ConfigMap", waiting("CreateContainerConfigError", 'configmap "web" not found')),
    ("never pulled", waiting("ErrImageNeverPull")),
    ("not created", waiting("CreateContainerError", "context deadline exceeded")),
]


@pytest.mark.parametrize("status", [row[1] for row in NOT_YET], ids=[row[0] for row in NOT_YET])
def test_what_may_mend_itself_is_no_failure_before_the_deadline(status: Any) -> None:
    found = evidence(None, pod(status), *HEALTHY)
    assert stands(found, 500).rollout.state is RolloutState.PROGRESSING


AT_THE_DEADLINE = [
    ("not ready", pod(running()), TAG, "runs and is not ready"),
    ("one restart", pod(running(restarts=1, last=ended())), TAG, "exit code 1"),
    ("no ConfigMap", pod(waiting("CreateContainerConfigError", 'configmap "web" not found')), ENVIRONMENT, "configmap"),
    ("no Secret", pod(waiting("CreateContainerConfigError", 'secret "web" not found')), ENVIRONMENT, "secret"),
    ("never pulled", pod(waiting("ErrImageNeverPull")), ENVIRONMENT, "never pulled"),
    ("no image name", pod(waiting("InvalidImageName", "couldn't parse")), UNKNOWN, "no image reference"),
    ("not created", pod(waiting("CreateContainerError", "no luck")), UNKNOWN, "not created: no luck"),
    ("not started", pod(terminated(128, "ContainerCannotRun")), UNKNOWN, "not started"),
    ("no volume", pod(waiting("ContainerCreating"), phase="Pending"), ENVIRONMENT, "volumes"),
    (
        "unschedulable",
        pod(phase="Pending", node=None, conditions=[condition("PodScheduled", False, "Unschedulable", "0/3 nodes")]),
        ENVIRONMENT,
        "cannot be scheduled: Unschedulable: 0/3 nodes",
    ),
    (
        "an unbound claim",
        pod(
            phase="Pending",
            node=None,
            conditions=[condition("PodScheduled", False, "Unschedulable", "unbound immediate PersistentVolumeClaims")],
        ),
        ENVIRONMENT,
        "PersistentVolumeClaims",
    ),
    ("nobody schedules", pod(phase="Pending", node=None, conditions=[]), ENVIRONMENT, "nobody has scheduled"),
    ("no kubelet", pod(phase="Pending", conditions=[condition("PodScheduled", True)]), ENVIRONMENT, "the node has not"),
    ("evicted", pod(phase="Failed", status={"reason": "Evicted"}), ENVIRONMENT, "ended it (Evicted)"),
    ("out of pods", pod(phase="Failed", status={"reason": "OutOfpods"}), ENVIRONMENT, "OutOfpods"),
    (
        "preempted",
        pod(running(), conditions=[condition("DisruptionTarget", True, "PreemptionByScheduler")]),
        ENVIRONMENT,
        "PreemptionByScheduler",
    ),
    (
        "a silent node",
        pod(running(ready=True), conditions=[condition("ContainersReady", True), condition("Ready", False)]),
        ENVIRONMENT,
        "its node says nothing",
    ),
    ("a lost container", pod(crashing(4, 137, "ContainerStatusUnknown")), ENVIRONMENT, "does not know"),
    (
        "a gate",
        pod(
            running(ready=True),
            gates=["example.com/lb"],
            conditions=[
                condition("PodScheduled", True),
                condition("ContainersReady", True),
                condition("Ready", False, "ReadinessGatesNotReady"),
            ],
        ),
        UNKNOWN,
        "example.com/lb",
    ),
    ("a sidecar of somebody else", pod(running(ready=True), crashing(5, name="proxy")), ENVIRONMENT, "injected"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("new", "culprit", "words"), [row[1:] for row in AT_THE_DEADLINE], ids=[row[0] for row in AT_THE_DEADLINE]
)
def test_at_the_deadline(new: Any, culprit: Culprit, words: str) -> None:
    rollout = judged(evidence(OVERDUE, new, *HEALTHY)).rollout
    assert (rollout.state, rollout.culprit) == (RolloutState.FAILED, culprit), rollout
    assert words in rollout.reason


def test_an_init_container_is_named() -> None:
    found = evidence(
        None, pod(waiting("PodInitializing"), init=[crashing(3, name="migrate")], phase="Pending"), *HEALTHY
    )
    rollout = judged(found).rollout
    assert (rollout.culprit, rollout.failing) == (TAG, ("migrate",))
    done = pod(running(), init=[terminated(0, "Completed", "migrate")])
    assert judged(evidence(OVERDUE, done, *HEALTHY)).rollout.failing == ("web",)


def test_two_containers_that_fail_are_both_named() -> None:
    found = evidence(None, pod(crashing(3), crashing(3, name="migrate")), *HEALTHY)
    assert set(judged(found).rollout.failing) == {"web", "migrate"}


# ------------------------------------------------------------------------------------------- settling


def test_a_sign_that_goes_away_begins_anew() -> None:
    bad, fine = (
        evidence(None, pod(crashing(2)), *HEALTHY),
        evidence(None, pod(running(ready=True), ready=True), *HEALTHY),
    )
    memory = judged(bad, 0).memory
    memory = judged(fine, 20, memory).memory
    memory = judged(bad, 25, memory).memory
    assert not judged(bad, 50, memory).rollout.failed
    assert judged(bad, 55, memory).rollout.failed


def test_another_pod_with_the_same_sign_is_the_same_sign() -> None:
    memory = judged(evidence(None, pod(crashing(2), name="a"), *HEALTHY), 0).memory
    assert judged(evidence(None, pod(crashing(2), name="b"), *HEALTHY), 31, memory).rollout.failed


def test_a_clock_that_is_set_back_only_costs_time() -> None:
    found = evidence(None, pod(crashing(2)), *HEALTHY)
    memory = judged(found, 0).memory
    assert not judged(found, -3_600, memory).rollout.failed
    assert judged(found, 31, memory).rollout.failed


def test_the_time_of_a_verdict_is_when_it_became_what_it_is() -> None:
    found = evidence(OVERDUE, pod(running()), *HEALTHY)
    first = judged(found, 10)
    again = judged(evidence(OVERDUE, pod(running(restarts=1, last=ended())), *HEALTHY), 60, first.memory)
    assert first.rollout.since == again.rollout.since
    assert first.rollout.reason != again.rollout.reason


# ------------------------------------------------------------------------------------------- the pods before


@pytest.mark.parametrize(
    ("before", "strong", "weak"),
    [
        ((), TAG, UNKNOWN),
        (HEALTHY, TAG, TAG),
        ((good("a"), sick("b")), UNKNOWN, UNKNOWN),
        ((sick("a"), sick("b")), UNKNOWN, UNKNOWN),
        ((good("a"), sick("b", "rs-older")), TAG, TAG),
        ((good("a"), sick("b", gone=True)), TAG, TAG),
        ((good("a", gone=True),), TAG, UNKNOWN),
    ],
    ids=["none", "healthy", "one broke", "all broke", "a bad tag before", "one goes", "the last one goes"],
)
def test_the_pods_before_tell(before: tuple[Any, ...], strong: Culprit, weak: Culprit) -> None:
    """Exit codes prove it where there is nothing to compare with; what is merely not ready does not."""
    assert judged(evidence(OVERDUE, pod(crashing(5)), *before)).rollout.culprit is strong
    assert judged(evidence(OVERDUE, pod(running()), *before)).rollout.culprit is weak


def test_what_waits_for_a_pod_that_has_no_place_is_not_the_tag_s() -> None:
    stuck = pod(phase="Pending", node=None, name="b", conditions=[condition("PodScheduled", False, "Unschedulable")])
    rollout = judged(evidence(OVERDUE, pod(running()), stuck, *HEALTHY)).rollout
    assert rollout.culprit is ENVIRONMENT
    assert judged(evidence(OVERDUE, pod(crashing(3)), stuck, *HEALTHY)).rollout.culprit is TAG


@pytest.mark.parametrize(
    ("owners", "made", "lost", "culprit"),
    [
        (("a", "b"), -3_600, 10, ENVIRONMENT),
        (("a",), -3_600, 10, TAG),
        (("a", "b"), -3_600, -1_800, TAG),
        (("a", "b"), 5, 10, TAG),
    ],
    ids=["two others broke", "only one", "long before", "they roll out themselves"],
)
def test_what_breaks_on_its_nodes_meanwhile(
    owners: tuple[str, ...], made: float, lost: float, culprit: Culprit
) -> None:
    others = tuple(
        sick(f"other-{owner}", owner, made=made, conditions=[condition("Ready", False, since=lost)]) for owner in owners
    )
    mine = pod(crashing(3))
    found = evidence(None, mine, *HEALTHY, neighbours=(mine, *HEALTHY, *others))
    rollout = judged(found).rollout
    assert (rollout.state, rollout.culprit) == (RolloutState.FAILED, culprit)


def test_without_its_pods_only_the_deadline_speaks() -> None:
    rollout = judged(evidence(OVERDUE, pods=None)).rollout
    assert (rollout.state, rollout.culprit) == (RolloutState.FAILED, UNKNOWN)
    assert rollout.reason == "its progress deadline has passed"
    assert judged(evidence(deployment(), pods=None)).rollout.state is RolloutState.PROGRESSING


def test_without_replica_sets_pods_are_told_apart_by_their_images() -> None:
    found = evidence(OVERDUE, pod(running()), *HEALTHY, revisions=())
    assert judged(found).rollout.culprit is TAG


def test_quota_is_the_environment_s() -> None:
    message = 'pods "web" is forbidden: exceeded quota: dear'
    body = deployment(
        progressing="ProgressDeadlineExceeded", more=[condition("ReplicaFailure", True, "FailedCreate", message)]
    )
    rollout = judged(evidence(body, *HEALTHY)).rollout
    assert (rollout.culprit, message in rollout.reason) == (ENVIRONMENT, True)
    refused = 'admission webhook "policy" denied the request'
    body = deployment(
        progressing="ProgressDeadlineExceeded", more=[condition("ReplicaFailure", True, "FailedCreate", refused)]
    )
    assert judged(evidence(body, *HEALTHY)).rollout.culprit is UNKNOWN


# ------------------------------------------------------------------------------------------- other kinds


def labelled(revision: str, name: str, *, ready: bool, status: Any = None) -> Any:
    container = status or running(ready=ready)
    labels = {"controller-revision-hash": revision, "pod-template-generation": revision}
    return pod(container, name=name, owner="x", ready=ready, labels=labels)


ROLLING = {
    "replicas": 2,
    "readyReplicas": 1,
    "updatedReplicas": 1,
    "currentRevision": "1",
    "updateRevision": "2",
}


def test_a_failure_is_the_same_when_its_deadline_passes() -> None:
    early = evidence(deployment(), pod(crashing(3)), good())
    first = judged(early)
    assert first.rollout.reason == "container web ends with exit code 1 again and again"
    late = judged(evidence(OVERDUE, pod(crashing(3)), good()), 600, first.memory).rollout
    assert (late.reason, late.since) == (first.rollout.reason, first.rollout.since)
    other = judged(evidence(OVERDUE, pod(crashing(4, 137, "OOMKilled")), good()), 601, first.memory).rollout
    assert (
        other.reason == "container web is out of memory (OOMKilled) again and again; its progress deadline has passed"
    )


def test_a_stateful_set_has_a_deadline_of_ours() -> None:
    body = workload("StatefulSet", spec={"replicas": 2}, status=ROLLING)
    pods = (labelled("2", "web-1", ready=False), labelled("1", "web-0", ready=True))
    found = evidence(body, *pods, ref=STATEFUL_SET)
    first = judged(found)
    assert (first.rollout.state, first.until) == (RolloutState.PROGRESSING, NOW + DEADLINE)
    late = judged(found, DEADLINE.total_seconds(), first.memory).rollout
    assert (late.state, late.culprit, late.failing) == (RolloutState.FAILED, TAG, ("web",))
    assert "nothing has moved for 600 s" in late.reason
    moved = evidence(
        workload("StatefulSet", spec={"replicas": 2}, status={**ROLLING, "readyReplicas": 2}), *pods, ref=STATEFUL_SET
    )
    memory = judged(moved, 500, first.memory).memory
    assert not judged(moved, DEADLINE.total_seconds(), memory).rollout.failed
    crash = (labelled("2", "web-1", ready=False, status=crashing(3)), labelled("1", "web-0", ready=True))
    assert judged(evidence(body, *crash, ref=STATEFUL_SET)).rollout.culprit is TAG


def test_a_stateful_set_that_waits_for_a_pod_of_the_revision_before_says_which_one_to_delete() -> None:
    """As after a rollback: the StatefulSet replaces no pod while another one is not ready."""
    counts = {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 1, "currentRevision": "2", "updateRevision": "2"}
    good_one = labelled("2", "web-0", ready=True)
    pods = (good_one, labelled("1", "web-1", ready=False, status=crashing(5)))
    body = workload("StatefulSet", spec={"replicas": 2}, status=counts)
    found = evidence(body, *pods, ref=STATEFUL_SET)
    first = judged(found)
    assert (first.rollout.state, first.until) == (RolloutState.PROGRESSING, NOW + SETTLE)
    assert first.rollout.reason == (
        "it waits for pod web-1 of a revision before (container web ends with exit code 1 again and again): "
        "delete that pod"
    )
    failed = judged(found, SETTLE.total_seconds(), first.memory).rollout
    assert (failed.state, failed.culprit, failed.failing) == (RolloutState.FAILED, ENVIRONMENT, ())
    slow = evidence(body, good_one, labelled("1", "web-1", ready=False), ref=STATEFUL_SET)
    assert judged(slow).until == NOW + DEADLINE
    for spec in ({"podManagementPolicy": "Parallel"}, {"updateStrategy": {"type": "OnDelete"}}):
        other = workload("StatefulSet", spec={"replicas": 2, **spec}, status=counts)
        assert not judged(evidence(other, *pods, ref=STATEFUL_SET)).rollout.reason


def test_a_daemon_set_by_the_generation_of_its_template() -> None:
    status = {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 1, "numberReady": 1}
    body = workload("DaemonSet", status=status, annotations={"deprecated.daemonset.template.generation": "2"})
    crash = (labelled("2", "a", ready=False, status=crashing(3)), labelled("1", "b", ready=True))
    assert judged(evidence(body, *crash, ref=DAEMON_SET)).rollout.culprit is TAG
    broken = (labelled("2", "a", ready=False, status=crashing(3)), labelled("1", "b", ready=False))
    assert judged(evidence(body, *broken, ref=DAEMON_SET)).rollout.culprit is UNKNOWN
    # Found after a start: it may have been healthy for a year.
    assert judged(evidence(body, *crash, ref=DAEMON_SET), ours=False).rollout.culprit is UNKNOWN


def failed_job(reason: str = "BackoffLimitExceeded") -> Any:
    return workload(
        "Job", api="batch/v1", status={"conditions": [condition("Failed", True, reason)], "startTime": stamp()}
    )


@pytest.mark.parametrize(
    ("last", "culprit", "words"),
    [
        (pod(terminated(3), phase="Failed"), TAG, "exit code 3; BackoffLimitExceeded"),
        (pod(terminated(137, "OOMKilled"), phase="Failed"), TAG, "OOMKilled"),
        (pod(phase="Failed", status={"reason": "Evicted"}), ENVIRONMENT, "Evicted"),
        (
            pod(phase="Pending", node=None, conditions=[condition("PodScheduled", False, "No")]),
            ENVIRONMENT,
            "scheduled",
        ),
    ],
    ids=["exit code", "out of memory", "evicted", "no place"],
)
def test_a_job_that_has_failed(last: Any, culprit: Culprit, words: str) -> None:
    rollout = judged(evidence(failed_job(), last, ref=JOB)).rollout
    assert (rollout.state, rollout.culprit) == (RolloutState.FAILED, culprit)
    assert words in rollout.reason


def test_a_job_of_which_no_pod_is_left() -> None:
    rollout = judged(evidence(failed_job("DeadlineExceeded"), ref=JOB)).rollout
    assert (rollout.state, rollout.culprit, rollout.reason) == (RolloutState.FAILED, UNKNOWN, "DeadlineExceeded")
