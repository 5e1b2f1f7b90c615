"""One controller that applies to another cluster through a kubeconfig in a Secret."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from image_updater.settings import Role
from tests.parts.controllers import controller
from tests.parts.controlplane import ApiError, until
from tests.parts.loops import Place, Workshop, await_end_of, config, kustomize, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane

APPS = {"apps/kustomization.yaml": kustomize("a.yaml"), "apps/a.yaml": config("a", x="1")}


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.SYNC], environment=shop.environment) as running:
        running.await_leading()
        yield running


@pytest.fixture
def there(second_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the other cluster."""
    name = second_plane.namespace("far")
    yield name
    second_plane.mend()
    second_plane.delete("Namespace", name)


def account(plane: ControlPlane, namespace: str, name: str, role: str | None) -> str:
    """A kubeconfig of a service account; with `role` everywhere."""
    plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    if role is not None:
        plane.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{namespace}-{name}"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }
        )
    return plane.kubeconfig_of(namespace, name).read_text()


def remote(here: Place, namespace: str, **spec: Any) -> dict[str, Any]:
    """A Kustomization for the other cluster."""
    return here.kustomization(
        targetNamespace=namespace, **{"kubeConfig": {"secretRef": {"name": "far"}}, "interval": "1h"} | spec
    )


def data(plane: ControlPlane, namespace: str) -> Any:
    found = plane.get("ConfigMap", "a", namespace)
    return found["data"] if found is not None else None


def test_what_a_path_says_is_made_and_kept_so_in_the_other_cluster(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica
) -> None:
    here.commit(APPS)
    here.apply(secret("far", {"value": account(second_plane, there, "deployer", "cluster-admin")}))
    here.apply(here.source(), remote(here, there))
    here.await_applied()
    assert data(second_plane, there) == {"x": "1"}
    assert not here.has("ConfigMap", "a")
    second_plane.patch("ConfigMap", "a", there, {"data": {"x": "edited"}})
    until(lambda: data(second_plane, there) == {"x": "1"}, 30, "the edit is corrected at once")
    here.commit({"apps/b.yaml": config("b", x="1"), "apps/kustomization.yaml": kustomize("b.yaml")})
    here.await_applied()
    assert data(second_plane, there) is None
    await_end_of(replica, here)
    assert second_plane.get("ConfigMap", "b", there) is None


def test_the_account_of_the_kubeconfig_has_its_own_rights_and_no_more(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica
) -> None:
    here.commit(APPS)
    here.apply(secret("far", {"value": account(second_plane, there, "deployer", None)}))
    here.apply(here.source(), remote(here, there))
    here.await_condition("Kustomization", "apps", status="False", reason="Forbidden", contains="deployer")
    second_plane.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "deployer", "namespace": there},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": there}],
        }
    )
    here.await_applied()
    # It may not watch the whole cluster: what it may do is look at its interval.
    here.apply(remote(here, there, interval="1s"))
    second_plane.patch("ConfigMap", "a", there, {"data": {"x": "edited"}})
    until(lambda: data(second_plane, there) == {"x": "1"}, 30, "the edit is corrected at the interval")


def test_a_service_account_of_the_other_cluster_can_be_named(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica
) -> None:
    here.commit(APPS)
    here.apply(secret("far", {"value": account(second_plane, there, "deployer", "cluster-admin")}))
    here.apply(here.source(), remote(here, there, serviceAccountName="tenant"))
    user = f"system:serviceaccount:{here.namespace}:tenant"
    here.await_condition("Kustomization", "apps", status="False", reason="Forbidden", contains=user)
    second_plane.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tenant", "namespace": there},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": here.namespace}],
        }
    )
    here.await_applied()


@pytest.mark.parametrize("field", ["exec", "auth-provider", "tokenFile"])
def test_a_kubeconfig_that_runs_or_reads_something_here_is_refused(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica, field: str
) -> None:
    document = yaml.safe_load(account(second_plane, there, "deployer", None))
    values = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true"},
        "auth-provider": {"name": "gcp"},
        "tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token",
    }
    document["users"][0]["user"] = {field: values[field]}
    here.commit(APPS)
    here.apply(secret("far", {"value": yaml.safe_dump(document)}))
    here.apply(here.source(), remote(here, there))
    here.await_condition("Kustomization", "apps", status="False", reason="InvalidSpec", contains=field)
    assert data(second_plane, there) is None


def test_another_kubeconfig_is_used_as_soon_as_it_is_there(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica
) -> None:
    here.commit(APPS)
    here.apply(here.source(), remote(here, there))
    here.await_condition("Kustomization", "apps", status="False", reason="SecretNotFound", contains="/far")
    text = account(second_plane, there, "deployer", "cluster-admin")
    here.apply(secret("far", {"value.yaml": text}))
    here.annotate("Kustomization", "apps", requestedAt=secrets.token_hex(4))
    until(lambda: here.is_ready("Kustomization", "apps"), 120, "the Secret is there")
    assert data(second_plane, there) == {"x": "1"}
    other = account(second_plane, there, "another", "cluster-admin")
    second_plane.delete("ServiceAccount", "deployer", there)
    here.apply(secret("far", {"value.yaml": other}))
    here.commit({"apps/a.yaml": config("a", x="2")})
    until(lambda: data(second_plane, there) == {"x": "2"}, 120, "the other account applies")


def test_a_cluster_that_is_away_holds_up_nobody_else(
    here: Place, second_plane: ControlPlane, there: str, replica: Replica
) -> None:
    here.commit({**APPS, "near/n.yaml": config("near", x="1")})
    here.apply(secret("far", {"value": account(second_plane, there, "deployer", "cluster-admin")}))
    here.apply(here.source(), remote(here, there), here.kustomization("near", path="near"))
    here.await_applied()
    here.await_applied("near")
    second_plane.kill_apiserver()
    try:
        here.commit({"apps/a.yaml": config("a", x="2"), "near/n.yaml": config("near", x="2")})
        until(lambda: here.get("ConfigMap", "near")["data"] == {"x": "2"}, 30, "the near one is applied")
        here.await_condition("Kustomization", "apps", status="False", reason="ApiServerUnavailable")
    finally:
        second_plane.start_apiserver()

    def back() -> bool:
        try:
            return bool(data(second_plane, there) == {"x": "2"})
        except ApiError:
            return False

    until(back, 90, "the far one catches up")
    here.await_applied()
