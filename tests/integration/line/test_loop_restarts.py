"""What the image half knows of what it has not seen itself: after a restart, and where another process or shard judges
the rollouts. All it has then is what statuses say.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.api.selectors import parse_selector
from image_updater.cluster.model import Ref
from image_updater.controller.rollouts import to_status
from image_updater.controller.update.updating import Updating
from image_updater.sync.rollout.model import PROMOTED, Culprit, Rollout, RolloutState
from tests.integration.line import looping
from tests.integration.line.looping import SPACE, World, world
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

WEB = Ref("apps", "Deployment", SPACE, "web")
APPS = ObjectKey(SPACE, "apps")


def canary(at: World, tag: str, reason: str = "it is being analysed (weight 20)") -> Rollout:
    return Rollout(
        ref=WEB,
        state=RolloutState.PROGRESSING,
        reason=reason,
        since=at.clock(),
        images=(("web", f"{at.image('web')}:{tag}"),),
        canary=Ref("flagger.app", "Canary", SPACE, "web"),
    )


def says(at: World, *rollouts: Rollout, **status: Any) -> None:
    """The sync half, in the status of its Kustomization."""
    body = at.cluster.bodies["Kustomization", "apps"]
    said = {"rollouts": to_status(rollouts, {}), **status}
    body["status"] = json.loads(json.dumps({name: value for name, value in said.items() if value is not None}))
    at.cluster.cache.observe("Kustomization", body)


def held(at: World) -> list[str]:
    return [each["reason"] for each in at.status("all", "ImageUpdateAutomation").get("sites", ())]


async def begun(at: World) -> None:
    """1.1.0 is in Git, its canary is at work, and the process ends; 1.2.0 comes while nobody is there."""
    at.setup()
    async with at.life():
        await at.settle()
        await at.push("web", "1.1.0")
    says(at, canary(at, "1.1.0"))
    at.registry.push("acme/web", "1.2.0")


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_restart_in_the_middle_of_a_canary_writes_nothing_newer(
    server: gitservers.HttpServer, tmp_path: Path, forgets: bool
) -> None:
    async with world(server, tmp_path) as at:
        await begun(at)
        async with at.life(forgets=forgets):
            await at.daemon.check(ObjectKey(SPACE, "web"))
            await at.settle(roll=False)
            assert at.tag("web") == "1.1.0", "the analysis would begin anew"
            assert held(at) == [f"the canary of {WEB} is at work: it is being analysed (weight 20)"]
            # The sync half of this process has come to judge it, too: what it says counts from now on.
            at.rollouts.publish(APPS, f"main@sha1:{at.tip}", [canary(at, "1.1.0")])
            await at.settle(roll=False)
            assert at.tag("web") == "1.1.0"
            at.roll()
            await at.until(lambda: at.tag("web") == "1.2.0")


async def test_a_canary_that_ended_meanwhile_holds_nothing_once_it_is_judged(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        await begun(at)
        async with at.life(forgets=True):
            assert at.tag("web") == "1.1.0"
            await at.settle()
            await at.until(lambda: at.tag("web") == "1.2.0")


async def test_a_failure_that_nobody_has_dealt_with_yet_is_dealt_with_before_anything_newer_is_written(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    """Killed between the verdict and what follows from it: the first run would write over what failed."""
    async with world(server, tmp_path) as at:
        await begun(at)
        failed = Rollout(
            ref=WEB,
            state=RolloutState.FAILED,
            culprit=Culprit.TAG,
            reason="container web ends with exit code 1",
            since=at.clock(),
            images=(("web", f"{at.image('web')}:1.1.0"),),
            failing=("web",),
        )
        says(at, failed)
        async with at.life(forgets=True):
            await at.settle(roll=False)
            await at.until(lambda: len(at.rollbacks()) == 1)
            at.verdicts.clear()
            await at.settle()
            await at.until(lambda: at.tag("web") == "1.2.0")
        first, second, *_ = at.subjects()
        assert "1.2.0" in first
        assert second.startswith("Roll back")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--roles update`: the sync half is another process."""
    monkeypatch.setattr(looping, "Updating", lambda context, **_: Updating(context))
    monkeypatch.setattr("image_updater.controller.loop.closing.SWEEP", 0.05)


