"""The sync half on a real API server: accounts, dependencies, sources, deletion, fights; and what is not asked."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import ApiError, until
from tests.parts.loops import (
    GROUP,
    Place,
    Workshop,
    await_end_of,
    binding,
    config,
    deployment,
    kustomize,
    place,
    secret,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object

PLAIN = {"sourceRef": {"name": "fleet"}, "path": "plain", "interval": "10s", "prune": True}
APPS = {"apps/kustomization.yaml": kustomize("a.yaml"), "apps/a.yaml": config("a", x="1")}


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.SYNC], environment=shop.environment) as running:
        running.await_leading()
        yield running


@pytest.fixture
def powerless(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    """Its `default` account may do nothing."""
    with place(plane, shop, {"README.md": "# fleet\n"}, role=None) as made:
        yield made


def data(here: Place, name: str) -> Any:
    return here.get("ConfigMap", name)["data"]


def without(document: Object, field: str) -> Object:
    del document["spec"][field]
    return document


def finalizers(here: Place, name: str = "apps") -> list[str]:
    found: list[str] = here.get("Kustomization", name)["metadata"].get("finalizers", [])
    return found


# ------------------------------------------------------------------------------------------------- accounts


def test_without_an_account_it_has_what_the_default_account_has(powerless: Place, replica: Replica) -> None:
    powerless.commit(APPS)
    powerless.apply(powerless.source(), powerless.kustomization())
    ready = powerless.await_condition("Kustomization", "apps", status="False", reason="Forbidden")
    assert f"system:serviceaccount:{powerless.namespace}:default" in ready["message"]
    assert not powerless.has("ConfigMap", "a")
    powerless.apply(binding(powerless.namespace, "default", "edit"))
    powerless.await_applied()


def test_an_account_of_a_namespace_cannot_touch_another(here: Place, powerless: Place, replica: Replica) -> None:
    there = powerless.namespace
    here.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}},
        binding(here.namespace, "deployer", "edit"),
    )
    stray = json.loads(config("stray", x="1")) | {}
    stray["metadata"]["namespace"] = there
    here.commit(
        {**APPS, "apps/stray.yaml": json.dumps(stray), "apps/kustomization.yaml": kustomize("a.yaml", "stray.yaml")}
    )
    here.apply(
        here.source(),
        without(here.kustomization(serviceAccountName="deployer"), "targetNamespace"),
    )
    here.await_condition("Kustomization", "apps", status="False", contains="deployer")
    assert not powerless.has("ConfigMap", "stray")
    failed = here.status("Kustomization", "apps")["failed"]
    assert [each["id"] for each in failed] == [f"{there}_stray__ConfigMap"]


def test_references_to_other_namespaces_are_refused(here: Place, powerless: Place, replica: Replica) -> None:
    here.commit(APPS)
    here.apply(here.source())
    reference = {"name": "fleet", "namespace": here.namespace}
    powerless.apply(powerless.kustomization(sourceRef=reference))
    powerless.await_condition("Kustomization", "apps", status="False", contains="--allow-cross-namespace-refs")


# ------------------------------------------------------------------------------------------------- dependencies


def test_who_waits_for_itself_is_told_so_and_who_waits_is_woken(here: Place, replica: Replica) -> None:
    here.commit({**APPS, "b/b.yaml": config("b", x="1"), "c/c.yaml": config("c", x="1")})
    here.apply(
        here.source(),
        here.kustomization(dependsOn=[{"name": "b"}], interval="1h"),
        here.kustomization("b", path="b", dependsOn=[{"name": "c"}], interval="1h"),
        here.kustomization("c", path="c", dependsOn=[{"name": "apps"}], interval="1h"),
    )
    namespace = here.namespace
    way = f"{namespace}/apps → {namespace}/b → {namespace}/c → {namespace}/apps"
    for name in ("apps", "b", "c"):
        here.await_condition("Kustomization", name, status="False", reason="DependencyCycle")
    assert way in here.condition("Kustomization", "apps")["message"]
    here.apply(here.kustomization("c", path="c", dependsOn=[{"name": "later"}], interval="1h"))
    here.await_condition(
        "Kustomization", "c", status="False", reason="DependencyNotReady", contains="later, which does not exist"
    )
    here.apply(here.kustomization("later", path="apps", interval="1h", targetNamespace=namespace, namePrefix="later-"))
    for name in ("later", "c", "b", "apps"):
        here.await_applied(name)


def test_what_was_ready_once_is_waited_for_again_when_its_content_moves(here: Place, replica: Replica) -> None:
    here.commit({**APPS, "base/web.yaml": deployment("web", "example.com/web:1")})
    here.apply(
        here.source(),
        here.kustomization("base", path="base", wait=True, timeout="10m"),
        here.kustomization(dependsOn=[{"name": "base"}]),
    )
    here.await_applied("base")
    here.await_applied()
    here.commit({"base/web.yaml": deployment("web", "example.com/web:2-hang"), "apps/a.yaml": config("a", x="2")})
    here.await_condition("Kustomization", "base", status="Unknown", reason="Progressing")
    here.await_condition("Kustomization", "apps", status="False", reason="DependencyNotReady", contains="base")
    assert data(here, "a") == {"x": "1"}
    here.commit({"base/web.yaml": deployment("web", "example.com/web:3")})
    until(lambda: data(here, "a") == {"x": "2"}, 60, "it goes on once the other one is healthy")
    here.await_running("web", "example.com/web:3")
    here.await_ready(("Kustomization", "base"), ("Kustomization", "apps"))


# ------------------------------------------------------------------------------------------------- sources


def test_a_pinned_commit_a_tag_and_a_branch_each_are_what_they_say(here: Place, replica: Replica) -> None:
    first = here.commit(APPS)
    gitservers.git("tag", "-a", "v1", "-m", "one", first, cwd=here.repository)
    second = here.commit({"apps/a.yaml": config("a", x="2")})
    here.apply(
        here.source("commit", ref={"commit": first}),
        here.source("tag", ref={"tag": "v1"}),
        without(here.source("default"), "ref"),
    )
    for name, revision in [
        ("commit", f"sha1:{first}"),
        ("tag", f"v1@sha1:{first}"),
        ("default", f"main@sha1:{second}"),
    ]:
        here.await_ready(("GitRepository", name))
        assert here.status("GitRepository", name)["revision"] == revision
    here.apply(here.kustomization(sourceRef={"name": "tag"}))
    here.await_ready(("Kustomization", "apps"))
    assert data(here, "a") == {"x": "1"}
    here.apply(here.kustomization(sourceRef={"name": "default"}))
    until(lambda: data(here, "a") == {"x": "2"}, 30, "another source is another content")


def test_what_cannot_be_fetched_says_why_and_goes_on_once_it_can(here: Place, replica: Replica) -> None:
    here.commit(APPS)
    here.apply(secret("git", {"username": "bot", "password": "wrong"}))
    here.apply(here.source(), here.kustomization())
    here.await_condition("GitRepository", "fleet", status="False", reason="AuthenticationFailed")
    here.await_condition("Kustomization", "apps", status="False", reason="SourceNotReady", contains="fleet")
    here.apply(secret("git", {"username": "bot", "password": "s3cret:of:git"}))
    here.await_applied()
    here.apply(here.source(ref={"branch": "none"}))
    here.await_condition("GitRepository", "fleet", status="False", reason="BranchNotFound")
    assert here.status("GitRepository", "fleet")["revision"] == f"main@sha1:{here.tip}"
    assert here.is_ready("Kustomization", "apps"), "what was applied stays"


def test_what_is_not_there_yet_is_called_so_by_all_and_ends_no_try(here: Place, replica: Replica) -> None:
    here.commit(APPS)
    here.apply(here.kustomization())
    ready = here.await_condition("Kustomization", "apps", status="False", reason="SourceNotFound")
    assert f"there is no GitRepository {here.namespace}/fleet" in ready["message"]
    here.apply(here.source(secretRef={"name": "later"}))
    ready = here.await_condition("GitRepository", "fleet", status="False", reason="SecretNotFound")
    assert f"there is no Secret {here.namespace}/later" in ready["message"]
    assert here.condition("GitRepository", "fleet", "Reconciling")["status"] == "True"
    here.apply(secret("later", {"username": "bot", "password": "s3cret:of:git"}))
    here.annotate("GitRepository", "fleet", requestedAt="1")
    here.await_applied()


def test_a_path_that_is_newer_than_the_last_fetch_is_fetched_without_a_warning(here: Place, replica: Replica) -> None:
    here.apply(here.kustomization(interval="1h", retryInterval="1h"), here.source(interval="1h"))
    here.await_ready(("GitRepository", "fleet"))
    here.commit(APPS)
    here.apply(here.kustomization("late", interval="1h", retryInterval="1h", namePrefix="late-"))
    here.await_applied("apps")
    here.await_applied("late")
    told = [(each["type"], each["reason"], each["note"]) for each in here.events("Kustomization", "late")]
    assert [type_ for type_, _, _ in told if type_ != "Normal"] == [], told


def test_a_path_that_does_not_come_is_told_of_once(here: Place, replica: Replica) -> None:
    here.apply(here.source(), here.kustomization(path="none"))
    here.await_condition("Kustomization", "apps", status="False", contains="none: there is no such folder")

    def told() -> list[Any]:
        return [each for each in here.events("Kustomization", "apps") if each["type"] == "Warning"]

    (event,) = until(told, 60, "a second look")
    assert event["reason"] == "InvalidDocument"


@pytest.mark.parametrize("url", ["file:///etc", "/etc"])
def test_the_controllers_own_files_are_no_repository(here: Place, replica: Replica, url: str) -> None:
    source = here.source(url=url)
    try:
        here.apply(source)
    except ApiError:
        return
    here.await_condition("GitRepository", "fleet", status="False", reason="InvalidSpec")


def test_unsigned_commits_are_not_used_where_signatures_are_asked_for(here: Place, replica: Replica) -> None:
    here.commit(APPS)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfXQyUVwrTUWKdCnNlKQ1h8rhPE0sMdIUNwkX2ThE2R person@example.com\n"
    here.apply(secret("keys", {"person.pub": key}))
    here.apply(here.source(verify={"mode": "HEAD", "secretRef": {"name": "keys"}}), here.kustomization())
    here.await_condition("GitRepository", "fleet", status="False", reason="SignatureInvalid", contains="is not signed")
    here.await_condition("Kustomization", "apps", status="False", reason="SourceNotReady")
    assert not here.has("ConfigMap", "a")
    here.apply(here.source())
    here.plane.patch(f"GitRepository.{GROUP}", "fleet", here.namespace, {"spec": {"verify": None}})
    here.await_applied()


def test_what_the_server_refuses_says_file_and_line(here: Place, replica: Replica) -> None:
    """Of plain files, and of what Kustomize builds: there of the file that the field comes from."""
    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\ndata: {{}}\nimmutable: often\n"
    here.commit(
        {
            "plain/a.yaml": f"# two\n---\n{wrong.format('first')}---\n{wrong.format('second')}",
            "base/kustomization.yaml": kustomize("web.yaml"),
            "base/web.yaml": deployment("web", image="web:1"),
            "built/kustomization.yaml": kustomize("../base") + "nameSuffix: -x\npatches:\n  - path: scale.yaml\n",
            "built/scale.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n"
            "  replicas: -1\n",
        }
    )
    here.apply(here.source(), here.object("Kustomization", "plain", **PLAIN), here.kustomization("built", path="built"))
    plain = here.await_condition("Kustomization", "plain", status="False", reason="InvalidObject")
    assert f"plain/a.yaml:8: ConfigMap {here.namespace}/first: immutable: " in plain["message"]
    places = [each["reason"].partition(": ")[0] for each in here.status("Kustomization", "plain")["failed"]]
    assert places == ["plain/a.yaml:8", "plain/a.yaml:15"]
    built = here.await_condition("Kustomization", "built", status="False", reason="InvalidObject")
    assert f"built/scale.yaml:6: Deployment.apps {here.namespace}/web-x: " in built["message"]
    (failed,) = here.status("Kustomization", "built")["failed"]
    assert failed["reason"].startswith("built/scale.yaml:6: spec.replicas: ")


# ------------------------------------------------------------------------------------------------- deletion


@pytest.mark.parametrize(
    ("spec", "kept", "finalizer"),
    [
        ({"prune": True}, False, True),
        ({"prune": False}, True, False),
        ({"prune": True, "deletionPolicy": "Orphan"}, True, False),
        ({"prune": False, "deletionPolicy": "Delete"}, False, True),
    ],
    ids=["prune", "no-prune", "orphan", "delete"],
)
def test_deletion_does_what_its_policy_says(
    here: Place, replica: Replica, spec: dict[str, Any], kept: bool, finalizer: bool
) -> None:
    here.commit(APPS)
    here.apply(here.source(), here.kustomization(**spec))
    here.await_applied()
    assert finalizers(here) == ([f"{GROUP}/prune"] if finalizer else [])
    await_end_of(replica, here)
    assert here.has("ConfigMap", "a") is kept


def test_a_suspended_one_lets_its_objects_stay_and_a_finalizer_goes_when_it_is_not_needed(
    here: Place, replica: Replica
) -> None:
    here.commit(APPS)
    here.apply(here.source(), here.kustomization())
    here.await_applied()
    here.apply(here.kustomization(prune=False))
    until(lambda: finalizers(here) == [], 30, "no finalizer without prune")
    here.apply(here.kustomization())
    until(lambda: finalizers(here) == [f"{GROUP}/prune"], 30, "a finalizer with prune")
    here.apply(here.kustomization(suspend=True))
    here.await_condition("Kustomization", "apps", status="True", reason="Suspended")
    await_end_of(replica, here)
    assert here.has("ConfigMap", "a")

    def told() -> bool:
        notes = [each["note"] for each in here.events("Kustomization", "apps") if each["reason"] == "PruneAbandoned"]
        assert notes == ["1 object stays: it is suspended"]
        return True

    until(told, 30, "an Event says what stays")


# ------------------------------------------------------------------------------------------------- fights, costs


def test_a_field_that_two_writers_set_again_and_again_is_left_alone(here: Place, replica: Replica) -> None:
    here.commit({"apps/web.yaml": deployment("web", "example.com/web:1", replicas=1)})
    here.apply(here.source(), here.kustomization(interval="1h"))
    here.await_applied()
    done = threading.Event()

    target = f"/apis/apps/v1/namespaces/{here.namespace}/deployments/web?fieldManager=rival"

    def rival() -> None:
        while not done.wait(0.05):
            here.plane.request("PATCH", target, {"spec": {"replicas": 0}})

    fighter = threading.Thread(target=rival)
    fighter.start()
    try:
        ready = here.await_condition("Kustomization", "apps", status="False", reason="Conflict")
    finally:
        done.set()
        fighter.join()
    assert "rival sets it again" in ready["message"]
    assert "spec.replicas" in ready["message"]
    assert here.condition("Kustomization", "apps", "Stalled")["status"] == "True"
    here.commit({"apps/web.yaml": deployment("web", "example.com/web:2", replicas=1)})
    here.await_applied()
    here.await_running("web", "example.com/web:2")


def test_one_changed_path_costs_only_its_own_kustomization(here: Place, replica: Replica) -> None:
    names = [f"k{number}" for number in range(20)]
    files = {f"{name}/a.yaml": config(name, x="1") for name in names}
    here.commit(files)
    here.apply(here.source(interval="1h"), *(here.kustomization(name, path=name, interval="1h") for name in names))
    for name in names:
        here.await_applied(name)
    since = here.plane.mark()
    versions = {name: version(here, name) for name in names}
    here.commit({"k7/a.yaml": config("k7", x="2")})
    here.annotate("GitRepository", "fleet", requestedAt="now")
    until(lambda: data(here, "k7") == {"x": "2"}, 30, "the commit is applied")
    here.await_applied("k7")
    assert [name for name in names if version(here, name) != versions[name]] == ["k7"]
    asked = [each for each in replica.account.requests(since) if f"/{here.namespace}/" in each.uri]
    asked = [each for each in asked if "/secrets/" not in each.uri and "/events" not in each.uri]
    writes = sorted((each.verb, each.uri.partition("?")[0].rpartition(f"{here.namespace}/")[2]) for each in asked)
    assert writes == [
        ("patch", "configmaps/k7"),
        ("patch", "gitrepositories/fleet/status"),
        ("patch", "kustomizations/k7/status"),
    ]


def version(here: Place, name: str) -> str:
    return str(here.get("Kustomization", name)["metadata"]["resourceVersion"])


def test_what_moves_between_two_sources_of_one_repository_is_never_deleted(here: Place, replica: Replica) -> None:
    """The one that it moves to has another login, and reads Git once an hour."""
    here.commit({"one/a.yaml": config("a", x="1"), "one/b.yaml": config("b", x="1"), "two/c.yaml": config("c", x="1")})
    login = here.get("Secret", here.source()["spec"]["secretRef"]["name"])
    here.apply(
        {**login, "metadata": {"name": "another", "namespace": here.namespace}},
        here.source(),
        here.source("seldom", interval="1h", secretRef={"name": "another"}),
        here.kustomization("one", path="one"),
        here.kustomization("two", path="two", sourceRef={"name": "seldom"}),
    )
    here.await_applied("one")
    here.await_applied("two")
    uid = here.get("ConfigMap", "b")["metadata"]["uid"]

    def holders() -> tuple[str, ...]:
        return tuple(name for name in ("one", "two") if "ConfigMap/b" in here.inventory(name))

    here.commit({"one/b.yaml": None, "two/b.yaml": config("b", x="2")})
    until(lambda: holders() == ("two",), 60, "it has moved")
    found = here.get("ConfigMap", "b")
    assert (found["metadata"]["uid"], found["data"]) == (uid, {"x": "2"})
    # And back, where the one that reads often comes first again.
    here.commit({"one/b.yaml": config("b", x="3"), "two/b.yaml": None})
    until(lambda: holders() == ("one",), 60, "it has moved back")
    found = here.get("ConfigMap", "b")
    assert (found["metadata"]["uid"], found["data"]) == (uid, {"x": "3"})
    # Nothing of it is left to wait for.
    here.commit({"one/a.yaml": None})
    until(lambda: not here.has("ConfigMap", "a"), 60, "what left Git is gone")
