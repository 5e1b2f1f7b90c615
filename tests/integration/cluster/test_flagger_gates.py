"""Flagger's gates with real Flagger: a canary waits for the end of a Freeze, and goes back with its tag. Asked is the
replica that waits, which is what a Service with two of them comes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.flagger import canary, flagger
from tests.parts.loops import deployment, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane
    from tests.parts.flagger import Flagger
    from tests.parts.loops import Place, Workshop

TOKEN = "a-token-that-flagger-shows"
GATES = ("confirm-rollout", "rollback", "post-rollout", "event")


@pytest.fixture(scope="module")
def pair(
    plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    """The one that leads, and the one that waits."""
    folder = tmp_path_factory.mktemp("controller")
    (folder / "tokens").write_text(f"{TOKEN}\n")
    flags = ["--flagger-token-file", str(folder / "tokens")]
    with (
        installed(plane) as account,
        controller(plane, folder, account=account, flags=flags, environment=shop.environment) as first,
    ):
        first.await_leading()
        with controller(
            plane, folder, account=account, name="replica-1", flags=flags, environment=shop.environment
        ) as second:
            yield first, second


@pytest.fixture
def replica(pair: tuple[Replica, Replica]) -> Replica:
    return pair[0]


@pytest.fixture
def standby(pair: tuple[Replica, Replica]) -> Replica:
    return pair[1]


@pytest.fixture(scope="module")
def judge(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flagger]:
    with flagger(plane, tmp_path_factory.mktemp("flagger")) as running:
        yield running


def files(here: Place, tag: str) -> dict[str, str]:
    return {
        "apps/web.yaml": deployment("web", here.image("web")),
        "apps/kustomization.yaml": kustomize("web.yaml", images={here.image("web"): tag}),
    }


def gated(here: Place, asked: Replica, token: str = TOKEN) -> dict[str, Any]:
    made = canary("web", here.namespace, iterations=6)
    made["spec"]["analysis"]["webhooks"] = [
        {"name": kind, "type": kind, "url": f"http://{asked.address}/flagger/{kind}", "metadata": {"token": token}}
        for kind in GATES
    ]
    return made


def phase(here: Place, wanted: str, timeout: float = 120.0) -> None:
    def reached() -> bool:
        status = here.get("Canary", "web").get("status") or {}
        assert status.get("phase") == wanted, status
        return True

    until(reached, timeout, f"a Canary that is {wanted}")


def test_a_canary_waits_for_a_freeze_and_goes_back_when_its_tag_is_taken_back(
    here: Place, replica: Replica, standby: Replica, judge: Flagger
) -> None:
    here.push("web", "1.0.0")
    here.commit(files(here, "1.0.0"))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(), gated(here, standby))
    phase(here, "Initialized")

    freeze = here.object("Freeze", "audit", reason="auditors are here")
    here.apply(freeze)
    here.push("web", "1.1.0")
    # A person may write during a freeze; the gate is what stops the rollout.
    here.commit(files(here, "1.1.0"))
    phase(here, "Waiting")
    holds = f"Canary {here.namespace}/web: confirm-rollout holds: {here.namespace}/web: Freeze {here.namespace}/audit"
    until(lambda: holds in replica.log(), 30, "a gate that says why it holds")
    here.plane.delete("Freeze", "audit", here.namespace)
    phase(here, "Progressing")
    assert f"confirm-rollout passes: nothing holds {here.image('web')}:1.1.0" in replica.log()

    # Git would go back by itself, and a canary of the good tag begin; where nobody writes, Flagger is what acts.
    here.apply(here.automation(suspend=True))
    bad = here.object("Quarantine", "web", image=here.image("web"), tag="1.1.0", reason="it leaks")
    here.apply(bad)
    phase(here, "Failed")
    assert f"Canary {here.namespace}/web: rollback passes" in replica.log()
    assert "it leaks" in replica.log()
    assert not standby.leads()
    assert TOKEN not in replica.log() + standby.log()


def test_with_another_token_a_canary_does_not_begin(here: Place, standby: Replica, judge: Flagger) -> None:
    here.push("web", "1.0.0")
    here.commit(files(here, "1.0.0"))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization())
    here.apply(gated(here, standby, token="another-token-altogether"))
    phase(here, "Initialized")
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))
    phase(here, "Waiting")
    assert "no token, or a wrong one" in judge.output()
    assert "another-token-altogether" not in standby.log()
