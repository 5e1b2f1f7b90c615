"""What annotations ask of us, and whose replicas are not ours."""

from __future__ import annotations

from typing import Any

import pytest

from image_updater.cluster.model import Ref
from image_updater.sync.policies import (
    Handling,
    forced,
    handling,
    leaves_alone,
    marks,
    never_pruned,
    replica_owners,
    without_replicas,
)
from tests.unit.sync.things import manifest

FLUX = "kustomize.toolkit.fluxcd.io"
WEB = Ref("apps", "Deployment", "apps", "web")


@pytest.mark.parametrize(
    ("annotations", "alone", "kept"),
    [
        (None, False, False),
        ({}, False, False),
        ({"image-updater.dev/reconcile": "disabled"}, True, True),
        ({"image-updater.dev/reconcile": "Disabled"}, True, True),
        ({"image-updater.dev/reconcile": "enabled"}, False, False),
        ({"image-updater.dev/reconcile": ""}, False, False),
        ({f"{FLUX}/reconcile": "disabled"}, True, True),
        ({f"{FLUX}/ssa": "Ignore"}, True, True),
        ({f"{FLUX}/ssa": "ignore"}, True, True),
        ({f"{FLUX}/ssa": "Merge"}, False, False),
        ({f"{FLUX}/ssa": "IfNotPresent"}, False, False),
        ({"image-updater.dev/prune": "disabled"}, False, True),
        ({f"{FLUX}/prune": "Disabled"}, False, True),
        ({f"{FLUX}/prune": "enabled"}, False, False),
    ],
)
def test_annotations_say_what_is_left_alone(annotations: dict[str, str] | None, alone: bool, kept: bool) -> None:
    assert (leaves_alone(annotations) is not None) == alone
    assert (never_pruned(annotations) is not None) == kept


def test_the_answer_is_the_annotation_itself() -> None:
    assert leaves_alone({f"{FLUX}/ssa": "ignore"}) == f"{FLUX}/ssa: ignore"
    assert never_pruned({"image-updater.dev/prune": "Disabled"}) == "image-updater.dev/prune: Disabled"


@pytest.mark.parametrize(
    ("git", "cluster", "expected"),
    [
        ({}, None, Handling.OVERRIDE),
        ({f"{FLUX}/ssa": "Override"}, {}, Handling.OVERRIDE),
        ({f"{FLUX}/ssa": "nonsense"}, {}, Handling.OVERRIDE),
        ({f"{FLUX}/ssa": "merge"}, {}, Handling.MERGE),
        ({}, {f"{FLUX}/ssa": "Merge"}, Handling.MERGE),
        ({f"{FLUX}/ssa": "IfNotPresent"}, {}, Handling.IF_NOT_PRESENT),
        ({f"{FLUX}/ssa": "Merge"}, {f"{FLUX}/ssa": "IfNotPresent"}, Handling.IF_NOT_PRESENT),
        ({f"{FLUX}/ssa": "Merge"}, {"image-updater.dev/reconcile": "disabled"}, Handling.IGNORE),
        ({f"{FLUX}/reconcile": "disabled"}, None, Handling.IGNORE),
    ],
)
def test_handling_is_the_one_that_leaves_more_alone(
    git: dict[str, str], cluster: dict[str, str] | None, expected: Handling
) -> None:
    live = None if cluster is None else {"metadata": {"annotations": cluster}}
    assert handling({"metadata": {"annotations": git}}, live) is expected


def test_labels_count_as_in_flux_and_annotations_win() -> None:
    name = f"{FLUX}/reconcile"
    assert handling({"metadata": {"labels": {name: "disabled"}}}) is Handling.IGNORE
    both = {"metadata": {"labels": {name: "disabled"}, "annotations": {name: "enabled"}}}
    assert handling(both) is Handling.OVERRIDE
    assert marks(None) == marks({"metadata": {"labels": None, "annotations": None}}) == {}


def test_force_is_asked_for_by_an_annotation() -> None:
    assert forced({f"{FLUX}/force": "Enabled"})
    assert not forced({f"{FLUX}/force": "disabled"})
    assert not forced(None)


def scaler(api_version: str, kind: str, spec: Any, namespace: str = "apps") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "s", "namespace": namespace}, "spec": spec}


HPA = "HorizontalPodAutoscaler"
ROLLOUT = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (scaler("autoscaling/v2", HPA, {"scaleTargetRef": DEPLOYMENT}), WEB),
        (scaler("autoscaling/v1", HPA, {"scaleTargetRef": {**DEPLOYMENT, "kind": "StatefulSet"}}),
         Ref("apps", "StatefulSet", "apps", "web")),
        (scaler("autoscaling/v2", HPA, {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}), WEB),
        (scaler("autoscaling/v2", HPA, {"scaleTargetRef": ROLLOUT}),
         Ref("argoproj.io", "Rollout", "apps", "web")),
        (scaler("keda.sh/v1alpha1", "ScaledObject", {"scaleTargetRef": {"name": "web"}}), WEB),
        (scaler("keda.sh/v1alpha1", "ScaledObject", {"scaleTargetRef": {"kind": "StatefulSet", "name": "web"}}),
         Ref("apps", "StatefulSet", "apps", "web")),
        (scaler("flagger.app/v1beta1", "Canary", {"targetRef": DEPLOYMENT, "autoscalerRef": {"name": "x"}}), WEB),
        (scaler("flagger.app/v1beta1", "Canary", {"scaleTargetRef": DEPLOYMENT}), None),
        (scaler("example.org/v1", "HorizontalPodAutoscaler", {"scaleTargetRef": DEPLOYMENT}), None),
        (scaler("keda.sh/v1alpha1", "ScaledJob", {"scaleTargetRef": DEPLOYMENT}), None),
        (scaler("autoscaling/v2", HPA, {"scaleTargetRef": {"kind": "Deployment"}}), None),
        (scaler("autoscaling/v2", HPA, {"scaleTargetRef": "web"}), None),
        (scaler("autoscaling/v2", HPA, None), None),
        ({"kind": "HorizontalPodAutoscaler"}, None),
        ({"apiVersion": "autoscaling/v2", "kind": HPA, "spec": {"scaleTargetRef": DEPLOYMENT}}, None),
    ],
)  # fmt: skip
def test_an_autoscaler_names_its_target(body: dict[str, Any], target: Ref | None) -> None:
    owners = replica_owners([{"kind": "Other"}, body])
    assert set(owners) == ({target} if target else set())


def test_another_namespace_is_another_workload() -> None:
    body = scaler("autoscaling/v2", HPA, {"scaleTargetRef": DEPLOYMENT}, namespace="other")
    assert WEB not in replica_owners([body])


def test_replicas_are_taken_off_and_the_digest_follows() -> None:
    owners = {WEB: Ref("autoscaling", "HorizontalPodAutoscaler", "apps", "s")}
    spec = {"replicas": 3, "paused": False}
    with_them = manifest("Deployment", "web", api_version="apps/v1", namespace="apps", spec=spec)
    without = manifest("Deployment", "web", api_version="apps/v1", namespace="apps", spec={"paused": False})
    found = without_replicas(with_them, owners)
    assert found.body == without.body
    assert found.digest == without.digest != with_them.digest
    assert found.scaled
    assert with_them.body["spec"]["replicas"] == 3
    assert without_replicas(without, owners).scaled
    assert without_replicas(without, owners).digest == without.digest
    assert without_replicas(with_them, {}) is with_them
    assert without_replicas(manifest("Deployment", "web", api_version="apps/v1", namespace="apps"), owners).scaled
