"""Many policies failing at once: hardly the fault of that many tags, so nothing is rolled back any more. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from image_updater.pipeline.rollback.decision import SETTLED, STORM, STORM_POLICIES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from datetime import datetime

JUDGED: Final = SETTLED + timedelta(seconds=30)
"""How long others wait for a failure to be judged: Git may be away."""


class Storms:
    """Policies whose tag failed lately, over all Kustomizations of the process."""

    def __init__(self) -> None:
        self._failed: dict[str, datetime] = {}
        self._coming: dict[str, datetime] = {}
        """What has failed, and is not judged yet."""
        self._places: dict[str, object] = {}

    def expect(self, policy: str, at: datetime, place: object) -> None:
        """It has failed then, in that workload, and it is not known yet whether its tag is to blame."""
        if policy not in self._failed:
            self._coming[policy] = at
            self._places[policy] = place

    def judged(self, policies: Iterable[str]) -> None:
        """Their tags are not to blame, or are noted."""
        for policy in policies:
            self._coming.pop(policy, None)

    def note(self, policy: str, at: datetime, place: object = None) -> None:
        """It failed then, in that workload. Times may come in any order: clocks jump, and statuses are read back."""
        self._places[policy] = policy if place is None else place
        known = self._failed.get(policy)
        self._failed[policy] = at if known is None else max(known, at)
        self.judged([policy])

    def calm(self, policy: str) -> None:
        """Somebody has looked at it."""
        self._failed.pop(policy, None)

    def retain(self, policies: Container[str]) -> None:
        """All others are no more."""
        self._failed = {name: at for name, at in self._failed.items() if name in policies}
        self._coming = {name: at for name, at in self._coming.items() if name in policies}
        self._places = {name: self._places[name] for name in (*self._failed, *self._coming)}

    def together(self, now: datetime) -> tuple[str, ...]:
        """The policies that make a storm of it; () = it is none."""
        return self._storm(sorted(self._within(now)))

    def gathers(self, now: datetime) -> bool:
        """Would it be one, with what is not judged yet?"""
        coming = {name for name, at in self._coming.items() if abs(now - at) <= JUDGED}
        return bool(coming) and bool(self._storm(sorted(self._within(now) | coming)))

    def _within(self, now: datetime) -> set[str]:
        return {name for name, at in self._failed.items() if abs(now - at) <= STORM}

    def _storm(self, found: list[str]) -> tuple[str, ...]:
        # One workload with many images of ours that fails is one failure.
        wide = len({self._places[name] for name in found}) > 1
        return tuple(found) if len(found) >= STORM_POLICIES and wide else ()


def said(policies: tuple[str, ...]) -> str:
    """Why a breaker opens because of it."""
    minutes = int(STORM.total_seconds() // 60)
    shown = ", ".join(policies[:5]) + (f" and {len(policies) - 5} more" if len(policies) > 5 else "")
    return f"{len(policies)} policies failed within {minutes} minutes: {shown}"
