"""Verdicts on what is applied to another cluster, with the rights of the login there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.settings import Role
from tests.integration.cluster.test_syncing_remote import account, remote
from tests.integration.cluster.test_verdicts import put, rollouts, settled, verdict, web
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.SYNC], environment=shop.environment) as running:
        running.await_leading()
        yield running


def test_another_cluster_is_judged_likewise(here: Place, replica: Replica, second_plane: ControlPlane) -> None:
    there = second_plane.namespace("far")
    kubeconfig = account(second_plane, there, "deployer", "cluster-admin")
    put(here, web=web("web", "1"))
    here.apply(secret("far", {"value": kubeconfig}), here.source(), remote(here, there))
    first = settled(here)
    put(here, web=web("web", "2-crash"))
    assert verdict(here, "web")[:2] == ("failed", "tag")
    assert rollouts(here)["web"]["id"] == f"{there}_web_apps_Deployment"
    put(here, web=web("web", "3"))
    assert settled(here) != first
    until(lambda: replica.metric("image_updater_rollouts_followed") == 0, 30, "nothing is followed")
    second_plane.delete("Namespace", there)
