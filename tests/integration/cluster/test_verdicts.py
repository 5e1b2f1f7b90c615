"""Verdicts on rollouts, on real controllers and schedulers: what failed, whose failure it is, and what it costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.controlplane.components import CONTROLLERS
from tests.parts.loops import Place, Workshop, config, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.SYNC], environment=shop.environment) as running:
        running.await_leading()
        yield running


def web(name: str, tag: str, *, deadline: int = 600, replicas: int = 2, spec: Any = None, **container: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "progressDeadlineSeconds": deadline,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": f"{name}:{tag}", **container}], **(spec or {})},
                },
            },
        }
    )


def put(here: Place, **files: str) -> None:
    here.commit(
        {
            **{f"apps/{name}.yaml": text for name, text in files.items()},
            "apps/kustomization.yaml": kustomize(*(f"{name}.yaml" for name in files)),
        }
    )


def rollouts(here: Place, name: str = "apps") -> dict[str, Object]:
    """Of status, by the workload's name."""
    listed = here.status("Kustomization", name).get("rollouts") or ()
    return {each["id"].split("_")[1]: each for each in listed}


def settled(here: Place, name: str = "apps") -> str:
    """Once the tip is applied, and nothing rolls out any more."""
    here.await_applied(name)

    def said() -> str:
        status = here.status("Kustomization", name)
        assert not status.get("rollouts"), status["rollouts"]
        return str(status.get("rolloutsSettled") or "")

    return until(said, 60, "rollouts settled")


def verdict(here: Place, name: str, timeout: float = 60.0) -> tuple[str, str, str]:
    """(state, culprit, reason) once it has failed."""

    def failed() -> tuple[str, str, str]:
        found = rollouts(here).get(name)
        assert found is not None, "not listed"
        assert found["state"] == "failed", found
        return found["state"], found["culprit"], found["reason"]

    return until(failed, timeout, f"a verdict on {name}")


def told(here: Place, reason: str) -> list[str]:
    return [each["note"] for each in here.events("Kustomization", "apps") if each["reason"] == reason]


def test_a_good_rollout_settles_and_then_costs_nothing(here: Place, replica: Replica, plane: ControlPlane) -> None:
    put(here, web=web("web", "1"))
    here.apply(here.source(interval="1h"), here.kustomization(interval="1h"))
    first = settled(here)
    mark = plane.mark()
    put(here, web=web("web", "2"), settings=config("settings", x="1"))
    here.annotate("GitRepository", "fleet", requestedAt="2")
    second = settled(here)
    assert second != first
    writes = [each for each in plane.audit(mark) if each.subresource == "status" and each.resource == "kustomizations"]
    assert len(writes) <= 4, writes  # inventory, applied, settled; one to spare
    put(here, web=web("web", "2", replicas=3), settings=config("settings", x="2"))
    here.annotate("GitRepository", "fleet", requestedAt="3")
    assert settled(here) == second, "replicas and ConfigMaps are no part of a template"
    until(lambda: replica.metric("image_updater_rollouts_followed") == 0, 30, "nothing is followed")
    mark = plane.mark()
    here.commit({"other/b.yaml": config("b", x="1"), "other/kustomization.yaml": kustomize("b.yaml")})
    here.apply(here.kustomization("other", path="other", interval="1h"))
    here.annotate("GitRepository", "fleet", requestedAt="4")
    here.await_applied("other")
    mine = [each for each in plane.audit(mark) if each.user_agent.startswith("image-updater")]
    pods = ("pods", "replicasets", "deployments", "events")
    assert [each for each in mine if each.resource in pods and not each.group.startswith("events")] == []
    assert [each for each in mine if each.name == "apps" and each.writes] == []
    seen = replica.metrics()
    assert seen['image_updater_rollout_seconds_count{result="healthy"}'] >= 2
    assert seen['image_updater_rollouts{state="healthy"}'] >= 1


