"""Applying: what is sent, what is not, and what happens to objects that were there before."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Drift
from image_updater.sync.syncer import Syncer
from tests.parts.syncing import Rig, actions, named, rigged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.parts.controlplane import ControlPlane

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, size: "1"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
"""
ALL = f"{CONFIG}---{DEPLOYMENT}---{SECRET}"


@pytest.fixture
async def rig(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    async with rigged(plane, namespace) as made:
        yield made


async def test_a_first_install_costs_one_request_an_object(rig: Rig) -> None:
    await rig.sync("", "other")
    mark = rig.plane.mark()
    report = await rig.sync(ALL)
    assert report.ok, report.errors
    assert actions(report) == {"ConfigMap/settings": "created", "Deployment/web": "created", "Secret/login": "created"}
    sent = [each for each in rig.mine(mark) if not each.startswith("list")]
    assert sorted(sent) == ["patch configmaps/settings", "patch deployments/web", "patch secrets/login"]
    assert [entry.ref.kind for entry in rig.saved[-1]] == ["Secret", "ConfigMap", "Deployment"]


async def test_equal_objects_cost_no_request_and_secrets_one_read(rig: Rig) -> None:
    await rig.sync(ALL)
    await rig.until(lambda: rig.plane.get("Deployment", "web", rig.namespace)["status"].get("readyReplicas") == 2)
    mark = rig.plane.mark()
    report = await rig.sync(ALL)
    assert actions(report) == {"ConfigMap/settings": "equal", "Deployment/web": "equal", "Secret/login": "equal"}
    assert rig.mine(mark) == ["get secrets/login"]
    assert not report.changed
    assert rig.moved == []


async def test_one_changed_object_is_sent_alone(rig: Rig) -> None:
    await rig.sync(ALL)
    mark = rig.plane.mark()
    report = await rig.sync(ALL.replace("blue", "green"))
    assert named(report, "settings").action == "configured"
    assert named(report, "web").action == "equal"
    assert sorted(rig.mine(mark)) == ["get secrets/login", "patch configmaps/settings"]


async def test_our_own_applies_tell_nobody_and_others_changes_do(rig: Rig) -> None:
    await rig.sync(ALL)
    await rig.sync(ALL.replace("blue", "green").replace("web:1", "web:2"))
    await rig.until(lambda: rig.plane.get("Deployment", "web", rig.namespace)["status"].get("updatedReplicas") == 2)
    assert rig.moved == []
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)
    assert [(ref.name, owner.name) for ref, owner in rig.moved] == [("settings", "app")]


async def test_drift_is_mended_and_named(rig: Rig) -> None:
    await rig.sync(ALL)
    rig.plane.kubectl("-n", rig.namespace, "set", "image", "deployment/web", "web=web:hacked")
    rig.plane.delete("ConfigMap", "settings", rig.namespace)
    await rig.until(lambda: len(rig.moved) >= 2)
    report = await rig.sync(ALL)
    assert named(report, "web").action == "configured"
    assert named(report, "web").fields == ("spec.template.spec.containers[name=web].image: web:hacked → web:1",)
    assert named(report, "settings").action == "created"
    assert actions(await rig.sync(ALL)) == {
        "ConfigMap/settings": "equal",
        "Deployment/web": "equal",
        "Secret/login": "equal",
    }


async def test_drift_of_a_secret_is_found_at_the_next_sync_and_its_values_stay_hidden(rig: Rig) -> None:
    await rig.sync(ALL)
    rig.plane.patch("Secret", "login", rig.namespace, {"stringData": {"password": "stolen"}})
    report = await rig.sync(ALL)
    assert named(report, "login").action == "configured"
    assert named(report, "login").fields == ("data.password: *** → ***",)
    assert "hunter2" not in str(report)


async def test_drift_that_is_warned_of_stays_until_git_changes(rig: Rig) -> None:
    await rig.sync(ALL, drift=Drift.WARN)
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)
    for _ in range(2):
        report = await rig.sync(ALL, drift=Drift.WARN)
        assert named(report, "settings").action == "drifted"
        assert named(report, "settings").fields == ("data.colour: red → blue",)
        assert report.ok
        assert not report.changed
    report = await rig.sync(ALL.replace('"1"', '"2"'), drift=Drift.WARN)
    assert named(report, "settings").action == "configured"
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"] == {"colour": "blue", "size": "2"}


