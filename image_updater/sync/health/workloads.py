"""Deployments, StatefulSets, DaemonSets, ReplicaSets, Pods, Jobs: what counts is what their controllers counted.

Deviations from kstatus: a workload whose controller has said nothing yet is in progress even with no replicas; a
StatefulSet or DaemonSet that is updated by deleting pods (OnDelete) must still have its pods ready; a Job is current
when it is complete, not when it has started (as Flux has it), and when it is suspended by its own spec; a pod that
cannot be scheduled stays in progress, since nodes may come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.sync.health.reading import (
    Verdict,
    conditions,
    current,
    failed,
    in_progress,
    items,
    mapping,
    number,
    so_many,
    text,
    unobserved,
)

if TYPE_CHECKING:
    from image_updater.cluster.model import Body


def deployment(body: Body) -> Verdict:
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    spec, status, said = mapping(body, "spec"), mapping(body, "status"), conditions(body)
    progressing = said.get("Progressing")
    if progressing is not None and progressing.reason == "ProgressDeadlineExceeded":
        return failed(progressing.words)
    want = number(spec, "replicas", 1)
    updated, available = number(status, "updatedReplicas"), number(status, "availableReplicas")
    verdict = None
    if updated < want:
        verdict = so_many(updated, want, "replicas are updated")
    elif number(status, "replicas") > updated:
        verdict = in_progress(f"old replicas are still there ({number(status, 'replicas') - updated})")
    elif available < updated:
        verdict = so_many(available, updated, "updated replicas are available")
    elif number(status, "readyReplicas") < want:
        verdict = so_many(number(status, "readyReplicas"), want, "replicas are ready")
    elif "Available" in said and not said["Available"].true:
        verdict = in_progress(said["Available"].words)
    if verdict is None:
        return current(f"{want} of {want} replicas are available")
    if spec.get("paused") is True:
        return in_progress(f"{verdict.message}, and the rollout is paused")
    failure = said.get("ReplicaFailure")
    return in_progress(f"{verdict.message} ({failure.words})") if failure is not None and failure.true else verdict


def stateful_set(body: Body) -> Verdict:
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    spec, status = mapping(body, "spec"), mapping(body, "status")
    want = number(spec, "replicas", 1)
    have, ready = number(status, "replicas"), number(status, "readyReplicas")
    if have != want:
        return so_many(have, want, "replicas are there")
    if ready < want:
        return so_many(ready, want, "replicas are ready")
    if "availableReplicas" in status and number(status, "availableReplicas") < want:
        return so_many(number(status, "availableReplicas"), want, "replicas are available")
    strategy = mapping(spec, "updateStrategy")
    if text(strategy, "type") == "OnDelete":
        return current(f"{want} of {want} replicas are ready; each is updated when it is deleted")
    partition = min(number(mapping(strategy, "rollingUpdate"), "partition"), want)
    updated = number(status, "updatedReplicas")
    if updated < want - partition and text(status, "currentRevision") != text(status, "updateRevision"):
        return so_many(updated, want - partition, "replicas are updated")
    held = f"; the partition holds {partition} back" if partition else ""
    return current(f"{want} of {want} replicas are ready{held}")


def daemon_set(body: Body) -> Verdict:
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    spec, status = mapping(body, "spec"), mapping(body, "status")
    want = number(status, "desiredNumberScheduled")
    on_delete = text(mapping(spec, "updateStrategy"), "type") == "OnDelete"
    for name, what in (
        ("currentNumberScheduled", "pods are scheduled"),
        ("updatedNumberScheduled", "pods are updated"),
        ("numberReady", "pods are ready"),
        ("numberAvailable", "pods are available"),
    ):
        if number(status, name) < want and not (on_delete and name == "updatedNumberScheduled"):
            return so_many(number(status, name), want, what)
    return current(f"{want} of {want} pods are available")


def replica_set(body: Body) -> Verdict:
    """And ReplicationControllers."""
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    spec, status = mapping(body, "spec"), mapping(body, "status")
    want = number(spec, "replicas", 1)
    failure = conditions(body).get("ReplicaFailure")
    if failure is not None and failure.true:
        return in_progress(failure.words)
    for name, what in (
        ("fullyLabeledReplicas", "replicas are labelled"),
        ("readyReplicas", "replicas are ready"),
        ("availableReplicas", "replicas are available"),
    ):
        if number(status, name) < want:
            return so_many(number(status, name), want, what)
    if number(status, "replicas") > want:
        return in_progress(f"too many replicas are still there ({number(status, 'replicas') - want})")
    return current(f"{want} of {want} replicas are available")


def pod(body: Body) -> Verdict:
    status, said = mapping(body, "status"), conditions(body)
    phase = text(status, "phase")
    if phase == "Succeeded":
        return current("it has run to its end")
    if phase == "Failed":
        return failed(text(status, "message") or text(status, "reason") or _exits(body) or "it has failed")
    stuck = [
        (text(container, "name"), mapping(container, "state", "waiting"))
        for name in ("initContainerStatuses", "containerStatuses")
        for container in items(status, name)
        if mapping(container, "state", "waiting")
    ]
    for name, waiting in stuck:
        if text(waiting, "reason") == "CrashLoopBackOff":
            return failed(f"container {name}: CrashLoopBackOff")
    ready = said.get("Ready")
    if phase == "Running" and ready is not None and ready.true:
        return current("it is ready")
    for name, waiting in stuck:
        if text(waiting, "reason") not in ("", "ContainerCreating", "PodInitializing"):
            return in_progress(f"container {name}: {text(waiting, 'reason')}")
    scheduled = said.get("PodScheduled")
    if scheduled is not None and scheduled.false:
        return in_progress(scheduled.words)
    return in_progress(
        ready.words if ready is not None and ready.words else f"it is {phase or 'not seen by a node yet'}"
    )


def _exits(body: Body) -> str:
    for container in items(mapping(body, "status"), "containerStatuses"):
        ended = mapping(container, "state", "terminated")
        if number(ended, "exitCode") != 0:
            return f"container {text(container, 'name')}: exit code {number(ended, 'exitCode')}"
    return ""


def job(body: Body) -> Verdict:
    said, status = conditions(body), mapping(body, "status")
    if "Failed" in said and said["Failed"].true:
        return failed(said["Failed"].words)
    if "Complete" in said and said["Complete"].true:
        return current("it is complete")
    if mapping(body, "spec").get("suspend") is True and "Suspended" in said and said["Suspended"].true:
        return current("it is suspended")
    if not status.get("startTime"):
        return in_progress("it has not started")
    counts = ", ".join(f"{number(status, name)} {name}" for name in ("active", "succeeded", "failed") if name in status)
    return in_progress(f"it is running ({counts})" if counts else "it is running")


def disruption_budget(body: Body) -> Verdict:
    """A budget over no pods protects nothing and is current (deviation)."""
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    status = mapping(body, "status")
    healthy, wanted = number(status, "currentHealthy"), number(status, "desiredHealthy")
    if healthy < wanted and number(status, "expectedPods") > 0:
        return so_many(healthy, wanted, "pods are healthy")
    return current(f"healthy pods: {healthy}")


def autoscaler(body: Body) -> Verdict:
    """Missing metrics are normal at first, and no fault of what is deployed; a target that is missing is one.

    kstatus knows no rule for it: always current.
    """
    able = conditions(body).get("AbleToScale")
    if able is not None and able.false:
        return in_progress(able.words)
    return current()
