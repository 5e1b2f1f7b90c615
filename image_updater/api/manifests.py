"""The objects that run the controller in a cluster, as `install` prints them.

They are what the chart makes of its default values (a test compares the two), for people without Helm. Whoever needs
more than these few choices takes the chart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from image_updater import __version__
from image_updater.api.rbac import EDIT, VIEW, Place, rules
from image_updater.api.schema import crds
from image_updater.settings import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    Manifest = dict[str, Any]

NAME: Final = "image-updater"
PORT: Final = 8080
USER: Final = 65532
"""The image's user, who owns nothing."""
VOLUME: Final = "2Gi"
"""Of mirrors, renders and what was seen at registries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What can be chosen. `watch_namespaces` empty = the whole cluster; `persistent` = a claim for each pod instead of
    an emptyDir, so that a replaced pod starts with what is known.
    """

    namespace: str = NAME
    image: str = f"{NAME}:{__version__}"
    roles: tuple[Role, ...] = tuple(Role)
    watch_namespaces: tuple[str, ...] = ()
    replicas: int = 1
    persistent: bool = False
    definitions: bool = True


def manifests(chosen: Installation) -> list[Manifest]:
    """Everything, in the order in which it can be applied."""
    return [
        *(crds() if chosen.definitions else ()),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chosen.namespace}},
        {**_head(chosen, "v1", "ServiceAccount"), "automountServiceAccountToken": False},
        *_rights(chosen),
        *_people(chosen),
        _service(chosen),
        _network_policy(chosen),
        *_disruption(chosen),
        _workload(chosen),
    ]


def dump(documents: Iterable[Manifest]) -> str:
    """YAML documents, keys in our order, without anchors, the same every time."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) for document in documents
    )


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with lists below their key, as people write them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _selectors() -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}


def _labels() -> dict[str, str]:
    return {
        **_selectors(),
        "app.kubernetes.io/version": __version__,
        "app.kubernetes.io/part-of": NAME,
    }


def _head(chosen: Installation, version: str, kind: str, *, name: str = NAME, namespace: str | None = None) -> Manifest:
    """apiVersion, kind and metadata; `namespace=""` is none, for kinds of the cluster."""
    place = chosen.namespace if namespace is None else namespace
    metadata = {"name": name, **({"namespace": place} if place else {}), "labels": _labels()}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


# ------------------------------------------------------------------------------------------- rights


def _rights(chosen: Installation) -> list[Manifest]:
    # Objects outside our namespace carry it in their names: another installation may have its own beside them.
    outside = f"{NAME}:{chosen.namespace}"
    if chosen.watch_namespaces:
        watched = rules(chosen.roles, Place.WATCHED)
        bound = [each for space in chosen.watch_namespaces for each in _bound(chosen, watched, outside, space)]
    else:
        bound = _bound(chosen, rules(chosen.roles, Place.WATCHED, Place.CLUSTER), outside, "")
    return [*bound, *_bound(chosen, rules(chosen.roles, Place.OWN), NAME, chosen.namespace)]


def _bound(chosen: Installation, granted: list[Manifest], name: str, namespace: str) -> list[Manifest]:
    """A role and its binding to our account; nothing where there are no rules."""
    if not granted:
        return []
    version = "rbac.authorization.k8s.io/v1"
    kind = "Role" if namespace else "ClusterRole"
    return [
        {**_head(chosen, version, kind, name=name, namespace=namespace), "rules": granted},
        {
            **_head(chosen, version, f"{kind}Binding", name=name, namespace=namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": chosen.namespace}],
        },
    ]


def _people(chosen: Installation) -> list[Manifest]:
    """Our kinds in the cluster's own roles."""
    made = []
    for name, granted, joined in (("view", VIEW, ("view", "edit", "admin")), ("edit", EDIT, ("edit", "admin"))):
        role = _head(
            chosen,
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            name=f"{NAME}:{chosen.namespace}:{name}",
            namespace="",
        )
        role["metadata"]["labels"] |= {f"rbac.authorization.k8s.io/aggregate-to-{each}": "true" for each in joined}
        made.append({**role, "rules": list(granted)})
    return made


# ------------------------------------------------------------------------------------------- network, disruption


def _service(chosen: Installation) -> Manifest:
    return {
        **_head(chosen, "v1", "Service"),
        "spec": {
            # Each pod is scraped: the one that works, and those that wait for its Lease.
            "clusterIP": "None",
            "selector": _selectors(),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }


def _network_policy(chosen: Installation) -> Manifest:
    """Nothing reaches the pods but what scrapes and probes. Where they go nobody could list: registries, Git servers
    and the API server have no addresses that are known here.
    """
    return {
        **_head(chosen, "networking.k8s.io/v1", "NetworkPolicy"),
        "spec": {
            "podSelector": {"matchLabels": _selectors()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": "http"}]}],
            "egress": [{}],
        },
    }


def _disruption(chosen: Installation) -> list[Manifest]:
    """One pod away at a time; a budget for a single pod would only hold up the drain of its node."""
    if chosen.replicas < 2:
        return []
    return [
        {
            **_head(chosen, "policy/v1", "PodDisruptionBudget"),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _pod_selectors()}},
        }
    ]


# ------------------------------------------------------------------------------------------- the workload


def _pod_selectors() -> dict[str, str]:
    return {**_selectors(), "app.kubernetes.io/component": "controller"}


def _workload(chosen: Installation) -> Manifest:
    head = _head(chosen, "apps/v1", "StatefulSet" if chosen.persistent else "Deployment")
    head["metadata"]["labels"]["app.kubernetes.io/component"] = "controller"
    spec: Manifest = {"replicas": chosen.replicas, "selector": {"matchLabels": _pod_selectors()}}
    if chosen.persistent:
        spec |= {
            "serviceName": NAME,
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": VOLUME}}},
                }
            ],
        }
    else:
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    labels = {**_labels(), "app.kubernetes.io/component": "controller"}
    spec["template"] = {"metadata": {"labels": labels}, "spec": _pod(chosen)}
    return {**head, "spec": spec}


def _pod(chosen: Installation) -> Manifest:
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    if not chosen.persistent:
        volumes.append({"name": "data", "emptyDir": {"sizeLimit": VOLUME}})
    spread: list[Manifest] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": _pod_selectors()},
        }
    ]
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        # A Service named image-updater would bring variables that look like settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 45,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(chosen)],
        "volumes": volumes,
        **({"topologySpreadConstraints": spread} if chosen.replicas > 1 else {}),
    }


def _container(chosen: Installation) -> Manifest:
    variables = {
        "ROLES": ",".join(chosen.roles),
        **({"WATCH_NAMESPACES": ",".join(chosen.watch_namespaces)} if chosen.watch_namespaces else {}),
        "CACHE": "/data/cache",
        "STATE": "/data/state.sqlite",
        "LISTEN": f"0.0.0.0:{PORT}",
        "LOG_FORMAT": "json",
        "RENDER_WORKERS": "2",
    }
    return {
        "name": NAME,
        "image": chosen.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["controller"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            *({"name": f"IMAGE_UPDATER_{name}", "value": value} for name, value in variables.items()),
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**_probe("/healthz"), "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**_probe("/healthz"), "periodSeconds": 15, "timeoutSeconds": 5, "failureThreshold": 4},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}}
