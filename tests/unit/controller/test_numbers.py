"""What Prometheus is told of the controller itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from image_updater.cluster.recorder import RecorderMetrics
from image_updater.controller.cache import Cache
from image_updater.controller.numbers import Numbers
from image_updater.settings import Role


def test_what_became_of_events_is_told() -> None:
    requests = SimpleNamespace(requests={("GET", 200): 3}, throttled=1)
    parts: Any = {
        "cluster": SimpleNamespace(metrics=requests),
        "status": SimpleNamespace(writes=5, failures=0),
        "recorder": SimpleNamespace(metrics=RecorderMetrics(sent=4, dropped=2, failed=1)),
        "leading": SimpleNamespace(roles=(Role.SYNC,)),
    }
    registry = CollectorRegistry()
    registry.register(Numbers(cache=Cache(), **parts))
    lines = generate_latest(registry).decode().splitlines()
    for result, number in (("sent", 4), ("dropped", 2), ("failed", 1)):
        assert f'image_updater_events_total{{result="{result}"}} {number}.0' in lines
    assert 'image_updater_leader{role="sync"} 1.0' in lines
    assert 'image_updater_api_requests_total{status="200",verb="GET"} 3.0' in lines
