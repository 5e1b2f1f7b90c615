"""How far a workload is, by what its controller counted: kind by kind, without its pods.

It builds on `sync/health` and differs in what a rollout is: once its controller has said of a revision that it was
complete, it is done, whatever becomes of its pods later. That is no failure of the tag any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from image_updater.sync.health import health
from image_updater.sync.health.reading import conditions, mapping, number, text, unobserved
from image_updater.sync.model import Condition
from image_updater.sync.rollout.model import Culprit
from image_updater.sync.rollout.signs import Sign

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.cluster.model import Body, Ref


class Stage(Enum):
    UNSEEN = auto()
    """Its controller has not looked at this generation."""
    UNDER_WAY = auto()
    DONE = auto()
    NOTHING_RAN = auto()
    """As Git asks for, without a single pod of this revision."""
    OVERDUE = auto()
    """Its own deadline has passed, or its controller has given up."""
    SUSPENDED = auto()
    TERMINATING = auto()
    MISSING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    stage: Stage
    reason: str = ""
    counts: tuple[int, ...] = ()
    """What moves while it goes on."""
    has_deadline: bool = False
    """Its controller tells when it is too late: we need no deadline of our own."""
    sign: Sign | None = None
    """What the workload itself says is wrong."""


def progress(ref: Ref, body: Body | None, *, now: datetime, ours: bool = True) -> Progress:
    """`ours` False: it may have been complete before, and where that cannot be told, it was."""
    if body is None:
        return Progress(stage=Stage.MISSING, reason="it does not exist")
    if mapping(body, "metadata").get("deletionTimestamp"):
        return Progress(stage=Stage.TERMINATING, reason="it is being deleted")
    match ref.group, ref.kind:
        case "apps", "Deployment":
            return _deployment(ref, body, now)
        case "apps", "StatefulSet":
            return _stateful_set(ref, body, now, ours=ours)
        case "apps", "DaemonSet":
            return _daemon_set(ref, body, now)
        case "batch", "Job":
            return _job(ref, body, now)
        case "", "Pod":
            return _by_health(ref, body, now, ("phase",))
        case ("apps", "ReplicaSet") | ("", "ReplicationController"):
            if number(mapping(body, "spec"), "replicas", 1) == 0:
                return _nothing("it has no replicas")
            return _by_health(ref, body, now, ("replicas", "readyReplicas", "availableReplicas"))
        case _:
            return _custom(ref, body, now)


def _nothing(reason: str) -> Progress:
    return Progress(stage=Stage.NOTHING_RAN, reason=f"{reason}: nothing has run")


def _by_health(ref: Ref, body: Body, now: datetime, names: tuple[str, ...], *, has_deadline: bool = False) -> Progress:
    found = health(body, now=now, ref=ref)
    counts = _counts(body, names)
    match found.condition:
        case Condition.CURRENT:
            return Progress(stage=Stage.DONE, reason=found.message)
        case Condition.FAILED:
            return Progress(stage=Stage.OVERDUE, reason=found.message, counts=counts)
        case Condition.TERMINATING:
            return Progress(stage=Stage.TERMINATING, reason=found.message)
        case _:
            return Progress(stage=Stage.UNDER_WAY, reason=found.message, counts=counts, has_deadline=has_deadline)


def _custom(ref: Ref, body: Body, now: datetime) -> Progress:
    """By kstatus. A status that says of no generation what it is of may be about the one before: it proves nothing."""
    found = _by_health(ref, body, now, (), has_deadline=True)
    observed = number(mapping(body, "status"), "observedGeneration", -1) >= 0
    if found.stage is Stage.DONE and not observed and all(each.generation < 0 for each in conditions(body).values()):
        return Progress(stage=Stage.NOTHING_RAN, reason="its status says of no generation what it is of")
    return found


def _counts(body: Body, names: tuple[str, ...]) -> tuple[int, ...]:
    status = mapping(body, "status")
    return tuple(number(status, name) for name in names)


def _unseen(body: Body) -> Progress | None:
    found = unobserved(body, required=True)
    return Progress(stage=Stage.UNSEEN, reason="its controller has not looked at it yet") if found else None


def _deployment(ref: Ref, body: Body, now: datetime) -> Progress:
    if (unseen := _unseen(body)) is not None:
        return unseen
    spec, status, said = mapping(body, "spec"), mapping(body, "status"), conditions(body)
    want, replicas = number(spec, "replicas", 1), number(status, "replicas")
    if want == 0 and replicas == 0:
        return _nothing("it has no replicas")
    progressing = said.get("Progressing")
    complete = progressing is not None and progressing.reason == "NewReplicaSetAvailable"
    # Its controller leaves that reason as it is until another revision comes (syncRolloutStatus).
    if complete and 0 < replicas == number(status, "updatedReplicas"):
        return Progress(stage=Stage.DONE)
    found = _by_health(ref, body, now, ("updatedReplicas", "availableReplicas"), has_deadline=True)
    if found.stage is Stage.DONE:
        return found
    if spec.get("paused") is True:
        return Progress(stage=Stage.SUSPENDED, reason="its rollout is paused")
    return Progress(
        stage=found.stage,
        reason="its progress deadline has passed" if found.stage is Stage.OVERDUE else "",
        counts=found.counts,
        has_deadline=True,
        sign=_refused(body),
    )


def _refused(body: Body) -> Sign | None:
    failure = conditions(body).get("ReplicaFailure")
    if failure is None or not failure.true:
        return None
    quota = "quota" in failure.words or "limit" in failure.words.casefold()
    return Sign(
        name="quota" if quota else "refused",
        reason=f"its pods cannot be created: {failure.words}",
        culprit=Culprit.ENVIRONMENT if quota else Culprit.UNKNOWN,
    )


def _stateful_set(ref: Ref, body: Body, now: datetime, *, ours: bool) -> Progress:
    if (unseen := _unseen(body)) is not None:
        return unseen
    spec, status = mapping(body, "spec"), mapping(body, "status")
    want = number(spec, "replicas", 1)
    if want == 0 and number(status, "replicas") == 0:
        return _nothing("it has no replicas")
    strategy = mapping(spec, "updateStrategy")
    updated = number(status, "updatedReplicas")
    rolled = text(status, "currentRevision") == text(status, "updateRevision")
    held = number(mapping(strategy, "rollingUpdate"), "partition") >= want
    if not rolled and not updated and (held or text(strategy, "type") == "OnDelete"):
        why = "its partition holds every pod back" if held else "each pod is updated when it is deleted"
        return _nothing(why)
    if rolled and not ours:
        # The controller makes them equal when all pods of an update were ready.
        return Progress(stage=Stage.DONE)
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return _by_health(ref, body, now, names)


def _daemon_set(ref: Ref, body: Body, now: datetime) -> Progress:
    if (unseen := _unseen(body)) is not None:
        return unseen
    status = mapping(body, "status")
    if number(status, "desiredNumberScheduled") == 0:
        return _nothing("no node is to run it")
    on_delete = text(mapping(body, "spec", "updateStrategy"), "type") == "OnDelete"
    if on_delete and number(status, "updatedNumberScheduled") == 0:
        return _nothing("each pod is updated when it is deleted")
    names = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable")
    return _by_health(ref, body, now, names)


def _job(ref: Ref, body: Body, now: datetime) -> Progress:
    if mapping(body, "spec").get("suspend") is True:
        return Progress(stage=Stage.SUSPENDED, reason="it is suspended")
    return _by_health(ref, body, now, ("succeeded",), has_deadline=True)
