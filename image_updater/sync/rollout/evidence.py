"""What a verdict on a rollout rests on: the objects as the server has them, and what was seen of them before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from image_updater.cluster.model import Body, Ref
    from image_updater.sync.health import Seen
    from image_updater.sync.rollout.model import Rollout
    from image_updater.sync.rollout.signs import Sign
    from image_updater.sync.rollout.templates import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one workload."""

    ref: Ref
    images: Images
    """Of the template that was applied."""
    own: frozenset[str] = frozenset()
    """Its containers."""
    workload: Body | None = field(default=None, repr=False)
    """None: it does not exist."""
    pods: tuple[Body, ...] | None = field(default=None, repr=False)
    """Its own, of all revisions. None: not looked at, or not to be read."""
    revisions: tuple[Body, ...] = field(default=(), repr=False)
    """Of a Deployment its ReplicaSets; their metadata is enough."""
    jobs: tuple[Body, ...] = field(default=(), repr=False)
    """Of a CronJob those that it has made."""
    neighbours: tuple[Body, ...] | None = field(default=None, repr=False)
    """Pods of all workloads on the nodes where pods of this one fail. None: not asked."""
    canary: Ref | None = None
    """A Canary whose target it is."""
    canary_body: Body | None = field(default=None, repr=False)
    primary: Body | None = field(default=None, repr=False)
    """What serves beside a canary, once that has failed. None: not asked, or not to be read."""
    events: tuple[str, ...] = ()
    """Messages of the Canary's warnings, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is carried from one look to the next. Losing it costs time (SETTLE begins anew), never a wrong verdict."""

    began: datetime
    """When the template was applied."""
    ours: bool = True
    """It was applied by this process. False: it may have been healthy long before, and broken later."""
    told: Rollout | None = None
    """The verdict before."""
    seen: Seen | None = None
    """What the Canary said when the template was applied."""
    signs: Mapping[str, datetime] = field(default_factory=dict)
    """When each sign that stands now was seen first."""
    pulls: Mapping[str, Sign] = field(default_factory=dict)
    """What was said last of why a container's image is not pulled."""
    counts: tuple[int, ...] = ()
    moved: datetime | None = None
    """How far it was, and when that moved last: the deadline of kinds that have none of their own."""
    analysis: tuple[Sign, ...] = ()
    """What was wrong with a canary's pods when they were seen last: they are gone when it has failed."""

    def shifted(self, by: timedelta) -> Memory:
        """The clock was set by so much: what stood for a minute has stood for a minute, and no longer."""
        return replace(
            self,
            seen=replace(self.seen, at=self.seen.at + by) if self.seen is not None else None,
            signs={name: since + by for name, since in self.signs.items()},
            moved=self.moved + by if self.moved is not None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict. `until`: when it may be another one although nothing happens."""

    rollout: Rollout
    memory: Memory
    until: datetime | None = None


STALE: Final = 60.0
"""Seconds after which another reason of an unchanged verdict is worth telling."""
