"""Many policies failing at once: hardly the fault of that many tags, so nothing is rolled back any more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.pipeline.rollback.decision import STORM, STORM_POLICIES

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import datetime


class Storms:
    """Policies whose tag failed lately, over all Kustomizations of the process."""

    def __init__(self) -> None:
        self._failed: dict[str, datetime] = {}
        self._places: dict[str, object] = {}

    def note(self, policy: str, at: datetime, place: object = None) -> None:
        """It failed then, in that workload. Times may come in any order: clocks jump, and statuses are read back."""
        self._places[policy] = policy if place is None else place
        known = self._failed.get(policy)
        self._failed[policy] = at if known is None else max(known, at)

    def calm(self, policy: str) -> None:
        """Somebody has looked at it."""
        self._failed.pop(policy, None)

    def retain(self, policies: Container[str]) -> None:
        """All others are no more."""
        self._failed = {name: at for name, at in self._failed.items() if name in policies}
        self._places = {name: self._places[name] for name in self._failed}

    def together(self, now: datetime) -> tuple[str, ...]:
        """The policies that make a storm of it; () = it is none."""
        found = sorted(name for name, at in self._failed.items() if abs(now - at) <= STORM)
        # One workload with many images of ours that fails is one failure.
        wide = len({self._places[name] for name in found}) > 1
        return tuple(found) if len(found) >= STORM_POLICIES and wide else ()


def said(policies: tuple[str, ...]) -> str:
    """Why a breaker opens because of it."""
    minutes = int(STORM.total_seconds() // 60)
    shown = ", ".join(policies[:5]) + (f" and {len(policies) - 5} more" if len(policies) > 5 else "")
    return f"{len(policies)} policies failed within {minutes} minutes: {shown}"
