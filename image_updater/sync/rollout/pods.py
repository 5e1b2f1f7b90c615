"""Which pods of a workload are of the new revision, and how those before are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from image_updater.api.moments import moment_of
from image_updater.cluster.model import Ref
from image_updater.sync.health.reading import conditions, items, mapping, text
from image_updater.sync.rollout.signs import is_over, is_ready
from image_updater.sync.rollout.templates import images_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from image_updater.cluster.model import Body
    from image_updater.sync.rollout.evidence import Evidence

_REVISION: Final = "deployment.kubernetes.io/revision"
_GENERATION: Final = "deprecated.daemonset.template.generation"
_HASH: Final = "controller-revision-hash"
_ESTABLISHED: Final = timedelta(seconds=60)
"""How long before a pod must have been made, to say anything by breaking."""
_POD: Final = Ref("", "Pod", "", "")


class Before(Enum):
    """How the pods of the revision before are."""

    NONE = auto()
    HEALTHY = auto()
    SICK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations:
    new: tuple[Body, ...] = ()
    old: tuple[tuple[Body, ...], ...] = ()
    """By revision; without those that are over."""

    @property
    def before(self) -> Before:
        """Healthy: of one revision before, every pod is ready. One that never was (a bad tag before this one) does not
        count while it goes.
        """
        if not self.old:
            return Before.NONE
        serving = [pods for pods in self.old if any(map(is_ready, pods))]
        return Before.HEALTHY if any(all(map(is_ready, pods)) for pods in serving) else Before.SICK


def generations(evidence: Evidence) -> Generations:
    pods = evidence.pods or ()
    workload = evidence.workload or {}
    match evidence.ref.group, evidence.ref.kind:
        case "apps", "Deployment":
            new = current_revision(workload, evidence.revisions)
            if new is not None:
                return _split(pods, owner_of, new)
        case "apps", "StatefulSet":
            revision = text(mapping(workload, "status"), "updateRevision")
            return _split(pods, lambda pod: text(mapping(pod, "metadata", "labels"), _HASH), revision)
        case "apps", "DaemonSet":
            generation = text(mapping(workload, "metadata", "annotations"), _GENERATION)
            if generation:
                name = "pod-template-generation"
                return _split(pods, lambda pod: text(mapping(pod, "metadata", "labels"), name), generation)
        case _:
            pass
    return _split(pods, lambda pod: repr(images_of(_POD, pod)), repr(evidence.images))


def _split(pods: Iterable[Body], revision: Callable[[Body], str], new: str) -> Generations:
    groups: defaultdict[str, list[Body]] = defaultdict(list)
    for pod in pods:
        groups[revision(pod)].append(pod)
    young = groups.pop(new, [])
    old = ([pod for pod in group if not is_over(pod)] for group in groups.values())
    return Generations(new=tuple(young), old=tuple(tuple(group) for group in old if group))


def current_revision(workload: Body, revisions: Iterable[Body]) -> str | None:
    """The uid of a Deployment's ReplicaSet that is its present template. None: it is not among these."""
    wanted = text(mapping(workload, "metadata", "annotations"), _REVISION)
    found = (
        text(mapping(each, "metadata"), "uid")
        for each in revisions
        if wanted and text(mapping(each, "metadata", "annotations"), _REVISION) == wanted
    )
    return next(found, None)


def owner_of(body: Body) -> str:
    """The uid of its controller, "" where it has none."""
    owners = items(mapping(body, "metadata"), "ownerReferences")
    return next((text(each, "uid") for each in owners if each.get("controller") is True), "")


def broken_since(pods: Iterable[Body], since: datetime, *, besides: frozenset[str]) -> int:
    """Workloads with a pod that was established by then, and lost its readiness after it. `besides`: pods that do not
    count, by uid.
    """
    owners = set()
    for pod in pods:
        metadata = mapping(pod, "metadata")
        ready = conditions(pod).get("Ready")
        if text(metadata, "uid") in besides or is_over(pod) or ready is None or ready.true:
            continue
        made, lost = moment_of(metadata.get("creationTimestamp")), moment_of(_transition(pod))
        if made is not None and lost is not None and made < since - _ESTABLISHED and lost >= since:
            owners.add(owner_of(pod) or text(metadata, "uid"))
    return len(owners)


def _transition(pod: Body) -> str:
    said = items(mapping(pod, "status"), "conditions")
    return next((text(each, "lastTransitionTime") for each in said if each.get("type") == "Ready"), "")
