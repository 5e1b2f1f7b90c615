"""Kustomizations of two shards: each is applied by its own process, and they still know of each other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controlplane import ControlPlane, Object


@pytest.fixture(scope="module")
def _shards(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with ExitStack() as stack:
        account = stack.enter_context(installed(plane, roles=[Role.SYNC]))
        for name in ("one", "two"):
            replica = stack.enter_context(
                controller(
                    plane,
                    tmp_path_factory.mktemp(name),
                    account=account,
                    name=name,
                    flags=[f"--selector=shard={name}"],
                    environment=shop.environment,
                )
            )
            replica.await_leading()
        yield


def labelled(document: Object, shard: str) -> Object:
    document["metadata"]["labels"] = {"shard": shard}
    return document


def data(here: Place, name: str) -> Any:
    return here.get("ConfigMap", name)["data"]


@pytest.mark.usefixtures("_shards")
def test_a_dependency_of_another_shard_is_waited_for(here: Place) -> None:
    here.commit({"base/b.yaml": config("b", x="1"), "apps/a.yaml": config("a", x="1")})
    here.apply(
        labelled(here.source(), "one"),
        labelled(here.kustomization(dependsOn=[{"name": "base"}]), "two"),
    )
    here.await_condition(
        "Kustomization", "apps", status="False", reason="DependencyNotReady", contains="does not exist"
    )
    here.apply(labelled(here.kustomization("base", path="base", suspend=True), "one"))
    here.await_condition("Kustomization", "base", status="Unknown", reason="Suspended")
    assert not here.has("ConfigMap", "a")
    here.apply(labelled(here.kustomization("base", path="base"), "one"))
    here.await_applied("base")
    here.await_applied("apps")
    # A commit that changes both, and one that changes only the one that depends.
    here.commit({"base/b.yaml": config("b", x="2"), "apps/a.yaml": config("a", x="2")})
    until(lambda: data(here, "a") == {"x": "2"}, 60, "both are applied")
    assert data(here, "b") == {"x": "2"}
    here.commit({"apps/a.yaml": config("a", x="3")})
    until(lambda: data(here, "a") == {"x": "3"}, 60, "its dependency is as it was")


@pytest.mark.usefixtures("_shards")
def test_an_object_that_moves_to_another_shard_is_never_deleted(here: Place) -> None:
    here.commit({"one/a.yaml": config("a", x="1"), "one/b.yaml": config("b", x="1"), "two/c.yaml": config("c", x="1")})
    here.apply(
        labelled(here.source(), "one"),
        labelled(here.kustomization("one", path="one"), "one"),
        labelled(here.kustomization("two", path="two"), "two"),
    )
    here.await_applied("one")
    here.await_applied("two")
    uid = here.get("ConfigMap", "a")["metadata"]["uid"]
    here.commit({"one/a.yaml": None, "two/a.yaml": config("a", x="2")})
    here.await_applied("one")
    here.await_applied("two")
    until(lambda: here.inventory("one") == {"ConfigMap/b"}, 60, "it has left the one")
    assert here.inventory("two") == {"ConfigMap/a", "ConfigMap/c"}
    found = here.get("ConfigMap", "a")
    assert (found["metadata"]["uid"], found["data"]) == (uid, {"x": "2"})


@pytest.mark.usefixtures("_shards")
def test_shards_with_sources_of_their_own_prune_and_wait_for_each_other(here: Place) -> None:
    """One of another shard that cannot be applied is among them."""
    here.commit({"one/a.yaml": config("a", x="1"), "one/b.yaml": config("b", x="1"), "two/c.yaml": config("c", x="1")})
    here.apply(
        labelled(here.source("fleet"), "one"),
        labelled(here.source("other"), "two"),
        labelled(here.kustomization("one", path="one", dependsOn=[{"name": "two"}]), "one"),
        labelled(here.kustomization("two", path="two", sourceRef={"name": "other"}), "two"),
        labelled(here.kustomization("gone", path="gone", sourceRef={"name": "other"}), "two"),
    )
    here.await_applied("two")
    here.await_applied("one")
    here.await_condition("Kustomization", "gone", status="False", contains="no such folder")
    here.commit({"one/a.yaml": None})
    until(lambda: not here.has("ConfigMap", "a"), 60, "what left the one is gone")
    until(lambda: here.inventory("one") == {"ConfigMap/b"}, 60, "and of its inventory")
    uid = here.get("ConfigMap", "b")["metadata"]["uid"]
    here.commit({"one/b.yaml": None, "one/d.yaml": config("d", x="1"), "two/b.yaml": config("b", x="2")})
    until(lambda: here.inventory("one") == {"ConfigMap/d"}, 90, "it has left the one")
    found = here.get("ConfigMap", "b")
    assert (found["metadata"]["uid"], found["data"]) == (uid, {"x": "2"})
    here.plane.delete("Kustomization.image-updater.dev", "one", here.namespace)
    until(lambda: not here.has("ConfigMap", "d"), 60, "what it applied goes with it")


@pytest.mark.usefixtures("_shards")
def test_who_reads_git_seldom_leaves_what_moved_to_who_has_read_it(here: Place) -> None:
    """It learns of the commit by what the other one took, and asks Git then."""
    here.commit({"one/a.yaml": config("a", x="1"), "one/b.yaml": config("b", x="1"), "two/c.yaml": config("c", x="1")})
    here.apply(
        labelled(here.source("seldom", interval="1h"), "one"),
        labelled(here.source("often"), "two"),
        labelled(here.kustomization("one", path="one", sourceRef={"name": "seldom"}), "one"),
        labelled(here.kustomization("two", path="two", sourceRef={"name": "often"}), "two"),
    )
    here.await_applied("one")
    here.await_applied("two")
    uid = here.get("ConfigMap", "b")["metadata"]["uid"]
    here.commit({"one/b.yaml": None, "two/b.yaml": config("b", x="2")})
    here.await_applied("two")
    here.await_applied("one")
    until(lambda: here.inventory("one") == {"ConfigMap/a"}, 60, "it has left the one")
    assert here.inventory("two") == {"ConfigMap/b", "ConfigMap/c"}
    found = here.get("ConfigMap", "b")
    assert (found["metadata"]["uid"], found["data"]) == (uid, {"x": "2"})
    assert not [each for each in here.events("Kustomization") if each["type"] == "Warning"]
