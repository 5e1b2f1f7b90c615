"""What people do to our objects and to branches: edits, deletions, rewritten history, folders that go. Nothing that
should stay is pruned, and nothing hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import GROUP, Place, Workshop, config, deployment, kustomize, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


def names(here: Place, namespace: str | None = None) -> set[str]:
    found = here.plane.list("ConfigMap", namespace or here.namespace)
    return {each["metadata"]["name"] for each in found} - {"kube-root-ca.crt"}


def two(here: Place, **spec: Any) -> None:
    """Two ConfigMaps in `apps`, applied."""
    here.commit(
        {
            "apps/a.yaml": config("a", x="1"),
            "apps/b.yaml": config("b", x="1"),
            "apps/kustomization.yaml": kustomize("a.yaml", "b.yaml"),
        }
    )
    here.apply(here.source(), here.kustomization(**spec))
    here.await_applied()


def uids(here: Place) -> dict[str, str]:
    return {name: here.get("ConfigMap", name)["metadata"]["uid"] for name in sorted(names(here))}


def test_an_edited_path_or_prefix_moves_what_is_applied(here: Place, replica: Replica) -> None:
    two(here)
    here.commit({"other/c.yaml": config("c", x="1"), "other/kustomization.yaml": kustomize("c.yaml", "../apps")})
    before = uids(here)
    here.apply(here.kustomization(path="other"))
    until(lambda: names(here) == {"a", "b", "c"}, 30, "the other path is applied")
    here.await_applied()
    assert {name: uid for name, uid in uids(here).items() if name != "c"} == before
    here.apply(here.kustomization(path="other", namePrefix="x-"))
    until(lambda: names(here) == {"x-a", "x-b", "x-c"}, 30, "the names are others")
    here.await_ready(("Kustomization", "apps"))
    assert here.inventory() == {"ConfigMap/x-a", "ConfigMap/x-b", "ConfigMap/x-c"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda here: gone(here, "apps"), id="the-folder-goes"),
        pytest.param(lambda here: here.plane.delete(f"GitRepository.{GROUP}", "fleet", here.namespace), id="no-source"),
        pytest.param(lambda here: here.apply(here.source(ref={"branch": "nowhere"})), id="no-branch"),
        pytest.param(lambda here: here.commit({"apps/kustomization.yaml": "resources: [c.yaml]\n"}), id="no-build"),
        pytest.param(lambda here: here.commit({"apps/kustomization.yaml": ""}), id="empty-file"),
    ],
)
def test_what_cannot_be_read_prunes_nothing(here: Place, replica: Replica, change: Any) -> None:
    two(here, interval="1s")
    before = uids(here)
    change(here)
    here.annotate("Kustomization", "apps", requestedAt="1")

    def told() -> bool:
        bad = [here.condition("Kustomization", "apps")]
        if here.plane.get(f"GitRepository.{GROUP}", "fleet", here.namespace) is not None:
            bad.append(here.condition("GitRepository", "fleet"))
        assert any(each["status"] == "False" for each in bad), bad
        return True

    until(told, 90, "somebody says what is wrong")
    seen = replica.metric("image_updater_api_requests_total")
    until(lambda: replica.metric("image_updater_api_requests_total") > seen, 30, "some more time")
    assert uids(here) == before
    assert here.inventory() == {"ConfigMap/a", "ConfigMap/b"}


def gone(here: Place, folder: str) -> None:
    listed = gitservers.git("ls-tree", "-r", "--name-only", "main", folder, cwd=here.repository)
    here.commit(dict.fromkeys(listed.splitlines()))


def test_a_deleted_kustomization_that_comes_back_at_once_has_its_objects(here: Place, replica: Replica) -> None:
    two(here)
    for turn in range(3):
        here.plane.delete(f"Kustomization.{GROUP}", "apps", here.namespace)
        here.commit({"apps/a.yaml": config("a", x=str(turn + 2))})
        until(lambda: here.plane.get(f"Kustomization.{GROUP}", "apps", here.namespace) is None, 30, "it is gone")
        assert names(here) == set()
        here.apply(here.kustomization())
        here.await_applied()
        assert names(here) == {"a", "b"}
        assert here.get("ConfigMap", "a")["data"] == {"x": str(turn + 2)}


def test_rewritten_history_is_followed(here: Place, replica: Replica) -> None:
    """Somebody pushed with force: what the branch says now counts, also for what we commit."""
    here.push("web", "1.0.0")
    start = here.commit(
        {
            "apps/web.yaml": deployment("web", here.image("web", "1.0.0"), replicas=1),
            "apps/a.yaml": config("a", x="1"),
            "apps/kustomization.yaml": kustomize("web.yaml", "a.yaml"),
        }
    )
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization())
    here.await_running("web", here.image("web", "1.0.0"))
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))
    here.commit({"apps/b.yaml": config("b", x="1"), "apps/kustomization.yaml": kustomize("web.yaml", "b.yaml")})
    until(lambda: names(here) == {"b"}, 30, "the last commit")
    gitservers.git("update-ref", "refs/heads/main", start, cwd=here.repository)
    until(lambda: names(here) == {"a"}, 30, "what the branch says now")
    here.push("web", "1.2.0")
    here.await_running("web", here.image("web", "1.2.0"))
    assert gitservers.git("merge-base", start, "main", cwd=here.repository) == start
    here.await_applied()


def test_a_namespace_that_is_deleted_with_all_that_is_in_it_goes(
    plane: ControlPlane, here: Place, replica: Replica
) -> None:
    """The rights, the Secrets and the source go in whatever order; the finalizer must not hold it up."""
    two(here)
    here.apply(here.policy(), here.automation())
    plane.delete("Namespace", here.namespace)
    until(lambda: plane.get("Namespace", here.namespace) is None, 90, "the namespace is gone")


def test_a_push_that_a_hook_refuses_says_so_and_comes_once_it_may(here: Place, replica: Replica) -> None:
    here.push("web", "1.0.0")
    here.commit(
        {
            "apps/web.yaml": deployment("web", here.image("web", "1.0.0"), replicas=1),
            "apps/kustomization.yaml": kustomize("web.yaml"),
        }
    )
    here.apply(here.source(), here.policy(), here.automation(interval="1s"), here.kustomization())
    here.await_running("web", here.image("web", "1.0.0"))
    gitservers.set_hook(here.repository, "#!/bin/sh\necho 'frozen until Monday' >&2\nexit 1\n")
    here.push("web", "1.1.0")
    here.await_condition("ImageUpdateAutomation", "all", status="False", contains="frozen until Monday")
    assert here.moves() == []
    (here.repository / "hooks" / "pre-receive").unlink()
    here.annotate("ImageUpdateAutomation", "all", requestedAt="1")
    here.await_running("web", here.image("web", "1.1.0"), timeout=120)
    here.await_ready(("ImageUpdateAutomation", "all"))
    assert len(here.moves()) == 1


def test_a_password_that_changes_is_used_without_a_restart(
    plane: ControlPlane, shop: Workshop, here: Place, replica: Replica, tmp_path: Path
) -> None:
    """The Git server takes another one from now on, and so does the Secret, a moment later."""
    files = {"apps/a.yaml": config("a", x="1"), "apps/kustomization.yaml": kustomize("a.yaml")}
    with gitservers.http_server(tmp_path, tls=True, user="bot", password="first") as server:
        repository = gitservers.bare(server.root / "r.git", files=files)
        assert server.ca is not None
        here.apply(
            secret("login", {"username": "bot", "password": "first"}),
            secret("login-ca", {"ca.crt": server.ca.decode()}),
            here.source(url=server.url("r.git"), secretRef={"name": "login"}, certSecretRef={"name": "login-ca"}),
            here.kustomization(),
        )
        until(lambda: names(here) == {"a"}, 30, "the first password works")
        passwords = tmp_path / "nginx" / "htpasswd"
        passwords.write_text("bot:{PLAIN}second\n")
        here.await_condition("GitRepository", "fleet", status="False", reason="AuthenticationFailed")
        here.apply(secret("login", {"username": "bot", "password": "second"}))
        gitservers.commit(repository, {"apps/a.yaml": config("a", x="2")})
        until(lambda: here.get("ConfigMap", "a")["data"] == {"x": "2"}, 120, "the second password is used")
        here.await_ready(("GitRepository", "fleet"))
        here.plane.delete(f"Kustomization.{GROUP}", "apps", here.namespace)
