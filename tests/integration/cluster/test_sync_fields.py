"""Taking fields over, handing them on and seeing drift: what the real API server does with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from image_updater.cluster.model import Ref
from image_updater.sync.drift import LAST_APPLIED
from image_updater.sync.fields import REPLICAS, difference, hand_over, own_fields, take_over
from image_updater.sync.manifests import prepare
from image_updater.sync.model import MANAGER
from image_updater.sync.policies import without_replicas
from tests.parts.controlplane.api import APPLY, JSON_PATCH, ApiError
from tests.unit.sync.things import kustomization

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.sync.model import Manifest
    from tests.parts.controlplane import ControlPlane

Body = dict[str, Any]

BEFORE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {old: "yes", kept: "yes"}
spec:
  replicas: 2
  minReadySeconds: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: ghcr.io/acme/web:1.0.0
        env: [{name: OLD, value: a}, {name: KEPT, value: b}]
        ports: [{containerPort: 8080}]
      - name: sidecar
        image: ghcr.io/acme/sidecar:1.0.0
"""
AFTER = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {kept: "yes"}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: ghcr.io/acme/web:1.0.0
        env: [{name: KEPT, value: b}]
        ports: [{containerPort: 8080}]
"""


class Site:
    """One namespace, and what our sync would send to it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    def manifest(self, text: str) -> Manifest:
        (manifest,) = prepare(text.encode(), kustomization("web", self.namespace), namespaced=lambda _g, _k: True)
        return manifest

    def path(self, manifest: Manifest) -> str:
        return self.plane.path(manifest.ref.kind, manifest.ref.namespace, manifest.ref.name)

    def live(self, text: str) -> Body:
        found: Body = self.plane.request("GET", self.path(self.manifest(text)))
        return found

    def apply(self, text: str, *, dry_run: bool = False, manifest: Manifest | None = None) -> Body:
        manifest = manifest or self.manifest(text)
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        answer: Body = self.plane.request("PATCH", f"{self.path(manifest)}?{urlencode(query)}", manifest.body, APPLY)
        return answer

    def patch(self, text: str, patch: list[Body] | None) -> Body:
        assert patch is not None
        path = f"{self.path(self.manifest(text))}?fieldManager={MANAGER}"
        answer: Body = self.plane.request("PATCH", path, patch, JSON_PATCH)
        return answer

    def take_over(self, text: str, *managers: str, **options: Any) -> Body:
        def patch(metadata: Body) -> list[Body] | None:
            applied = metadata.get("annotations", {}).get(LAST_APPLIED)
            version = metadata["resourceVersion"]
            return take_over(
                metadata["managedFields"], managers, resource_version=version, last_applied=applied, **options
            )

        return self.rewrite(text, patch)

    def hand_over(self, text: str) -> Body:
        return self.rewrite(
            text, lambda found: hand_over(found["managedFields"], REPLICAS, resource_version=found["resourceVersion"])
        )

    def rewrite(self, text: str, patch: Callable[[Body], list[Body] | None]) -> Body:
        """Again while a controller writes the status in between (a Conflict), as our sync does."""
        return self.plane.until(lambda: self.patch(text, patch(self.live(text)["metadata"])), what="the write")

    def drift(self, text: str) -> tuple[str, ...]:
        return difference(self.live(text), self.apply(text, dry_run=True), self.manifest(text).body)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", self.namespace, *args, stdin=stdin)


@pytest.fixture
def site(plane: ControlPlane, namespace: str) -> Site:
    return Site(plane, namespace)


def containers(body: Body) -> dict[str, Body]:
    return {each["name"]: each for each in body["spec"]["template"]["spec"]["containers"]}


def managers(body: Body) -> set[tuple[str, str, str]]:
    return {(e["manager"], e["operation"], e.get("subresource", "")) for e in body["metadata"]["managedFields"]}


