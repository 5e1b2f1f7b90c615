"""What Prometheus is told of rollouts. Label values come from enumerations: their number is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from image_updater.controller.sync.syncmetrics import Times
from image_updater.sync.rollout.model import Culprit, RolloutState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric


class RolloutMetrics(Collector):
    """Plain numbers, read at each scrape."""

    def __init__(self, *, counts: Callable[[], Mapping[RolloutState, int]], followed: Callable[[], int]) -> None:
        self._counts = counts
        self._followed = followed
        self._failures = dict.fromkeys(Culprit, 0)
        self._seconds = {"healthy": Times(), "failed": Times()}

    def ended(self, result: str, seconds: float) -> None:
        """`healthy` or `failed`, so long after the template was applied."""
        self._seconds[result].observe(seconds)

    def failed(self, culprit: Culprit) -> None:
        self._failures[culprit] += 1

    def describe(self) -> Iterator[Metric]:
        """Nothing to check names against: they are fixed here."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        rollouts = GaugeMetricFamily(
            "image_updater_rollouts", "Workloads whose rollout this process has judged, by state.", labels=["state"]
        )
        counts = self._counts()
        for state in RolloutState:
            rollouts.add_metric([str(state)], counts.get(state, 0))
        yield rollouts
        yield GaugeMetricFamily(
            "image_updater_rollouts_followed", "Workloads that are watched because they roll out.", self._followed()
        )
        failures = CounterMetricFamily(
            "image_updater_rollout_failures", "Rollouts that failed, by whose failure it was.", labels=["culprit"]
        )
        for culprit, number in self._failures.items():
            failures.add_metric([str(culprit)], number)
        yield failures
        seconds = HistogramMetricFamily(
            "image_updater_rollout_seconds", "From the apply of a pod template to its verdict.", labels=["result"]
        )
        for result, times in self._seconds.items():
            times.add_to(seconds, [result])
        yield seconds