async def test_drift_that_is_warned_of_stays_when_nothing_is_known_any_more(rig: Rig) -> None:
    await rig.sync(ALL, drift=Drift.WARN)
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)
    rig.known.clear()
    report = await rig.sync(ALL, drift=Drift.WARN)
    assert named(report, "settings").action == "drifted"
    assert named(report, "settings").fields == ("data.colour: red → blue",)


async def test_a_change_in_git_is_applied_when_nothing_is_known_any_more(rig: Rig) -> None:
    await rig.sync(ALL, drift=Drift.WARN)
    rig.known.clear()
    report = await rig.sync(ALL.replace("blue", "green"), drift=Drift.WARN)
    assert named(report, "settings").action == "configured"
    assert named(report, "web").action == "unchanged"


async def test_with_drift_off_only_git_changes_are_written(rig: Rig) -> None:
    await rig.sync(ALL, drift=Drift.OFF)
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    rig.plane.delete("Secret", "login", rig.namespace)
    await rig.until(lambda: rig.moved)
    mark = rig.plane.mark()
    report = await rig.sync(ALL, drift=Drift.OFF, force_all=True)
    assert set(actions(report).values()) == {"equal"}
    assert rig.mine(mark) == []


async def test_a_field_that_comes_back_to_its_value_becomes_ours_again(rig: Rig) -> None:
    await rig.sync(ALL, drift=Drift.WARN)
    for colour in ("red", "blue"):
        rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": colour}})
    await rig.until(lambda: len(rig.moved) >= 1)
    assert named(await rig.sync(ALL, drift=Drift.WARN), "settings").action == "configured"
    rig.moved.clear()
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)


async def test_what_kubectl_applied_is_taken_over_so_that_what_left_git_goes(rig: Rig) -> None:
    before = CONFIG.replace('"1"}', '"1", old: gone}')
    rig.plane.kubectl("-n", rig.namespace, "apply", "-f", "-", stdin=before)
    report = await rig.sync(CONFIG)
    assert actions(report) == {"ConfigMap/settings": "configured"}
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"] == {"colour": "blue", "size": "1"}
    assert "kubectl.kubernetes.io/last-applied-configuration" not in live["metadata"].get("annotations", {})
    assert [each["manager"] for each in live["metadata"]["managedFields"]] == ["image-updater"]


@pytest.mark.parametrize(("manager", "goes"), [("kustomize-controller", True), ("terraform", True), ("helm", False)])
async def test_other_managers_are_taken_over_where_they_are_named(rig: Rig, manager: str, goes: bool) -> None:
    before = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"old": "x"}}
    rig.plane.apply(before, rig.namespace, manager=manager)
    await rig.sync(CONFIG, syncer=rig.syncer(take_over=["terraform"]))
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert ("old" not in live["data"]) is goes


async def test_without_watches_everything_works_and_unchanged_is_seen(rig: Rig) -> None:
    blind = rig.syncer(watched=False)
    assert set(actions(await rig.sync(ALL, syncer=blind)).values()) == {"created"}
    assert set(actions(await rig.sync(ALL, syncer=blind)).values()) == {"equal"}
    rig.known.clear()
    assert set(actions(await rig.sync(ALL, syncer=blind)).values()) == {"unchanged"}


async def test_after_a_restart_equal_objects_are_unchanged(rig: Rig) -> None:
    await rig.sync(ALL)
    await rig.until(lambda: rig.plane.get("Deployment", "web", rig.namespace)["status"].get("readyReplicas") == 2)
    rig.known.clear()
    report = await rig.sync(ALL)
    assert set(actions(report).values()) == {"unchanged"}
    assert not report.changed


async def test_everything_is_asked_when_asked_for(rig: Rig) -> None:
    await rig.sync(ALL)
    mark = rig.plane.mark()
    report = await rig.sync(ALL, force_all=True)
    assert set(actions(report).values()) == {"equal"}
    assert sorted(rig.mine(mark)) == ["get configmaps/settings", "get deployments/web", "get secrets/login"]


