"""What is applied before what, and removed after what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.cluster.model import Ref
from image_updater.sync.stages import rank, removal, stages
from tests.unit.sync.things import manifest

if TYPE_CHECKING:
    from image_updater.sync.model import Manifest

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"

RANKS = [
    ("apiextensions.k8s.io", "CustomResourceDefinition", 1),
    ("", "Namespace", 1),
    (RBAC, "ClusterRole", 1),
    ("storage.k8s.io", "StorageClass", 2),
    ("networking.k8s.io", "IngressClass", 2),
    ("scheduling.k8s.io", "PriorityClass", 2),
    ("gateway.networking.k8s.io", "GatewayClass", 2),
    (RBAC, "ClusterRoleBinding", 3),
    (RBAC, "Role", 3),
    ("", "ServiceAccount", 3),
    ("", "ConfigMap", 3),
    ("", "Secret", 3),
    ("", "ResourceQuota", 3),
    ("", "Service", 3),
    (RBAC, "RoleBinding", 4),
    ("apps", "Deployment", 4),
    ("batch", "Job", 4),
    ("example.org", "Thing", 4),
    (ADMISSION, "ValidatingAdmissionPolicy", 4),
    ("serving.knative.dev", "Service", 4),
    (ADMISSION, "ValidatingWebhookConfiguration", 5),
    (ADMISSION, "MutatingWebhookConfiguration", 5),
    (ADMISSION, "ValidatingAdmissionPolicyBinding", 5),
    ("apiregistration.k8s.io", "APIService", 5),
]


@pytest.mark.parametrize(("group", "kind", "stage"), RANKS, ids=[f"{kind}.{group}" for group, kind, _ in RANKS])
def test_every_kind_has_its_stage(group: str, kind: str, stage: int) -> None:
    assert rank(Ref(group, kind, "", "x")) == stage


def test_a_namespaced_kind_that_is_called_class_is_none() -> None:
    assert rank(Ref("example.org", "BuildClass", "apps", "x")) == 4


def of(kind: str, name: str = "x") -> Manifest:
    group = next(group for group, known, _ in RANKS if known == kind)
    return manifest(kind, name, api_version=f"{group}/v1" if group else "v1")


def test_definitions_and_namespaces_are_waited_for() -> None:
    found = stages(
        [of("Deployment"), of("Namespace"), of("StorageClass"), of("CustomResourceDefinition"), of("ClusterRole")]
    )
    assert [[m.ref.kind for m in stage.manifests] for stage in found] == [
        ["Namespace", "CustomResourceDefinition", "ClusterRole"],
        ["StorageClass"],
        ["Deployment"],
    ]
    assert [[ref.kind for ref in stage.waits] for stage in found] == [["Namespace", "CustomResourceDefinition"], [], []]


def test_a_stage_keeps_the_order_of_the_render() -> None:
    (stage,) = stages([of("Deployment", name) for name in "cab"])
    assert [m.ref.name for m in stage.manifests] == ["c", "a", "b"]
    assert stages([]) == ()


def test_removal_goes_backwards_and_ends_with_what_holds_others() -> None:
    kinds = [
        "Namespace",
        "Deployment",
        "ClusterRole",
        "ValidatingWebhookConfiguration",
        "Secret",
        "CustomResourceDefinition",
    ]
    groups = removal(of(kind).ref for kind in kinds)
    assert [sorted(ref.kind for ref in group) for group in groups] == [
        ["ValidatingWebhookConfiguration"],
        ["Deployment"],
        ["Secret"],
        ["ClusterRole"],
        ["CustomResourceDefinition", "Namespace"],
    ]


_REFS = st.lists(st.sampled_from(RANKS).map(lambda row: of(row[1])), max_size=12)


@given(_REFS)
def test_nothing_is_lost_and_stages_never_go_back(manifests: list[Manifest]) -> None:
    found = stages(manifests)
    ranks = [rank(m.ref) for stage in found for m in stage.manifests]
    assert ranks == sorted(ranks)
    assert sorted(m.ref for stage in found for m in stage.manifests) == sorted(m.ref for m in manifests)
    assert sorted(ref for group in removal(m.ref for m in manifests) for ref in group) == sorted(
        m.ref for m in manifests
    )
