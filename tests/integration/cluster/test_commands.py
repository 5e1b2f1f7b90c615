"""hold, resume, approve, deny, rollback and history at a real API server, as people with and without rights."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.manifests import Installation, manifests
from image_updater.api.model import API_VERSION
from image_updater.api.schema import crds
from image_updater.api.status import status_fields
from image_updater.cli.app import run
from image_updater.settings import Role
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

P = "image-updater.dev/"
DIGEST = f"sha256:{'a' * 64}"

Say = "Callable[..., tuple[int, str, str]]"


@pytest.fixture(scope="module")
def served(plane: ControlPlane) -> Iterator[ControlPlane]:
    """Our kinds, and the roles that `install` makes for people."""
    plane.apply(crds())
    roles = [
        each
        for each in manifests(Installation(namespace="people"))
        if any("aggregate-to" in label for label in (each.get("metadata") or {}).get("labels", {}))
    ]
    plane.apply(roles)
    yield plane
    for each in roles:
        plane.delete(each["kind"], each["metadata"]["name"])


@pytest.fixture
def web(served: ControlPlane, namespace: str) -> str:
    served.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "ImagePolicy",
            "metadata": {"name": "web", "namespace": namespace, "annotations": {"example.com/note": "keep me"}},
            "spec": {"image": "ghcr.io/acme/web", "policy": {"semver": {"range": "^1"}}, "approvals": 2},
        }
    )
    return namespace


@pytest.fixture
def say(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """A command as the administrator, or with a kubeconfig of somebody else."""

    def call(*arguments: str, kubeconfig: Path | None = None) -> tuple[int, str, str]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig or plane.kubeconfig))
        code = run(list(arguments))
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


def person(plane: ControlPlane, namespace: str, name: str, role: str) -> Path:
    """The kubeconfig of somebody who has one of the cluster's own roles in the namespace, when that is in force."""
    plane.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ],
        namespace,
    )
    config = plane.kubeconfig_of(namespace, name)
    verb = "patch" if role == "edit" else "list"
    plane.until(
        lambda: plane.kubectl(
            "auth", "can-i", verb, "imagepolicies.image-updater.dev", "-n", namespace, kubeconfig=config, check=False
        ).startswith("yes"),
        30,
        f"{role} of {name}",
    )
    return config


def annotations(plane: ControlPlane, namespace: str) -> dict[str, Any]:
    policy = plane.get("ImagePolicy", "web", namespace)
    assert policy is not None
    found: dict[str, str] = policy["metadata"]["annotations"]
    assert found.pop("example.com/note") == "keep me"
    return {
        name.removeprefix(P): json.loads(text)
        for name, text in found.items()
        if not name.startswith("kubectl.kubernetes.io/")
    }


