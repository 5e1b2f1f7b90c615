"""Verdicts of a controller that may read no pods, and that nobody helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.settings import Role
from tests.integration.cluster.test_verdicts import put, settled, verdict, web
from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import Workshop, binding, place

if TYPE_CHECKING:
    import pytest

    from tests.parts.controlplane import ControlPlane, Object


def test_the_workload_s_own_word_counts(
    plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rights = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "deployments"},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}],
    }
    with (
        place(plane, shop, {"README.md": "# fleet\n"}, role=None) as here,
        installed(plane, roles=[Role.SYNC], suffices=False) as account,
    ):
        here.apply(rights, binding(here.namespace, "default", "deployments", kind="Role"))
        for role in plane.list("ClusterRole"):
            if role["metadata"]["name"].startswith("image-updater"):
                rules = [without_pods(rule) for rule in role["rules"] or ()]
                plane.patch("ClusterRole", role["metadata"]["name"], None, {"rules": [each for each in rules if each]})
        folder = tmp_path_factory.mktemp("blind")
        with controller(plane, folder, account=account, roles=[Role.SYNC], environment=shop.environment) as replica:
            replica.await_leading()
            put(here, web=web("web", "1", deadline=5))
            here.apply(here.source(), here.kustomization())
            settled(here)
            put(here, web=web("web", "2-hang", deadline=5))
            assert verdict(here, "web")[1:] == ("unknown", "its progress deadline has passed")
            until(lambda: replica.log().count("judged without looking at pods") == 1, 30, "told once")


def without_pods(rule: Object) -> Object | None:
    if "" not in rule.get("apiGroups", ()):
        return rule
    kept = [each for each in rule["resources"] if each != "pods"]
    return {**rule, "resources": kept} if kept else None
