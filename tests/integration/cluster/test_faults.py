"""What breaks around the controller, and the controller itself: the end is the same as if nothing had happened.

Whenever it ends by itself (a Lease that it could not renew), it is started again, as the kubelet would.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, config, deployment, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object

KILLING = 30.0
"""Seconds of killing, without what comes before and after it."""
SEEDS = [int(text) for text in os.environ.get("TEST_SEEDS", "7").split(",")]
"""Of the dice that decide what happens and when: `TEST_SEEDS=1,2,3` for a longer look."""
REFUSED = "image_updater_api_throttled_total"


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with (
        installed(plane, suffices=False) as account,
        controller(plane, folder, account=account, environment=shop.environment) as running,
    ):
        running.await_leading()
        yield running


# ------------------------------------------------------------------------------------------------- SIGKILL


class Crowd:
    """Three applications, each with a Kustomization, a policy and an object that wanders; and what must hold of them.

    `dice` decides what happens next; what should be there in the end is written down beside it.
    """

    def __init__(self, here: Place, dice: random.Random) -> None:
        self.here = here
        self.dice = dice
        self.names = ("one", "two", "three")
        self.version = dict.fromkeys(self.names, 0)
        self.extra: dict[str, set[str]] = {name: set() for name in self.names}
        self.wanderer = "one"
        self.generation = 0
        self.uids: dict[tuple[str, str], str] = {}

    def begin(self) -> None:
        here = self.here
        for name in self.names:
            here.push(name, "1.0.0")
        here.commit({path: text for name in self.names for path, text in self.files(name).items()})
        here.apply(
            here.source(),
            here.automation(),
            *(here.policy(name) for name in self.names),
            *(here.kustomization(name, path=name, interval="5s") for name in self.names),
        )
        for name in self.names:
            here.await_running(name, here.image(name, "1.0.0"))
        self.uids = {("Deployment", name): here.get("Deployment", name)["metadata"]["uid"] for name in self.names} | {
            ("ConfigMap", "wanderer"): here.get("ConfigMap", "wanderer")["metadata"]["uid"]
        }

    def files(self, name: str) -> dict[str, str]:
        """All of an application but the line that the controller writes."""
        extra = sorted(self.extra[name] | ({"wanderer"} if self.wanderer == name else set()))
        files = {f"{name}/{each}.yaml": config(each, generation=str(self.generation)) for each in extra}
        files[f"{name}/kustomization.yaml"] = kustomize("web.yaml", *(f"{each}.yaml" for each in extra))
        if not self.generation:
            files[f"{name}/web.yaml"] = deployment(name, self.here.image(name, "1.0.0"), replicas=1)
        return files

    def happen(self) -> None:
        """A tag, or a commit."""
        if self.dice.random() < 0.5:
            name = self.dice.choice(self.names)
            self.version[name] += 1
            self.here.push(name, f"1.{self.version[name]}.0")
            return
        self.generation += 1
        before = {path for name in self.names for path in self.files(name)}
        name = self.dice.choice(self.names)
        what = self.dice.random()
        if what < 0.4:
            self.wanderer = name
        elif what < 0.7 or not self.extra[name]:
            self.extra[name].add(f"{name}-{self.generation}")
        else:
            self.extra[name].discard(self.dice.choice(sorted(self.extra[name])))
        files: dict[str, str | None] = dict.fromkeys(before)
        for each in self.names:
            files.update(self.files(each))
        self.here.commit(files, f"By hand {self.generation}")

    def settled(self) -> bool:
        """Everything is as Git and the registry say. An AssertionError says what is not."""
        here = self.here
        for name in self.names:
            image = here.image(name, f"1.{self.version[name]}.0")
            assert image in here.file(f"{name}/web.yaml"), f"{image} is not in Git"
            assert here.running_image(name) == image
            here.is_ready("Kustomization", name)
            extra = self.extra[name] | ({"wanderer"} if self.wanderer == name else set())
            wanted = {f"Deployment/{name}"} | {f"ConfigMap/{each}" for each in extra}
            assert here.inventory(name) == wanted, (name, here.inventory(name), wanted)
        there = {each["metadata"]["name"] for each in here.plane.list("ConfigMap", here.namespace)}
        wanted = {"wanderer"}.union(*self.extra.values())
        assert there - {"kube-root-ca.crt"} == wanted, (there, wanted)
        return True

    def sound(self) -> None:
        """What must never have happened meanwhile."""
        here = self.here
        for (kind, name), uid in self.uids.items():
            assert here.get(kind, name)["metadata"]["uid"] == uid, f"{kind} {name} was deleted"
        for name in self.names:
            moves = [(old, new) for image, old, new in here.moves() if image == here.image(name)]
            assert len(moves) == len(set(moves)) <= self.version[name], f"two commits for one move: {moves}"
            held = "1.0.0"
            for old, new in moves:
                assert old == held, f"{name}: {moves}"
                held = new
            assert held == f"1.{self.version[name]}.0"
        here.sound()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_any_moment_it_ends_where_it_would_have_ended(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path, seed: int
) -> None:
    """Many lives, each ended by SIGKILL, while tags and commits come; some begin without the cache of the last. Without
    a Lease, or each would begin with the wait for that of the one before.
    """
    dice = random.Random(seed)
    crowd = Crowd(here, dice)
    with controller(
        plane,
        tmp_path,
        watch_namespaces=[here.namespace],
        flags=["--no-leader-election"],
        environment=shop.environment,
    ) as replica:
        crowd.begin()
        lives, end = 0, time.monotonic() + KILLING
        while time.monotonic() < end:
            for _ in range(dice.randint(1, 3)):
                crowd.happen()
            # The moment is what this test is about; it is drawn, not waited for.
            time.sleep(dice.uniform(0.0, 1.5))
            replica.kill()
            lives += 1
            if dice.random() < 0.2:
                replica.forget()
            replica.start()
            if dice.random() < 0.7:
                replica.await_ready()
        print(f"seed {seed}: killed {lives} times, {crowd.generation} commits, {sum(crowd.version.values())} tags")
        until(crowd.settled, 90, f"seed {seed}: the end state after {lives} lives")
        crowd.sound()
    assert lives >= 5


def test_what_was_applied_but_never_reported_is_pruned_all_the_same(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path
) -> None:
    """Killed between the apply and the status that says so: the inventory knew before the first object was sent."""
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    with controller(
        plane,
        tmp_path,
        watch_namespaces=[here.namespace],
        flags=["--no-leader-election"],
        environment=shop.environment,
    ) as replica:
        here.apply(here.source(), here.kustomization())
        here.await_applied()
        first = here.applied()
        with unreportable(plane, here):
            here.commit({"apps/b.yaml": config("b", x="1"), "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml")})
            until(lambda: here.has("ConfigMap", "b"), 30, "the new object is applied")
            until(lambda: "has to stay" in replica.log(), 30, "the report is refused")
            replica.kill()
            assert here.applied() == first
            assert here.inventory() == {"ConfigMap/a", "ConfigMap/b"}
            # While nobody looks it leaves Git again, and so does what was there before.
            here.commit(
                {
                    "apps/a.yaml": None,
                    "apps/b.yaml": None,
                    "apps/c.yaml": config("c", x="1"),
                    "apps/kustomization.yaml": kustomize("c.yaml"),
                }
            )
        replica.start()
        here.await_applied()
        assert here.inventory() == {"ConfigMap/c"}
        assert not here.has("ConfigMap", "a")
        assert not here.has("ConfigMap", "b")


@contextmanager
def unreportable(plane: ControlPlane, here: Place) -> Iterator[None]:
    """The API server refuses every status of a Kustomization here that claims another applied revision."""
    name = f"unreportable-{here.namespace}"
    version = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["image-updater.dev"],
        "apiVersions": ["*"],
        "resources": ["kustomizations/status"],
        "operations": ["UPDATE"],
    }
    kept = "has(object.status.lastAppliedRevision) && has(oldObject.status.lastAppliedRevision) && "
    kept += "object.status.lastAppliedRevision == oldObject.status.lastAppliedRevision"
    policy: Object = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": kept, "message": "the revision has to stay"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": here.namespace}}
    binding: Object = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    plane.apply([policy, binding])
    probe = {"status": {"lastAppliedRevision": "probe"}}

    def refused() -> bool:
        said = plane.kubectl(
            *("patch", "kustomizations.image-updater.dev", "apps", "-n", here.namespace, "--subresource=status"),
            *("--dry-run=server", "--type=merge", "-p", str(probe).replace("'", '"')),
            check=False,
        )
        return "patched" not in said

    try:
        until(refused, 30, "the admission policy is in force")
        yield
    finally:
        for each in (binding, policy):
            plane.delete(each["kind"], name)
        until(lambda: not refused(), 30, "the admission policy is gone")


def test_without_the_right_to_say_so_nothing_is_applied(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path
) -> None:
    """What could not be written down could not be pruned either."""
    here.commit({"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")})
    with controller(
        plane, tmp_path, watch_namespaces=[here.namespace], flags=["--no-leader-election"], environment=shop.environment
    ) as replica:
        here.apply(here.source(), here.kustomization())
        here.await_applied()
        with unreportable(plane, here):
            here.apply(here.kustomization("other", path="apps", namePrefix="other-"))
            until(lambda: "has to stay" in replica.log(), 30, "its first status is refused")
            assert not here.has("ConfigMap", "other-a")
        until(lambda: here.has("ConfigMap", "other-a"), 90, "it is applied once it can be written down")


# ------------------------------------------------------------------------------------------------- the API server


@pytest.fixture
def app(here: Place, replica: Replica) -> Place:
    """One application that runs at 1.0.0, with everything polled each second."""
    replica.revive()
    here.push("web", "1.0.0")
    here.commit(
        {
            "apps/web.yaml": deployment("web", here.image("web", "1.0.0"), replicas=1),
            "apps/a.yaml": config("a", x="1"),
            "apps/kustomization.yaml": kustomize("web.yaml", "a.yaml"),
        }
    )
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(wait=True))
    replica.await_leading()
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(("Kustomization", "apps"), ("ImageUpdateAutomation", "all"), ("ImagePolicy", "web"))
    return here


def goes_on(app: Place, replica: Replica, tag: str) -> None:
    """That tag arrives, and then everything else works, too."""

    def arrived() -> bool:
        replica.revive()
        assert app.running_image() == app.image("web", tag)
        assert app.applied() == f"main@sha1:{app.tip}"
        assert app.status("ImagePolicy", "web")["latest"]["tag"] == tag
        return app.is_ready("Kustomization", "apps") and app.is_ready("ImageUpdateAutomation", "all")

    until(arrived, 120, f"{tag} arrives", pause=0.1)
    # Watches are alive in both directions: an edit in the cluster, an edit of our object, a removal from Git.
    app.plane.patch("ConfigMap", "a", app.namespace, {"data": {"x": "edited"}})
    until(lambda: app.get("ConfigMap", "a")["data"] == {"x": "1"}, 60, "an edit is corrected")
    app.plane.patch("imagepolicies.image-updater.dev", "web", app.namespace, {"spec": {"suspend": True}})
    until(lambda: app.condition("ImagePolicy", "web")["reason"] == "Suspended", 60, "an edit of ours is seen")
    app.commit({"apps/a.yaml": None, "apps/kustomization.yaml": kustomize("web.yaml")})
    until(lambda: not app.has("ConfigMap", "a"), 60, "what left Git goes")
    moves = app.moves()
    assert [new for _, _, new in moves] == [tag], moves


def test_an_api_server_that_crashes_and_comes_back(plane: ControlPlane, app: Place, replica: Replica) -> None:
    plane.kill_apiserver()
    app.push("web", "1.1.0")
    plane.start_apiserver()
    goes_on(app, replica, "1.1.0")


def test_an_etcd_that_hangs_for_some_seconds(plane: ControlPlane, app: Place, replica: Replica) -> None:
    plane.pause_etcd()
    try:
        app.push("web", "1.1.0")
        # Long enough for reads and writes of ours to hang; no condition could be asked meanwhile.
        time.sleep(4)
    finally:
        plane.resume_etcd()
    goes_on(app, replica, "1.1.0")


def test_watches_whose_version_has_expired(plane: ControlPlane, app: Place, replica: Replica) -> None:
    plane.expire_watches()
    app.push("web", "1.1.0")
    goes_on(app, replica, "1.1.0")


def test_throttling_of_the_controllers_own_account(plane: ControlPlane, app: Place, replica: Replica) -> None:
    account = replica.account
    with plane.throttled(account.namespace, "image-updater"):
        app.push("web", "1.1.0")
        app.commit({"apps/b.yaml": config("b", x="1")})
        before = replica.metric(REFUSED)
        until(lambda: replica.metric(REFUSED) >= before + 3, 30, "answers 429")
    goes_on(app, replica, "1.1.0")