CLIENT_SIDE, SERVER_SIDE = ("apply", "-f", "-"), ("apply", "--server-side", "-f", "-")
HANDS = {
    "kubectl apply": [CLIENT_SIDE],
    "kubectl apply --server-side": [SERVER_SIDE],
    "kubectl from one to the other": [CLIENT_SIDE, SERVER_SIDE],
    "kubectl create": [("create", "-f", "-")],
    "kubectl create and replace": [("create", "-f", "-"), ("replace", "-f", "-")],
    "Flux": [(*SERVER_SIDE, "--field-manager=kustomize-controller")],
    "Argo CD": [(*SERVER_SIDE, "--field-manager=argocd-controller")],
    "Argo CD, client-side": [(*CLIENT_SIDE, "--field-manager=argocd-controller")],
    "kubectl, then Flux": [CLIENT_SIDE, (*SERVER_SIDE, "--field-manager=kustomize-controller", "--force-conflicts")],
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_left_git_leaves_an_object_that_another_tool_applied(site: Site, hand: str) -> None:
    for command in HANDS[hand]:
        site.kubectl(*command, stdin=BEFORE)

    before = site.live(BEFORE)
    taken = site.take_over(BEFORE)
    # The patch itself changes no field.
    assert (taken["spec"], taken["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])
    body = site.apply(AFTER)

    assert set(containers(body)) == {"web"}
    assert [each["name"] for each in containers(body)["web"]["env"]] == ["KEPT"]
    assert "minReadySeconds" not in body["spec"]
    assert body["spec"]["replicas"] == 2
    annotations = body["metadata"]["annotations"]
    assert "old" not in annotations
    assert annotations["kept"] == "yes"
    assert LAST_APPLIED not in annotations
    assert {name for name, _, subresource in managers(body) if not subresource} <= {MANAGER, "kube-controller-manager"}
    assert take_over(body["metadata"]["managedFields"]) is None


def test_without_taking_over_it_would_stay(site: Site) -> None:
    """Why all this is done."""
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    assert set(containers(site.apply(AFTER))) == {"web", "sidecar"}


def test_it_may_be_taken_over_after_our_first_apply_too(site: Site) -> None:
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    site.apply(AFTER)
    site.take_over(BEFORE)
    body = site.apply(AFTER)
    assert set(containers(body)) == {"web"}
    assert LAST_APPLIED not in body["metadata"]["annotations"]


def test_a_manager_that_is_not_named_keeps_its_fields_and_one_that_is_loses_them(site: Site) -> None:
    site.kubectl("apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=BEFORE)
    site.apply(AFTER)
    live = site.live(AFTER)
    assert take_over(live["metadata"]["managedFields"]) is None
    assert "sidecar" in containers(live)
    site.take_over(AFTER, "helm")
    assert set(containers(site.apply(AFTER))) == {"web"}


def test_status_and_subresources_stay_with_their_managers(site: Site) -> None:
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    site.kubectl("scale", "deployment/web", "--replicas=3")
    site.plane.until(lambda: "conditions" in site.live(BEFORE).get("status", {}), what="the controller's status")
    before = managers(site.live(BEFORE))
    site.take_over(BEFORE)
    after = managers(site.live(BEFORE))
    assert {each for each in before if each[2]} == {each for each in after if each[2]}
    assert {"status", "scale"} <= {each[2] for each in after}


@pytest.mark.parametrize("editors", [True, False])
def test_what_a_hand_added_is_drift_only_when_asked(site: Site, editors: bool) -> None:
    site.apply(AFTER)
    patch = json.dumps({"spec": {"minReadySeconds": 9}})
    site.kubectl("patch", "deployment", "web", "-p", patch)
    fields = site.live(AFTER)["metadata"]["managedFields"]
    if editors:
        site.take_over(AFTER)
        assert "minReadySeconds" not in site.apply(AFTER)["spec"]
    else:
        assert take_over(fields, editors=False) is None
        assert site.apply(AFTER)["spec"]["minReadySeconds"] == 9


def test_a_restart_and_an_annotation_by_hand_are_left_alone(site: Site) -> None:
    site.apply(AFTER)
    site.kubectl("rollout", "restart", "deployment/web")
    site.kubectl("annotate", "deployment", "web", "image-updater.dev/reconcile=disabled")
    site.kubectl("label", "deployment", "web", "by=hand")
    live = site.live(AFTER)
    assert take_over(live["metadata"]["managedFields"]) is None
    body = site.apply(AFTER)
    assert "kubectl.kubernetes.io/restartedAt" in body["spec"]["template"]["metadata"]["annotations"]
    assert body["metadata"]["annotations"]["image-updater.dev/reconcile"] == "disabled"
    assert body["metadata"]["labels"]["by"] == "hand"


def test_an_object_without_managed_fields_loses_only_what_kubectl_applied(site: Site) -> None:
    """`before-first-apply` has everything in it, also what a controller set."""
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    site.plane.patch("Deployment", "web", site.namespace, {"spec": {"revisionHistoryLimit": 7}})
    cleared = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    site.patch(BEFORE, cleared)
    site.apply(AFTER)
    assert ("before-first-apply", "Update", "") in managers(site.live(AFTER))
    site.take_over(AFTER)
    body = site.apply(AFTER)
    assert set(containers(body)) == {"web"}
    assert "minReadySeconds" not in body["spec"]
    assert body["spec"]["revisionHistoryLimit"] == 7
    assert LAST_APPLIED not in body["metadata"]["annotations"]


def test_a_bound_claim_that_lost_its_managed_fields_can_still_be_applied(site: Site) -> None:
    claim = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, annotations: {old: x}}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
"""
    site.kubectl("apply", "-f", "-", stdin=claim)
    site.plane.patch("PersistentVolumeClaim", "data", site.namespace, {"spec": {"volumeName": "pv-of-somebody"}})
    site.patch(claim, [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}])
    wanted = claim.replace(", annotations: {old: x}", "")
    site.apply(wanted)
    site.take_over(wanted)
    body = site.apply(wanted)
    assert body["spec"]["volumeName"] == "pv-of-somebody"
    assert "annotations" not in body["metadata"]


def test_entries_of_another_version_are_taken_too(site: Site) -> None:
    """kubectl applied autoscaling/v1, Git has autoscaling/v2."""
    old = """\
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web, annotations: {old: x}}
spec:
  minReplicas: 2
  maxReplicas: 9
  targetCPUUtilizationPercentage: 60
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
"""
    new = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  maxReplicas: 9
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics: [{type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 70}}}]
"""
    for hand in (("apply", "-f", "-"), ("apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-")):
        site.kubectl(*hand, stdin=old)
        site.take_over(new)
        body = site.apply(new)
        assert [each["resource"]["name"] for each in body["spec"]["metrics"]] == ["memory"]
        assert body["spec"]["minReplicas"] == 1
        assert "annotations" not in body["metadata"]
        site.plane.delete("HorizontalPodAutoscaler", "web", site.namespace)


def test_a_stale_take_over_is_a_conflict(site: Site) -> None:
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    metadata = site.live(BEFORE)["metadata"]
    patch = take_over(metadata["managedFields"], resource_version=metadata["resourceVersion"])
    site.plane.patch("Deployment", "web", site.namespace, {"metadata": {"labels": {"moved": "x"}}})
    with pytest.raises(ApiError) as caught:
        site.patch(BEFORE, patch)
    assert caught.value.code == 409


def test_our_hash_moves_with_our_fields_only(site: Site) -> None:
    site.apply(AFTER)
    site.plane.until(lambda: "conditions" in site.live(AFTER).get("status", {}), what="the controller's status")
    ours = own_fields(site.live(AFTER))
    assert ours

    site.kubectl("label", "deployment", "web", "by=hand")  # somebody else's field
    site.kubectl("rollout", "restart", "deployment/web")
    assert own_fields(site.live(AFTER)) == ours

    site.kubectl("set", "image", "deployment/web", "web=ghcr.io/acme/web:9")  # ours
    assert own_fields(site.live(AFTER)) != ours
    assert site.drift(AFTER) == (
        "spec.template.spec.containers[name=web].image: ghcr.io/acme/web:9 → ghcr.io/acme/web:1.0.0",
    )
    site.apply(AFTER)
    assert own_fields(site.live(AFTER)) == ours

    site.kubectl("annotate", "deployment", "web", "kept-")
    assert own_fields(site.live(AFTER)) != ours
    assert site.drift(AFTER) == ("metadata.annotations.kept: (absent) → yes",)
    site.apply(AFTER)
    assert own_fields(site.live(AFTER)) == ours
    assert site.drift(AFTER) == ()


def test_a_key_that_leaves_string_data_leaves_the_secret(site: Site) -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: one, b: two}\n"
    site.apply(text)
    body = site.apply(text.replace(", b: two", ""))
    assert set(body["data"]) == {"a"}
    site.plane.patch("Secret", "s", site.namespace, {"data": {"a": "aHVudGVyMg=="}})
    assert site.drift(text.replace(", b: two", "")) == ("data.a: *** → ***",)


def test_replicas_stay_when_an_autoscaler_gets_the_workload(site: Site) -> None:
    manifest = site.manifest(AFTER)
    site.apply(AFTER)
    scaled = without_replicas(
        manifest, {manifest.ref: Ref("autoscaling", "HorizontalPodAutoscaler", site.namespace, "web")}
    )
    assert scaled.scaled
    site.hand_over(AFTER)
    body = site.apply(AFTER, manifest=scaled)
    assert body["spec"]["replicas"] == 2
    assert hand_over(body["metadata"]["managedFields"], REPLICAS) is None
    assert own_fields(body) != ""
    site.kubectl("scale", "deployment/web", "--replicas=5")
    assert site.apply(AFTER, manifest=scaled)["spec"]["replicas"] == 5


def test_replicas_are_not_taken_over_with_the_rest(site: Site) -> None:
    site.kubectl("apply", "-f", "-", stdin=BEFORE)
    manifest = site.manifest(AFTER)
    scaled = without_replicas(
        manifest, {manifest.ref: Ref("autoscaling", "HorizontalPodAutoscaler", site.namespace, "web")}
    )
    site.take_over(BEFORE, leave=REPLICAS)
    body = site.apply(AFTER, manifest=scaled)
    assert body["spec"]["replicas"] == 2
    assert set(containers(body)) == {"web"}