@pytest.mark.parametrize(
    "annotation", ["image-updater.dev/reconcile: disabled", "kustomize.toolkit.fluxcd.io/reconcile: disabled"]
)
async def test_an_object_that_says_so_is_left_alone_and_taken_up_again(rig: Rig, annotation: str) -> None:
    await rig.sync(CONFIG)
    name, _, value = annotation.partition(": ")
    note = {"metadata": {"annotations": {name: value}}}
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {**note, "data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)
    report = await rig.sync(CONFIG.replace("blue", "green"))
    assert actions(report) == {"ConfigMap/settings": "skipped"}
    assert "leave it alone" in named(report, "settings").reason
    rig.moved.clear()
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"metadata": {"annotations": {name: None}}})
    await rig.until(lambda: rig.moved)
    assert actions(await rig.sync(CONFIG.replace("blue", "green"))) == {"ConfigMap/settings": "configured"}


async def test_an_object_of_others_that_says_so_is_left_alone_too(rig: Rig) -> None:
    before = {"metadata": {"name": "settings", "annotations": {"image-updater.dev/reconcile": "disabled"}}}
    rig.plane.apply({"apiVersion": "v1", "kind": "ConfigMap", **before, "data": {"theirs": "x"}}, rig.namespace)
    report = await rig.sync(CONFIG)
    assert actions(report) == {"ConfigMap/settings": "skipped"}
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"] == {"theirs": "x"}


async def test_create_only_leaves_what_is_there(rig: Rig) -> None:
    once = CONFIG.replace(
        "name: settings", "name: settings, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}"
    )
    rig.plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}, rig.namespace)
    assert actions(await rig.sync(once)) == {"ConfigMap/settings": "skipped"}
    rig.plane.delete("ConfigMap", "settings", rig.namespace)
    assert actions(await rig.sync(once)) == {"ConfigMap/settings": "created"}


async def test_an_immutable_field_is_an_error_that_names_the_remedy(rig: Rig) -> None:
    await rig.sync(DEPLOYMENT)
    report = await rig.sync(DEPLOYMENT.replace("app: web", "app: other"))
    assert actions(report) == {"Deployment/web": "failed"}
    assert "spec.selector" in str(report.errors[0])
    assert "force" in str(report.errors[0])


@pytest.mark.parametrize("how", ["spec", "annotation"])
async def test_with_force_the_object_is_made_anew_and_nobody_is_told(rig: Rig, how: str) -> None:
    text = DEPLOYMENT
    if how == "annotation":
        text = text.replace(
            "name: web}\nspec", "name: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}\nspec"
        )
    await rig.sync(text)
    before = rig.plane.get("Deployment", "web", rig.namespace)
    report = await rig.sync(text.replace("app: web", "app: other"), force=how == "spec")
    assert actions(report) == {"Deployment/web": "recreated"}
    live = rig.plane.get("Deployment", "web", rig.namespace)
    assert live is not None
    assert before is not None
    assert live["metadata"]["uid"] != before["metadata"]["uid"]
    assert actions(await rig.sync(text.replace("app: web", "app: other"), force=how == "spec")) == {
        "Deployment/web": "equal"
    }


async def test_one_that_fails_stops_no_other_and_no_prune_happens(rig: Rig) -> None:
    await rig.sync(ALL)
    broken = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  replicsa: 3")
    report = await rig.sync(f"{broken}---{CONFIG.replace('blue', 'green')}")
    assert actions(report) == {"Deployment/web": "failed", "ConfigMap/settings": "configured"}
    assert not report.ok
    assert [type(error).__name__ for error in report.errors] == ["InvalidObject"]
    assert "replicsa" in str(report.errors[0])
    assert f"Deployment.apps {rig.namespace}/web" in str(report.errors[0])
    assert {entry.ref.kind for entry in report.inventory} == {"ConfigMap", "Deployment", "Secret"}
    assert rig.plane.get("Secret", "login", rig.namespace) is not None


async def test_what_an_autoscaler_owns_is_not_ours(rig: Rig) -> None:
    scaler = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 9}
