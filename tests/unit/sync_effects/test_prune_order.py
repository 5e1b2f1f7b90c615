"""In what order things go: whoever finalizes others, and whoever gives rights, goes after them."""

from __future__ import annotations

from image_updater.cluster.model import Ref
from image_updater.sync.model import Entry
from image_updater.sync.prune import _order

RBAC = "rbac.authorization.k8s.io"
EVERYTHING = [
    Ref("", "Namespace", "", "apps"),
    Ref("apiextensions.k8s.io", "CustomResourceDefinition", "", "things.example.com"),
    Ref(RBAC, "ClusterRole", "", "deployer"),
    Ref("storage.k8s.io", "StorageClass", "", "fast"),
    Ref("", "ServiceAccount", "apps", "deployer"),
    Ref("", "ConfigMap", "apps", "settings"),
    Ref(RBAC, "RoleBinding", "apps", "deployer"),
    Ref("apps", "Deployment", "apps", "web"),
    Ref("example.com", "Thing", "apps", "one"),
    Ref("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "", "check"),
]


def test_webhooks_first_then_custom_objects_then_workloads_then_what_holds_all_then_rights() -> None:
    order = _order({ref: Entry(ref=ref, version="v1") for ref in EVERYTHING})
    assert [[ref.kind for ref in group] for group in order] == [
        ["ValidatingWebhookConfiguration"],
        ["Thing"],
        ["Deployment"],
        ["ConfigMap"],
        ["StorageClass"],
        ["Namespace", "CustomResourceDefinition"],
        ["RoleBinding", "ServiceAccount", "ClusterRole"],
    ]
