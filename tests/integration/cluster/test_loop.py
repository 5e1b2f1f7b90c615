"""The whole loop on real parts: a tag is pushed, and a person who only reads statuses sees it arrive in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.settings import Role
from tests.parts import gitservers
from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import GROUP, Place, Workshop, deployment, kustomize, secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """For all tests that do no harm to it; it works on the whole cluster."""
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


def web(here: Place, tag: str = "1.0.0", annotations: Mapping[str, str] | None = None) -> dict[str, str]:
    """A base without a tag, and the overlay that says which."""
    return {
        "base/web.yaml": deployment("web", here.image("web"), annotations=annotations),
        "base/kustomization.yaml": kustomize("web.yaml"),
        "apps/kustomization.yaml": kustomize("../base", images={here.image("web"): tag}),
    }


def test_a_tag_that_is_pushed_reaches_the_cluster_and_every_status_says_so(here: Place, replica: Replica) -> None:
    here.push("web", "1.0.0")
    here.commit(web(here))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(wait=True))
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(
        ("ImagePolicy", "web"), ("GitRepository", "fleet"), ("ImageUpdateAutomation", "all"), ("Kustomization", "apps")
    )
    assert here.moves() == []
    uid = here.get("Deployment", "web")["metadata"]["uid"]

    here.push("web", "1.1.0")

    here.await_running("web", here.image("web", "1.1.0"))
    assert here.moves() == [(here.image("web"), "1.0.0", "1.1.0")]
    assert 'newTag: "1.1.0"' in here.file("apps/kustomization.yaml")
    assert here.file("base/web.yaml") == web(here)["base/web.yaml"].strip()
    assert here.get("Deployment", "web")["metadata"]["uid"] == uid
    tip = here.tip
    revision = f"main@sha1:{tip}"
    here.await_applied()

    policy = here.status("ImagePolicy", "web")
    assert policy["latest"]["image"] == here.image("web")
    assert policy["latest"]["tag"] == "1.1.0"
    assert [each["tag"] for each in policy["candidates"]] == ["1.1.0", "1.0.0"]
    assert policy["tagCount"] == 2

    def told() -> bool:
        automation = here.status("ImageUpdateAutomation", "all")
        assert automation["lastPushCommit"] == tip, automation
        assert automation["observedRevision"] == revision, automation
        assert automation["siteCounts"] == {"current": 1}, automation
        assert here.status("GitRepository", "fleet")["revision"] == revision
        return True

    until(told, 30, "statuses that know the commit")
    kustomization = here.status("Kustomization", "apps")
    assert kustomization["lastAttemptedRevision"] == revision
    assert kustomization["healthCounts"] == {"Current": 1}
    assert here.inventory() == {"Deployment/web"}
    for kind, name in (
        ("ImagePolicy", "web"),
        ("GitRepository", "fleet"),
        ("ImageUpdateAutomation", "all"),
        ("Kustomization", "apps"),
    ):
        conditions = here.status(kind, name)["conditions"]
        assert [each["type"] for each in conditions] == ["Ready"], (kind, conditions)
        assert conditions[0]["status"] == "True"

    # What happened is told once, and a start without a fault alarms nobody.
    def pushed() -> bool:
        commits = [each["note"] for each in here.events("ImageUpdateAutomation") if each["reason"] == "CommitPushed"]
        assert [tip[:12] in note for note in commits] == [True], commits
        applied = [each["note"] for each in here.events("Kustomization") if tip[:12] in each["note"]]
        assert ["configured Deployment.apps" in note for note in applied] == [True], applied
        return True

    until(pushed, 30, "Events of the commit and of its application")
    assert [each for each in here.events() if each["type"] != "Normal"] == []


def test_what_happened_is_counted_and_timed(here: Place, replica: Replica) -> None:
    """Each number of the domain moves with one tag that is pushed."""
    names = (
        "image_updater_tags_seen_total",
        "image_updater_registry_requests_total",
        "image_updater_registry_request_seconds_total",
        "image_updater_commits_total",
        "image_updater_change_to_commit_seconds_count",
        "image_updater_commit_to_applied_seconds_count",
        "image_updater_syncs_total",
        "image_updater_sync_objects_total",
        "image_updater_status_writes_total",
    )
    here.push("web", "1.0.0")
    here.commit(web(here))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization())
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(("ImagePolicy", "web"), ("ImageUpdateAutomation", "all"))
    before = {name: replica.metric(name) for name in names}
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))
    here.await_applied()

    def counted() -> bool:
        assert {name for name in names if replica.metric(name) <= before[name]} == set()
        return True

    until(counted, 15, "numbers that have moved")

    # A person sets what is newer than anything in the registry: nothing goes down, and the chosen tag ages.
    undeployed = replica.metric("image_updater_undeployed_tags")
    here.commit({"apps/kustomization.yaml": web(here, "9.9.9")["apps/kustomization.yaml"]})
    until(lambda: here.status("ImageUpdateAutomation", "all")["siteCounts"] == {"held": 1}, 60, "held")
    until(lambda: replica.metric("image_updater_undeployed_tags") > undeployed, 60, "a tag that Git does not hold")
    until(lambda: replica.metric("image_updater_undeployed_tag_age_seconds") > 0, 30, "its age")
    here.push("web", "10.0.0")
    here.await_running("web", here.image("web", "10.0.0"))
    until(lambda: replica.metric("image_updater_undeployed_tags") == undeployed, 60, "nothing is missing any more")


def test_nothing_is_written_and_nothing_told_while_nothing_happens(
    plane: ControlPlane, here: Place, replica: Replica
) -> None:
    here.push("web", "1.0.0")
    here.commit(web(here))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(wait=True, interval="1h"))
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(
        ("ImagePolicy", "web"), ("GitRepository", "fleet"), ("ImageUpdateAutomation", "all"), ("Kustomization", "apps")
    )

    until(lambda: here.status("Kustomization", "apps").get("rolloutsSettled"), 60, "its rollout has settled")

    def counts() -> tuple[float, int]:
        return replica.metric("image_updater_registry_requests_total"), len(here.workshop.git.requests())

    # The registry and Git are asked again and again.
    seen = counts()
    told = {each["metadata"]["name"]: each.get("series") for each in here.events()}
    mark = plane.mark()
    until(lambda: all(now >= before + 4 for now, before in zip(counts(), seen, strict=True)), 60, "more polls")
    account = replica.account
    ours = [each for each in account.requests(mark) if each.resource != "leases" and each.verb != "watch"]
    assert [each for each in ours if each.namespace == here.namespace and each.resource != "secrets"] == []
    assert {each["metadata"]["name"]: each.get("series") for each in here.events()} == told
    about = [(each["regarding"]["kind"], each["reason"]) for each in here.events()]
    assert len(about) == len(set(about)), about


def test_an_annotation_on_the_workload_is_enough(here: Place, replica: Replica) -> None:
    """No ImagePolicy: the login is the pull secret of the workload itself."""
    here.push("web", "1.0.0", "1.1.0", "2.0.0")
    files = web(here, annotations={"image-updater.dev/policy": "semver ^1"})
    pulling = "      imagePullSecrets: [{name: registry}]\n      containers:\n"
    files["base/web.yaml"] = files["base/web.yaml"].replace("      containers:\n", pulling)
    here.commit(files)
    here.apply(here.source(), here.automation(), here.kustomization())
    here.await_running("web", here.image("web", "1.1.0"))
    assert here.moves() == [(here.image("web"), "1.0.0", "1.1.0")]

    def told() -> bool:
        (policy,) = here.status("ImageUpdateAutomation", "all")["policies"]
        assert policy["image"] == here.image("web")
        assert policy["tag"] == "1.1.0"
        assert "semver ^1" in policy["name"]
        return True

    until(told, 30, "the automation's status names the annotation's policy")
    here.await_ready(("ImageUpdateAutomation", "all"), ("Kustomization", "apps"))
    here.await_applied()

    # A later tag, by asking for it: who has no ImagePolicy asks the automation.
    here.push("web", "1.2.0")
    here.annotate("ImageUpdateAutomation", "all", requestedAt="now")
    here.await_running("web", here.image("web", "1.2.0"))
    assert [new for _, _, new in here.moves()] == ["1.1.0", "1.2.0"]
    until(
        lambda: here.status("ImageUpdateAutomation", "all").get("lastHandledReconcileAt") == "now", 30, "it is answered"
    )


def test_asking_is_as_good_as_waiting(here: Place, replica: Replica) -> None:
    """requestedAt on the policy where nothing is polled within the test, and on what only a person has moved."""
    here.push("web", "1.0.0")
    here.commit(web(here))
    here.apply(
        here.source(interval="1h"),
        here.policy(interval="1h"),
        here.automation(interval="1h"),
        here.kustomization(interval="1h"),
    )
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(("ImagePolicy", "web"), ("ImageUpdateAutomation", "all"))

    here.push("web", "1.1.0")
    here.annotate("ImagePolicy", "web", requestedAt="2026-01-01T00:00:00Z")
    here.await_running("web", here.image("web", "1.1.0"))
    until(
        lambda: here.status("ImagePolicy", "web").get("lastHandledReconcileAt") == "2026-01-01T00:00:00Z",
        30,
        "the request is answered",
    )

    here.commit({"base/web.yaml": deployment("web", here.image("web"), replicas=3)})
    here.annotate("GitRepository", "fleet", requestedAt="1")
    until(lambda: here.get("Deployment", "web")["spec"]["replicas"] == 3, 30, "the commit by hand is applied")
    assert here.status("GitRepository", "fleet")["lastHandledReconcileAt"] == "1"

    here.annotate("Kustomization", "apps", requestedAt="2")
    until(lambda: here.status("Kustomization", "apps").get("lastHandledReconcileAt") == "2", 30, "it is answered")
    here.await_ready(("Kustomization", "apps"))


def test_the_loop_over_ssh(here: Place, replica: Replica, tmp_path: Path) -> None:
    here.push("web", "1.0.0")
    with gitservers.ssh_server(tmp_path) as server:
        repository = gitservers.bare(server.root / "fleet.git", files=web(here))
        login = {"identity": server.identity.decode(), "known_hosts": server.known_hosts().decode()}
        source = here.source(url=server.url("fleet.git"), secretRef={"name": "ssh"}, certSecretRef=None)
        here.apply(secret("ssh", login), source, here.policy(), here.automation(), here.kustomization())
        here.await_running("web", here.image("web", "1.0.0"))
        here.push("web", "1.1.0")
        here.await_running("web", here.image("web", "1.1.0"))
        tip = gitservers.git("rev-parse", "main", cwd=repository)
        here.await_applied(commit=tip)
        assert 'newTag: "1.1.0"' in gitservers.git("show", "main:apps/kustomization.yaml", cwd=repository)

        # Another host key is another server.
        wrong = login | {"known_hosts": login["known_hosts"].replace("[127.0.0.1]", "[localhost]")}
        here.apply(
            secret("ssh-wrong", wrong), here.source("wrong", **source["spec"] | {"secretRef": {"name": "ssh-wrong"}})
        )
        here.await_condition("GitRepository", "wrong", status="False", contains="host key")
        for kind, name in (("ImageUpdateAutomation", "all"), ("ImagePolicy", "web"), ("GitRepository", "fleet")):
            here.plane.delete(f"{kind}.{GROUP}", name, here.namespace)


def test_split_roles_with_lesser_rights_do_the_loop_together(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One process commits and cannot apply, another applies and cannot commit; neither ever asks for more than it
    may. Both keep to one namespace.
    """
    here.push("web", "1.0.0")
    here.commit(web(here))
    scope = [here.namespace]
    folder = tmp_path_factory.mktemp("split")
    with (
        installed(plane, roles=[Role.UPDATE], watch_namespaces=scope) as writing,
        installed(plane, roles=[Role.SYNC], watch_namespaces=scope) as applying,
        controller(plane, folder, account=writing, name="update", environment=shop.environment) as update,
        controller(plane, folder, account=applying, name="sync", environment=shop.environment) as sync,
    ):
        update.await_leading()
        sync.await_leading()
        here.apply(here.source(), here.policy(), here.automation(), here.kustomization(wait=True))
        here.await_running("web", here.image("web", "1.0.0"))
        here.push("web", "1.1.0")
        here.await_running("web", here.image("web", "1.1.0"))
        here.await_applied()
        here.await_ready(
            ("ImagePolicy", "web"),
            ("GitRepository", "fleet"),
            ("ImageUpdateAutomation", "all"),
            ("Kustomization", "apps"),
        )
