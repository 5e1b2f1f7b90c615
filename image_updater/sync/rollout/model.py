"""Verdicts on rollouts: frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.cluster.model import Ref


PROMOTED: Final = "it is being promoted"
"""What is said of a canary while its primary is changed: its target may not be touched then, by nobody."""


class RolloutState(StrEnum):
    """What a workload's rollout has come to. The names of facts/flagger.md, section 2.6, where Flagger has them."""

    PENDING = "pending"
    """What it says is still about the revision before."""
    PROGRESSING = "progressing"
    WAITING_APPROVAL = "waiting-approval"
    SUSPENDED = "suspended"
    HEALTHY = "healthy"
    HEALTHY_UNANALYSED = "healthy-unanalysed"
    ROLLED_BACK = "rolled-back-healthy"
    FAILED = "failed"
    PRIMARY_BROKEN = "failed-during-promotion"
    TERMINATING = "terminating"


class Culprit(StrEnum):
    """Whose failure it is."""

    TAG = "tag"
    """Its own containers fail while the previous pods, or the primary, are healthy."""
    ENVIRONMENT = "environment"
    """Scheduling, node, quota, volume, registry."""
    UNKNOWN = "unknown"
    """Nothing says that it is the tag's, and nothing that it is not: never a reason to roll back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One workload of one Kustomization. For a Canary `ref` is its target, and `canary` the Canary."""

    ref: Ref
    state: RolloutState
    culprit: Culprit = Culprit.UNKNOWN
    """Only with `failed`."""
    reason: str = ""
    """For people; never empty for a failure."""
    since: datetime | None = None
    images: tuple[tuple[str, str], ...] = ()
    """(container, image) of the applied pod template, init containers too."""
    failing: tuple[str, ...] = ()
    """Containers that fail; () = not known which."""
    canary: Ref | None = None

    @property
    def healthy(self) -> bool:
        """The revision that is to serve does. Only `healthy` itself proves a tag."""
        return self.state in (RolloutState.HEALTHY, RolloutState.HEALTHY_UNANALYSED, RolloutState.ROLLED_BACK)

    @property
    def failed(self) -> bool:
        return self.state in (RolloutState.FAILED, RolloutState.PRIMARY_BROKEN)

    @property
    def busy(self) -> bool:
        """A new image now would begin the analysis, or the rollout, anew."""
        return self.canary is not None and self.state in (
            RolloutState.PENDING,
            RolloutState.PROGRESSING,
            RolloutState.WAITING_APPROVAL,
        )

    @property
    def promoting(self) -> bool:
        """Nobody may touch it now, not even to take something back (facts/flagger.md 2.1)."""
        return self.canary is not None and self.state is RolloutState.PROGRESSING and self.reason == PROMOTED
