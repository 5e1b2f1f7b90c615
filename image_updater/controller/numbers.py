"""What Prometheus is told of the controller itself: requests to API servers, events, status writes, who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from image_updater.api.status import STATUS, ready_of
from image_updater.controller.cache import PLURALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from image_updater.cluster import Cluster, Recorder
    from image_updater.controller.cache import Cache
    from image_updater.controller.leading import Leading
    from image_updater.controller.status import StatusWriter


class Numbers(Collector):
    """Read at each scrape; label values come from our own kinds, roles and verbs."""

    def __init__(
        self, *, cluster: Cluster, cache: Cache, status: StatusWriter, recorder: Recorder, leading: Leading
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._status = status
        self._recorder = recorder
        self._leading = leading

    def describe(self) -> Iterator[Metric]:
        """Nothing to check names against: they are fixed here."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        leads = GaugeMetricFamily("image_updater_leader", "1 in the roles that this replica leads in.", labels=["role"])
        for role in self._leading.roles:
            leads.add_metric([str(role)], 1)
        yield leads
        objects = GaugeMetricFamily(
            "image_updater_objects",
            "Our objects by kind and what their Ready condition says.",
            labels=["kind", "ready"],
        )
        stalled = GaugeMetricFamily(
            "image_updater_objects_stalled",
            "Our objects by kind that wait for somebody to change something.",
            labels=["kind"],
        )
        for kind in PLURALS:
            counted: dict[str, int] = {}
            waiting = 0
            for entry in list(self._cache.entries(kind).values()):
                now = self._status.current(entry)
                unsaid = "Unknown" if kind in STATUS else str(entry.error is None)
                said = str(ready_of(now).get("status", unsaid))
                counted[said] = counted.get(said, 0) + 1
                conditions = now.get("conditions") or ()
                waiting += entry.error is not None or any(each.get("type") == "Stalled" for each in conditions)
            for said, count in counted.items():
                objects.add_metric([kind, said], count)
            stalled.add_metric([kind], waiting)
        yield objects
        yield stalled
        yield CounterMetricFamily(
            "image_updater_watch_events",
            "Events of our objects, with echoes of our own writes.",
            value=self._cache.events,
        )
        yield CounterMetricFamily("image_updater_status_writes", "Status writes.", value=self._status.writes)
        yield CounterMetricFamily(
            "image_updater_status_write_failures", "Status writes that failed.", value=self._status.failures
        )
        events = CounterMetricFamily(
            "image_updater_events",
            "Kubernetes Events by what became of them (sent, failed, dropped: one object had too many).",
            labels=["result"],
        )
        for result in ("sent", "failed", "dropped"):
            events.add_metric([result], getattr(self._recorder.metrics, result))
        yield events
        requests = CounterMetricFamily(
            "image_updater_api_requests", "Requests to the API server, by verb and answer.", labels=["verb", "status"]
        )
        for (verb, status), count in self._cluster.metrics.requests.copy().items():
            requests.add_metric([verb, str(status)], count)
        yield requests
        yield CounterMetricFamily(
            "image_updater_api_throttled", "Answers 429 of the API server.", value=self._cluster.metrics.throttled
        )
