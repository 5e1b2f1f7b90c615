"""What the other cluster tests rely on: the control plane behaves, and each fault can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.parts import tools
from tests.parts.controlplane import ApiError, control_plane
from tests.parts.controlplane.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane
    from tests.parts.controlplane.api import Api

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.tests.example}
spec:
  group: tests.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer}}}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
---
apiVersion: tests.example/v1
kind: Widget
metadata: {name: first}
spec: {size: 1}
"""


def deployment(name: str, image: str, replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }


def available(plane: ControlPlane, name: str, namespace: str) -> int:
    found = plane.get("Deployment", name, namespace) or {}
    return int(found.get("status", {}).get("availableReplicas", 0))


def waiting(plane: ControlPlane, namespace: str) -> set[str]:
    """Why containers are not running."""
    states = (
        status["state"] for pod in plane.list("Pod", namespace) for status in pod["status"].get("containerStatuses", ())
    )
    return {state["waiting"]["reason"] for state in states if "waiting" in state}


def may_read(worker: Api, namespace: str) -> bool:
    """The server learns of a new RoleBinding by a watch of its own."""
    try:
        worker.request("GET", f"{configmaps(namespace)}/kube-root-ca.crt")
    except ApiError as error:
        if error.status != 403:
            raise
        return False
    return True


def account(plane: ControlPlane, namespace: str, *verbs: str) -> str:
    """A service account that may do `verbs` on configmaps of its namespace."""
    role = {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": list(verbs)}]}
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "worker"}
    metadata = {"metadata": {"name": "worker"}}
    rbac = "rbac.authorization.k8s.io/v1"
    plane.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", **metadata},
            {"apiVersion": rbac, "kind": "Role", **metadata, **role},
            {"apiVersion": rbac, "kind": "RoleBinding", **metadata, "subjects": [subject], "roleRef": reference},
        ],
        namespace,
    )
    return "worker"


def configmaps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


# ------------------------------------------------------------------------------------------------- workloads


def test_a_deployment_rolls_out(plane: ControlPlane, namespace: str) -> None:
    plane.apply(deployment("web", "web:1"), namespace)
    plane.until(lambda: available(plane, "web", namespace) == 2, what="two pods")
    plane.apply(deployment("web", "web:2"), namespace)
    plane.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=20s")
    images = {pod["spec"]["containers"][0]["image"] for pod in plane.list("Pod", namespace, "app=web")}
    assert "web:2" in images


@pytest.mark.parametrize(
    ("image", "reason"), [("web:2-crash", "CrashLoopBackOff"), ("web:2-missing", "ImagePullBackOff")]
)
def test_a_bad_image_is_seen(plane: ControlPlane, namespace: str, image: str, reason: str) -> None:
    plane.apply(deployment("web", image), namespace)
    plane.until(lambda: reason in waiting(plane, namespace), what=reason)
    assert available(plane, "web", namespace) == 0


def test_running_pods_break_and_mend(plane: ControlPlane, namespace: str) -> None:
    plane.apply(deployment("web", "web:1"), namespace)
    plane.until(lambda: available(plane, "web", namespace) == 2)
    plane.fate(namespace, "app=web", "hang")
    plane.until(lambda: available(plane, "web", namespace) == 0, what="pods that are not ready")
    plane.fate(namespace, "app=web", None)
    plane.until(lambda: available(plane, "web", namespace) == 2, what="mended pods")


def test_custom_resources_are_served_once_applied(plane: ControlPlane, namespace: str) -> None:
    _, widget = plane.apply(CRD, namespace)
    assert widget["metadata"]["namespace"] == namespace
    plane.patch("widget", "first", namespace, {"status": {"seen": True}}, subresource="status")
    assert [(each["kind"], each["status"]) for each in plane.list("wd", namespace)] == [("Widget", {"seen": True})]
    assert plane.get("widgets.tests.example", "second", namespace) is None


# ------------------------------------------------------------------------------------------------- users


def test_a_service_account_may_do_what_its_role_says(plane: ControlPlane, namespace: str) -> None:
    kubeconfig = plane.kubeconfig_of(namespace, account(plane, namespace, "get", "list"))
    assert plane.kubectl("get", "configmaps", "-o", "name", kubeconfig=kubeconfig) == "configmap/kube-root-ca.crt\n"
    with pytest.raises(AssertionError, match=f"system:serviceaccount:{namespace}:worker.*cannot create"):
        plane.kubectl("create", "configmap", "new", kubeconfig=kubeconfig)
    with pytest.raises(ApiError, match="Forbidden") as caught:
        plane.api_of(namespace, "worker").request("GET", "/api/v1/nodes")
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")


