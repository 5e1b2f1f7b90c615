"""What Prometheus is told of the sync. Label values come from enumerations: their number is bounded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from image_updater.sync.model import SyncReport

BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


class Times:
    """A histogram's numbers."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[next((i for i, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1
        self._sum += seconds

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text)
        self.add_to(family, [])
        return family

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        total = 0
        buckets = []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)


class SyncMetrics(Collector):
    """Plain numbers, read at each scrape."""

    def __init__(self, *, queued: Callable[[], int], working: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._now = {"queued": queued, "working": working, "waiting": waiting}
        self.syncs: Counter[str] = Counter()
        """By how they ended: applied, unchanged, failed, preempted."""
        self.objects: Counter[str] = Counter()
        """By what was done to them."""
        self.corrections = 0
        self.commit_to_applied = Times()
        self.sync_seconds = Times()

    def count(self, report: SyncReport) -> None:
        for each in report.done:
            self.objects[str(each.action)] += 1

    def describe(self) -> Iterator[Metric]:
        """Nothing to check names against: they are fixed here."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        syncs = CounterMetricFamily("image_updater_syncs", "Syncs of Kustomizations by result.", labels=["result"])
        for result, count in self.syncs.copy().items():
            syncs.add_metric([result], count)
        yield syncs
        objects = CounterMetricFamily(
            "image_updater_sync_objects", "Objects that a sync looked at, by what it did.", labels=["action"]
        )
        for action, count in self.objects.copy().items():
            objects.add_metric([action], count)
        yield objects
        yield CounterMetricFamily(
            "image_updater_drift_corrections", "Objects set back to what Git says.", value=self.corrections
        )
        now = GaugeMetricFamily("image_updater_sync_kustomizations", "Kustomizations at work.", labels=["state"])
        for state, read in self._now.items():
            now.add_metric([state], read())
        yield now
        yield self.commit_to_applied.family(
            "image_updater_commit_to_applied_seconds", "From the commit's time to the last of its objects applied."
        )
        yield self.sync_seconds.family("image_updater_sync_seconds", "One sync, from the build to the last object.")
