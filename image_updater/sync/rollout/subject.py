"""One workload that is followed: what is known of it, and what it is watched by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from image_updater.sync.health import health
from image_updater.sync.health.reading import mapping, text
from image_updater.sync.model import Condition
from image_updater.sync.rollout.evidence import Evidence, Memory
from image_updater.sync.rollout.model import Rollout, RolloutState
from image_updater.sync.rollout.pods import owner_of
from image_updater.sync.rollout.reading import selector_of
from image_updater.sync.rollout.templates import known_kind

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.cluster.model import Body, Ref
    from image_updater.sync.rollout.reading import Source
    from image_updater.sync.rollout.templates import Images

LOOK: Final = timedelta(seconds=2)
"""A rollout that is over before costs no look at its pods."""
KEEP: Final = timedelta(seconds=600)
"""How long the pods of a failed one are looked at; its verdict stays what it was then until the workload moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A workload to follow, as it was applied."""

    images: Images
    own: frozenset[str]
    memory: Memory
    canary: Ref | None = None
    """As far as the manifests say."""


@dataclass(slots=True)
class Subject:
    """See the module."""

    ref: Ref
    wanted: Wanted
    memory: Memory
    rollout: Rollout
    workload: Body | None = None
    canary: Ref | None = None
    canary_body: Body | None = None
    canary_known: bool = False
    """Whether a Canary targets it has been asked."""
    fresh: bool = False
    """What the Canary says when it is seen first is of the revision before."""
    pods: dict[str, Body] = field(default_factory=dict)
    revisions: tuple[Body, ...] = ()
    strangers: set[str] = field(default_factory=set)
    """Owners of pods that are another workload's, although their labels match."""
    jobs: dict[str, Body] = field(default_factory=dict)
    neighbours: tuple[Body, ...] | None = None
    events: tuple[str, ...] | None = None
    primary: Body | None = None
    canary_source: Source | None = None
    pods_source: Source | None = None
    pods_selector: str | None = None
    jobs_source: Source | None = None
    released: bool = False
    """Its pods have been looked at for KEEP."""
    slot: bool = False
    dirty: bool = True
    due: datetime | None = None

    @classmethod
    def of(cls, ref: Ref, wanted: Wanted) -> Subject:
        memory = wanted.memory
        told = memory.told
        rollout = told or Rollout(
            ref=ref,
            state=RolloutState.PENDING,
            images=wanted.images,
            since=memory.began,
            canary=wanted.canary,
        )
        return cls(
            ref=ref,
            wanted=wanted,
            memory=memory,
            rollout=rollout,
            canary=wanted.canary,
            fresh=told is None or told.state is RolloutState.PENDING,
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(each for each in (self.canary_source, self.pods_source, self.jobs_source) if each is not None)

    @property
    def has_pods(self) -> bool:
        """Pods that can be looked at: it is no custom kind, and no pod itself."""
        return known_kind(self.ref) and self.ref.kind != "Pod"

    @property
    def pods_answered(self) -> bool:
        return not self.has_pods or (self.pods_source is not None and self.pods_source.answered)

    def wants_pods(self, now: datetime) -> bool:
        if not self.has_pods or self.released:
            return False
        if self.rollout.state is RolloutState.PROGRESSING:
            return now >= self.memory.began + LOOK
        return self.rollout.failed and self.canary is None

    def selector(self) -> str | None:
        """Of its pods; of a CronJob those of its last Job."""
        if self.ref.kind != "CronJob":
            return selector_of(self.workload) if self.workload is not None else None
        made = sorted(self.own_jobs(), key=lambda job: text(mapping(job, "metadata"), "creationTimestamp"))
        return selector_of(made[-1]) if made else None

    def own_jobs(self) -> list[Body]:
        return [job for job in self.jobs.values() if owner_of(job) == self._uid]

    @property
    def _uid(self) -> str:
        return text(mapping(self.workload, "metadata"), "uid")

    def own_pods(self) -> tuple[Body, ...] | None:
        if self.ref.kind == "Pod":
            return (self.workload,) if self.workload is not None else ()
        if self.pods_source is None or not self.pods_source.listed:
            return None
        owners = {self._uid}
        if self.ref.kind == "Deployment":
            owners = {text(mapping(each, "metadata"), "uid") for each in self.revisions}
        elif self.ref.kind == "CronJob":
            owners = {text(mapping(job, "metadata"), "uid") for job in self.own_jobs()}
        return tuple(pod for pod in self.pods.values() if owner_of(pod) in owners)

    def own_revisions(self, bodies: list[Body]) -> tuple[Body, ...]:
        """ReplicaSets that are its own."""
        return tuple(body for body in bodies if owner_of(body) == self._uid)

    def evidence(self) -> Evidence:
        return Evidence(
            ref=self.ref,
            images=self.wanted.images,
            own=self.wanted.own,
            workload=self.workload,
            pods=self.own_pods(),
            revisions=self.revisions,
            jobs=tuple(self.own_jobs()),
            neighbours=self.neighbours,
            canary=self.canary,
            canary_body=self.canary_body,
            primary=self.primary,
            events=self.events or (),
        )

    def asks_flagger(self, now: datetime) -> bool:
        """Whether its canary's failure is to be looked into: what Flagger has warned of, and how the primary is; the
        latter again while that is not healthy, for KEEP.
        """
        if self.events is None:
            return True
        if self.primary is None or health(self.primary, now=now).condition is Condition.CURRENT:
            return False
        since = self.rollout.since
        return since is not None and now < since + KEEP
