"""What the tests of the sync share: a Kustomization and objects of a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync.manifests import digest, prepare
from image_updater.sync.model import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER_KINDS = {
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "StorageClass",
    "ValidatingWebhookConfiguration",
}


def kustomization(name: str = "web", namespace: str = "apps", **fields: Any) -> Kustomization:
    return Kustomization(meta=Meta(key=ObjectKey(namespace, name)), source_ref=None, path="deploy/prod", **fields)


def served(group: str, kind: str) -> bool | None:
    """What a server says of a kind's scope; it knows none of `example.org`."""
    return None if group == "example.org" else kind not in CLUSTER_KINDS


def prepared(
    text: str, *, namespaced: Callable[[str, str], bool | None] = served, **fields: Any
) -> tuple[Manifest, ...]:
    return prepare(text.encode(), kustomization(**fields), namespaced=namespaced)


def manifest(kind: str, name: str = "x", *, api_version: str = "v1", namespace: str = "", **body: Any) -> Manifest:
    group, _, _ = api_version.rpartition("/")
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    whole = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    ref = Ref(group, kind, namespace, name)
    return Manifest(ref=ref, api_version=api_version, body=whole, digest=digest(whole))
