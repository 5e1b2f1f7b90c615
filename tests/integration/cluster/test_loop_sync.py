"""Commits by hand, as people make them, and what the cluster becomes: nothing but `kubectl` and Git is used here."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, await_end_of, config, deployment, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane

PATHS = "/spec/replicas"


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


def data(here: Place, name: str) -> Any:
    return here.get("ConfigMap", name)["data"]


def holds(here: Place, name: str, **values: str) -> bool:
    return bool(data(here, name) == values)


def listed(here: Place, name: str, *objects: str) -> bool:
    """The whole inventory of a Kustomization."""
    return here.inventory(name) == set(objects)


def names(here: Place, kind: str = "ConfigMap") -> set[str]:
    """What there is, without what the cluster makes itself."""
    return {each["metadata"]["name"] for each in here.plane.list(kind, here.namespace)} - {"kube-root-ca.crt"}


def kubectl(here: Place, *words: str) -> str:
    return here.plane.kubectl("-n", here.namespace, *words)


def test_a_commit_that_adds_changes_renames_and_removes_is_applied_and_pruned(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/kept.yaml": config("kept", a="1"),
            "apps/changed.yaml": config("changed", a="1", gone="x"),
            "apps/renamed.yaml": config("old-name", a="1"),
            "apps/removed.yaml": config("removed", a="1"),
            "apps/web.yaml": deployment("web", "example.com/web:1", replicas=1),
            "apps/kustomization.yaml": kustomize(
                "kept.yaml", "changed.yaml", "renamed.yaml", "removed.yaml", "web.yaml"
            ),
        }
    )
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    assert names(here) == {"kept", "changed", "old-name", "removed"}
    kept = here.get("ConfigMap", "kept")["metadata"]
    (transition,) = [each["lastTransitionTime"] for each in here.status("Kustomization", "apps")["conditions"]]

    here.commit(
        {
            "apps/changed.yaml": config("changed", a="2"),
            "apps/renamed.yaml": config("new-name", a="1"),
            "apps/removed.yaml": None,
            "apps/added.yaml": config("added", a="1"),
            "apps/web.yaml": deployment("web", "example.com/web:2", replicas=3),
            "apps/kustomization.yaml": kustomize("kept.yaml", "changed.yaml", "renamed.yaml", "added.yaml", "web.yaml"),
        }
    )
    here.await_applied()
    assert names(here) == {"kept", "changed", "new-name", "added"}
    assert data(here, "changed") == {"a": "2"}
    assert here.get("ConfigMap", "kept")["metadata"]["resourceVersion"] == kept["resourceVersion"]
    assert here.inventory() == {
        "ConfigMap/kept", "ConfigMap/changed", "ConfigMap/new-name", "ConfigMap/added", "Deployment/web"
    }  # fmt: skip
    here.await_running("web", "example.com/web:2")
    (ready,) = here.status("Kustomization", "apps")["conditions"]
    assert ready["lastTransitionTime"] == transition, "it was Ready all the time"

    # With the Kustomization goes what it applied.
    await_end_of(replica, here)
    assert names(here) == set()
    assert not here.has("Deployment", "web")


def test_without_prune_what_leaves_git_stays(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/b.yaml": config("b", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization(prune=False))
    here.await_applied()
    here.commit({"apps/b.yaml": None, "apps/kustomization.yaml": kustomize("a.yaml")})
    here.await_applied()
    assert names(here) == {"a", "b"}


def test_changes_made_in_the_cluster_are_corrected_at_once(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/web.yaml": deployment("web", "example.com/web:1"),
            "apps/kustomization.yaml": kustomize("a.yaml", "web.yaml"),
        }
    )
    # Not because of the interval: the watches tell.
    here.apply(here.source(), here.kustomization(interval="1h"))
    here.await_applied()
    kubectl(here, "patch", "configmap", "a", "--type=merge", "-p", json.dumps({"data": {"x": "edited", "mine": "1"}}))
    kubectl(here, "set", "image", "deployment/web", "main=example.com/web:hotfix")
    until(lambda: data(here, "a") == {"x": "1", "mine": "1"}, 30, "the edit of a ConfigMap is corrected")
    here.await_running("web", "example.com/web:1")
    kubectl(here, "delete", "configmap", "a")
    until(lambda: data(here, "a") == {"x": "1"}, 30, "a deleted object is back")
    here.await_ready(("Kustomization", "apps"))


def test_drift_is_reported_or_left_alone_where_that_is_asked_for(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "warn/web.yaml": deployment("warned", "example.com/web:1", replicas=1),
            "warn/kustomization.yaml": kustomize("web.yaml"),
            "off/web.yaml": deployment("off", "example.com/web:1", replicas=1),
            "off/kustomization.yaml": kustomize("web.yaml"),
        }
    )
    here.apply(
        here.source(),
        here.kustomization("warn", path="warn", drift="warn", interval="2s"),
        here.kustomization("off", path="off", drift="off", interval="2s"),
    )
    here.await_applied("warn")
    here.await_applied("off")
    for name in ("warned", "off"):
        kubectl(here, "scale", "deployment", name, "--replicas=2")

    def reported() -> bool:
        (drift,) = here.status("Kustomization", "warn")["drift"]
        assert drift["id"] == f"{here.namespace}_warned_apps_Deployment"
        assert any("replicas" in field for field in drift["fields"]), drift
        return True

    until(reported, 30, "the difference in status")
    condition = here.await_condition("Kustomization", "warn", status="True", contains="warned")
    assert "drift" in condition["message"]
    here.annotate("Kustomization", "off", requestedAt="1")
    until(lambda: here.status("Kustomization", "off").get("lastHandledReconcileAt") == "1", 30, "one more look")
    assert here.get("Deployment", "off")["spec"]["replicas"] == 2
    assert here.get("Deployment", "warned")["spec"]["replicas"] == 2
    assert "drift" not in here.status("Kustomization", "off")

    # A commit is no drift: what Git says anew is set in any case.
    here.commit(
        {
            "warn/web.yaml": deployment("warned", "example.com/web:2", replicas=1),
            "off/web.yaml": deployment("off", "example.com/web:2", replicas=1),
        }
    )
    for name in ("warned", "off"):
        here.await_running(name, "example.com/web:2")

    def mended() -> bool:
        assert here.get("Deployment", "warned")["spec"]["replicas"] == 1
        assert "drift" not in here.status("Kustomization", "warn")
        return True

    until(mended, 30, "no drift after a commit")


def test_a_broken_manifest_stops_only_its_own_kustomization_and_says_where(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "good/a.yaml": config("good", x="1"),
            "good/kustomization.yaml": kustomize("a.yaml"),
            "bad/a.yaml": config("bad", x="1"),
            "bad/kustomization.yaml": kustomize("a.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization("good", path="good"), here.kustomization("bad", path="bad"))
    here.await_applied("good")
    here.await_applied("bad")
    broken = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bad\ndata:\n  x: '1\n  y: : 2\n"
    here.commit({"good/a.yaml": config("good", x="2"), "bad/a.yaml": broken})
    here.await_applied("good")
    condition = here.await_condition("Kustomization", "bad", status="False")
    assert "bad/a.yaml" in condition["message"]
    assert any(f"{mark}{line}" in condition["message"] for mark in (":", "line ") for line in (6, 7)), condition
    # The last good one stays.
    assert data(here, "bad") == {"x": "1"}
    assert here.inventory("bad") == {"ConfigMap/bad"}

    # Invalid for the server, not for YAML.
    wrong = deployment("web", "example.com/web:1").replace("replicas: 2", "replicaz: 2")
    here.commit(
        {"bad/a.yaml": config("bad", x="2"), "bad/w.yaml": wrong, "bad/kustomization.yaml": kustomize("w.yaml")}
    )
    here.await_condition("Kustomization", "bad", status="False", contains="replicaz")
    here.commit({"bad/w.yaml": None, "bad/kustomization.yaml": kustomize("a.yaml")})
    here.await_applied("bad")
    assert data(here, "bad") == {"x": "2"}


def test_dependencies_are_waited_for_and_health_decides(here: Place, replica: Replica) -> None:
    slow = deployment("database", "example.com/db:1-hang")
    here.commit(
        {
            "base/db.yaml": slow,
            "base/kustomization.yaml": kustomize("db.yaml"),
            "apps/a.yaml": config("after", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml"),
        }
    )
    here.apply(
        here.source(),
        here.kustomization("base", path="base", wait=True, timeout="3s"),
        here.kustomization(dependsOn=[{"name": "base"}]),
    )
    waiting = here.await_condition("Kustomization", "apps", status="False", contains="base")
    assert "Dependency" in waiting["reason"], waiting
    failed = here.await_condition("Kustomization", "base", status="False", reason="HealthCheckFailed")
    assert "database" in failed["message"]
    unhealthy = here.status("Kustomization", "base")["unhealthy"]
    assert [each["id"] for each in unhealthy] == [f"{here.namespace}_database_apps_Deployment"]
    assert not here.has("ConfigMap", "after")

    here.commit({"base/db.yaml": deployment("database", "example.com/db:2")})
    here.await_applied("base")
    here.await_applied("apps")
    assert data(here, "after") == {"x": "1"}
    assert "unhealthy" not in here.status("Kustomization", "base")


def test_a_new_commit_ends_a_wait(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/web.yaml": deployment("web", "example.com/web:1-hang"),
            "apps/kustomization.yaml": kustomize("web.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization(wait=True, timeout="10m"))
    here.await_condition("Kustomization", "apps", status="Unknown", reason="Progressing")
    here.commit({"apps/web.yaml": deployment("web", "example.com/web:2")})
    here.await_running("web", "example.com/web:2")
    here.await_applied()


def test_suspended_means_hands_off(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml"),
            "other/b.yaml": config("b", x="1"),
        }
    )
    # Another one goes on: for who is suspended alone, Git is not asked at all.
    here.apply(here.source(), here.kustomization(interval="1s"), here.kustomization("other", path="other"))
    here.await_applied()
    here.await_applied("other")
    here.apply(here.kustomization(interval="1s", suspend=True))
    here.await_condition("Kustomization", "apps", status="True", reason="Suspended")
    kubectl(here, "patch", "configmap", "a", "--type=merge", "-p", json.dumps({"data": {"x": "by hand"}}))
    tip = here.commit({"apps/a.yaml": config("a", x="2"), "other/b.yaml": config("b", x="2")})
    here.await_applied("other")
    assert data(here, "a") == {"x": "by hand"}
    assert here.applied() != f"main@sha1:{tip}"
    here.apply(here.kustomization(interval="1s", suspend=False))
    here.await_applied()
    assert data(here, "a") == {"x": "2"}


def test_an_object_that_moves_to_another_kustomization_is_never_deleted(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "one/a.yaml": config("mover", x="1"),
            "one/b.yaml": config("one", x="1"),
            "one/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
            "two/b.yaml": config("two", x="1"),
            "two/kustomization.yaml": kustomize("b.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization("one", path="one"), here.kustomization("two", path="two"))
    here.await_applied("one")
    here.await_applied("two")
    uid = here.get("ConfigMap", "mover")["metadata"]["uid"]
    for turn, (left, right) in enumerate([("one", "two"), ("two", "one"), ("one", "two")]):
        here.commit(
            {
                f"{left}/a.yaml": None,
                f"{left}/kustomization.yaml": kustomize("b.yaml"),
                f"{right}/a.yaml": config("mover", x=f"{right} {turn}"),
                f"{right}/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
            }
        )
        until(partial(holds, here, "mover", x=f"{right} {turn}"), 30, "the new owner's")
        until(partial(listed, here, left, f"ConfigMap/{left}"), 30, "the old owner forgets it")
        assert here.inventory(right) == {"ConfigMap/mover", f"ConfigMap/{right}"}
        assert here.get("ConfigMap", "mover")["metadata"]["uid"] == uid
    # Deleted with the one that has it, not with the one that had it.
    await_end_of(replica, here, "one")
    assert names(here) == {"mover", "two"}
    await_end_of(replica, here, "two")
    assert names(here) == set()


def test_what_others_had_applied_is_taken_over_so_that_a_field_removed_from_git_goes(
    here: Place, replica: Replica
) -> None:
    """By `kubectl apply`, by `kubectl apply --server-side`, and by Flux's kustomize-controller."""
    made = {name: config(name, kept="1", removed="1") for name in ("client", "server", "flux")}
    for name, words in (("client", ["apply"]), ("server", ["apply", "--server-side"])):
        here.plane.kubectl("-n", here.namespace, *words, "-f", "-", stdin=made[name])
    here.plane.apply(json.loads(made["flux"]), here.namespace, manager="kustomize-controller")
    kubectl(here, "annotate", "configmap", "server", "someone=else")
    files = {f"apps/{name}.yaml": config(name, kept="1") for name in made}
    here.commit({**files, "apps/kustomization.yaml": kustomize(*(f"{name}.yaml" for name in made))})
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    for name in made:
        assert data(here, name) == {"kept": "1"}, name
    assert here.get("ConfigMap", "server")["metadata"]["annotations"]["someone"] == "else"
    managers = {each["manager"] for each in here.get("ConfigMap", "flux")["metadata"]["managedFields"]}
    assert "kustomize-controller" not in managers
    here.commit({f"apps/{name}.yaml": config(name) for name in made})
    here.await_applied()
    for name in made:
        assert not here.get("ConfigMap", name).get("data"), name