BAD: dict[str, tuple[str, str, str]] = {
    "crash": ("2-crash", "tag", "container main ends with exit code 1 again and again"),
    "missing": ("2-missing", "tag", "the registry has no such image"),
    "hang": ("2-hang", "tag", "container main runs and is not ready; its progress deadline has passed"),
    "outage": ("2-outage", "environment", "the registry or the way to it fails: connection refused"),
    "full": ("2", "environment", "a pod cannot be scheduled: Unschedulable"),
    "quota": ("2", "environment", "exceeded quota"),
}
"""By name: the new tag, whose failure it is, and what is said of it."""

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "dear"},
    "spec": {
        "hard": {"pods": "2"},
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["dear"]}],
        },
    },
}


def bad(name: str, tag: str) -> str:
    """Those that fail only by their deadline have a short one."""
    deadline = 600 if name in ("crash", "missing") else 8
    if name == "full" and tag == "2":
        return web(name, tag, deadline=deadline, resources={"requests": {"cpu": "100k"}})
    if name == "quota":
        critical = {"priorityClassName": "dear"}
        return web(name, tag, deadline=deadline, spec=critical)
    return web(name, tag, deadline=deadline)


def test_what_failed_and_whose_failure_it_is(here: Place, replica: Replica, plane: ControlPlane) -> None:
    """All at once; the old pods of each go on serving."""
    plane.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "dear"},
            "value": 1000,
        }
    )
    here.apply(QUOTA)
    files = {name: bad(name, "1") for name in BAD}
    put(here, **files)
    here.apply(here.source(), here.kustomization())
    before = settled(here)
    put(here, **{name: bad(name, tag) for name, (tag, _, _) in BAD.items()})
    found = {name: verdict(here, name, 90) for name in BAD}
    for name, (_, culprit, words) in BAD.items():
        assert found[name][:2] == ("failed", culprit), (name, found[name])
        assert words in found[name][2], (name, found[name])
    assert rollouts(here)["crash"]["failing"] == ["main"]
    assert rollouts(here)["crash"]["images"] == ["main=crash:2-crash"]
    here.await_applied()  # Ready is what it was: nobody waits for health here
    notes = until(lambda: notes if len(notes := told(here, "RolloutFailed")) >= len(BAD) else None, 30, "Events")
    assert any("Deployment.apps" in note and "the tag's failure" in note for note in notes)
    assert any("the environment's failure" in note for note in notes)
    # A restart finds them as they are, tells nobody again, and looks at nothing that was healthy.
    known = {name: each["since"] for name, each in rollouts(here).items()}
    replica.restart()
    replica.await_leading()
    until(lambda: replica.metric("image_updater_rollouts_followed") == len(BAD), 60, "they are followed again")
    until(lambda: replica.metrics().get('image_updater_rollouts{state="failed"}') == len(BAD), 60, "judged anew")
    assert {name: each["since"] for name, each in rollouts(here).items()} == known
    assert len(told(here, "RolloutFailed")) == len(notes)
    put(here, **files)
    assert settled(here) == before, "they are the templates that were healthy"


def kind(which: str, name: str, tag: str, *, api: str = "apps/v1", **spec: Any) -> str:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "containers": [{"name": "main", "image": f"{name}:{tag}"}],
            **({"restartPolicy": "Never"} if api == "batch/v1" else {}),
        },
    }
    known = {} if api == "batch/v1" else {"selector": {"matchLabels": {"app": name}}}
    if which == "CronJob":
        spec |= {"jobTemplate": {"spec": {"backoffLimit": 0, "template": template}}}
    else:
        spec |= {"template": template}
    return json.dumps({"apiVersion": api, "kind": which, "metadata": {"name": name}, "spec": known | spec})


