"""The health of real objects, as the real controllers report them: on the way, at the end, and when they fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.sync.health import health
from image_updater.sync.model import Condition

if TYPE_CHECKING:
    from image_updater.sync.model import Health
    from tests.parts.controlplane import ControlPlane


def pods(image: str, *, restart: str | None = None) -> str:
    policy = f", restartPolicy: {restart}" if restart else ""
    return f"{{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: '{image}'}}]{policy}}}}}"


PODS, JOB_PODS = pods("web:1"), pods("web:1", restart="Never")
JOB = f"{{template: {JOB_PODS}}}"
SELECTOR = "selector: {matchLabels: {app: web}}"
OBJECTS = {
    "deployment": ("apps/v1", "Deployment", f"{{replicas: 2, {SELECTOR}, template: {PODS}}}"),
    "stateful set": ("apps/v1", "StatefulSet", f"{{replicas: 2, serviceName: x, {SELECTOR}, template: {PODS}}}"),
    "daemon set": ("apps/v1", "DaemonSet", f"{{{SELECTOR}, template: {PODS}}}"),
    "replica set": ("apps/v1", "ReplicaSet", f"{{replicas: 2, {SELECTOR}, template: {PODS}}}"),
    "controller": ("v1", "ReplicationController", f"{{replicas: 1, selector: {{app: web}}, template: {PODS}}}"),
    "pod": ("v1", "Pod", "{containers: [{name: web, image: 'web:1'}]}"),
    "job": ("batch/v1", "Job", JOB),
    "suspended job": ("batch/v1", "Job", f"{{suspend: true, template: {JOB_PODS}}}"),
    "budget": ("policy/v1", "PodDisruptionBudget", f"{{minAvailable: 1, {SELECTOR}}}"),
    "service": ("v1", "Service", "{ports: [{port: 80}]}"),
    "cron job": ("batch/v1", "CronJob", f"{{schedule: '0 0 1 1 *', jobTemplate: {{spec: {JOB}}}}}"),
    "ingress": ("networking.k8s.io/v1", "Ingress", "{defaultBackend: {service: {name: x, port: {number: 80}}}}"),
}  # fmt: skip


class Site:
    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def apply(self, api_version: str, kind: str, spec: str, name: str = "x") -> None:
        text = f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        self.plane.apply(text, self.namespace)

    def health(self, kind: str, name: str = "x") -> Health:
        body = self.plane.get(kind, name, self.namespace)
        assert body is not None
        return health(body, now=datetime.now(UTC))

    def becomes(self, kind: str, expected: Condition, name: str = "x") -> Health:
        def once() -> Health | None:
            found = self.health(kind, name)
            assert found.condition == expected, found
            return found

        return self.plane.until(once, what=f"{kind} {name} {expected}")


@pytest.fixture
def site(plane: ControlPlane, namespace: str) -> Site:
    return Site(plane, namespace)


@pytest.mark.parametrize(("api_version", "kind", "spec"), OBJECTS.values(), ids=OBJECTS)
def test_what_works_becomes_current(site: Site, api_version: str, kind: str, spec: str) -> None:
    site.apply(api_version, kind, spec)
    site.becomes(kind, Condition.CURRENT)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_change_is_in_progress_until_it_is_rolled_out(site: Site, kind: str) -> None:
    _, _, spec = OBJECTS[{"Deployment": "deployment", "StatefulSet": "stateful set", "DaemonSet": "daemon set"}[kind]]
    site.apply("apps/v1", kind, spec)
    site.becomes(kind, Condition.CURRENT)
    made = site.plane.apply(
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec.replace('web:1', 'web:2')}\n",
        site.namespace,
    )
    # The server's own answer to the write: a status of the revision before never counts for the new one.
    assert health(made[0], now=datetime.now(UTC)).condition is Condition.IN_PROGRESS
    site.becomes(kind, Condition.CURRENT)


def test_a_rollout_beyond_its_deadline_has_failed(site: Site) -> None:
    spec = (
        OBJECTS["deployment"][2]
        .replace("{replicas", "{progressDeadlineSeconds: 1, replicas")
        .replace("web:1", "web:3-crash")
    )
    site.apply("apps/v1", "Deployment", spec)
    assert "ProgressDeadlineExceeded" in site.becomes("Deployment", Condition.FAILED).message


def test_a_pod_in_a_crash_loop_has_failed(site: Site) -> None:
    site.apply("v1", "Pod", "{containers: [{name: web, image: 'web:3-crash'}]}")
    assert site.becomes("Pod", Condition.FAILED).message == "container web: CrashLoopBackOff"


def test_a_pod_whose_image_is_missing_is_in_progress_and_says_so(site: Site) -> None:
    site.apply("v1", "Pod", "{containers: [{name: web, image: 'web:3-missing'}]}")
    site.plane.until(lambda: "ImagePullBackOff" in site.health("Pod").message, what="ImagePullBackOff")
    assert site.health("Pod").condition is Condition.IN_PROGRESS


def test_a_job_that_failed_has_failed(site: Site) -> None:
    site.apply("batch/v1", "Job", f"{{backoffLimit: 0, template: {pods('web:3-crash', restart='Never')}}}")
    assert "BackoffLimitExceeded" in site.becomes("Job", Condition.FAILED).message


def test_what_nobody_provides_is_in_progress(site: Site) -> None:
    site.apply("v1", "Service", "{type: LoadBalancer, ports: [{port: 80}]}")
    claim = "{accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}"
    site.apply("v1", "PersistentVolumeClaim", claim)
    assert "no address" in site.becomes("Service", Condition.IN_PROGRESS).message
    site.becomes("PersistentVolumeClaim", Condition.IN_PROGRESS)
    status: dict[str, Any] = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
    site.plane.patch("Service", "x", site.namespace, status, subresource="status")
    assert site.becomes("Service", Condition.CURRENT).message == "192.0.2.7"


def test_an_object_with_a_finalizer_is_terminating(site: Site) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, finalizers: [example.org/hold]}\n"
    site.plane.apply(text, site.namespace)
    assert site.health("ConfigMap").condition is Condition.CURRENT
    site.plane.delete("ConfigMap", "x", site.namespace)
    assert site.health("ConfigMap").condition is Condition.TERMINATING
    site.plane.patch("ConfigMap", "x", site.namespace, {"metadata": {"finalizers": None}})


def definition(group: str, plural: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_a_definition_whose_names_are_taken_has_failed(site: Site) -> None:
    group, kind = f"{site.namespace}.example.org", "CustomResourceDefinition"
    try:
        site.plane.apply(definition(group, "things"))
        site.becomes(kind, Condition.CURRENT, f"things.{group}")
        site.plane.request("POST", site.plane.path(kind), definition(group, "others"))
        assert "already in use" in site.becomes(kind, Condition.FAILED, f"others.{group}").message
    finally:
        for plural in ("things", "others"):
            site.plane.delete(kind, f"{plural}.{group}")


def test_a_namespace_is_active_and_then_terminating(site: Site) -> None:
    site.becomes("Namespace", Condition.CURRENT, site.namespace)
    other = site.plane.namespace()
    site.plane.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, finalizers: [example.org/hold]}\n", other)
    site.plane.delete("Namespace", other)
    site.becomes("Namespace", Condition.TERMINATING, other)
    site.plane.patch("ConfigMap", "x", other, {"metadata": {"finalizers": None}})
