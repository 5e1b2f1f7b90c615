"""When two writers fight over a field."""

from __future__ import annotations

from image_updater.cluster.model import Ref
from image_updater.controller.sync.breaker import LIMIT, WITHIN, Breaker

WEB = Ref("apps", "Deployment", "prod", "web")
API = Ref("apps", "Deployment", "prod", "api")


def test_it_trips_when_one_field_was_set_back_too_often() -> None:
    breaker = Breaker()
    for number in range(LIMIT):
        assert not breaker.corrected(WEB, ["spec.replicas"], 10.0 * number)
    assert breaker.close(55.0) == [WEB]
    breaker.others[WEB] = "autoscaler"
    assert breaker.close(55.0) == []
    assert not breaker.corrected(WEB, ["spec.paused"], 60.0)
    assert not breaker.corrected(API, ["spec.replicas"], 60.0)
    assert breaker.corrected(WEB, ["spec.replicas"], 60.0)
    breaker.trip(WEB)
    error = breaker.error
    assert error is not None
    assert error.reason == "Conflict"
    assert "Deployment.apps prod/web: spec.replicas was set back more than 5 times in 10 minutes" in error.message
    assert "autoscaler sets it again" in error.message


def test_now_and_then_is_no_fight() -> None:
    breaker = Breaker()
    assert not any(breaker.corrected(WEB, [], WITHIN / LIMIT * 1.1 * number) for number in range(50))


def test_it_begins_anew() -> None:
    breaker = Breaker()
    for _ in range(LIMIT + 1):
        breaker.corrected(WEB, [], 1.0)
    breaker.trip(WEB)
    breaker.reset()
    assert breaker.error is None
    assert not breaker.corrected(WEB, [], 2.0)


def test_another_value_each_time_is_the_same_fight() -> None:
    breaker = Breaker()
    tripped = [breaker.corrected(WEB, (f"spec.replicas: {n} → 1",), float(n)) for n in range(LIMIT + 1)]
    assert tripped == [False] * LIMIT + [True]
    breaker.trip(WEB)
    assert "spec.replicas was set back" in str(breaker.error)
