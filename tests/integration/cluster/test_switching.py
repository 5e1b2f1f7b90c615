"""A live Kustomization gets another account or another cluster; strangers and itself do not get in its way."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, await_end_of, binding, config, deployment, kustomize, place, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


@pytest.fixture
def there(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    """Somebody else's namespace."""
    with place(plane, shop, {"README.md": "# fleet\n"}) as made:
        yield made


def notes(here: Place, reason: str) -> list[str]:
    return [each["note"] for each in here.events("Kustomization", "apps") if each["reason"] == reason]


def test_another_account_is_believed_when_the_server_does(here: Place, replica: Replica) -> None:
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    here.apply(here.kustomization(serviceAccountName="nobody"))
    here.await_condition("Kustomization", "apps", status="False", reason="Forbidden", contains="nobody")
    here.apply(binding(here.namespace, "nobody", "admin"))
    here.await_applied()
    await_end_of(replica, here)
    assert not here.has("ConfigMap", "a")


def test_another_cluster_gets_everything_though_drift_is_not_looked_for(
    here: Place, replica: Replica, second_plane: ControlPlane
) -> None:
    namespace = second_plane.namespace()
    kubeconfig = second_plane.kubeconfig.read_text().replace(
        f"certificate-authority: {second_plane.ca}",
        f"certificate-authority-data: {base64.b64encode(second_plane.ca.read_bytes()).decode()}",
    )
    here.apply(secret("elsewhere", {"value": kubeconfig}))
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    here.apply(here.source(), here.kustomization(drift="off"))
    here.await_applied()
    there: dict[str, Any] = {
        "drift": "off",
        "targetNamespace": namespace,
        "kubeConfig": {"secretRef": {"name": "elsewhere"}},
    }
    here.apply(here.kustomization(**there))
    until(lambda: second_plane.get("ConfigMap", "a", namespace), 30, "the object in the other cluster")
    here.await_applied()
    assert here.has("ConfigMap", "a")
    assert here.status("Kustomization", "apps")["cluster"] == second_plane.url
    stays = "1 object stays in the cluster of the Kustomization itself: spec.kubeConfig is another one now"
    until(lambda: stays in notes(here, "ClusterChanged"), 30, "an Event says what stays")
    # Back again: what is there is ours, and what stays in the other one is nothing to judge here.
    plain = here.kustomization(drift="off")
    here.commit({"apps/b.yaml": config("b", x="1"), "apps/kustomization.yaml": kustomize("b.yaml")})
    here.apply(plain)
    until(lambda: here.has("ConfigMap", "b"), 30, "the object in the first cluster again")
    here.await_applied()
    assert "cluster" not in here.status("Kustomization", "apps")
    assert second_plane.get("ConfigMap", "a", namespace)
    stays = f"1 object stays in the cluster at {second_plane.url}: spec.kubeConfig is another one now"
    until(lambda: stays in notes(here, "ClusterChanged"), 30, "an Event says what stays there")
    await_end_of(replica, here)
    second_plane.delete("Namespace", namespace)


def test_one_that_waits_keeps_nobody_from_pruning(here: Place, there: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/b.yaml": config("b", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
            "late/b.yaml": config("c", x="1"),
            "late/kustomization.yaml": kustomize("b.yaml"),
        }
    )
    there.commit({"apps/b.yaml": config("b", x="1"), "apps/kustomization.yaml": kustomize("b.yaml")})
    here.apply(here.source(), here.kustomization())
    here.apply(here.kustomization("late", path="late", dependsOn=[{"name": "never"}]))
    there.apply(there.source(), there.kustomization(dependsOn=[{"name": "never"}]))
    here.await_applied()
    here.await_condition("Kustomization", "late", status="False", reason="DependencyNotReady")
    there.await_condition("Kustomization", "apps", status="False", reason="DependencyNotReady")
    here.commit({"apps/kustomization.yaml": kustomize("a.yaml")})
    until(lambda: not here.has("ConfigMap", "b"), 30, "the end of what left Git")
    # What one that waits may take over stays, and who that is is said.
    here.commit({"apps/kustomization.yaml": "resources: []\n", "late/kustomization.yaml": kustomize("../apps/a.yaml")})
    kept = here.await_condition("Kustomization", "apps", status="True", contains="not pruned")
    assert f"{here.namespace}/late" in kept["message"]
    assert here.has("ConfigMap", "a")


