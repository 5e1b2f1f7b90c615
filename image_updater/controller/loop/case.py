"""A failed workload as it is followed: what is known of it, and what came of it on the last tip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.controller.loop.status import Rollback
from image_updater.pipeline.rollback.decision import IntentState

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.model import Kustomization
    from image_updater.pipeline.rollback.decision import Action, RollbackPlan, Suspect
    from image_updater.sync.rollout.model import Rollout


@dataclass(slots=True, kw_only=True)
class Case:
    """A failure, and what was found of it on the last tip that was looked at."""

    kustomization: Kustomization
    rollout: Rollout
    since: datetime
    revision: str = ""
    """What was applied when it failed; "" = not known."""
    action: Action | None = None
    commit: str | None = None
    """Of a rollback that Git holds already."""
    plan: RollbackPlan | None = None
    names: frozenset[str] = field(default_factory=frozenset)
    """The policies of ours in it."""

    def renew(self) -> None:
        """Nothing is found yet by who looks now."""
        self.action = self.commit = self.plan = None

    @property
    def place(self) -> tuple[str, str]:
        """As statuses name it."""
        return str(self.kustomization.key), str(self.rollout.ref)

    def intent(self, action: Action, suspect: Suspect) -> Rollback:
        """That one image of it goes back."""
        kustomization, object_ = self.place
        return Rollback(
            state=IntentState.INTENDED,
            image=suspect.placement.image,
            bad=suspect.placement.value,
            to=suspect.to,
            kustomization=kustomization,
            object=object_,
            reason=action.reason,
            since=self.since,
        )
