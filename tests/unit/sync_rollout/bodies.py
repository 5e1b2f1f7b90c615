"""Workloads and pods of a few words, as an API server has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from image_updater.cluster.model import Body, Ref
from image_updater.sync.rollout.evidence import Evidence, Memory
from image_updater.sync.rollout.judge import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.sync.rollout.evidence import Judged

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
IMAGES = (("web", "web:2"),)
DEPLOYMENT = Ref("apps", "Deployment", "prod", "web")
STATEFUL_SET = Ref("apps", "StatefulSet", "prod", "web")
DAEMON_SET = Ref("apps", "DaemonSet", "prod", "web")
JOB = Ref("batch", "Job", "prod", "web")
CRON_JOB = Ref("batch", "CronJob", "prod", "web")


def at(seconds: float = 0) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stamp(seconds: float = 0) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str | bool, reason: str = "", message: str = "", since: float = 0) -> dict[str, Any]:
    text = {True: "True", False: "False"}.get(status, status) if isinstance(status, bool) else status
    return {"type": type_, "status": text, "reason": reason, "message": message, "lastTransitionTime": stamp(since)}


# ------------------------------------------------------------------------------------------- containers


def running(name: str = "web", *, ready: bool = False, restarts: int = 0, last: Any = None) -> dict[str, Any]:
    found = {"name": name, "ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": stamp()}}}
    return found | ({"lastState": {"terminated": last}} if last else {})


def waiting(
    reason: str, message: str = "", name: str = "web", *, restarts: int = 0, last: Any = None
) -> dict[str, Any]:
    found = {
        "name": name,
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return found | ({"lastState": {"terminated": last}} if last else {})


def terminated(code: int, reason: str = "Error", name: str = "web", restarts: int = 0) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": reason}
    return {"name": name, "ready": False, "restartCount": restarts, "state": {"terminated": ended}}


def ended(code: int = 1, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "message": message}


def crashing(restarts: int, code: int = 1, reason: str = "Error", name: str = "web") -> dict[str, Any]:
    return waiting("CrashLoopBackOff", "back-off", name, restarts=restarts, last=ended(code, reason))


# ------------------------------------------------------------------------------------------- pods


def pod(
    *containers: dict[str, Any],
    name: str = "web-new-1",
    owner: str = "rs-new",
    ready: bool = False,
    phase: str = "Running",
    node: str | None = "node-0",
    images: Sequence[tuple[str, str]] = IMAGES,
    labels: Any = None,
    init: Sequence[dict[str, Any]] = (),
    conditions: Sequence[dict[str, Any]] | None = None,
    made: float = 0,
    gone: bool = False,
    gates: Sequence[str] = (),
    status: Any = None,
) -> Body:
    said = [
        condition("PodScheduled", True),
        condition("ContainersReady", ready, "" if ready else "ContainersNotReady"),
        condition("Ready", ready, "" if ready else "ContainersNotReady"),
    ]
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "prod",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "labels": labels or {},
        "creationTimestamp": stamp(made),
        "ownerReferences": [{"uid": owner, "controller": True}],
    }
    if gone:
        metadata["deletionTimestamp"] = stamp()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "containers": [{"name": each, "image": image} for each, image in images],
            **({"nodeName": node} if node else {}),
            **({"readinessGates": [{"conditionType": each} for each in gates]} if gates else {}),
        },
        "status": {
            "phase": phase,
            "conditions": said if conditions is None else list(conditions),
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            **(status or {}),
        },
    }


def good(name: str = "web-old-1", owner: str = "rs-old", **fields: Any) -> Body:
    """A pod of the revision before, healthy since long ago."""
    known: dict[str, Any] = {"images": (("web", "web:1"),), "made": -86_400}
    return pod(running(ready=True), name=name, owner=owner, ready=True, **known | fields)


def sick(name: str = "web-old-1", owner: str = "rs-old", **fields: Any) -> Body:
    known: dict[str, Any] = {"images": (("web", "web:1"),), "made": -86_400}
    return pod(running(), name=name, owner=owner, **known | fields)


# ------------------------------------------------------------------------------------------- workloads


def deployment(
    *,
    replicas: int = 2,
    status: Any = None,
    progressing: str = "ReplicaSetUpdated",
    more: Sequence[dict[str, Any]] = (),
    generation: int = 2,
    observed: int = 2,
    **spec: Any,
) -> Body:
    known = {"replicas": replicas + 1, "updatedReplicas": 1, "readyReplicas": replicas, "availableReplicas": replicas}
    failed = progressing == "ProgressDeadlineExceeded"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "prod",
            "uid": "deployment",
            "generation": generation,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, **spec},
        "status": {
            "observedGeneration": observed,
            "conditions": [
                condition("Available", True),
                *([condition("Progressing", not failed, progressing)] if progressing else []),
                *more,
            ],
            **(known if status is None else status),
        },
    }


def whole(number: int = 2) -> dict[str, int]:
    """The counts of a Deployment that is as it should be."""
    return dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), number)


OVERDUE = deployment(progressing="ProgressDeadlineExceeded")
REVISIONS = tuple(
    {
        "metadata": {
            "uid": uid,
            "ownerReferences": [{"uid": "deployment", "controller": True}],
            "annotations": {"deployment.kubernetes.io/revision": number},
        }
    }
    for uid, number in (("rs-old", "1"), ("rs-new", "2"))
)


def workload(kind: str, *, spec: Any = None, status: Any = None, api: str = "apps/v1", **metadata: Any) -> Body:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "web", "namespace": "prod", "uid": kind.casefold(), "generation": 1, **metadata},
        "spec": spec or {},
        "status": {"observedGeneration": 1, **(status or {})},
    }


# ------------------------------------------------------------------------------------------- judging


def evidence(body: Body | None = None, *pods: Body, ref: Ref = DEPLOYMENT, **fields: Any) -> Evidence:
    known: dict[str, Any] = {
        "images": IMAGES,
        "own": frozenset({"web", "migrate"}),
        "workload": deployment() if body is None else body,
        "pods": pods,
        "revisions": REVISIONS,
    }
    return Evidence(ref=ref, **known | fields)


def judged(found: Evidence, seconds: float = 0, memory: Memory | None = None, **fields: Any) -> Judged:
    """`seconds` after the template was applied; `stands` = the same was seen first so long ago."""
    return judge(found, memory or Memory(began=NOW, **fields), now=at(seconds))


def stands(found: Evidence, seconds: float, **fields: Any) -> Judged:
    """Seen at once, and the same again after `seconds`."""
    first = judge(found, Memory(began=NOW, **fields), now=NOW)
    return judge(found, first.memory, now=at(seconds))
