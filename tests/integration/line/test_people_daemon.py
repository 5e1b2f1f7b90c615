"""People first in a process that goes on: real daemon, real Git server, real registry protocol."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from image_updater import api
from image_updater.api.model import ObjectKey
from image_updater.embedded import EmbeddedRegistry
from image_updater.git import GitTree, History, Mirror
from image_updater.git.lineage import _Walk
from image_updater.pipeline.answers.opening import open_client
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.daemon import Daemon
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.watching import ObjectFiles
from image_updater.pipeline.session import session
from image_updater.settings import Settings
from tests.integration.line.test_checkout import deployment
from tests.parts import gitservers
from tests.parts.gitservers import git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from image_updater.policy.situation import Hold

WEB = "apps/web.yaml"
FLEET = ObjectKey("default", "fleet")
OBJECTS = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: web}}
spec: {{image: {image}, insecure: true, interval: 1h, policy: {{semver: {{range: '*'}}}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {{name: fleet}}
spec: {{url: '{url}', ref: {{branch: main}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: fleet}}
spec: {{sourceRef: {{name: fleet}}, interval: 1h}}
"""
OURS = "Update\n\nImage-Policy: default/web\nImage: {image}\nOld: {old}\nNew: {new}\nAutomation: default/fleet\n"


@dataclass(kw_only=True)
class House:
    """A daemon that runs, its registry and its repository."""

    registry: EmbeddedRegistry
    image: str
    bare: Path
    server: gitservers.HttpServer
    daemon: Daemon
    metrics: Metrics

    def file(self, tag: str) -> dict[str, str | None]:
        return {WEB: deployment("web", tag).replace("acme/web", self.image)}

    def person(self, tag: str, message: str = "By hand") -> str:
        return gitservers.commit(self.bare, self.file(tag), message=message)

    def ours(self, old: str, new: str) -> str:
        """What another instance pushes for the same policy."""
        return self.person(new, OURS.format(image=self.image, old=old, new=new))

    async def push(self, tag: str) -> None:
        self.registry.push("acme/web", tag, created=datetime.now(UTC) - timedelta(days=1))
        await self.daemon.check(ObjectKey("default", "web"))
        await self.daemon.look(FLEET)

    @property
    def tag(self) -> str:
        return git("show", f"main:{WEB}", cwd=self.bare).rpartition("acme/web:")[2].partition("}")[0]

    @property
    def tip(self) -> str:
        return git("rev-parse", "main", cwd=self.bare)

    @property
    def hold(self) -> Hold | None:
        return self.daemon.holding.of("default/web")

    def pushes(self) -> int:
        return sum("POST" in line and f"/{self.bare.name}/git-receive-pack" in line for line in self.server.requests())


@asynccontextmanager
async def house(
    server: gitservers.HttpServer, folder: Path, *, before: Callable[[Path, str], None] = lambda bare, image: None
) -> AsyncIterator[House]:
    """`before(bare, image)` makes the history that the daemon finds."""

    def clock() -> datetime:
        return datetime.now(UTC)

    settings = Settings(cache=folder / "cache", state=folder / "state.sqlite")
    bare = server.root / f"{folder.name}.git"
    async with EmbeddedRegistry() as registry, open_client(settings, clock) as client:
        image = f"{registry.host}/acme/web"
        registry.push("acme/web", "1.0.0", created=clock() - timedelta(days=2))
        gitservers.bare(bare, files={WEB: deployment("web", "1.0.0").replace("acme/web", image)})
        before(bare, image)
        (folder / "objects.yaml").write_text(OBJECTS.format(image=image, url=server.url(bare.name)))
        secrets = CurrentSecrets(None)
        with session(settings, {}) as opened:
            selector = Selector(
                store=opened.store, secrets=secrets, environment={}, clock=clock, registry=client, durable=True
            )
            metrics = Metrics()
            daemon = Daemon(
                source=ObjectFiles([folder / "objects.yaml"]),
                objects=api.load([folder / "objects.yaml"]),
                selector=selector,
                secrets=secrets,
                settings=settings,
                environment={},
                metrics=metrics,
                clock=clock,
                monotonic=time.monotonic,
                dice=random.random,
                session=opened,
            )
            metrics.watch(
                registry=None,
                tags_seen=lambda: 0,
                facts_fetched=lambda: 0,
                states=daemon.states,
                holds=daemon.holding.count,
            )
            stop = asyncio.Event()
            running = asyncio.create_task(daemon.run(stop))
            try:
                async with asyncio.timeout(60):
                    while not await daemon.look(FLEET):
                        await asyncio.sleep(0.01)
                    yield House(
                        registry=registry, image=image, bare=bare, server=server, daemon=daemon, metrics=metrics
                    )
            finally:
                stop.set()
                await running


