"""Policies of annotations on workloads in Git have no object of their own: a failed rollout is dealt with all the same,
and told at their automation.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from image_updater.api.model import ObjectKey
from image_updater.api.wishes import RollbackWish, Wishes
from tests.integration.line.looping import SPACE, World, world
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def annotated(server: gitservers.HttpServer, folder: Path, on_failure: str = "rollback") -> AsyncIterator[World]:
    """The ImagePolicy lends its way to the registry, and no more."""
    async with world(server, folder) as at:
        at.setup(on_failure)
        at.cluster.put("ImagePolicy", "web", at.cluster.bodies["ImagePolicy", "web"]["spec"] | {"suspend": False})
        said = "metadata: {name: web, annotations: {image-updater.dev/policy: 'semver *'}}"
        at.configure("web", "metadata: {name: web}", said)
        yield at


async def ships(at: World, tag: str, *, bad: bool = False) -> None:
    at.registry.push("acme/web", tag)
    if bad:
        at.bad.add(("web", tag))

    async def moved() -> bool:
        await at.daemon.check(ObjectKey(SPACE, "web"))
        await at.daemon.look(ObjectKey(SPACE, "all"))
        return at.tag("web") == tag

    while not await moved():
        pass
    await at.settle(roll=False)


def told(at: World, reason: str) -> list[str]:
    return [message for name, why, message in at.cluster.events if (name, why) == ("all", reason)]


async def test_a_bad_tag_goes_back_once_and_a_newer_one_goes_on(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with annotated(server, tmp_path) as at:
        async with at.life():
            await at.settle()
            assert not at.status().get("proven")
            await ships(at, "1.1.0", bad=True)
            await at.settle()
            assert (at.tag("web"), len(at.rollbacks())) == ("1.0.0", 1)
            message = gitservers.git("log", "-1", "--grep=^Roll back", "--format=%B", "main", cwd=at.bare)
            assert f"Quarantine: {at.image('web')}:1.1.0@sha256:" in message
            assert [each for each in told(at, "RolledBack") if "1.1.0 to 1.0.0" in each]
        async with at.life(forgets=True):
            at.roll()
            await at.daemon.look(ObjectKey(SPACE, "all"))
            await at.settle()
            assert (at.tag("web"), len(at.rollbacks())) == ("1.0.0", 1), "it is held, and nothing is done twice"
            await ships(at, "1.2.0")
            await at.settle()
            assert at.tag("web") == "1.2.0"


async def test_a_restart_before_the_push_loses_nothing(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with annotated(server, tmp_path) as at:
        async with at.life():
            await at.settle()
            await ships(at, "1.1.0", bad=True)
            gitservers.set_hook(at.bare, "#!/bin/sh\necho mending >&2; exit 1\n")
            at.roll()
            await at.until(lambda: any(each.tries for each in at.updating._loop._closing._failures.values()))  # type: ignore[union-attr]
        gitservers.set_hook(at.bare, "#!/bin/sh\nexit 0\n")
        async with at.life():
            at.roll()
            await at.until(lambda: at.tag("web") == "1.0.0")
            await at.settle()
            assert len(at.rollbacks()) == 1


async def test_what_is_not_taken_back_is_told_at_the_automation(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with annotated(server, tmp_path, "hold") as at, at.life():
        await at.settle()
        await ships(at, "1.1.0", bad=True)
        await at.settle()
        assert (at.tag("web"), at.rollbacks()) == ("1.1.0", [])
        assert [each for each in told(at, "HoldBegun") if "ends with exit code 1" in each]


async def test_a_commit_resumes_what_two_bad_tags_have_stopped(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with annotated(server, tmp_path) as at, at.life():
        await at.settle()
        for tag in ("1.1.0", "1.2.0"):
            await ships(at, tag, bad=True)
            at.roll()
            await at.until(lambda: at.tag("web") == "1.0.0")
            await at.settle(roll=False)
        assert [each for each in told(at, "BreakerOpen") if "Image-Updater: resume" in each]
        at.clock.ahead += timedelta(seconds=2)
        at.registry.push("acme/web", "1.3.0")
        await at.daemon.look(ObjectKey(SPACE, "all"))
        await at.settle()
        assert at.tag("web") == "1.0.0"
        text = gitservers.git("show", "main:apps/web.yaml", cwd=at.bare) + "\n# mended\n"
        gitservers.commit(at.bare, {"apps/web.yaml": text}, message="It was the database\n\nImage-Updater: resume\n")
        await at.daemon.look(ObjectKey(SPACE, "all"))
        await at.until(lambda: at.updating._loop._closing._breakers._open == {})  # type: ignore[union-attr]
        await ships(at, "1.3.0")


async def test_who_asks_by_a_state_file_gets_a_rollback_of_an_annotations_policy_once(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with annotated(server, tmp_path) as at, at.life():
        await at.settle()
        await ships(at, "1.1.0")
        await at.settle()
        at.clock.ahead += timedelta(seconds=2)
        selector = at.daemon._selector
        (name,) = (each for each in selector.answers if each.startswith("annotation:"))
        selector.situations.wished(name, Wishes(rollback=RollbackWish(at=at.clock(), by="jo")))
        await at.daemon.look(ObjectKey(SPACE, "all"))
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        await at.daemon.look(ObjectKey(SPACE, "all"))
        await at.settle()
        assert (at.tag("web"), len(at.rollbacks())) == ("1.0.0", 1)
