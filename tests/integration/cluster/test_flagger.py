"""Canaries with real Flagger: what succeeds, what fails, and what only looks as if it did.

Analyses take most of a minute each, so all cases of one test run side by side.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.flagger import Flagger, canary, flagger
from tests.parts.loops import Place, Workshop, binding, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object


@pytest.fixture(scope="module")
def canaries(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flagger]:
    with flagger(plane, tmp_path_factory.mktemp("flagger")) as running:
        yield running


@pytest.fixture(scope="module")
def replica(
    plane: ControlPlane, shop: Workshop, canaries: Flagger, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.SYNC], environment=shop.environment) as running:
        running.await_leading()
        yield running


def app(here: Place, name: str, tag: str, gate: str | None = None, **spec: Any) -> str:
    """A Deployment and its Canary."""
    target = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {"name": "main", "image": f"{name}:{tag}", "ports": [{"name": "http", "containerPort": 8080}]}
                    ]
                },
            },
        },
    }
    return "---\n".join(json.dumps(each) + "\n" for each in (target, canary(name, here.namespace, gate=gate, **spec)))


def put(here: Place, files: dict[str, str]) -> None:
    here.commit(
        {
            **{f"apps/{name}.yaml": text for name, text in files.items()},
            "apps/kustomization.yaml": kustomize(*(f"{name}.yaml" for name in files)),
        }
    )


def rollouts(here: Place) -> dict[str, Object]:
    listed = here.status("Kustomization", "apps").get("rollouts") or ()
    return {each["id"].split("_")[1]: each for each in listed}


def phase(here: Place, name: str) -> str:
    return str(here.get("Canary", name).get("status", {}).get("phase"))


def settled(here: Place, timeout: float = 150.0) -> str:
    here.await_applied()

    def said() -> str:
        found = rollouts(here)
        assert not found, found
        return str(here.status("Kustomization", "apps").get("rolloutsSettled") or "")

    return until(said, timeout, "rollouts settled")


def await_state(here: Place, name: str, state: str, timeout: float = 150.0) -> Object:
    def found() -> Object:
        listed = rollouts(here).get(name, {})
        assert listed.get("state") == state, (listed, phase(here, name))
        return listed

    return until(found, timeout, f"{name} {state}")


def test_canaries_by_flagger_s_own_word(here: Place, replica: Replica, canaries: Flagger) -> None:
    measured, names = canaries.measures, ("good", "rate", "gate", "crash", "silent", "skipped", "frozen", "primary")
    mine = {name: f"{name}-{here.namespace[-4:]}" for name in names}
    gates = {mine[name]: measured.hook(mine[name]) if name == "gate" else None for name in names}

    def files(tag: str, crash: str = "", **freeze: Any) -> dict[str, str]:
        return {
            name: app(
                here,
                name,
                tag + (crash if name == mine["crash"] else ""),
                gates[name],
                **({"skipAnalysis": True} if name == mine["skipped"] else {}),
                **(freeze if name == mine["frozen"] else {}),
            )
            for name in mine.values()
        }

    put(here, files("1"))
    here.apply(here.source(), here.kustomization(), binding(here.namespace, "default", "cluster-admin"))
    first = settled(here)
    assert {phase(here, name) for name in mine.values()} == {"Initialized"}

    measured.rates[mine["rate"]] = 50.0
    measured.hooks[mine["gate"]] = 500
    measured.silent.add(mine["silent"])
    put(here, files("2", "-crash", suspend=True))
    here.await_applied()
    # Flagger has not looked yet, and its Canaries say what they said of the revision before.
    assert await_state(here, mine["good"], "pending")["canary"].endswith("_flagger.app_Canary")
    frozen = await_state(here, mine["frozen"], "suspended")
    assert frozen["images"] == [f"main={mine['frozen']}:2"]
    await_state(here, mine["good"], "progressing")
    # The primary of one breaks meanwhile, of itself.
    here.plane.fate(here.namespace, f"app={mine['primary']}-primary", "hang")
    # Flagger starts anew in between; what it had begun goes on.
    canaries.kill()
    canaries.start()

    rate = await_state(here, mine["rate"], "failed")
    assert (rate["culprit"], "success rate 50.00%" in rate["reason"]) == ("tag", True), rate
    gate = await_state(here, mine["gate"], "failed")
    assert (gate["culprit"], "external check gate failed" in gate["reason"]) == ("tag", True), gate
    silent = await_state(here, mine["silent"], "failed")
    assert (silent["culprit"], "no values found" in silent["reason"]) == ("environment", True), silent
    crash = await_state(here, mine["crash"], "failed")
    assert (crash["culprit"], crash["failing"]) == ("tag", ["main"]), crash
    broken = await_state(here, mine["primary"], "failed")
    assert (broken["culprit"], "its primary is not healthy" in broken["reason"]) == ("unknown", True), broken
    for name in ("rate", "gate", "crash"):
        # The trap: its Deployment has no replicas, and says that it is available.
        assert here.get("Deployment", mine[name])["spec"]["replicas"] == 0
    until(lambda: mine["good"] not in rollouts(here), 150, "good is promoted")
    assert phase(here, mine["good"]) == "Succeeded"
    assert mine["skipped"] not in rollouts(here)
    counts = replica.metrics()
    assert counts['image_updater_rollouts{state="healthy"}'] == 1
    assert counts['image_updater_rollouts{state="healthy-unanalysed"}'] == 1

    # A restart of ours reads what it knew, and believes no Canary that it has not seen move.
    known = {name: (each["state"], each["since"]) for name, each in rollouts(here).items()}
    replica.restart()
    replica.await_leading()
    until(lambda: replica.metric("image_updater_rollouts_followed") == len(known), 60, "followed again")
    until(lambda: replica.metrics().get('image_updater_rollouts{state="failed"}') == 5, 60, "judged anew")
    assert {name: (each["state"], each["since"]) for name, each in rollouts(here).items()} == known

    # Back in Git: Flagger's phase stays Failed for ever, and the promoted revision serves.
    here.plane.fate(here.namespace, f"app={mine['primary']}-primary", None)
    put(here, files("1"))
    settled(here)
    assert phase(here, mine["rate"]) == "Failed"
    assert replica.metrics()['image_updater_rollouts{state="rolled-back-healthy"}'] >= 3
    assert first != ""
