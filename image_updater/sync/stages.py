"""In what order objects are applied and removed: what others need comes first and goes last.

A stage begins when the one before it has been applied, and when what that one names in `waits` is established.
Inside a stage the order is free. Only definitions and namespaces are waited for: a class (GatewayClass, …) may be
accepted by a controller that comes in a later stage of the same set, so that waiting for it would never end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.cluster.model import Ref
    from image_updater.sync.model import Manifest

_RBAC: Final = "rbac.authorization.k8s.io"
_EXTENSIONS: Final = "apiextensions.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"

_DEFINITIONS: Final = frozenset({(_EXTENSIONS, "CustomResourceDefinition"), ("", "Namespace"), (_RBAC, "ClusterRole")})
_SUPPORT: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "LimitRange"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("", "ResourceQuota"),
        ("", "Secret"),
        ("", "Service"),
        ("", "ServiceAccount"),
        ("networking.k8s.io", "NetworkPolicy"),
        (_RBAC, "ClusterRoleBinding"),
        (_RBAC, "Role"),
    }
)
_LAST: Final = frozenset(
    {
        (_ADMISSION, "MutatingAdmissionPolicyBinding"),
        (_ADMISSION, "MutatingWebhookConfiguration"),
        (_ADMISSION, "ValidatingAdmissionPolicyBinding"),
        (_ADMISSION, "ValidatingWebhookConfiguration"),
        ("apiregistration.k8s.io", "APIService"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Objects that may be applied at once, and which of them must be established before the next stage."""

    manifests: tuple[Manifest, ...]
    waits: tuple[Ref, ...] = ()


def stages(manifests: Iterable[Manifest]) -> tuple[Stage, ...]:
    """The stages that have objects; equal manifests give equal stages, and each keeps the order of the render.

    1. CRDs, namespaces, cluster roles · 2. classes · 3. what workloads refer to (accounts, configuration, volumes,
    services, roles and the bindings of cluster roles) · 4. the rest · 5. what intercepts others' requests: webhooks,
    bindings of admission policies, APIServices. Bindings of roles are in 4: the server looks the role up first.
    """
    by_rank: dict[int, list[Manifest]] = {}
    for manifest in manifests:
        by_rank.setdefault(rank(manifest.ref), []).append(manifest)
    return tuple(
        Stage(manifests=tuple(group), waits=tuple(m.ref for m in group if m.ref.kind in _WAITED) if number == 1 else ())
        for number, group in sorted(by_rank.items())
    )


_WAITED: Final = frozenset({"CustomResourceDefinition", "Namespace"})


def rank(ref: Ref) -> int:
    """1 to 5: the stage of an object."""
    kind = (ref.group, ref.kind)
    if kind in _DEFINITIONS:
        return 1
    if kind in _LAST:
        return 5
    if ref.kind.endswith("Class") and not ref.namespace:
        return 2
    return 3 if kind in _SUPPORT else 4


def removal(refs: Iterable[Ref]) -> tuple[tuple[Ref, ...], ...]:
    """Groups in the order of their removal: the stages backwards, namespaces and definitions at the very end.

    With a namespace or a definition everything in it goes; what has finalizers must find its controller still there.
    """
    by_rank: dict[int, list[Ref]] = {}
    for ref in refs:
        by_rank.setdefault(0 if ref.kind in _WAITED and rank(ref) == 1 else rank(ref), []).append(ref)
    return tuple(tuple(sorted(group)) for _, group in sorted(by_rank.items(), reverse=True))