# ------------------------------------------------------------------------------------------------- faults


def test_objects_outlive_the_api_server(plane: ControlPlane, namespace: str) -> None:
    plane.request("POST", configmaps(namespace), {"metadata": {"name": "kept"}})
    plane.stop_apiserver()
    with pytest.raises(OSError, match="refused"):
        plane.request("GET", "/version")
    plane.start_apiserver()
    assert plane.get("ConfigMap", "kept", namespace)
    plane.apply(deployment("web", "web:1"), namespace)
    plane.until(lambda: available(plane, "web", namespace) == 2, what="controllers that came back")


def test_without_etcd_writes_hang_and_go_on_after_it(plane: ControlPlane, namespace: str) -> None:
    plane.pause_etcd()
    with pytest.raises(TimeoutError):
        plane.request("POST", configmaps(namespace), {"metadata": {"name": "late"}}, timeout=0.5)
    plane.resume_etcd()
    plane.request("POST", configmaps(namespace), {"metadata": {"name": "later"}})


def test_an_expired_version_is_gone(plane: ControlPlane, namespace: str) -> None:
    for number in range(3):
        plane.request("POST", configmaps(namespace), {"metadata": {"name": f"c{number}"}})
    page = plane.request("GET", f"{configmaps(namespace)}?limit=1")
    old = page["metadata"]["resourceVersion"]
    new = plane.expire_watches()
    (event,) = plane.watch(configmaps(namespace), resourceVersion=old)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    with pytest.raises(ApiError) as caught:
        plane.request("GET", f"{configmaps(namespace)}?limit=1&continue={page['metadata']['continue']}")
    assert caught.value.code == 410
    assert list(plane.watch(configmaps(namespace), resourceVersion=str(new), seconds=1)) == []


def test_one_account_is_throttled_and_others_are_not(plane: ControlPlane, namespace: str) -> None:
    worker = plane.api_of(namespace, account(plane, namespace, "list"))
    with plane.throttled(namespace, "worker"):
        with pytest.raises(ApiError) as caught:
            worker.request("GET", configmaps(namespace))
        assert caught.value.code == 429
        assert int(caught.value.headers["retry-after"]) > 0
        plane.request("GET", configmaps(namespace))
    worker.request("GET", configmaps(namespace))


# ------------------------------------------------------------------------------------------------- what was asked


def test_the_audit_log_says_who_asked_what(plane: ControlPlane, namespace: str) -> None:
    worker = plane.api_of(namespace, account(plane, namespace, "get", "watch"))
    until(lambda: may_read(worker, namespace), what="the server knows its rights")
    mark = plane.mark()
    worker.request("GET", f"{configmaps(namespace)}/kube-root-ca.crt")
    with pytest.raises(ApiError, match="Forbidden"):
        worker.request("POST", configmaps(namespace), {"metadata": {"name": "new"}})
    list(worker.watch(configmaps(namespace), seconds=1))
    impersonated = {"Impersonate-User": f"system:serviceaccount:{namespace}:worker"}
    plane.request("GET", f"{configmaps(namespace)}/kube-root-ca.crt", headers=impersonated)
    seen = [
        (each.user.rpartition(":")[2], each.verb, each.resource, each.name, each.code, each.impersonated)
        for each in plane.audit(mark)
        if each.namespace == namespace
    ]
    assert seen == [
        ("worker", "get", "configmaps", "kube-root-ca.crt", 200, None),
        ("worker", "create", "configmaps", "", 403, None),
        ("worker", "watch", "configmaps", "", 200, None),
        ("admin", "get", "configmaps", "kube-root-ca.crt", 200, f"system:serviceaccount:{namespace}:worker"),
    ]


def test_requests_are_counted(plane: ControlPlane, namespace: str) -> None:
    before = plane.requests()
    for number in range(3):
        plane.request("POST", configmaps(namespace), {"metadata": {"name": f"c{number}"}})
    assert plane.requests().difference(before).of("configmaps")["POST", "configmaps", "201"] >= 3


# ------------------------------------------------------------------------------------------------- more than one


def test_planes_share_nothing(
    plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even ports that both would like: the second takes others."""
    wanted = iter([tools.free_port(), plane.layout.etcd, tools.free_port(), plane.layout.api])
    free_port = tools.free_port
    monkeypatch.setattr(tools, "free_port", lambda: next(wanted, None) or free_port())
    with control_plane(tmp_path, nodes=2) as second:
        assert second.folder.name == "plane-2"
        assert [node["metadata"]["name"] for node in second.list("Node")] == ["node-0", "node-1"]
        assert second.get("Namespace", namespace) is None
    assert plane.get("Namespace", namespace)
