"""Kinds are found without asking for each object, and a kind that comes or goes is noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster.discovery import (
    AGGREGATED,
    PAUSE,
    Discovery,
    parse_aggregated,
    parse_classic,
    preferred_first,
)
from image_updater.cluster.errors import ClusterUnavailable, KindUnknown

if TYPE_CHECKING:
    from tests.unit.cluster.conftest import FakeTime

CORE = {"name": "v1"}


def entry(kind: str, plural: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": ["get", "list"]}


def groups(**versions: list[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    return {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {
                "metadata": {"name": name.replace("_", ".")},
                "versions": [{"version": version, "resources": resources} for version, resources in found],
            }
            for name, found in versions.items()
        ],
    }


CORE_LIST = {
    "kind": "APIGroupDiscoveryList",
    "items": [
        {"versions": [{"version": "v1", "resources": [entry("Node", "nodes", "Cluster"), entry("Pod", "pods")]}]}
    ],
}


class Aggregated:
    """A server with aggregated discovery, whose groups a test changes."""

    def __init__(self) -> None:
        self.groups = groups(autoscaling=[("v2", [entry("HPA", "hpas")]), ("v1", [entry("HPA", "hpas")])])
        self.asked: list[str] = []

    async def __call__(self, path: str, accept: str) -> dict[str, Any]:
        assert accept == AGGREGATED
        self.asked.append(path)
        await asyncio.sleep(0)
        return CORE_LIST if path == "/api" else self.groups


async def test_two_requests_find_every_kind_whoever_asks(time: FakeTime) -> None:
    server = Aggregated()
    discovery = Discovery(server, monotonic=time.monotonic)
    found = await asyncio.gather(*(discovery.resource("v1", kind) for kind in ("Pod", "Node", "Pod")))
    assert [(each.kind, each.plural, each.namespaced) for each in found] == [
        ("Pod", "pods", True),
        ("Node", "nodes", False),
        ("Pod", "pods", True),
    ]
    assert (await discovery.serving("autoscaling", "HPA")).version == "v2"
    assert (await discovery.resource("autoscaling/v1", "HPA")).version == "v1"
    assert server.asked == ["/api", "/apis"]


async def test_an_unknown_kind_asks_again_after_a_pause_only(time: FakeTime) -> None:
    server = Aggregated()
    discovery = Discovery(server, monotonic=time.monotonic)
    for _ in range(5):
        with pytest.raises(KindUnknown, match=r"does not serve Canary of flagger\.app/v1beta1"):
            await discovery.resource("flagger.app/v1beta1", "Canary")
    assert len(server.asked) == 2
    server.groups = groups(flagger_app=[("v1beta1", [entry("Canary", "canaries")])])
    time.passed += PAUSE
    assert (await discovery.resource("flagger.app/v1beta1", "Canary")).plural == "canaries"
    assert len(server.asked) == 4


async def test_forgetting_asks_at_once(time: FakeTime) -> None:
    server = Aggregated()
    discovery = Discovery(server, monotonic=time.monotonic)
    await discovery.resource("v1", "Pod")
    server.groups = groups(flagger_app=[("v1beta1", [entry("Canary", "canaries")])])
    discovery.forget()
    assert (await discovery.resource("flagger.app/v1beta1", "Canary")).plural == "canaries"


async def test_a_kind_that_went_is_noticed_once_a_path_of_it_answers_404_but_not_for_every_object(
    time: FakeTime,
) -> None:
    server = Aggregated()
    discovery = Discovery(server, monotonic=time.monotonic)
    await discovery.serving("autoscaling", "HPA")
    server.groups = groups()
    for _ in range(10):
        discovery.doubt()
        await discovery.serving("autoscaling", "HPA")
    assert len(server.asked) == 2
    time.passed += PAUSE
    with pytest.raises(KindUnknown):
        await discovery.serving("autoscaling", "HPA")


async def test_what_is_known_stays_while_the_server_is_away(time: FakeTime) -> None:
    server = Aggregated()

    async def ask(path: str, accept: str) -> dict[str, Any]:
        if time.passed:
            raise ClusterUnavailable("away")
        return await server(path, accept)

    discovery = Discovery(ask, monotonic=time.monotonic)
    await discovery.resource("v1", "Pod")
    time.passed += PAUSE
    assert (await discovery.resource("v1", "Pod")).plural == "pods"
    with pytest.raises(ClusterUnavailable):
        await discovery.resource("v1", "Nod")


async def test_servers_without_aggregated_discovery_are_asked_group_by_group(time: FakeTime) -> None:
    classic: dict[str, Any] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {
            "kind": "APIResourceList",
            "resources": [
                {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
                {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
            ],
        },
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "autoscaling",
                    "preferredVersion": {"groupVersion": "autoscaling/v2"},
                    "versions": [{"groupVersion": "autoscaling/v1"}, {"groupVersion": "autoscaling/v2"}],
                },
                {"name": "metrics.k8s.io", "versions": [{"groupVersion": "metrics.k8s.io/v1beta1"}]},
            ],
        },
        **{
            f"/apis/autoscaling/{version}": {"resources": [{"name": "hpas", "kind": "HPA", "namespaced": True}]}
            for version in ("v1", "v2")
        },
    }

    async def ask(path: str, accept: str) -> dict[str, Any]:
        if path not in classic:
            raise ClusterUnavailable("the server of this group is down")
        found: dict[str, Any] = classic[path]
        return found

    discovery = Discovery(ask, monotonic=time.monotonic)
    assert (await discovery.serving("autoscaling", "HPA")).version == "v2"
    assert (await discovery.resource("v1", "Pod")).plural == "pods"
    with pytest.raises(KindUnknown):
        await discovery.serving("metrics.k8s.io", "NodeMetrics")


@pytest.mark.parametrize(
    "answer", [{}, {"items": None}, {"items": [{}]}, {"items": [{"versions": [{"version": "v1"}]}]}]
)
def test_empty_answers_hold_nothing(answer: dict[str, Any]) -> None:
    assert list(parse_aggregated(answer)) == []
    assert parse_classic("v1", {}) == []
    assert preferred_first({}) == []