"""
    await rig.sync(DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    await rig.sync(f"{DEPLOYMENT.replace('replicas: 2', 'replicas: 3')}---{scaler}")
    live = rig.plane.get("Deployment", "web", rig.namespace)
    assert live is not None
    assert live["spec"]["replicas"] == 3
    rig.plane.kubectl("-n", rig.namespace, "scale", "deployment/web", "--replicas=5")
    report = await rig.sync(f"{DEPLOYMENT.replace('web:1', 'web:2')}---{scaler}")
    assert named(report, "web").action == "configured"
    live = rig.plane.get("Deployment", "web", rig.namespace)
    assert live is not None
    assert live["spec"]["replicas"] == 5


async def test_what_an_autoscaler_of_others_owns_is_not_ours_either(rig: Rig) -> None:
    rig.plane.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "theirs"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1,
                "maxReplicas": 9,
            },
        },
        rig.namespace,
    )
    await rig.sync(DEPLOYMENT)
    rig.plane.kubectl("-n", rig.namespace, "scale", "deployment/web", "--replicas=5")
    await rig.sync(DEPLOYMENT.replace("web:1", "web:2"))
    live = rig.plane.get("Deployment", "web", rig.namespace)
    assert live is not None
    assert live["spec"]["replicas"] == 5


async def test_it_stops_between_objects_when_something_more_urgent_comes(rig: Rig) -> None:
    await rig.sync(ALL)
    answers = iter([False])
    report = await rig.sync(CONFIG.replace("blue", "green"), preempted=lambda: next(answers, True))
    assert report.preempted
    assert not report.ok
    assert {entry.ref.kind for entry in report.inventory} == {"ConfigMap", "Deployment", "Secret"}
    assert actions(report) == {"ConfigMap/settings": "configured"}
    assert (await rig.sync(CONFIG.replace("blue", "green"))).ok
    assert rig.plane.get("Deployment", "web", rig.namespace) is None


async def test_an_object_that_is_being_deleted_is_told_and_made_again_later(rig: Rig) -> None:
    await rig.sync(CONFIG)
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"metadata": {"finalizers": ["example.com/stay"]}})
    rig.plane.delete("ConfigMap", "settings", rig.namespace)
    report = await rig.sync(CONFIG.replace("blue", "green"))
    assert [type(error).__name__ for error in report.errors] == ["BeingDeleted"]
    assert "example.com/stay" in str(report.errors[0])
    rig.moved.clear()
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"metadata": {"finalizers": None}})
    await rig.until(lambda: rig.moved)
    assert actions(await rig.sync(CONFIG.replace("blue", "green"))) == {"ConfigMap/settings": "created"}


async def test_what_was_created_only_once_is_never_changed(rig: Rig) -> None:
    once = CONFIG.replace(
        "name: settings", "name: settings, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}"
    )
    await rig.sync(once)
    assert actions(await rig.sync(once.replace("blue", "green"))) == {"ConfigMap/settings": "skipped"}
    rig.plane.patch("ConfigMap", "settings", rig.namespace, {"data": {"colour": "red"}})
    await rig.until(lambda: rig.moved)
    assert actions(await rig.sync(once)) == {"ConfigMap/settings": "skipped"}
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"]["colour"] == "red"


async def test_a_secret_that_two_render_is_contested_too(rig: Rig) -> None:
    await rig.sync(SECRET, "first")
    await rig.run(replace(rig.build(SECRET, "second"), elsewhere=None))
    report = await rig.sync(SECRET.replace("hunter2", "hunter3"), "first")
    assert [type(error).__name__ for error in report.errors] == ["Contested"]


async def test_a_controller_that_may_not_impersonate_stops_at_the_first_object(rig: Rig) -> None:
    many = "---".join(CONFIG.replace("settings", f"c{number}") for number in range(40))
    nobody = Syncer(
        rig.own.impersonating("system:serviceaccount:default:x").impersonating("jane"),
        watches=rig.watches,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
    )
    await rig.sync(CONFIG)
    mark = rig.plane.mark()
    report = await rig.sync(many, syncer=nobody)
    assert [type(error).__name__ for error in report.errors][-1] == "HeldBack"
    assert "impersonate" in str(report.errors[0])
    assert len(rig.mine(mark)) <= 12
