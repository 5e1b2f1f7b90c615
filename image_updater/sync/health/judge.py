"""Which rule judges which kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from image_updater.api.model import GROUP
from image_updater.cluster.model import Ref
from image_updater.sync.health import objects, workloads
from image_updater.sync.health.canary import Seen, canary
from image_updater.sync.health.reading import Verdict, mapping, terminating
from image_updater.sync.model import Condition, Health

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from image_updater.cluster.model import Body

_RULES: Final[Mapping[tuple[str, str], Callable[[Body], Verdict]]] = {
    ("", "Namespace"): objects.namespace,
    ("", "PersistentVolume"): objects.volume,
    ("", "PersistentVolumeClaim"): objects.claim,
    ("", "Pod"): workloads.pod,
    ("", "ReplicationController"): workloads.replica_set,
    ("", "Service"): objects.service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): objects.definition,
    ("apiregistration.k8s.io", "APIService"): objects.api_service,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.autoscaler,
    ("batch", "Job"): workloads.job,
    ("policy", "PodDisruptionBudget"): workloads.disruption_budget,
}
"""Kinds that are not here (CronJob, Ingress, ConfigMap, everything custom) are judged by `objects.generic`."""

_READY: Final = frozenset(
    {
        (GROUP, "GitRepository"),
        (GROUP, "ImagePolicy"),
        (GROUP, "ImageUpdateAutomation"),
        (GROUP, "Kustomization"),
        ("helm.toolkit.fluxcd.io", "HelmRelease"),
        ("image.toolkit.fluxcd.io", "ImagePolicy"),
        ("image.toolkit.fluxcd.io", "ImageRepository"),
        ("image.toolkit.fluxcd.io", "ImageUpdateAutomation"),
        ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        ("source.toolkit.fluxcd.io", "Bucket"),
        ("source.toolkit.fluxcd.io", "GitRepository"),
        ("source.toolkit.fluxcd.io", "HelmChart"),
        ("source.toolkit.fluxcd.io", "OCIRepository"),
    }
)
"""Kinds whose controller always writes Ready. Not Flux's Alert, Provider and OCI HelmRepository: no status."""


def health(body: Body | None, *, now: datetime, ref: Ref | None = None, before: Seen | None = None) -> Health:
    """What `body` says of itself; None is an object that is not there, and then `ref` says which.

    `before` is only for a Canary whose target has just been changed.
    """
    if body is None:
        if ref is None:
            raise ValueError("an object that is not there needs a name")
        return Health(ref=ref, condition=Condition.NOT_FOUND, message="it does not exist")
    found = ref or Ref.of(body)
    verdict = _judge(body, found, now, before)
    return Health(ref=found, condition=verdict.condition, message=verdict.message)


def _judge(body: Body, ref: Ref, now: datetime, before: Seen | None) -> Verdict:
    if mapping(body, "metadata").get("deletionTimestamp"):
        return terminating()
    if (ref.group, ref.kind) == ("flagger.app", "Canary"):
        return canary(body, now=now, before=before)
    kind = (ref.group, ref.kind)
    default = objects.ready_object if kind in _READY else objects.generic
    return _RULES.get(kind, default)(body)
