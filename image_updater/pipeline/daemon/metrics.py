"""The daemon's metrics: counters that the rooms keep as plain numbers, exported when Prometheus asks.

Label values come from configuration (hosts, branches, states), never from tags: their number stays bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from image_updater.registry.http import Metrics as RegistryMetrics

SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One set a daemon; tests and several daemons in a process do not share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.commits = Counter(
            "image_updater_commits",
            "Commits pushed.",
            ["repository", "branch"],
            registry=self.registry,
        )
        self.push_retries = Counter(
            "image_updater_push_retries",
            "Pushes that another writer outran, or that failed and were tried again.",
            ["repository", "branch"],
            registry=self.registry,
        )
        self.update_seconds = Histogram(
            "image_updater_update_seconds",
            "One run of the line over a branch, from fetch to push.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.change_to_commit = Histogram(
            "image_updater_change_to_commit_seconds",
            "From a hint or a changed list to the commit on the server.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.updates = Counter(
            "image_updater_updates",
            "Runs of the line over a branch, by how they ended.",
            ["result"],
            registry=self.registry,
        )
        self.reloads = Counter(
            "image_updater_objects_reloads",
            "Readings of the objects files after a change, by result (good, bad).",
            ["result"],
            registry=self.registry,
        )
        self.objects_good = Gauge(
            "image_updater_objects_good",
            "1 when the objects files as they stand are in use, 0 when an older reading is.",
            registry=self.registry,
        )
        self.hints = Counter(
            "image_updater_hints",
            "Hints by what became of them (checked, unknown, dropped).",
            ["result"],
            registry=self.registry,
        )

    def watch(
        self,
        *,
        registry: RegistryMetrics | None,
        tags_seen: Callable[[], int],
        facts_fetched: Callable[[], int],
        states: Callable[[], Mapping[str, int]],
        undeployed: Callable[[], tuple[int, float]] = lambda: (0, 0.0),
        holds: Callable[[], int] = lambda: 0,
    ) -> None:
        """Numbers that others keep, read at each scrape."""
        self.registry.register(_Numbers(registry, tags_seen, facts_fetched, states, undeployed, holds))

    def text(self) -> bytes:
        """The exposition format. Blocking for some milliseconds: call it in a thread."""
        return generate_latest(self.registry)


class _Numbers(Collector):
    def __init__(
        self,
        registry: RegistryMetrics | None,
        tags_seen: Callable[[], int],
        facts_fetched: Callable[[], int],
        states: Callable[[], Mapping[str, int]],
        undeployed: Callable[[], tuple[int, float]],
        holds: Callable[[], int],
    ) -> None:
        self._undeployed = undeployed
        self._holds = holds
        self._registry = registry
        self._tags_seen = tags_seen
        self._facts_fetched = facts_fetched
        self._states = states

    def describe(self) -> Iterator[Metric]:
        """Nothing to check names against: they are fixed here."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("image_updater_tags_seen", "New tags in lists.", value=self._tags_seen())
        yield CounterMetricFamily(
            "image_updater_facts_fetched", "Requests for digests and dates.", value=self._facts_fetched()
        )
        policies = GaugeMetricFamily(
            "image_updater_policies", "Policies by state (chosen, none, failed).", labels=["state"]
        )
        for state, count in self._states().items():
            policies.add_metric([state], count)
        yield policies
        count, age = self._undeployed()
        yield GaugeMetricFamily(
            "image_updater_undeployed_tags",
            "Chosen tags that Git does not hold (held, refused, not pushed).",
            value=count,
        )
        yield GaugeMetricFamily(
            "image_updater_undeployed_tag_age_seconds",
            "How long the oldest of the chosen tags that Git does not hold has been missing there; 0 without any.",
            value=age,
        )
        yield GaugeMetricFamily(
            "image_updater_holds",
            "Policies that a person's change in Git, a wish or a rollback holds.",
            value=self._holds(),
        )
        if self._registry is None:
            return
        requests = CounterMetricFamily(
            "image_updater_registry_requests", "Requests to registries.", labels=["host", "status"]
        )
        by_host: dict[str, int] = {}
        for (host, status), count in self._registry.requests.copy().items():
            requests.add_metric([host, status], count)
            by_host[host] = by_host.get(host, 0) + count
        yield requests
        limited = CounterMetricFamily(
            "image_updater_registry_rate_limited", "Answers 429 from registries.", labels=["host"]
        )
        for host in by_host:
            limited.add_metric([host], self._registry.rate_limited[host])
        yield limited
        seconds = CounterMetricFamily(
            "image_updater_registry_request_seconds",
            "Time spent in requests to registries; divide by image_updater_registry_requests_total.",
            labels=["host"],
        )
        for host, spent in dict(self._registry.seconds).items():
            seconds.add_metric([host], spent)
        yield seconds
