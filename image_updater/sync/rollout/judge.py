"""The verdict on one rollout. Pure: evidence and memory in, verdict out.

When it has failed:

- its controller says so: a Deployment's progress deadline, a Job's limits, a custom kind's status; for kinds without a
  deadline (StatefulSet, DaemonSet, ReplicaSet, Pod) when nothing has moved for DEADLINE;
- or its own containers cannot run, which is seen long before: a crash loop of three restarts at once, one of two, an
  image that the registry does not have, or one that does not hold what it is to run, once that has been so for SETTLE
  without a break. One restart, a slow registry, or one that answers with an error is no failure before the deadline.

Whose failure it is: the tag's when its own containers fail and the pods before are healthy; exit codes and a manifest
that is unknown prove it where there were none (the first rollout, `Recreate`, a Job). Pods before that are not healthy
either, containers that run and are not ready without any pod to compare with, and what only conditions of a status say
leave it unknown. Nodes, scheduling, quota, volumes, missing ConfigMaps and Secrets, registries and logins are the
environment's, and so is what breaks established pods of two other workloads on the same nodes meanwhile.

Once healthy it stays so until its template changes: what breaks hours later is no failure of that rollout.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from image_updater.cluster.model import Ref
from image_updater.sync.health import health
from image_updater.sync.health.reading import mapping, text
from image_updater.sync.model import Condition
from image_updater.sync.rollout.canaries import judge_canary, moved
from image_updater.sync.rollout.evidence import Evidence, Judged, Memory
from image_updater.sync.rollout.kinds import Stage, progress
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from image_updater.sync.rollout.pods import generations, owner_of
from image_updater.sync.rollout.signs import Sign, ended, is_going, pulls_of, signs_of
from image_updater.sync.rollout.templates import images_of
from image_updater.sync.rollout.whose import whose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from image_updater.cluster.model import Body
    from image_updater.sync.rollout.pods import Generations

SETTLE: Final = timedelta(seconds=30)
"""How long an early sign must have stood."""
DEADLINE: Final = timedelta(seconds=600)
"""Without any progress, where the kind has no deadline of its own: as a Deployment's default."""

_JOB: Final = Ref("batch", "Job", "", "")
_BY_HAND: Final = "OnDelete"
_STATES: Final = {
    Stage.UNSEEN: RolloutState.PENDING,
    Stage.MISSING: RolloutState.PENDING,
    Stage.DONE: RolloutState.HEALTHY,
    Stage.NOTHING_RAN: RolloutState.HEALTHY_UNANALYSED,
    Stage.SUSPENDED: RolloutState.SUSPENDED,
    Stage.TERMINATING: RolloutState.TERMINATING,
}


def judge(evidence: Evidence, memory: Memory, *, now: datetime) -> Judged:
    """What is known now, what to remember of it, and when to look again although nothing happens."""
    if evidence.canary is not None:
        return _canary(evidence, memory, now)
    if (evidence.ref.group, evidence.ref.kind) == ("batch", "CronJob"):
        return _cron_job(evidence, memory, now)
    return _workload(evidence, evidence.ref, memory, now)


def _told(rollout: Rollout, memory: Memory, until: datetime | None, now: datetime) -> Judged:
    """`since` is when the state, or whose failure it is, became what it is."""
    before = memory.told
    if before is not None and _kind_of(before) == _kind_of(rollout) and before.since is not None:
        now = before.since
    rollout = replace(rollout, since=now)
    return Judged(rollout=rollout, memory=replace(memory, told=rollout), until=until)


def _kind_of(rollout: Rollout) -> object:
    return rollout.state, rollout.culprit, rollout.images


def _plain(evidence: Evidence, state: RolloutState, reason: str) -> Rollout:
    return Rollout(ref=evidence.ref, state=state, reason=reason, images=evidence.images)


# ------------------------------------------------------------------------------------------- canaries


def _canary(evidence: Evidence, memory: Memory, now: datetime) -> Judged:
    body = evidence.canary_body
    if body is not None and memory.seen is not None and moved(body, memory.seen):
        memory = replace(memory, seen=None)
    found = judge_canary(body, seen=memory.seen, analysis=memory.analysis, events=evidence.events, now=now)
    new = [pod for pod in generations(evidence).new if not is_going(pod)]
    if found.state is RolloutState.PROGRESSING and new:
        memory = replace(memory, pulls=pulls_of(new, memory.pulls))
        memory = replace(memory, analysis=_signs(new, evidence, memory))
    elif found.state not in (RolloutState.PROGRESSING, RolloutState.FAILED):
        memory = replace(memory, analysis=())
    culprit, reason = found.culprit, found.reason
    if culprit is Culprit.TAG and evidence.primary is not None:
        primary = health(evidence.primary, now=now)
        if primary.condition is not Condition.CURRENT:
            # Flagger before `handleFailedPromotion` fails a canary for its primary, too.
            culprit, reason = Culprit.UNKNOWN, f"{reason}; its primary is not healthy: {primary.message}"
    rollout = replace(
        _plain(evidence, found.state, reason),
        culprit=culprit,
        failing=found.failing,
        canary=evidence.canary,
    )
    return _told(rollout, memory, found.until, now)


# ------------------------------------------------------------------------------------------- all others


