"""People first on a real control plane: a revert is left alone poll after poll, a Freeze holds and ends by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration.cluster.test_closed_loop import begin, files
from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane
    from tests.parts.loops import Place, Workshop

POLLS = 10


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


def poll(here: Place, number: int) -> None:
    """The list is asked for, and then the line runs over the branch; both are over when this returns."""
    for kind, name in (("ImagePolicy", "web"), ("ImageUpdateAutomation", "all")):
        here.annotate(kind, name, requestedAt=f"poll-{number}")

        def handled(kind: str, name: str) -> bool:
            said = here.status(kind, name).get("lastHandledReconcileAt")
            assert said == f"poll-{number}", said
            return True

        until(partial(handled, kind, name), 30, f"poll {number} of {kind} {name}")


def hold(here: Place) -> str:
    found = here.status("ImagePolicy", "web").get("hold") or {}
    return str(found.get("reason") or "")


def test_a_persons_revert_is_not_fought_over_ten_polls(here: Place, replica: Replica) -> None:
    begin(here, "web")
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))

    reverted = here.commit(files(here, "web"), f"Revert\n\nThis reverts commit {here.tip}.")
    for number in range(POLLS):
        poll(here, number)
        assert here.tip == reverted

    here.await_running("web", here.image("web", "1.0.0"))
    assert here.tip == reverted
    for words in (reverted[:12], "1.1.0", "newer"):
        assert words in hold(here)
    assert "HoldBegun" in {each["reason"] for each in here.events("ImagePolicy", "web")}

    here.push("web", "1.2.0")

    here.await_running("web", here.image("web", "1.2.0"))
    until(lambda: not hold(here), 30, "the end of the hold")
    assert here.subjects()[1] == "Revert"
    assert replica.running


def test_a_freeze_holds_and_ends_by_itself(here: Place, replica: Replica) -> None:
    """In real time."""
    begin(here, "web")
    before = here.tip
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=20)
    here.apply(here.object("Freeze", "xmas", reason="Christmas", expires=ends.isoformat()))
    poll(here, 0)
    here.push("web", "1.1.0")
    here.await_condition("ImagePolicy", "web", status="False", reason="Frozen", contains="Christmas")
    assert here.tip == before

    here.await_running("web", here.image("web", "1.1.0"))

    written = gitservers.git("log", "-1", "--format=%cI", "main", cwd=here.repository)
    assert datetime.fromisoformat(written) >= ends
    assert here.subjects()[1:2] == [gitservers.git("log", "-1", "--format=%s", before, cwd=here.repository)]
    assert replica.running