@pytest.mark.usefixtures("apart")
async def test_what_another_process_judges_holds_newer_tags_back_and_lets_the_newest_go(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        async with at.life():
            at.registry.push("acme/web", "1.1.0")
            await at.daemon.check(ObjectKey(SPACE, "web"))
            await at.until(lambda: at.tag("web") == "1.1.0")
            says(at, canary(at, "1.1.0"))
            for tag in ("1.2.0", "1.3.0"):
                at.registry.push("acme/web", tag)
                await at.daemon.check(ObjectKey(SPACE, "web"))
                await at.settle(roll=False)
            assert at.tag("web") == "1.1.0"
            assert held(at) == [f"the canary of {WEB} is at work: it is being analysed (weight 20)"]
            says(at, rolloutsSettled="0123", lastAppliedRevision=f"main@sha1:{at.tip}")
            await at.until(lambda: at.tag("web") == "1.3.0")
            assert not any("1.2.0" in each for each in at.subjects())


@pytest.mark.usefixtures("apart")
async def test_a_promotion_that_another_process_sees_is_not_disturbed_by_a_rollback(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        async with at.life():
            says(at, rolloutsSettled="0123", lastAppliedRevision=f"main@sha1:{at.tip}")
            await at.until(lambda: at.status()["proven"])
            at.registry.push("acme/web", "1.1.0")
            await at.daemon.check(ObjectKey(SPACE, "web"))
            await at.until(lambda: at.tag("web") == "1.1.0")
            says(at, canary(at, "1.1.0", PROMOTED))
            at.patient = True
            at.cluster.put("Quarantine", "web", {"image": at.image("web"), "tag": "1.1.0", "reason": "leaks"})
            await at.until(lambda: PROMOTED in at.status().get("rollback", {}).get("message", ""))
            assert (at.tag("web"), at.rollbacks()) == ("1.1.0", [])
            says(at, canary(at, "1.1.0"))
            await at.until(lambda: at.tag("web") == "1.0.0")


@pytest.mark.usefixtures("apart")
async def test_what_is_suspended_or_reads_elsewhere_holds_nothing_back(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    """Nobody would ever say that its canary has ended."""
    async with world(server, tmp_path) as at:
        await begun(at)
        spec = at.cluster.bodies["Kustomization", "apps"]["spec"]
        at.cluster.put("Kustomization", "apps", spec | {"suspend": True})
        at.cluster.put("GitRepository", "other", {"url": at.server.url("other.git"), "ref": {"branch": "main"}})
        at.cluster.put("Kustomization", "there", spec | {"sourceRef": {"name": "other"}})
        there = at.cluster.bodies["Kustomization", "there"]
        there["status"] = at.cluster.bodies["Kustomization", "apps"]["status"]
        at.cluster.cache.observe("Kustomization", there)
        async with at.life(forgets=True):
            await at.until(lambda: at.tag("web") == "1.2.0")


@pytest.fixture
def sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process works on the shard `a`; both halves of it are there."""

    def make(context: Any, **more: Any) -> Updating:
        return Updating(dataclasses.replace(context, owned=parse_selector("shard=a")), **more)

    monkeypatch.setattr(looping, "Updating", make)
    monkeypatch.setattr("image_updater.controller.loop.closing.SWEEP", 0.05)


def label(at: World, **shards: str) -> None:
    for (kind, name), body in list(at.cluster.bodies.items()):
        at.cluster.put(kind, name, body["spec"], labels={"shard": shards.get(kind, "a")})


@pytest.mark.usefixtures("sharded")
async def test_what_another_shard_applies_is_judged_by_what_its_status_says(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        label(at, Kustomization="b")
        async with at.life():
            says(at, rolloutsSettled="0123", lastAppliedRevision=f"main@sha1:{at.tip}")
            await at.until(lambda: at.status()["proven"])
            at.registry.push("acme/web", "1.1.0")
            await at.daemon.check(ObjectKey(SPACE, "web"))
            await at.until(lambda: at.tag("web") == "1.1.0")
            says(at, dataclasses.replace(canary(at, "1.1.0"), state=RolloutState.FAILED, culprit=Culprit.TAG))
            await at.until(lambda: len(at.rollbacks()) == 1)
            assert at.tag("web") == "1.0.0"


@pytest.mark.usefixtures("sharded")
async def test_a_policy_of_another_shard_goes_back_too_and_the_log_says_what_is_not_kept(
    server: gitservers.HttpServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with world(server, tmp_path) as at:
        at.setup()
        label(at, ImagePolicy="b")
        async with at.life():
            await at.settle()
            await at.push("web", "1.1.0", bad=True)
            await at.until(lambda: len(at.rollbacks()) == 1)
            await at.settle()
            assert (at.tag("web"), at.status()) == ("1.0.0", {})
    told = [each.getMessage() for each in caplog.records if "another shard's" in each.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("ImagePolicy shop/web is another shard's: ")
