"""What Prometheus is told of the controller itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from image_updater.cluster.recorder import RecorderMetrics
from image_updater.controller.cache import Cache
from image_updater.controller.numbers import Numbers
from image_updater.settings import Role


def told(cache: Cache) -> list[str]:
    requests = SimpleNamespace(requests={("GET", 200): 3}, throttled=1)
    parts: Any = {
        "cluster": SimpleNamespace(metrics=requests),
        "status": SimpleNamespace(writes=5, failures=0, current=lambda entry: entry.status),
        "recorder": SimpleNamespace(metrics=RecorderMetrics(sent=4, dropped=2, failed=1)),
        "leading": SimpleNamespace(roles=(Role.SYNC,)),
    }
    registry = CollectorRegistry()
    registry.register(Numbers(cache=cache, **parts))
    return generate_latest(registry).decode().splitlines()


def test_objects_are_counted_by_what_they_say_and_those_that_need_somebody_apart() -> None:
    cache = Cache()
    spec = {"image": "acme/web", "policy": {"semver": {"range": "^1"}}}
    states: dict[str, list[dict[str, str]]] = {
        "good": [{"type": "Ready", "status": "True"}],
        "held": [{"type": "Ready", "status": "False"}],
        "stalled": [{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}],
        "new": [],
    }
    for name, conditions in states.items():
        body = {"metadata": {"namespace": "apps", "name": name, "uid": name}, "spec": spec}
        cache.observe("ImagePolicy", {**body, "status": {"conditions": conditions}})
    unread = {"metadata": {"namespace": "apps", "name": "q", "uid": "q"}, "spec": {"image": "web:1", "tag": "1"}}
    cache.observe("Quarantine", unread)
    lines = told(cache)
    for said, number in (("True", 1), ("False", 2), ("Unknown", 1)):
        assert f'image_updater_objects{{kind="ImagePolicy",ready="{said}"}} {number}.0' in lines
    assert 'image_updater_objects{kind="Quarantine",ready="False"} 1.0' in lines
    for kind, number in (("ImagePolicy", 1), ("Quarantine", 1), ("Kustomization", 0)):
        assert f'image_updater_objects_stalled{{kind="{kind}"}} {number}.0' in lines


def test_what_became_of_events_is_told() -> None:
    lines = told(Cache())
    for result, number in (("sent", 4), ("dropped", 2), ("failed", 1)):
        assert f'image_updater_events_total{{result="{result}"}} {number}.0' in lines
    assert 'image_updater_leader{role="sync"} 1.0' in lines
    assert 'image_updater_api_requests_total{status="200",verb="GET"} 3.0' in lines