def test_a_hold_is_made_replaced_and_ended(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    code, said, _ = say("hold", f"{web}/web", "--reason", "the queue\nis full", "--until", "8h", "--by", "ada")
    assert code == 0
    assert said.startswith(f"{web}/web is held until 2")
    assert "the queue is full" in said
    assert "image-updater resume" in said
    hold = annotations(served, web)["hold"]
    assert (hold["reason"], hold["by"]) == ("the queue is full", "ada")
    assert hold["at"] < hold["until"]
    code, said, _ = say("hold", "web", "-n", web, "-o", "json")
    assert code == 0
    answer = json.loads(said)
    assert (answer["policy"], answer["asked"]) == (f"{web}/web", "hold")
    assert "held before by ada" in answer["message"]
    assert answer["by"], "the server knows who asks"
    assert "until" not in annotations(served, web)["hold"]
    code, said, _ = say("resume", "web", "-n", web)
    assert code == 0
    assert "is not held any more" in said
    assert set(annotations(served, web)) == {"resume"}


def test_two_people_approve_as_the_server_knows_them(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    ada, bob = (person(served, web, name, "edit") for name in ("ada", "bob"))
    _, said, _ = say("approve", "web", "1.2.0", "-n", web, kubeconfig=ada)
    assert "1 of 2: 1 person more must agree" in said
    _, said, _ = say("approve", "web", "1.2.0", "-n", web, kubeconfig=ada)
    assert "1 of 2" in said, "one person counts once"
    _, said, _ = say("approve", "web", f"1.2.0@{DIGEST}", "-n", web, kubeconfig=bob)
    assert "2 of 2" in said
    approvals = annotations(served, web)["approvals"]
    assert [each["by"] for each in approvals] == [f"system:serviceaccount:{web}:{name}" for name in ("ada", "bob")]
    assert approvals[1]["digest"] == DIGEST


def test_people_who_ask_at_the_same_time_all_get_what_they_asked(served: ControlPlane, web: str) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "image_updater", "deny", "web", f"1.{i}.0", "-n", web, "--by", f"p{i}"],
            env={**os.environ, "KUBECONFIG": str(served.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(5)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert {each["what"] for each in annotations(served, web)["deny"]} == {f"1.{i}.0" for i in range(5)}


def test_what_is_denied_is_not_approved_until_that_is_undone(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    assert say("deny", "web", "1.2.0", "-n", web, "--reason", "slow", "--by", "ada")[0] == 0
    code, _, errors = say("approve", "web", "1.2.0", "-n", web)
    assert code == 2
    assert "1.2.0 was denied by ada" in errors
    assert "--undo" in errors
    assert "may be chosen" in say("deny", "web", "1.2.0", "-n", web, "--undo")[1]
    assert "nothing to undo" in say("deny", "web", "1.2.0", "-n", web, "--undo")[1]
    assert annotations(served, web) == {}
    assert say("approve", "web", "1.2.0", "-n", web)[0] == 0


def test_a_rollback_says_where_to_and_what_follows(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    _, said, _ = say("rollback", "web", "-n", web)
    assert "the tag before: nothing is proven yet" in said
    status = status_fields(
        "ImagePolicy",
        {
            "latest": {"image": "ghcr.io/acme/web", "tag": "1.3.0"},
            "proven": [
                {"tag": "1.3.0", "since": datetime(2026, 3, 1, tzinfo=UTC)},
                {"tag": "1.2.0", "since": datetime(2026, 2, 1, 9, 30, tzinfo=UTC)},
            ],
        },
    )
    served.patch("ImagePolicy", "web", web, {"status": status}, subresource="status")
    _, said, _ = say("rollback", "web", "-n", web, "--reason", "errors", "--by", "ada")
    assert f"{web}/web goes back from 1.3.0 to 1.2.0, which was healthy at 2026-02-01T09:30Z" in said
    assert "until a newer one comes" in said
    assert annotations(served, web)["rollback"]["reason"] == "errors"
    _, said, _ = say("rollback", "web", "-n", web, "--to", "1.1.0")
    assert "to 1.1.0." in said
    assert "Careful" not in said
    assert annotations(served, web)["rollback"]["to"] == "1.1.0"
    assert say("deny", "web", "1.1.0", "-n", web, "--reason", "slow", "--by", "ada")[0] == 0
    _, said, _ = say("rollback", "web", "-n", web, "--to", "1.1.0")
    assert re.search(r"Careful: 1\.1\.0 is denied by ada at \S+Z: slow\. You asked for it, so it is done\.", said)


def test_the_history_is_what_status_says(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    assert "nothing is known of its tags yet" in say("history", "web", "-n", web)[1]
    day = datetime(2026, 3, 1, tzinfo=UTC)
    status = status_fields(
        "ImagePolicy",
        {
            "latest": {"image": "ghcr.io/acme/web", "tag": "1.3.0"},
            "leadTime": {
                "tag": "1.3.0",
                "environment": "flux/prod",
                "seen": day,
                "committed": day.replace(minute=1),
                "applied": day.replace(minute=2),
                "healthy": day.replace(minute=4, second=30),
            },
            "proven": [
                {
                    "tag": "1.2.0",
                    "since": day.replace(hour=1),
                    "environment": "flux/prod",
                    "withdrawn": day.replace(hour=2),
                }
            ],
        },
    )
    served.patch("ImagePolicy", "web", web, {"status": status}, subresource="status")
    code, said, _ = say("history", "web", "-n", web)
    assert code == 0
    assert "1.3.0 is chosen" in said
    assert "4m 30s" in said
    assert "failed 2026-03-01T02:00Z, was healthy 2026-03-01T01:00Z" in said
    rows = json.loads(say("history", "web", "-n", web, "-o", "json")[1])["tags"]
    assert [(row["tag"], row["leadTimeSeconds"], row["withdrawn"]) for row in rows] == [
        ("1.3.0", 270, False),
        ("1.2.0", None, True),
    ]


def test_who_may_only_look_may_not_ask_and_is_told_so(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    config = person(served, web, "guest", "view")
    assert say("history", "web", "-n", web, kubeconfig=config)[0] == 0
    code, said, errors = say("hold", "web", "-n", web, kubeconfig=config)
    assert (code, said) == (1, "")
    assert "guest" in errors
    assert "imagepolicies" in errors
    assert annotations(served, web) == {}


def test_a_policy_that_is_not_there_is_a_mistake_with_a_remedy(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    code, said, errors = say("hold", "wbe", "-n", web, "-o", "json")
    assert code == 2
    assert "did you mean 'web'?" in errors
    assert json.loads(said)["errors"][0]["message"] == f"there is no ImagePolicy {web}/wbe"


def test_a_list_that_somebody_mistyped_is_not_overwritten(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]]
) -> None:
    served.kubectl("annotate", "imagepolicy.image-updater.dev/web", "-n", web, f"{P}deny={{oops")
    code, _, errors = say("deny", "web", "1.2.0", "-n", web)
    assert code == 2
    assert f"metadata.annotations[{P}deny]" in errors
    code, _, errors = say("hold", "web", "-n", web)
    assert code == 0
    assert "warning:" in errors


def test_the_namespace_is_that_of_the_context(
    served: ControlPlane, web: str, say: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_bytes(served.kubeconfig.read_bytes())
    served.kubectl("config", "set-context", "--current", "--namespace", web, kubeconfig=config)
    assert say("hold", "web", kubeconfig=config)[0] == 0
    assert "hold" in annotations(served, web)


# ------------------------------------------------------------------------------------------- a controller that listens


def test_the_controller_heeds_what_people_ask(
    plane: ControlPlane, here: Place, say: Callable[..., tuple[int, str, str]], tmp_path: Path, shop: Workshop
) -> None:
    here.push("web", "1.0.0", "1.1.0")
    here.commit({"apps/web.yaml": deployment("web", here.image("web", "1.0.0"))})
    image = here.image("web")

    def moved(*tags: str) -> None:
        wanted = [(image, old, new) for old, new in itertools.pairwise(("1.0.0", *tags))]
        until(lambda: here.moves() == wanted, 60, f"commits up to {tags[-1]}")

    def said(*words: str) -> None:
        def all_of_it() -> bool:
            return all(word in here.condition("ImagePolicy", "web")["message"] for word in words)

        until(all_of_it, 30, f"a reason with {words}")

    with controller(plane, tmp_path / "controller", roles=[Role.UPDATE], environment=shop.environment) as replica:
        replica.await_leading()
        here.apply(here.source(), here.automation(), here.policy())
        moved("1.1.0")
        assert say("hold", "web", "-n", here.namespace, "--reason", "the queue is full", "--by", "ada")[0] == 0
        here.push("web", "1.2.0")
        said("1.2.0", "the queue is full")
        until(lambda: here.status("ImagePolicy", "web").get("hold"), 30, "the hold in status")
        hold = here.status("ImagePolicy", "web")["hold"]
        assert (hold["reason"], hold["by"]) == ("the queue is full", "ada")
        moved("1.1.0")
        say("resume", "web", "-n", here.namespace)
        moved("1.1.0", "1.2.0")
        until(lambda: "hold" not in here.status("ImagePolicy", "web"), 30, "the end of the hold")

        say("deny", "web", "1.3.0", "-n", here.namespace)
        here.push("web", "1.3.0", "1.2.1")
        moved("1.1.0", "1.2.0", "1.2.1")
        say("deny", "web", "1.3.0", "-n", here.namespace, "--undo")
        moved("1.1.0", "1.2.0", "1.2.1", "1.3.0")

        here.apply(here.policy(approvals=1))
        here.push("web", "1.4.0")
        said("1.4.0", "approval")
        say("approve", "web", "1.4.0", "-n", here.namespace)
        moved("1.1.0", "1.2.0", "1.2.1", "1.3.0", "1.4.0")

        answer = say("rollback", "web", "-n", here.namespace, "--to", "1.3.0", "--reason", "errors")[1]
        assert "from 1.4.0 to 1.3.0" in answer
        moved("1.1.0", "1.2.0", "1.2.1", "1.3.0", "1.4.0", "1.3.0")
        until(lambda: (here.status("ImagePolicy", "web").get("rollback") or {}).get("commit"), 30, "the rollback")
        assert here.subjects()[0] != here.subjects()[1]
    here.sound()