def run_now(here: Place, name: str) -> None:
    """As `kubectl create job --from` does."""
    cron = here.get("CronJob", name)
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": name,
        "uid": cron["metadata"]["uid"],
        "controller": True,
    }
    spec = cron["spec"]["jobTemplate"]["spec"]
    tag = spec["template"]["spec"]["containers"][0]["image"].partition(":")[2]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{name}-{tag}", "ownerReferences": [owner]},
        "spec": spec,
    }
    here.apply(job)


def others(tag: str, job: str) -> dict[str, str]:
    return {
        "sets": kind("StatefulSet", "sets", tag, replicas=2, serviceName="sets", podManagementPolicy="Parallel"),
        "daemons": kind("DaemonSet", "daemons", tag),
        job: kind("Job", job, tag, api="batch/v1", backoffLimit=0),
        "nightly": kind("CronJob", "nightly", tag, api="batch/v1", schedule="0 3 1 1 *"),
    }


def test_the_other_kinds(here: Place, replica: Replica) -> None:
    put(here, **others("1", "migrate"))
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    until(lambda: set(rollouts(here)) == {"nightly"}, 60, "all but the one that waits for its night")
    assert rollouts(here)["nightly"]["state"] == "pending"
    run_now(here, "nightly")
    settled(here)
    put(here, **others("2-crash", "again"))
    for name in ("sets", "daemons", "again"):
        found = verdict(here, name)
        assert found[1] == "tag", (name, found)
        assert "exit code 1" in found[2]
    run_now(here, "nightly")
    found = verdict(here, "nightly")
    assert (found[1], "exit code 1; BackoffLimitExceeded" in found[2]) == ("tag", True), found
    put(here, **others("3", "last"))
    until(lambda: set(rollouts(here)) == {"nightly"}, 60, "healthy again")


def test_what_breaks_after_it_was_healthy_is_no_failure_of_the_rollout(here: Place, replica: Replica) -> None:
    put(here, web=web("web", "1"))
    here.apply(here.source(), here.kustomization())
    before = settled(here)
    here.plane.fate(here.namespace, "app=web", "crash")
    until(lambda: not here.get("Deployment", "web")["status"].get("readyReplicas"), 30, "its pods are broken")
    replica.restart()
    replica.await_leading()
    here.annotate("Kustomization", "apps", requestedAt="1")
    until(lambda: here.status("Kustomization", "apps").get("lastHandledReconcileAt") == "1", 30, "looked at")
    assert (rollouts(here), here.status("Kustomization", "apps")["rolloutsSettled"]) == ({}, before)
    assert replica.metric("image_updater_rollouts_followed") == 0
    # A bad tag on top of it: nothing says that it is the tag's.
    put(here, web=web("web", "2-crash"))
    found = verdict(here, "web")
    assert (found[1], "the pods before are not healthy either" in found[2]) == ("unknown", True), found


def test_a_suspended_one_is_not_followed(here: Place, replica: Replica) -> None:
    put(here, web=web("web", "1-hang", deadline=600))
    here.apply(here.source(), here.kustomization())
    until(lambda: rollouts(here).get("web", {}).get("state") == "progressing", 60, "it rolls out")
    until(lambda: replica.metric("image_updater_rollouts_followed") == 1, 30, "followed")
    here.apply(here.kustomization(suspend=True))
    until(lambda: replica.metric("image_updater_rollouts_followed") == 0, 30, "not followed")
    assert rollouts(here)["web"]["state"] == "progressing"
    put(here, web=web("web", "2"))
    here.apply(here.kustomization())
    settled(here)


def test_a_node_that_is_gone_is_no_failure_of_a_tag(here: Place, replica: Replica, plane: ControlPlane) -> None:
    put(here, web=web("web", "1"))
    here.apply(here.source(), here.kustomization())
    settled(here)
    plane.parts["kwok"].kill()
    try:
        put(here, web=web("web", "2", deadline=8))
        found = verdict(here, "web")
        assert (found[1], "the node has not made" in found[2]) == ("environment", True), found
    finally:
        plane.parts["kwok"] = CONTROLLERS["kwok"](plane.layout)
    settled(here)