def _cron_job(evidence: Evidence, memory: Memory, now: datetime) -> Judged:
    """By the last Job that it has made of this template."""
    workload = evidence.workload
    if workload is None or mapping(workload, "metadata").get("deletionTimestamp"):
        return _workload(evidence, evidence.ref, memory, now)
    jobs = [job for job in evidence.jobs if images_of(_JOB, job) == evidence.images]
    if not jobs:
        stopped = mapping(workload, "spec").get("suspend") is True
        state = RolloutState.SUSPENDED if stopped else RolloutState.PENDING
        reason = "it is suspended" if stopped else "it has not run since"
        return _told(_plain(evidence, state, reason), memory, None, now)
    last = max(jobs, key=lambda job: text(mapping(job, "metadata"), "creationTimestamp"))
    uid = text(mapping(last, "metadata"), "uid")
    pods = evidence.pods
    if pods is not None:
        pods = tuple(pod for pod in pods if owner_of(pod) == uid)
    return _workload(replace(evidence, workload=last, pods=pods), _JOB, memory, now)


def _workload(evidence: Evidence, ref: Ref, memory: Memory, now: datetime) -> Judged:
    """`ref`: whose rule it is judged by."""
    seen = progress(ref, evidence.workload, now=now, ours=memory.ours)
    if seen.counts != memory.counts or memory.moved is None:
        memory = replace(memory, counts=seen.counts, moved=now)
    if seen.stage in _STATES:
        memory = replace(memory, signs={}, pulls={})
        return _told(_plain(evidence, _STATES[seen.stage], seen.reason), memory, None, now)
    ages = generations(evidence)
    memory = replace(memory, pulls=pulls_of(ages.new, memory.pulls))
    signs = _signs(ages.new, evidence, memory, ref)
    if seen.sign is not None:
        signs = (*signs, seen.sign)
    signs = (*signs, *_waited_for(ref, evidence, ages))
    memory = replace(memory, signs={sign.name: memory.signs.get(sign.name, now) for sign in signs})
    ripe = [sign for sign in signs if sign.early and (sign.at_once or now >= memory.signs[sign.name] + SETTLE)]
    assert memory.moved is not None
    given_up = seen.stage is Stage.OVERDUE
    late = not seen.has_deadline and now >= memory.moved + DEADLINE
    if given_up or late or ripe:
        failure = whose(evidence, ages, signs if given_up or late else ripe, memory)
        said = seen.reason if given_up else f"nothing has moved for {DEADLINE.seconds:g} s" if late else ""
        reason = "; ".join(part for part in (failure.reason, said) if part)
        rollout = replace(
            _plain(evidence, RolloutState.FAILED, reason), culprit=failure.culprit, failing=failure.failing
        )
        before, why = memory.told, failure.reason
        if before is not None and _kind_of(before) == _kind_of(rollout) and why and before.reason.startswith(why):
            # The same failure, whether its deadline has passed meanwhile or not: who was told is not told again.
            rollout = replace(rollout, reason=before.reason)
        return _told(rollout, memory, None, now)
    waits = [memory.signs[sign.name] + SETTLE for sign in signs if sign.early]
    if not seen.has_deadline:
        waits.append(memory.moved + DEADLINE)
    # Its own words hold counts, which would be news with each pod.
    reason = signs[0].reason if signs else "" if seen.counts else seen.reason
    return _told(_plain(evidence, RolloutState.PROGRESSING, reason), memory, min(waits, default=None), now)


def _signs(pods: Iterable[Body], evidence: Evidence, memory: Memory, ref: Ref | None = None) -> tuple[Sign, ...]:
    """Each once, those that prove something first."""
    over = ref is not None and (ref.group, ref.kind) in (("batch", "Job"), ("", "Pod"))
    found: dict[str, Sign] = {}
    for pod in pods:
        failed = over and text(mapping(pod, "status"), "phase") == "Failed"
        for sign in ended(pod, evidence.own) if failed else signs_of(pod, evidence.own, memory.pulls):
            known = found.get(sign.name)
            if known is None or _weight(sign) > _weight(known):
                found[sign.name] = sign
    return tuple(sorted(found.values(), key=_weight, reverse=True))


def _waited_for(ref: Ref, evidence: Evidence, ages: Generations) -> Iterator[Sign]:
    """The pods of revisions before that a StatefulSet waits for before it replaces any: what Git went back to does not
    get there by itself (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback).
    """
    spec = mapping(evidence.workload or {}, "spec")
    ordered = (
        text(spec, "podManagementPolicy") != "Parallel" and text(mapping(spec, "updateStrategy"), "type") != _BY_HAND
    )
    if (ref.group, ref.kind) != ("apps", "StatefulSet") or not ordered:
        return
    for pod in (each for pods in ages.old for each in pods):
        found = max(signs_of(pod, evidence.own), key=_weight, default=None)
        if found is not None:
            name = text(mapping(pod, "metadata"), "name")
            yield Sign(
                name=f"waits for {name}",
                reason=f"it waits for pod {name} of a revision before ({found.reason}): delete that pod",
                culprit=Culprit.ENVIRONMENT,
                early=found.early,
            )


def _weight(sign: Sign) -> tuple[bool, bool, bool]:
    return sign.strong, sign.at_once, sign.early
