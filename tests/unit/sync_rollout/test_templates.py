"""Which objects run images, which images, and what begins a rollout."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater.cluster.model import Ref
from image_updater.sync.rollout.reading import selector_of, slim
from image_updater.sync.rollout.templates import container_names, images_of, template_digest
from tests.unit.sync_rollout.bodies import CRON_JOB, DEPLOYMENT, JOB, pod, running

TEMPLATE: Any = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "initContainers": [{"name": "migrate", "image": "migrate:1"}],
        "containers": [{"name": "web", "image": "web:1"}, {"name": "later"}],
    },
}
BOTH = (("migrate", "migrate:1"), ("web", "web:1"))


@pytest.mark.parametrize(
    ("ref", "body", "images"),
    [
        (DEPLOYMENT, {"spec": {"template": TEMPLATE}}, BOTH),
        (JOB, {"spec": {"template": TEMPLATE}}, BOTH),
        (CRON_JOB, {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}, BOTH),
        (Ref("", "Pod", "a", "b"), TEMPLATE, BOTH),
        (Ref("argoproj.io", "Rollout", "a", "b"), {"spec": {"template": TEMPLATE}}, BOTH),
        (Ref("example.com", "Db", "a", "b"), {"spec": {"image": "db:1"}}, (("spec.image", "db:1"),)),
        (
            Ref("helm.toolkit.fluxcd.io", "HelmRelease", "a", "b"),
            {"spec": {"values": {"web": {"image": {"repository": "web", "tag": 1}}}}},
            (("spec.values.web.image", "web:1"),),
        ),
        (
            Ref("example.com", "Db", "a", "b"),
            {"spec": {"nodes": [{"image": "db:1"}]}},
            (("spec.nodes[0].image", "db:1"),),
        ),
        (Ref("", "ConfigMap", "a", "b"), {"data": {"image": "web:1"}}, ()),
        (Ref("networking.k8s.io", "Ingress", "a", "b"), {"spec": {"image": "web:1"}}, ()),
        (Ref("image-updater.dev", "ImagePolicy", "a", "b"), {"spec": {"image": "web"}}, ()),
        (Ref("flagger.app", "Canary", "a", "b"), {"spec": {"image": "web"}}, ()),
        (Ref("example.com", "Db", "a", "b"), {"spec": {"size": 3}}, ()),
        (DEPLOYMENT, {"spec": "broken"}, ()),
    ],
)
def test_images(ref: Ref, body: Any, images: Any) -> None:
    assert images_of(ref, body) == images


def test_own_containers() -> None:
    assert container_names(DEPLOYMENT, {"spec": {"template": TEMPLATE}}) == {"migrate", "web", "later"}


def test_a_rollout_begins_with_the_template_alone() -> None:
    body: Any = {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1, "template": TEMPLATE}}
    same: Any = {"metadata": {}, "spec": {"replicas": 5, "template": TEMPLATE, "paused": True}}
    other: Any = {"spec": {"template": {**TEMPLATE, "metadata": {"labels": {"app": "other"}}}}}
    assert template_digest(DEPLOYMENT, body) == template_digest(DEPLOYMENT, same)
    assert template_digest(DEPLOYMENT, body) != template_digest(DEPLOYMENT, other)


@pytest.mark.parametrize(
    ("kind", "selector", "text"),
    [
        ("Deployment", {"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ("ReplicationController", {"a": "1"}, "a=1"),
        (
            "Deployment",
            {
                "matchLabels": {"a": "1"},
                "matchExpressions": [
                    {"key": "b", "operator": "In", "values": ["x", "y"]},
                    {"key": "c", "operator": "NotIn", "values": ["z"]},
                    {"key": "d", "operator": "Exists"},
                    {"key": "e", "operator": "DoesNotExist"},
                ],
            },
            "a=1,b in (x,y),c notin (z),d,!e",
        ),
        ("Deployment", {"matchExpressions": [{"key": "b", "operator": "Later"}]}, None),
        ("Deployment", {}, None),
    ],
)
def test_the_selector_of_its_pods(kind: str, selector: Any, text: str | None) -> None:
    assert selector_of({"kind": kind, "spec": {"selector": selector}}) == text


def test_of_a_pod_little_is_kept() -> None:
    body = pod(running())
    body["metadata"] |= {"managedFields": [{}], "annotations": {"a": "b"}}
    body["spec"] |= {"volumes": [{}], "containers": [{"name": "web", "image": "web:1", "env": [{}]}]}
    kept = slim(body)
    assert kept["spec"] == {
        "containers": [{"name": "web", "image": "web:1"}],
        "initContainers": [],
        "nodeName": "node-0",
    }
    assert kept["status"] == body["status"]
    assert not {"managedFields", "annotations"} & kept["metadata"].keys()
