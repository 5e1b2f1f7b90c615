"""One policy at several places: each failure is followed to its own end, to its own last proven tag."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from tests.integration.line.looping import SPACE, World, world
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

PLACES = ("apps", "prod")
"""Folders, and the Kustomizations over them."""


@asynccontextmanager
async def fleet(server: gitservers.HttpServer, folder: Path) -> AsyncIterator[World]:
    async with world(server, folder) as at:
        at.setup()
        text = at.file("web", "1.0.0")["apps/web.yaml"]
        gitservers.commit(at.bare, {"prod/web.yaml": text})
        spec = at.cluster.bodies["Kustomization", "apps"]["spec"]
        at.cluster.put("Kustomization", "prod", spec | {"path": "prod"})
        yield at


def tags(at: World) -> dict[str, str]:
    found = {}
    for place in PLACES:
        text = gitservers.git("show", f"main:{place}/web.yaml", cwd=at.bare)
        found[place] = text.rpartition("acme/web:")[2].split()[0].strip("\"'}]")
    return found


def roll(at: World, states: Mapping[str, RolloutState], *, since: timedelta = timedelta(seconds=-30)) -> None:
    """What Git holds is applied in both."""
    for place, tag in tags(at).items():
        state = states[place]
        failed = state is RolloutState.FAILED
        known = Rollout(
            ref=Ref("apps", "Deployment", SPACE, "web"),
            state=state,
            culprit=Culprit.TAG if failed else Culprit.UNKNOWN,
            reason="container web ends with exit code 1" if failed else "",
            since=at.clock() + since,
            images=(("web", f"{at.image('web')}:{tag}"),),
        )
        at.rollouts.publish(ObjectKey(SPACE, place), f"main@sha1:{at.tip}", [known])


def both(state: RolloutState) -> dict[str, RolloutState]:
    return dict.fromkeys(PLACES, state)


def rollbacks(at: World) -> dict[str, Any]:
    """By Kustomization."""
    status = at.status()
    found = [status["rollback"], *status.get("rollbacks", ())]
    return {each["kustomization"]: each for each in found}


async def written(at: World, tag: str) -> None:
    at.registry.push("acme/web", tag)
    await at.daemon.check(ObjectKey(SPACE, "web"))
    await at.until(lambda: tags(at) == dict.fromkeys(PLACES, tag))
    await at.settle(roll=False)


async def test_each_place_goes_back_to_what_was_proven_there(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with fleet(server, tmp_path) as at, at.life():
        roll(at, both(RolloutState.HEALTHY))
        await at.settle(roll=False)
        await written(at, "1.1.0")
        roll(at, {"apps": RolloutState.HEALTHY, "prod": RolloutState.HEALTHY_UNANALYSED})
        await at.settle(roll=False)
        await written(at, "1.2.0")
        roll(at, both(RolloutState.FAILED))
        await at.until(lambda: tags(at) == {"apps": "1.1.0", "prod": "1.0.0"})
        await at.settle(roll=False)
        assert {name: each["state"] for name, each in rollbacks(at).items()} == {
            "shop/apps": "Pushed",
            "shop/prod": "Pushed",
        }
        assert len(at.told("RolledBack")) == len(at.rollbacks()) == 2
        roll(at, both(RolloutState.HEALTHY))
        await at.until(lambda: "rollbacks" not in at.status() and at.status()["rollback"]["state"] == "Done")
        await at.settle(roll=False)
        assert tags(at) == {"apps": "1.1.0", "prod": "1.0.0"}, "and there it stays"


async def test_a_policy_for_each_place_has_no_part_in_what_fails_at_the_other(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    """The image is one, its environments have a policy and an automation each: only `update.paths` tells them apart."""
    async with fleet(server, tmp_path) as at:
        spec = at.cluster.bodies["ImagePolicy", "web"]["spec"]
        for place, policy, allowed in (("apps", "web", "*"), ("prod", "careful", "1.0.0")):
            labels = {"for": place}
            made = spec | {"policy": {"semver": {"range": allowed}}}
            at.cluster.put("ImagePolicy", policy, made, labels=labels)
            writes = {"policySelector": {"matchLabels": labels}, "update": {"paths": [place]}}
            name = "all" if place == "apps" else place
            at.cluster.put("ImageUpdateAutomation", name, {"sourceRef": {"name": "fleet"}, "interval": "1h", **writes})
        async with at.life():
            roll(at, both(RolloutState.HEALTHY))
            await at.settle(roll=False)
            proven = {name: {each["environment"] for each in at.status(name)["proven"]} for name in ("web", "careful")}
            assert proven == {"web": {f"{SPACE}/apps"}, "careful": {f"{SPACE}/prod"}}
            at.registry.push("acme/web", "1.1.0")
            await at.daemon.check(ObjectKey(SPACE, "web"))
            await at.until(lambda: tags(at) == {"apps": "1.1.0", "prod": "1.0.0"})
            roll(at, {"apps": RolloutState.FAILED, "prod": RolloutState.HEALTHY})
            await at.until(lambda: tags(at)["apps"] == "1.0.0")
            roll(at, both(RolloutState.HEALTHY))
            await at.settle(roll=False)
            assert len(at.rollbacks()) == 1
            assert at.status("web")["rollback"]["state"] == "Done"
            assert "rollback" not in at.status("careful")
            assert not at.told("RollbackRefused")


async def test_rollbacks_that_were_begun_at_two_places_are_both_gone_on_with(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with fleet(server, tmp_path) as at:
        async with at.life():
            roll(at, both(RolloutState.HEALTHY))
            await at.settle(roll=False)
            await written(at, "1.1.0")
            gitservers.set_hook(at.bare, "#!/bin/sh\necho mending >&2; exit 1\n")
            roll(at, both(RolloutState.FAILED))
            await at.until(lambda: set(rollbacks(at)) == {"shop/apps", "shop/prod"})
        gitservers.set_hook(at.bare, "#!/bin/sh\nexit 0\n")
        async with at.life():
            roll(at, both(RolloutState.FAILED), since=timedelta(hours=-2))
            await at.until(lambda: tags(at) == dict.fromkeys(PLACES, "1.0.0"))


async def test_a_member_of_its_group_that_another_automation_writes_stays_and_is_told_so(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path, ("web", "api")) as at:
        at.setup()
        for name in at.names:
            spec = at.cluster.bodies["ImagePolicy", name]["spec"]
            at.cluster.put("ImagePolicy", name, spec | {"group": "checkout"}, labels={"app": name})
        async with at.life():
            await at.settle()
            for name in at.names:
                at.registry.push(f"acme/{name}", "1.1.0")
                await at.daemon.check(ObjectKey(SPACE, name))
            await at.until(lambda: {at.tag(name) for name in at.names} == {"1.1.0"})
            automation = at.cluster.bodies["ImageUpdateAutomation", "all"]["spec"]
            for name, app in (("all", "web"), ("others", "api")):
                spec = automation | {"policySelector": {"matchLabels": {"app": app}}}
                at.cluster.put("ImageUpdateAutomation", name, spec)
            await at.until(lambda: len(at.daemon.objects.automations) == 2)
            await at.daemon.look(ObjectKey(SPACE, "others"))
            await at.settle(roll=False)
            at.bad.add(("web", "1.1.0"))
            at.roll()
            await at.until(lambda: at.tag("web") == "1.0.0")
            await at.settle()
            assert at.tag("api") == "1.1.0"
            told = [(name, said) for name, why, said in at.cluster.events if why == "RollbackRefused"]
            assert [name for name, said in told if "1.1.0 stays: shop/others writes it" in said] == ["api"]


PAIR = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: pair}
spec:
  template:
    spec:
      containers:
        - {name: web, image: WEB:1.0.0}
        - {name: api, image: API:1.0.0}
"""