async def test_ten_looks_in_a_row_leave_a_revert_alone(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(server, tmp_path) as at:
        await at.push("1.1.0")
        assert at.tag == "1.1.0"
        walks: list[str] = []
        run = _Walk.run

        def counted(walk: _Walk, tip: str, wanted: Any) -> Any:
            walks.append(tip)
            return run(walk, tip, wanted)

        monkeypatch.setattr(_Walk, "run", counted)
        reverted = at.person("1.0.0")
        pushes = at.pushes()
        for _ in range(10):
            await at.daemon.look(FLEET)
        assert at.tip == reverted
        assert at.pushes() == pushes
        assert walks == [reverted], "the history of one commit is read once"
        assert at.hold is not None
        assert reverted[:12] in at.hold.reason
        assert (at.hold.tag, at.hold.by) == ("1.1.0", "Person")
        assert b"image_updater_holds 1.0" in at.metrics.text()
        other = gitservers.commit(at.bare, {"README.md": "Unrelated\n"})
        await at.daemon.look(FLEET)
        assert at.tip == other
        assert at.hold is not None
        await at.push("1.1.1")
        assert at.tag == "1.1.1"
        assert at.hold is None
        assert b"image_updater_holds 0.0" in at.metrics.text()


async def test_what_a_pin_took_the_place_of_is_looked_up_once(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod = "prod/kustomization.yaml"

    def overlay(bare: Path, image: str) -> None:
        files: dict[str, str | None] = {
            prod: "resources: [../apps]\n",
            "staging/kustomization.yaml": "resources: [../apps]\n",
        }
        gitservers.commit(bare, files | {"apps/kustomization.yaml": "resources: [web.yaml]\n"})

    async with house(server, tmp_path, before=overlay) as at:
        await at.push("1.1.0")
        assert at.tag == "1.1.0"
        looked: list[str] = []
        tree: Callable[[History], GitTree] = vars(History)["tree"].fget

        def counted(history: History) -> GitTree:
            looked.append(history.tip)
            return tree(history)

        monkeypatch.setattr(History, "tree", property(counted))
        before = at.tip
        pin = f"resources: [../apps]\nimages:\n  - name: {at.image}\n    newTag: 1.0.0\n"
        pinned = gitservers.commit(at.bare, {prod: pin}, message="Pin")
        for _ in range(3):
            await at.daemon.look(FLEET)
        assert at.tip == pinned
        assert at.hold is not None
        assert pinned[:12] in at.hold.reason
        gitservers.commit(at.bare, {"README.md": "Unrelated\n"})
        await at.daemon.look(FLEET)
        assert at.hold is not None
        assert looked == [pinned, before]
        await at.push("1.1.1")
        assert at.tag == "1.1.1"
        assert "newTag: 1.1.1" in git("show", f"main:{prod}", cwd=at.bare)
        assert at.hold is None


RACES: dict[str, Callable[[House], tuple[str, ...]]] = {
    "a-revert": lambda at: (at.ours("1.0.0", "1.1.0"), at.person("1.0.0", "Not this one")),
    "a-word": lambda at: (at.person("1.0.0", "Stop\n\nImage-Updater: hold"),),
}


@pytest.mark.parametrize("race", RACES)
async def test_a_race_lost_to_a_person_ends_in_the_hold(
    server: gitservers.HttpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    race: str,
) -> None:
    caplog.set_level("INFO", "image_updater.run")
    async with house(server, tmp_path) as at:
        push = Mirror.push
        written: list[str] = []

        async def late(mirror: Mirror, *arguments: Any, **more: Any) -> None:
            if not written:
                # Our plan is made and committed here; on the server somebody is faster.
                written.extend(RACES[race](at))
            await push(mirror, *arguments, **more)

        monkeypatch.setattr(Mirror, "push", late)
        await at.push("1.1.0")
        assert at.tip == written[-1]
        assert at.tag == "1.0.0"
        assert at.hold is not None
        assert written[-1][:12] in at.hold.reason
        await at.daemon.look(FLEET)
        assert at.tip == written[-1]
    told = [each.getMessage() for each in caplog.records if "PushRaced" in each.getMessage()]
    assert len(told) == 1
    assert f"/{at.bare.stem}#main: push 1 of default/fleet: PushRaced: the branch main moved" in told[0]


async def test_a_quarantine_in_the_branch_binds_before_anything_is_written(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    """It stands below what a first fetch brings: it is read before the first move, and the tag before it wins."""

    def bury(bare: Path, image: str) -> None:
        gitservers.commit(bare, {"bad": "1\n"}, message=f"Bad\n\nQuarantine: {image}:1.2.0\n")
        for number in range(60):
            gitservers.commit(bare, {"README.md": f"{number}\n"})

    async with house(server, tmp_path, before=bury) as at:
        at.registry.push("acme/web", "1.1.0", created=datetime.now(UTC) - timedelta(days=1))
        await at.push("1.2.0")
        assert at.tag == "1.1.0"
        await at.daemon.look(FLEET)
        assert at.tag == "1.1.0"
        gitservers.commit(at.bare, {"bad": None}, message=f"It was the network\n\nRelease: {at.image}:1.2.0\n")
        await at.daemon.look(FLEET)
        assert at.tag == "1.2.0"
