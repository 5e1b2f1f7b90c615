"""Controllers of the image half that must be alone with their objects: killed ones, and shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts import gitservers
from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, deployment, place, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("shop")) as servers:
        yield servers


@pytest.fixture
def here(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    with place(plane, shop, {"README.md": "# fleet\n"}) as made:
        yield made


def test_killed_at_any_moment_the_same_commits_come_out(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path
) -> None:
    """SIGKILL between push and status, among others: status is restored from the server, the rest from Git."""
    here.push("web", "1.0.0")
    here.commit({"apps/web.yaml": deployment("web", here.image("web", "1.0.0"))})
    with (
        installed(plane, roles=[Role.UPDATE], watch_namespaces=[here.namespace]) as made,
        controller(plane, tmp_path, account=made, environment=shop.environment) as one,
    ):
        one.await_leading()
        here.apply(here.source(), here.policy(), here.automation())
        here.await_ready(("ImageUpdateAutomation", "all"))
        wanted = []
        for number in range(1, 5):
            tag = f"1.{number}.0"
            here.push("web", tag)
            until(lambda tag=tag: f"web:{tag}" in here.file("apps/web.yaml"), 60, f"{tag} in Git")
            one.kill()
            wanted.append(tag)
            one.start()
        one.await_leading()

        def known() -> bool:
            status = here.status("ImageUpdateAutomation", "all")
            assert status["lastPushCommit"] == here.tip, "whoever pushed it did not come to say so"
            return here.status("ImagePolicy", "web")["latest"]["tag"] == "1.4.0" and status["siteCounts"] == {
                "current": 1
            }

        until(known, 60, "statuses")
        assert [new for _, _, new in here.moves()] == wanted


HOOK = """\
#!/bin/sh
# Two pushes at once would meet here.
mkdir "$GIT_DIR/inside" 2>/dev/null || echo overlap >> "$GIT_DIR/overlaps"
sleep 0.3
rmdir "$GIT_DIR/inside" 2>/dev/null
exit 0
"""


def test_two_shards_take_turns_on_one_branch(plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path) -> None:
    """Each has an automation, a policy and a GitRepository of its own, and both repositories are one branch."""
    names = ("a", "b")
    files = {f"{name}/web.yaml": deployment(name, here.image(name, "1.0.0")) for name in names}
    for name in names:
        here.push(name, "1.0.0")
    here.commit(files)
    hook = here.repository / "hooks" / "pre-receive"
    hook.write_text(HOOK)
    hook.chmod(0o755)

    def labelled(document: dict[str, Any], name: str) -> dict[str, Any]:
        document["metadata"]["labels"] = {"shard": name}
        return document

    with installed(plane, roles=[Role.UPDATE], watch_namespaces=[here.namespace]) as made:
        for name in names:
            here.apply(
                labelled(here.source(name), name),
                labelled(here.policy(name), name),
                labelled(
                    here.automation(
                        name,
                        sourceRef={"name": name},
                        policySelector={"matchLabels": {"shard": name}},
                        update={"paths": [name]},
                    ),
                    name,
                ),
            )

        def shard(name: str) -> Any:
            return controller(
                plane,
                tmp_path / name,
                account=made,
                name=f"shard-{name}",
                flags=[f"--selector=shard={name}"],
                environment=shop.environment,
            )

        with shard("a") as first, shard("b") as second:
            first.await_leading()
            second.await_leading()
            here.await_ready(*(("ImageUpdateAutomation", name) for name in names))
            for number in range(1, 6):
                for name in names:
                    here.push(name, f"1.{number}.0")
                for name in names:
                    until(
                        lambda name=name, number=number: f":1.{number}.0" in here.file(f"{name}/web.yaml"),
                        60,
                        f"1.{number}.0 of shard {name}",
                    )
            assert not (here.repository / "overlaps").exists()
            moved = {name: [new for image, _, new in here.moves() if image == here.image(name)] for name in names}
            assert moved == {name: [f"1.{number}.0" for number in range(1, 6)] for name in names}

            def leases() -> list[dict[str, Any]]:
                every = plane.list("Lease", made.namespace)
                return [each for each in every if each["metadata"]["name"].startswith("image-updater-branch-")]

            assert len(leases()) == 1
            # At rest nobody holds it, and nobody asks for it.
            until(lambda: not leases()[0]["spec"].get("holderIdentity"), 30, "the branch given back")
            # Each writes the status of its own alone.
            managers = {
                name: {each["manager"] for each in here.get("ImagePolicy", name)["metadata"]["managedFields"]}
                for name in names
            }
            assert all("image-updater" in each for each in managers.values()), managers
        assert gitservers.git("fsck", "--strict", cwd=here.repository) == ""
