"""The closed loop with real Flagger: its analysis says what is bad, Git goes back, and its Canary stays usable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.cluster.test_closed_loop import SEMVER, await_proven, proven, rollback, rollbacks
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.flagger import Flagger, canary, flagger
from tests.parts.loops import Place, Workshop, binding, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def canaries(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flagger]:
    with flagger(plane, tmp_path_factory.mktemp("flagger")) as running:
        yield running


def app(here: Place, name: str, tag: str) -> str:
    """A Deployment and its Canary."""
    container = {"name": "main", "image": here.image("web", tag), "ports": [{"name": "http", "containerPort": 8080}]}
    target = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }
    return "---\n".join(json.dumps(each) + "\n" for each in (target, canary(name, here.namespace)))


def test_a_canary_that_fails_its_analysis_goes_back_and_the_next_one_succeeds(
    here: Place, plane: ControlPlane, shop: Workshop, canaries: Flagger, tmp_path: Path
) -> None:
    name = f"web-{here.namespace[-4:]}"
    primary = f"{name}-primary"
    with controller(plane, tmp_path, environment=shop.environment) as replica:
        replica.await_leading()
        here.push("web", "1.0.0")
        here.commit({"apps/web.yaml": app(here, name, "1.0.0"), "apps/kustomization.yaml": kustomize("web.yaml")})
        here.apply(
            binding(here.namespace, "default", "cluster-admin"),
            here.source(),
            here.policy(policy=SEMVER),
            here.automation(),
            here.kustomization(rollback={"onFailure": "rollback"}),
        )
        await_proven(here, "web", "1.0.0", timeout=150)

        canaries.measures.rates[name] = 50.0
        here.push("web", "1.1.0")
        until(lambda: "1.1.0" in here.file("apps/web.yaml"), 60, "the bad tag is committed")
        # A canary is at work: what comes now waits for its end.
        until(lambda: here.get("Canary", name)["status"]["phase"] == "Progressing", 90, "the analysis")
        here.push("web", "1.2.0")
        (subject,) = until(lambda: rollbacks(here) or None, 180, "the rollback")
        canaries.measures.rates[name] = 100.0
        assert subject == f"Roll back {here.image('web')} from 1.1.0 to 1.0.0 in {here.namespace}/apps"
        image = here.get("Deployment", primary)["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == here.image("web", "1.0.0")
        await_proven(here, "web", "1.2.0", timeout=240)
        image = here.get("Deployment", primary)["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == here.image("web", "1.2.0")
        assert len(rollbacks(here)) == 1
        assert [new for _, _, new in here.moves()] == ["1.1.0", "1.0.0", "1.2.0"]
        assert proven(here) == ["1.2.0", "1.0.0"]
        known = rollback(here)
        assert (known["tag"], known["to"]) == ("1.1.0", "1.0.0")
        assert known["state"] in ("Done", "Ended")
        assert "the analysis failed" in known["reason"]
