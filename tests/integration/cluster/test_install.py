"""What `install` prints: what the chart makes of its default values, and what a real API server takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from image_updater.api.manifests import Installation, dump, manifests
from image_updater.settings import Role
from tests.integration.chart.helm import CHART, helm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controlplane import ControlPlane

Object = dict[str, Any]

CHOICES = {
    "default": (Installation(), ()),
    "elsewhere": (
        Installation(namespace="ops", image="r.example.com/iu:v2", roles=(Role.SYNC,)),
        ("--set", "image.repository=r.example.com/iu,image.tag=v2,roles={sync}"),
    ),
    "replicas": (Installation(replicas=2, roles=(Role.UPDATE,)), ("--set", "replicas=2,roles={update}")),
    "namespaces": (Installation(watch_namespaces=("a", "b")), ("--set", "watchNamespaces={a,b}")),
    "persistent": (Installation(persistent=True, replicas=3), ("--set", "persistence.enabled=true,replicas=3")),
}


def comparable(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """By kind and name; without the labels by which Helm knows its own, and the version, which follows the tag."""
    found = {}
    for each in objects:
        metadata = each["metadata"]
        heads = [metadata]
        if "template" in each.get("spec", {}):
            heads.append(each["spec"]["template"]["metadata"])
        for head in heads:
            for name in ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"):
                head.get("labels", {}).pop(name, None)
        found[each["kind"], metadata.get("namespace", ""), metadata["name"]] = each
    return found


@pytest.mark.parametrize("name", CHOICES)
def test_it_is_what_the_chart_makes(name: str) -> None:
    chosen, flags = CHOICES[name]
    text = helm("template", "image-updater", CHART, "--namespace", chosen.namespace, "--include-crds", *flags)
    chart = comparable([document for document in yaml.safe_load_all(text) if document])
    printed = comparable(list(yaml.safe_load_all(dump(manifests(chosen)))))
    del printed["Namespace", "", chosen.namespace]
    assert sorted(printed) == sorted(chart)
    for key, wanted in chart.items():
        assert plain(printed[key]) == plain(wanted), key


def plain(body: Object) -> Object:
    """Without what is only another spelling: the order of variables, an empty medium."""
    pod = body.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("containers", ()):
        container["env"].sort(key=lambda variable: variable["name"])
    for volume in pod.get("volumes", ()):
        if volume.get("emptyDir", {}).get("medium") == "":
            del volume["emptyDir"]["medium"]
    return body


@pytest.fixture
def home(plane: ControlPlane) -> Iterator[str]:
    """A namespace that refuses what is not `restricted`."""
    name = plane.namespace("iu")
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.patch("Namespace", name, None, {"metadata": {"labels": label}})
    yield name
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        for each in plane.list(kind):
            if each["metadata"]["name"].startswith(f"image-updater:{name}"):
                plane.delete(kind, each["metadata"]["name"])
    plane.delete("Namespace", name)


@pytest.mark.parametrize("persistent", [False, True], ids=["emptydir", "claim"])
def test_kubectl_applies_it_and_its_pods_run(plane: ControlPlane, home: str, persistent: bool) -> None:
    text = dump(manifests(Installation(namespace=home, replicas=2, persistent=persistent)))
    plane.kubectl("apply", "-f", "-", stdin=text)
    kind = "StatefulSet" if persistent else "Deployment"
    if persistent:
        # No provisioner here: the claims are there, with what was asked for.
        claims = plane.until(lambda: plane.list("PersistentVolumeClaim", home), what="claims")
        assert {each["spec"]["resources"]["requests"]["storage"] for each in claims} == {"2Gi"}
        pods = plane.until(lambda: plane.list("Pod", home), what="pods that the namespace admits")
        assert pods
    else:
        plane.until(
            lambda: (plane.get(kind, "image-updater", home) or {})["status"].get("readyReplicas") == 2, what="pods"
        )
    said = plane.kubectl("apply", "-f", "-", stdin=text)
    # kubectl sends a selector of the one and the claims of the other each time: lists that are replaced as a whole.
    assert set(re.findall(r"^(?!poddisruption|statefulset).* (\w+)$", said, re.MULTILINE)) == {"unchanged"}
    plane.delete(kind, "image-updater", home)


@pytest.mark.parametrize(
    ("roles", "verb", "resource", "wide", "narrow"),
    [
        (tuple(Role), "get", "secrets", True, True),
        (tuple(Role), "list", "secrets", False, False),
        (tuple(Role), "watch", "secrets", False, False),
        (tuple(Role), "create", "deployments.apps", False, False),
        (tuple(Role), "list", "deployments.apps", True, True),
        (tuple(Role), "list", "customresourcedefinitions.apiextensions.k8s.io", True, False),
        (tuple(Role), "impersonate", "serviceaccounts", True, True),
        (tuple(Role), "impersonate", "users", False, False),
        (tuple(Role), "impersonate", "groups", False, False),
        ((Role.UPDATE,), "impersonate", "serviceaccounts", False, False),
        ((Role.UPDATE,), "list", "deployments.apps", False, False),
        ((Role.SYNC,), "patch", "imagepolicies.image-updater.dev/status", False, False),
        ((Role.WEB,), "list", "imagepolicies.image-updater.dev", True, True),
        ((Role.WEB,), "get", "secrets", False, False),
    ],
)
def test_the_server_grants_each_role_what_it_needs_and_no_more(
    plane: ControlPlane, home: str, roles: tuple[Role, ...], verb: str, resource: str, wide: bool, narrow: bool
) -> None:
    watched = plane.namespace("w")
    account = f"system:serviceaccount:{home}:image-updater"
    for namespaces, expected in (((watched,), narrow), ((), wide)):
        chosen = Installation(namespace=home, roles=roles, watch_namespaces=namespaces)
        rights = [each for each in manifests(chosen) if "Role" in each["kind"] or each["kind"] == "ServiceAccount"]
        plane.apply(rights)
        name, _, subresource = resource.partition("/")
        flags = [f"--subresource={subresource}"] if subresource else []

        def answer(name: str = name, flags: list[str] = flags) -> str:
            said = plane.kubectl("auth", "can-i", verb, name, *flags, "-n", watched, f"--as={account}", check=False)
            return said.strip().splitlines()[-1]

        wanted = "yes" if expected else "no"
        plane.until(lambda answer=answer, wanted=wanted: answer() == wanted, 15, f"{wanted} to {verb} {resource}")
    plane.delete("Namespace", watched)