def test_one_that_holds_itself_neither_waits_for_itself_nor_deletes_itself(here: Place, replica: Replica) -> None:
    own = here.kustomization(wait=True, timeout="5s")
    here.apply(binding(here.namespace, "default", "cluster-admin"))
    here.commit(
        {
            "apps/self.yaml": json.dumps(own),
            "apps/web.yaml": deployment("web", "example.com/web:1"),
            "apps/kustomization.yaml": kustomize("self.yaml", "web.yaml"),
        }
    )
    here.apply(here.source(), own)
    here.await_applied()
    assert here.inventory() == {"Kustomization/apps", "Deployment/web"}
    here.commit({"apps/kustomization.yaml": kustomize("web.yaml")})
    here.await_applied()
    assert here.inventory() == {"Deployment/web"}
    assert "deletionTimestamp" not in here.get("Kustomization", "apps")["metadata"]
    await_end_of(replica, here)


def test_who_renders_what_it_may_not_apply_keeps_nobody_from_pruning(
    here: Place, there: Place, replica: Replica
) -> None:
    """A stranger: of another namespace, without a right in ours."""
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/b.yaml": config("b", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    strange = {name: json.loads(config(name, x="2")) for name in "ab"}
    for each in strange.values():
        each["metadata"]["namespace"] = here.namespace
    there.commit({f"apps/{name}.json": json.dumps(each) for name, each in strange.items()})
    spec = there.kustomization("stranger", retryInterval="1h", interval="1h")
    del spec["spec"]["targetNamespace"]
    there.apply(binding(there.namespace, "deployer", "admin"), there.source())
    spec["spec"]["serviceAccountName"] = "deployer"
    there.apply(spec)
    there.await_condition("Kustomization", "stranger", status="False", reason="Contested")
    here.commit({"apps/kustomization.yaml": kustomize("a.yaml")})
    until(lambda: not here.has("ConfigMap", "b"), 60, "what left is pruned")
    await_end_of(replica, here)
    assert not here.has("ConfigMap", "a")
    there.plane.delete("Kustomization.image-updater.dev", "stranger", there.namespace)


def test_objects_that_failed_are_forgotten_with_their_revision(here: Place, replica: Replica) -> None:
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    here.apply(here.source(), here.kustomization(serviceAccountName="nobody"))
    here.await_condition("Kustomization", "apps", status="False", reason="Forbidden")
    assert here.status("Kustomization", "apps")["failed"]
    here.commit({"apps/kustomization.yaml": kustomize("nothing.yaml")})
    here.await_condition("Kustomization", "apps", status="False", contains="nothing.yaml")
    assert "failed" not in here.status("Kustomization", "apps")
    await_end_of(replica, here)


def test_a_commit_that_changes_nothing_here_can_be_waited_for(here: Place, replica: Replica) -> None:
    """As docs/objects/kustomization.md has it; and a render of nothing prunes."""
    first = here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    here.apply(here.source(), here.kustomization(interval="1h"))
    here.await_applied()
    commit = here.commit({"docs/readme.md": "nothing of it\n"})
    until(lambda: commit in here.status("GitRepository", "fleet")["revision"], 60, "the commit is fetched")
    here.annotate("Kustomization", "apps", requestedAt="now")
    until(lambda: here.status("Kustomization", "apps").get("lastHandledReconcileAt") == "now", 60, "it was asked")
    assert first in here.status("Kustomization", "apps")["lastAppliedRevision"]
    here.commit({"apps/kustomization.yaml": "resources: []\n"})
    until(lambda: not here.has("ConfigMap", "a"), 60, "nothing is rendered, all is pruned")
    await_end_of(replica, here)
