"""Whose rights decide: a Kustomization's account, never the controller's; and what a kubeconfig may not bring along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, binding, config, kustomize, place, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


@pytest.fixture
def bare(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    """A namespace whose `default` account may do nothing, with one ConfigMap in Git."""
    files = {"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")}
    with place(plane, shop, files, role=None) as made:
        made.apply(made.source())
        yield made


def account(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def test_without_an_account_only_the_rights_of_default_count(bare: Place, replica: Replica) -> None:
    """The controller itself may apply nothing, so nothing is."""
    bare.apply(bare.kustomization())
    condition = bare.await_condition("Kustomization", "apps", status="False", contains="forbidden")
    for word in (f"system:serviceaccount:{bare.namespace}:default", "configmaps", bare.namespace):
        assert word in condition["message"], condition
    assert not bare.has("ConfigMap", "a")
    failed = bare.status("Kustomization", "apps")["failed"]
    assert [each["id"] for each in failed] == [f"{bare.namespace}_a__ConfigMap"]
    bare.apply(binding(bare.namespace, "default", "edit"))
    bare.await_applied()
    assert bare.has("ConfigMap", "a")
    assert "failed" not in bare.status("Kustomization", "apps")


def test_a_restricted_account_cannot_reach_another_namespace(
    plane: ControlPlane, bare: Place, replica: Replica
) -> None:
    other = plane.namespace()
    bare.apply(account("deployer"), binding(bare.namespace, "deployer", "edit"))
    bare.commit(
        {
            "apps/b.yaml": json.dumps(json.loads(config("b", x="1")) | {"metadata": {"name": "b", "namespace": other}}),
            "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
        }
    )
    bare.apply(bare.kustomization(serviceAccountName="deployer", targetNamespace=None))
    condition = bare.await_condition("Kustomization", "apps", status="False", contains="forbidden")
    assert f"system:serviceaccount:{bare.namespace}:deployer" in condition["message"]
    assert f'namespace "{other}"' in condition["message"]
    assert plane.get("ConfigMap", "b", other) is None
    # The others of the set were applied all the same.
    assert bare.has("ConfigMap", "a")
    # What it could not apply it would not delete either, had somebody made it there.
    plane.delete("Namespace", other)


def test_nobody_gets_more_by_applying_rights(bare: Place, replica: Replica) -> None:
    """An editor's account that applies a RoleBinding to itself is refused by the server, as the editor would be."""
    bare.apply(account("deployer"), binding(bare.namespace, "deployer", "edit"))
    rise = {**binding(bare.namespace, "deployer", "cluster-admin"), "metadata": {"name": "rise"}}
    bare.commit({"apps/rise.yaml": json.dumps(rise), "apps/kustomization.yaml": kustomize("a.yaml", "rise.yaml")})
    bare.apply(bare.kustomization(serviceAccountName="deployer"))
    bare.await_condition("Kustomization", "apps", status="False", contains="rolebindings")
    assert not bare.has("RoleBinding", "rise")


def test_an_account_that_is_not_there_is_told_by_its_name(bare: Place, replica: Replica) -> None:
    bare.apply(bare.kustomization(serviceAccountName="nobody"))
    user = f"system:serviceaccount:{bare.namespace}:nobody"
    bare.await_condition("Kustomization", "apps", status="False", contains=user)


def kubeconfig(plane: ControlPlane, user: dict[str, Any], **cluster: Any) -> str:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": plane.url, "insecure-skip-tls-verify": False, **cluster}
    config["users"][0]["user"] = user
    return yaml.safe_dump(config)


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["MARK"]}}, "exec"),
        ({"auth-provider": {"name": "gcp", "config": {"cmd-path": "touch", "cmd-args": "MARK"}}}, "auth-provider"),
        ({"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}, "tokenFile"),
        ({"client-certificate": "MARK", "client-key": "MARK"}, "client-"),
    ],
    ids=["exec", "auth-provider", "token-file", "certificate-file"],
)
def test_a_kubeconfig_that_runs_or_reads_something_here_is_refused(
    plane: ControlPlane, bare: Place, replica: Replica, user: dict[str, Any], field: str
) -> None:
    mark = replica.folder / f"mark-{bare.namespace}"
    text = kubeconfig(plane, user).replace("MARK", str(mark))
    bare.apply(secret("remote", {"value": text}))
    bare.apply(bare.kustomization(kubeConfig={"secretRef": {"name": "remote"}}))
    condition = bare.await_condition("Kustomization", "apps", status="False", contains=field)
    assert condition["reason"] == "InvalidSpec", condition
    assert bare.condition("Kustomization", "apps", "Stalled")["status"] == "True"
    assert not mark.exists()
    assert not bare.has("ConfigMap", "a")


def test_a_kubeconfig_whose_data_is_inline_is_used_and_its_rights_count(
    plane: ControlPlane, bare: Place, replica: Replica
) -> None:
    bare.apply(account("remote"), binding(bare.namespace, "remote", "edit"))
    text = plane.kubeconfig_of(bare.namespace, "remote").read_text()
    bare.apply(secret("remote", {"value": text}))
    bare.apply(bare.kustomization(kubeConfig={"secretRef": {"name": "remote"}}))
    bare.await_applied()
    assert bare.has("ConfigMap", "a")


def test_a_source_of_another_namespace_is_refused(
    plane: ControlPlane, bare: Place, here: Place, replica: Replica
) -> None:
    """Whoever may write objects in one namespace does not read another one's repository, with its login."""
    reference = {"name": "fleet", "namespace": bare.namespace}
    here.apply(here.kustomization(sourceRef=reference), here.automation(sourceRef=reference))
    for kind, name in (("Kustomization", "apps"), ("ImageUpdateAutomation", "all")):
        condition = here.await_condition(kind, name, status="False", contains=bare.namespace)
        assert condition["reason"] == "AccessDenied", condition
    assert not here.has("ConfigMap", "a")


def test_the_account_may_not_do_what_no_rule_says(plane: ControlPlane, replica: Replica) -> None:
    """The generated rules, as the server reads them: nothing that could take a cluster over."""
    user = replica.account.user
    for words in (
        ("list", "secrets"),
        ("watch", "secrets"),
        ("create", "deployments.apps"),
        ("patch", "deployments.apps"),
        ("delete", "namespaces"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("impersonate", "users"),
        ("impersonate", "groups"),
        ("create", "serviceaccounts/token"),
        ("create", "pods/exec"),
    ):
        said = plane.kubectl("auth", "can-i", *words, "--all-namespaces", f"--as={user}", check=False)
        assert said.strip().splitlines()[-1] == "no", words


def test_what_is_applied_is_asked_for_as_the_account_and_by_nobody_else(
    plane: ControlPlane, here: Place, replica: Replica
) -> None:
    mark = plane.mark()
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    until(lambda: here.has("ConfigMap", "a"), 10)
    ours = replica.account.requests(mark)
    applied = [each for each in ours if each.writes and each.resource == "configmaps"]
    assert {each.impersonated for each in applied} == {f"system:serviceaccount:{here.namespace}:default"}
    groups = {each.group for each in ours if each.writes and each.impersonated is None and each.resource != "leases"}
    assert groups <= {"image-updater.dev", "events.k8s.io"}, groups
