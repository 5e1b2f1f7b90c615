"""What annotations on an object ask of us, in our words and in Flux's, and whose its replicas are.

Flux's annotations mean what they mean there, so that manifests can move over as they are. They count in Git and on the
object in the cluster alike (and, as in Flux, as labels too); the value's case does not matter.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import GROUP
from image_updater.cluster.model import Ref
from image_updater.sync.manifests import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.cluster.model import Body
    from image_updater.sync.model import Manifest

_FLUX: Final = "kustomize.toolkit.fluxcd.io"
_RECONCILE: Final = (f"{GROUP}/reconcile", f"{_FLUX}/reconcile")
_PRUNE: Final = (f"{GROUP}/prune", f"{_FLUX}/prune")
_SSA: Final = f"{_FLUX}/ssa"
_FORCE: Final = f"{_FLUX}/force"

SCALERS: Final = (
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("keda.sh", "ScaledObject"),
    ("flagger.app", "Canary"),
)
"""Group and kind of what owns the replicas of its target."""


class Handling(StrEnum):
    """How an object is applied: Flux's `ssa` annotation, and `reconcile: disabled`."""

    OVERRIDE = "Override"
    MERGE = "Merge"
    """Fields of other managers are not taken over: what kubectl added stays."""
    IF_NOT_PRESENT = "IfNotPresent"
    """Created once, then left alone."""
    IGNORE = "Ignore"


def handling(body: Body, live: Body | None = None) -> Handling:
    """Of an object in Git, with what its annotations in the cluster add; the one that leaves more alone wins."""
    asked = {_handling(_texts(each)) for each in (body, live) if each is not None}
    for strongest in (Handling.IGNORE, Handling.IF_NOT_PRESENT, Handling.MERGE):
        if strongest in asked:
            return strongest
    return Handling.OVERRIDE


def _handling(texts: Mapping[str, str]) -> Handling:
    if leaves_alone(texts) is not None:
        return Handling.IGNORE
    value = str(texts.get(_SSA, "")).casefold()
    return next((each for each in Handling if each.casefold() == value), Handling.OVERRIDE)


def leaves_alone(annotations: Mapping[str, str] | None) -> str | None:
    """The annotation that says that we neither apply nor prune this object, as `name: value`; None: we may."""
    for name in _RECONCILE:
        if (found := _asks(annotations, name, "disabled")) is not None:
            return found
    return _asks(annotations, _SSA, Handling.IGNORE)


def never_pruned(annotations: Mapping[str, str] | None) -> str | None:
    """The annotation that says that we do not delete this object, as `name: value`; None: we may."""
    for name in _PRUNE:
        if (found := _asks(annotations, name, "disabled")) is not None:
            return found
    return leaves_alone(annotations)


def forced(annotations: Mapping[str, str] | None) -> bool:
    """May this object be deleted and made anew where a change is not possible in place, whatever `spec.force` says?"""
    return _asks(annotations, _FORCE, "enabled") is not None


def marks(body: Body | None) -> dict[str, str]:
    """What the functions of this module read of an object: its annotations, and labels where Flux reads those too."""
    return _texts(body or {})


def _asks(annotations: Mapping[str, str] | None, name: str, value: str) -> str | None:
    found = (annotations or {}).get(name)
    return f"{name}: {found}" if isinstance(found, str) and found.casefold() == value.casefold() else None


def _texts(body: Body) -> dict[str, str]:
    metadata = body.get("metadata") or {}
    return {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}


def replica_owners(bodies: Iterable[Body]) -> dict[Ref, Ref]:
    """Workloads whose `spec.replicas` belongs to one of these autoscalers and canaries: target → owner.

    Bodies of other kinds are passed over, so that a whole render, or lists of the cluster, can be given.
    """
    owners: dict[Ref, Ref] = {}
    for body in bodies:
        group, _, _ = str(body.get("apiVersion", "")).rpartition("/")
        kind = body.get("kind")
        if (group, kind) in SCALERS:
            spec = body.get("spec")
            target = spec.get("targetRef" if kind == "Canary" else "scaleTargetRef") if isinstance(spec, dict) else None
            metadata = body.get("metadata") or {}
            if isinstance(target, dict) and isinstance(target.get("name"), str) and metadata.get("name"):
                owners[_target(target, str(metadata.get("namespace") or ""))] = Ref.of(body)
    return owners


_APPS: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})


def _target(reference: Mapping[str, Any], namespace: str) -> Ref:
    kind = str(reference.get("kind") or "Deployment")  # KEDA's default
    group, _, _ = str(reference.get("apiVersion") or "").rpartition("/")
    if not reference.get("apiVersion") and kind in _APPS:
        group = "apps"
    return Ref(group, kind, namespace, str(reference["name"]))


def leaves_by_itself(body: Body) -> bool:
    """Whether the cluster deletes it when it is done: a Job with `ttlSecondsAfterFinished`."""
    spec = body.get("spec")
    job = body.get("kind") == "Job" and str(body.get("apiVersion", "")).startswith("batch/")
    return job and isinstance(spec, dict) and spec.get("ttlSecondsAfterFinished") is not None


def without_replicas(manifest: Manifest, owners: Mapping[Ref, Ref]) -> Manifest:
    """The manifest without `spec.replicas` when something in the cluster sets it; `scaled` then says so.

    Where we have set the field before, it must be handed over first (`fields.hand_over`), else it falls back to 1.
    """
    if manifest.ref not in owners:
        return manifest
    spec = manifest.body.get("spec")
    if not isinstance(spec, dict) or "replicas" not in spec:
        return replace(manifest, scaled=True)
    body = {**manifest.body, "spec": {name: value for name, value in spec.items() if name != "replicas"}}
    return replace(manifest, body=body, digest=digest(body), scaled=True)
