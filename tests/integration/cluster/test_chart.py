"""The chart installed by the real Helm into the real API server: admission, schemas, restricted pods, upgrades."""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest
import yaml

from image_updater.api.kinds import KINDS
from image_updater.api.model import GROUP
from tests.integration.chart.helm import CHART, NAMES, VALUES, HelmError, Object, helm, of_kind, template, workloads
from tests.parts.controlplane import ApiError, control_plane, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A plane of its own: these tests install, change and remove what the whole cluster shares."""
    with control_plane(tmp_path_factory.mktemp("chart")) as running:
        yield running


@contextmanager
def restricted(cluster: ControlPlane) -> Iterator[str]:
    """A namespace that refuses pods which do not keep to the restricted standard."""
    name = f"chart-{secrets.token_hex(4)}"
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": label}})
    yield name
    cluster.delete("Namespace", name)


@pytest.fixture
def space(cluster: ControlPlane) -> Iterator[str]:
    with restricted(cluster) as name:
        yield name


@pytest.fixture
def clean(cluster: ControlPlane) -> None:
    """No definitions of ours, and so no objects that earlier releases kept."""
    for each in cluster.list("CustomResourceDefinition"):
        if each["spec"]["group"] == GROUP:
            cluster.delete("CustomResourceDefinition", each["metadata"]["name"])

    def gone() -> bool:
        left = definitions(cluster)
        for name in left:
            # The server puts off for minutes one whose storage was only just made; a change has it look again.
            cluster.patch(
                "CustomResourceDefinition", name, None, {"metadata": {"annotations": {"at": str(monotonic())}}}
            )
        return not left

    until(gone, 120, "the definitions to go", pause=0.5)


def definitions(cluster: ControlPlane) -> dict[str, Object]:
    found = cluster.list("CustomResourceDefinition")
    return {each["metadata"]["name"]: each for each in found if each["spec"]["group"] == GROUP}


def install(cluster: ControlPlane, namespace: str, *arguments: str | Path, verb: str = "install") -> str:
    """Release `rel` with these values and no others, until its pods are ready."""
    waiting = ("--wait", "--timeout", "60s", "--namespace", namespace)
    reset = ("--reset-values",) if verb == "upgrade" else ()
    return helm(verb, "rel", CHART, *waiting, *reset, *arguments, kubeconfig=cluster.kubeconfig)


def uninstall(cluster: ControlPlane, namespace: str) -> None:
    helm("uninstall", "rel", "--wait", "--namespace", namespace, kubeconfig=cluster.kubeconfig)


def pods(cluster: ControlPlane, namespace: str) -> list[Object]:
    return cluster.list("Pod", namespace)


def is_ready(pod: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return bool(pod["status"]["phase"] == "Running" and conditions.get("Ready") == "True")


# ------------------------------------------------------------------------------------------- one install


def test_one_install_on_an_empty_cluster_makes_definitions_controller_and_first_repository(
    cluster: ControlPlane, clean: None, space: str
) -> None:
    notes = install(
        cluster,
        space,
        "--set",
        "repository.url=https://git.example.com/acme/fleet.git",
        "--set",
        "repository.path=clusters/prod",
    )
    assert "The first repository is https://git.example.com/acme/fleet.git" in notes
    assert len(definitions(cluster)) == len(KINDS)
    for kind in ("gitrepositories", "kustomizations", "imageupdateautomations"):
        assert cluster.get(f"{kind}.{GROUP}", "fleet", "default") is not None
    assert cluster.get("ServiceAccount", "fleet", "default") is not None
    assert [is_ready(pod) for pod in pods(cluster, space)] == [True]
    # The account may do in its namespace what the role says, and nothing elsewhere.
    applier = cluster.api_of("default", "fleet")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "proof"}, "data": {}}
    applier.apply(config, "default")
    with pytest.raises(ApiError, match="forbidden"):
        applier.apply(config, "kube-public")
    cluster.delete("ConfigMap", "proof", "default")

    uninstall(cluster, space)
    assert len(definitions(cluster)) == len(KINDS)
    assert cluster.get(f"kustomizations.{GROUP}", "fleet", "default") is not None
    assert cluster.get("ServiceAccount", "fleet", "default") is None
    assert cluster.list("Deployment", space) == []
    assert cluster.list("ClusterRoleBinding", selector="app.kubernetes.io/instance=rel") == []


def test_a_release_that_comes_back_finds_what_it_had_left(cluster: ControlPlane, clean: None, space: str) -> None:
    first = ("--set", "repository.url=https://git.example.com/acme/fleet.git")
    install(cluster, space, *first)
    before = cluster.get(f"kustomizations.{GROUP}", "fleet", "default")
    uninstall(cluster, space)
    install(cluster, space, *first, "--set", "repository.path=elsewhere")
    after = cluster.get(f"kustomizations.{GROUP}", "fleet", "default")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["path"] == "elsewhere"
    uninstall(cluster, space)


def test_without_definitions_the_first_repository_is_refused_before_anything_is_made(
    cluster: ControlPlane, clean: None, space: str
) -> None:
    first = ("--set", "crds.enabled=false", "--set", "repository.url=https://git.example.com/acme/fleet.git")
    with pytest.raises(HelmError, match="no matches for kind"):
        install(cluster, space, *first)
    assert definitions(cluster) == {}
    assert cluster.list("Deployment", space) == []


# ------------------------------------------------------------------------------------------- upgrades


def with_a_new_field(folder: Path) -> Path:
    """The chart of a later version: one of its definitions has a field more."""
    later = folder / "later" / CHART.name
    shutil.copytree(CHART, later)
    path = later / "charts/crds/crds/gitrepositories.yaml"
    text = path.read_text()
    document = yaml.safe_load(text)
    (version,) = document["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] = {"type": "string"}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return later


def has_the_new_field(cluster: ControlPlane) -> bool:
    (version,) = definitions(cluster)[f"gitrepositories.{GROUP}"]["spec"]["versions"]
    return "later" in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


@pytest.mark.parametrize("upgrade", [True, False])
def test_an_upgrade_brings_the_definitions_up_to_date_and_deletes_none(
    cluster: ControlPlane, clean: None, space: str, tmp_path: Path, upgrade: bool
) -> None:
    first = ("--set", "repository.url=https://git.example.com/acme/fleet.git", "--namespace", space)
    install(cluster, space, *first)
    uids = {name: each["metadata"]["uid"] for name, each in definitions(cluster).items()}
    repository = cluster.get(f"gitrepositories.{GROUP}", "fleet", "default")
    assert not has_the_new_field(cluster)

    later = with_a_new_field(tmp_path)
    switch = ("--set", f"crds.upgrade={json.dumps(upgrade)}")
    for _ in range(2):  # the second one finds its own hooks there
        helm("upgrade", "rel", later, *first, *switch, "--wait", "--timeout", "60s", kubeconfig=cluster.kubeconfig)
    assert has_the_new_field(cluster) is upgrade
    assert {name: each["metadata"]["uid"] for name, each in definitions(cluster).items()} == uids
    kept = cluster.get(f"gitrepositories.{GROUP}", "fleet", "default")
    assert repository is not None
    assert kept is not None
    assert kept["metadata"]["uid"] == repository["metadata"]["uid"]

    uninstall(cluster, space)
    assert len(definitions(cluster)) == len(KINDS)


def test_a_first_repository_may_come_with_an_upgrade(cluster: ControlPlane, clean: None, space: str) -> None:
    install(cluster, space)
    install(cluster, space, "--set", "repository.url=https://git.example.com/acme/fleet.git", verb="upgrade")
    assert cluster.get(f"kustomizations.{GROUP}", "fleet", "default") is not None
    # And leave the values again: what it applied stays, and so does the object.
    install(cluster, space, verb="upgrade")
    assert cluster.get(f"kustomizations.{GROUP}", "fleet", "default") is not None
    uninstall(cluster, space)


def volumes(cluster: ControlPlane, count: int) -> None:
    """Volumes that claims without a class are bound to: nothing here makes them by itself."""
    for _ in range(count):
        name = f"chart-{secrets.token_hex(4)}"
        spec = {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": {"path": f"/volumes/{name}"},
        }
        cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})


def test_rights_that_the_values_take_back_are_gone(cluster: ControlPlane, clean: None, space: str) -> None:
    first = ("--set", "repository.url=https://git.example.com/acme/fleet.git")
    install(cluster, space, *first, "--set", "repository.serviceAccount.clusterWide=true")
    assert allowed(cluster, "default", "fleet", "create", "", "configmaps", namespace=space)
    install(cluster, space, *first, "--set", "repository.serviceAccount.clusterRole=view", verb="upgrade")
    cluster.until(
        lambda: not allowed(cluster, "default", "fleet", "create", "", "configmaps"), what="no right to write"
    )
    assert allowed(cluster, "default", "fleet", "get", "", "configmaps")
    uninstall(cluster, space)
    cluster.until(lambda: not allowed(cluster, "default", "fleet", "get", "", "configmaps"), what="no rights")


def test_a_volume_for_each_pod_may_come_and_go_with_an_upgrade(cluster: ControlPlane, space: str) -> None:
    install(cluster, space)
    assert len(cluster.list("Deployment", space)) == 1
    volumes(cluster, 2)
    install(cluster, space, "--set", "persistence.enabled=true", "--set", "replicas=2", verb="upgrade")
    assert cluster.list("Deployment", space) == []
    assert [is_ready(pod) for pod in pods(cluster, space) if "deletionTimestamp" not in pod["metadata"]] == [True, True]
    claims = cluster.list("PersistentVolumeClaim", space)
    assert {each["metadata"]["name"] for each in claims} == {"data-rel-image-updater-0", "data-rel-image-updater-1"}
    install(cluster, space, verb="upgrade")
    assert cluster.list("StatefulSet", space) == []
    cluster.until(lambda: cluster.list("PersistentVolumeClaim", space) == [], what="the claims to go with it")
    uninstall(cluster, space)


# ------------------------------------------------------------------------------------------- every values file


@pytest.mark.parametrize("name", NAMES)
def test_the_server_takes_every_object_as_it_is_written(cluster: ControlPlane, space: str, name: str) -> None:
    """Strict fields, and `kubectl apply` in one go: no object needs Helm."""
    helm("install", "rel", CHART, "--namespace", space, "--dry-run=server", kubeconfig=cluster.kubeconfig)
    objects = template("--include-crds", "-f", VALUES / f"{name}.yaml", namespace=space)
    cluster.apply(of_kind(objects, "CustomResourceDefinition"))
    rest = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
    for each in rest:
        resource = cluster.resource(".".join((each["kind"], *group_of(each))))
        path = resource.path(each["metadata"].get("namespace"), each["metadata"]["name"])
        cluster.request(
            "PATCH",
            f"{path}?fieldManager=chart&fieldValidation=Strict&force=true",
            each,
            "application/apply-patch+yaml",
        )
    wanted = sum(each["spec"]["replicas"] for each in workloads(objects))
    if name not in ("no-crds", "ha"):  # no account there, no volumes here
        cluster.until(lambda: sum(map(is_ready, pods(cluster, space))) == wanted, what="every pod to be ready")
    for each in rest:
        cluster.delete(
            ".".join((each["kind"], *group_of(each))), each["metadata"]["name"], each["metadata"].get("namespace")
        )


def group_of(document: Object) -> tuple[str, ...]:
    group, slash, _ = document["apiVersion"].partition("/")
    return (group,) if slash else ()


def test_roles_apart_may_do_what_their_own_role_needs(cluster: ControlPlane, clean: None, space: str) -> None:
    install(cluster, space, "-f", VALUES / "split.yaml")
    may = {
        role: {
            "impersonate": allowed(cluster, space, f"updater-{role}", "impersonate", "", "serviceaccounts"),
            "policies": allowed(cluster, space, f"updater-{role}", "patch", GROUP, "imagepolicies", "status"),
            "secrets": allowed(cluster, space, f"updater-{role}", "get", "", "secrets"),
            "list secrets": allowed(cluster, space, f"updater-{role}", "list", "", "secrets"),
            "deployments": allowed(cluster, space, f"updater-{role}", "patch", "apps", "deployments"),
        }
        for role in ("update", "sync", "web")
    }
    nothing = dict.fromkeys(("impersonate", "policies", "secrets", "list secrets", "deployments"), False)
    assert may == {
        "update": nothing | {"policies": True, "secrets": True},
        "sync": nothing | {"impersonate": True, "secrets": True},
        "web": nothing,
    }
    uninstall(cluster, space)


def allowed(
    cluster: ControlPlane,
    space: str,
    account: str,
    verb: str,
    group: str,
    resource: str,
    subresource: str = "",
    *,
    namespace: str = "default",
) -> bool:
    review = cluster.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "spec": {
                "user": f"system:serviceaccount:{space}:{account}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{space}", "system:authenticated"],
                "resourceAttributes": {
                    "namespace": namespace,
                    "verb": verb,
                    "group": group,
                    "resource": resource,
                    "subresource": subresource,
                },
            }
        },
    )
    return bool(review["status"]["allowed"])


def test_a_namespaces_administrator_may_edit_our_kinds(cluster: ControlPlane, clean: None, space: str) -> None:
    install(cluster, space)
    subject = [{"kind": "ServiceAccount", "name": "default", "namespace": space}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    binding = {"kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "people"}}
    cluster.apply({**binding, "roleRef": reference, "subjects": subject}, "default")
    for verb in ("get", "create", "delete"):
        # The roles are put together by a controller.
        cluster.until(lambda verb=verb: allowed(cluster, space, "default", verb, GROUP, "kustomizations"), what=verb)
    assert not allowed(cluster, space, "default", "patch", GROUP, "kustomizations", "status")
    cluster.delete("RoleBinding", "people", "default")
    uninstall(cluster, space)
