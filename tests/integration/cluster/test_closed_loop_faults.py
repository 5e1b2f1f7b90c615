"""The closed loop, broken where it hurts: no rollback is lost, none is made twice, and no cluster undoes another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.integration.cluster.test_closed_loop import (
    SEMVER,
    app,
    await_proven,
    await_rollback,
    begin,
    quarantines,
    rollback,
    rollbacks,
)
from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

REFUSE = "#!/bin/sh\necho 'the server is being mended' >&2\nexit 1\n"


def test_killed_between_the_failure_and_the_rollback_with_git_away(
    here: Place, plane: ControlPlane, shop: Workshop, tmp_path: Path
) -> None:
    with controller(plane, tmp_path, environment=shop.environment) as replica:
        replica.await_leading()
        begin(here, "web")
        here.push("web", "1.1.0-crash")
        until(lambda: here.moves() or None, 60, "the bad tag is committed")
        gitservers.set_hook(here.repository, REFUSE)

        def intended() -> bool:
            known = rollback(here)
            assert known.get("state") == "Intended", known
            assert "cannot be taken back yet" in known.get("message", ""), known
            return True

        until(intended, 90, "an intent that waits")
        assert rollbacks(here) == []

        replica.kill()
        gitservers.set_hook(here.repository, "#!/bin/sh\nexit 0\n")
        replica.restart()

        done = await_rollback(here, "Done", timeout=120)
        assert done["commit"] == gitservers.git("rev-parse", "main", cwd=here.repository)
        here.await_running("web", here.image("web", "1.0.0"))
        assert len(rollbacks(here)) == 1
        until(lambda: quarantines(here) or None, 30, "a Quarantine")


def test_killed_between_the_rollback_and_the_quarantine(
    here: Place, plane: ControlPlane, shop: Workshop, tmp_path: Path
) -> None:
    with controller(plane, tmp_path, environment=shop.environment) as replica:
        replica.await_leading()
        begin(here, "web")
        here.push("web", "1.1.0-crash")
        until(lambda: rollbacks(here) or None, 120, "the rollback is on the server", pause=0.005)
        replica.kill()
        replica.forget()
        replica.restart()

        await_rollback(here, "Done", timeout=120)
        here.await_running("web", here.image("web", "1.0.0"))
        until(lambda: quarantines(here) or None, 60, "a Quarantine")
        here.push("web", "1.2.0")
        here.await_running("web", here.image("web", "1.2.0"))
        assert len(rollbacks(here)) == 1
        assert [new for _, _, new in here.moves()] == ["1.1.0-crash", "1.0.0", "1.2.0"]


def test_a_second_cluster_on_the_branch_does_not_put_it_back(
    here: Place, plane: ControlPlane, second_plane: ControlPlane, shop: Workshop, tmp_path: Path
) -> None:
    with place(second_plane, shop, {}) as other:
        there = Place(
            plane=second_plane, workshop=shop, namespace=other.namespace, repository=here.repository, url=here.url
        )
        image = here.workshop.image(here.image_name("web"))
        with (
            controller(plane, tmp_path / "one", environment=shop.environment) as one,
            controller(second_plane, tmp_path / "two", environment=shop.environment) as two,
        ):
            one.await_leading()
            two.await_leading()
            begin(here, "web")
            # Equal policies over there; what it applies is another folder, in which the bad tag never was.
            there.apply(
                there.source(), there.policy("web", image=image, policy=SEMVER, interval="1s"), there.automation()
            )
            there.await_ready(("ImagePolicy", "web"), ("ImageUpdateAutomation", "all"))

            here.push("web", "1.1.0-crash")

            await_rollback(here, "Done", timeout=120)
            tip = here.tip
            for number in range(3):
                there.annotate("ImagePolicy", "web", requestedAt=str(number))
                there.annotate("ImageUpdateAutomation", "all", requestedAt=str(number))

                def handled(number: int = number) -> bool:
                    status: dict[str, Any] = there.status("ImageUpdateAutomation", "all")
                    assert status.get("lastHandledReconcileAt") == str(number), status
                    return True

                until(handled, 60, "the other cluster has looked")
            assert here.tip == tip
            derived = until(lambda: quarantines(there) or None, 60, "a Quarantine over there")
            assert derived[0]["spec"]["tag"] == "1.1.0-crash"

            here.push("web", "1.2.0")
            here.await_running("web", here.image("web", "1.2.0"))
            await_proven(here, "web", "1.2.0")
            assert [new for _, _, new in here.moves()] == ["1.1.0-crash", "1.0.0", "1.2.0"]
            assert here.file("apps/web.yaml") == app(here, "web", "1.2.0").strip()
