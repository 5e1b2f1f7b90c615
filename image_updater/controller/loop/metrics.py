"""What Prometheus is told of the closed loop. Label values come from enumerations: their number is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from image_updater.store.model import Milestone

LEAD: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 10_800, 43_200, 86_400, 259_200, 604_800)
STAGES: Final = ("eligible", "committed", "applied", "healthy")


class LoopMetrics:
    """One set a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lead_time = Histogram(
            "image_updater_lead_time_seconds",
            "From the push of a tag (where the registry does not record it: since it was first seen) until it was"
            " eligible, committed, applied, healthy.",
            ["stage"],
            buckets=LEAD,
            registry=registry,
        )
        self.rollbacks = Counter(
            "image_updater_rollbacks",
            "Rollbacks by what became of them (pushed, done, refused, ended).",
            ["result"],
            registry=registry,
        )
        self.proven = Counter("image_updater_proven_tags", "Tags whose rollout became healthy.", registry=registry)
        self.withdrawn = Counter("image_updater_withdrawn_tags", "Proven tags that failed later.", registry=registry)
        self.held = Gauge(
            "image_updater_failed_tags_held", "Tags that are held because their rollout failed.", registry=registry
        )
        self.breakers = Gauge(
            "image_updater_breakers_open",
            "Policies that nothing is written for until somebody resumes them.",
            registry=registry,
        )
        self.quarantines = Gauge(
            "image_updater_quarantines_derived", "Quarantines that commits ask for here.", registry=registry
        )

    def healthy(self, milestone: Milestone) -> None:
        """A tag has come to its end: how long each part took."""
        begun = milestone.begun
        if begun is None:
            return
        for stage in STAGES:
            at = getattr(milestone, stage)
            if at is not None:
                self.lead_time.labels(stage).observe(max((at - begun).total_seconds(), 0.0))