async def test_two_images_of_one_workload_go_back_together_and_are_both_suspect(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path, ("web", "api")) as at:
        at.setup()
        text = PAIR.replace("WEB", at.image("web")).replace("API", at.image("api"))
        gone = dict.fromkeys(f"apps/{name}.yaml" for name in at.names)
        gitservers.commit(at.bare, {**gone, "apps/pair.yaml": text})

        def images() -> list[str]:
            said = gitservers.git("show", "main:apps/pair.yaml", cwd=at.bare)
            return [line.partition("image: ")[2].rstrip("}") for line in said.splitlines() if "image: " in line]

        def rolls(state: RolloutState) -> None:
            failed = state is RolloutState.FAILED
            known = Rollout(
                ref=Ref("apps", "Deployment", SPACE, "pair"),
                state=state,
                culprit=Culprit.TAG if failed else Culprit.UNKNOWN,
                reason="container web ends with exit code 1" if failed else "",
                since=at.clock() - timedelta(seconds=30),
                images=tuple(zip(at.names, images(), strict=True)),
                failing=("web",) if failed else (),
            )
            at.rollouts.publish(ObjectKey(SPACE, "apps"), f"main@sha1:{at.tip}", [known])

        async with at.life():
            rolls(RolloutState.HEALTHY)
            await at.settle(roll=False)
            good = images()
            for name in at.names:
                at.registry.push(f"acme/{name}", "1.1.0")
                await at.daemon.check(ObjectKey(SPACE, name))
            await at.until(lambda: all(each.endswith("1.1.0") for each in images()))
            await at.settle(roll=False)
            rolls(RolloutState.FAILED)
            await at.until(lambda: images() == good)
            await at.settle(roll=False)
            message = gitservers.git("log", "-1", "--format=%B", "main", cwd=at.bare)
            assert (len(at.rollbacks()), message.count("Quarantine: ")) == (1, 2)
            rolls(RolloutState.HEALTHY)
            await at.until(lambda: [at.status(name)["rollback"]["state"] for name in at.names] == ["Done", "Done"])
            await at.settle(roll=False)
            assert images() == good
