"""The closed loop on real Git with rollouts that are made up: every guard of it, one by one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync.rollout.model import PROMOTED, Culprit, Rollout, RolloutState
from tests.integration.line.looping import SPACE, World, living, world
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path


def proven(at: World, name: str = "web") -> list[str]:
    return [each["tag"] for each in at.status(name).get("proven", ()) if "withdrawn" not in each]


async def test_a_bad_tag_goes_back_and_a_good_one_goes_on(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with living(server, tmp_path) as at:
        assert proven(at) == ["1.0.0"]
        await at.push("web", "1.1.0", bad=True)
        assert at.tag("web") == "1.0.0"
        assert len(at.rollbacks()) == 1
        assert at.status()["rollback"]["state"] == "Done"
        assert [name for kind, name in at.cluster.bodies if kind == "Quarantine"]
        known = [at.status()["leadTime"], *at.status().get("history", ())]
        assert [each["tag"] for each in known if "failed" in each] == ["1.1.0"], "history tells of it at once"
        await at.push("web", "1.2.0")
        assert at.tag("web") == "1.2.0"
        assert proven(at) == ["1.2.0", "1.0.0"]


async def test_the_environments_fault_and_what_is_not_known_roll_nothing_back(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        for tag, culprit in (("1.1.0", Culprit.ENVIRONMENT), ("1.2.0", Culprit.UNKNOWN)):
            at.bad.add(("web", tag))
            at.registry.push("acme/web", tag)
            await at.until(lambda tag=tag: at.tag("web") == tag or _nudge(at))  # type: ignore[misc]
            at.roll(culprit)
            await at.settle(roll=False)
            assert at.tag("web") == tag
        assert at.rollbacks() == []
        assert len(at.told("RollbackRefused")) == 2


def _nudge(at: World) -> bool:
    at.updating.hint(at.image("web"))  # type: ignore[union-attr]
    return False


async def test_a_persons_tag_is_left_and_so_is_what_a_person_changed_beside_ours(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        at.bad.add(("web", "1.0.9"))
        at.person("web", "1.0.9")
        await at.poll()
        assert at.tag("web") == "1.0.9"
        assert any("no commit of ours" in each for each in at.told("RollbackRefused"))
        # Now ours, beside a person's change of the same workload.
        text = at.file("web", "1.0.9")["apps/web.yaml"]
        assert text is not None
        at.bad.discard(("web", "1.0.9"))
        await at.poll()
        gitservers.commit(at.bare, {"apps/web.yaml": text.replace("spec:\n", "spec:\n  paused: false\n", 1)})
        await at.push("web", "1.1.0", bad=True)
        assert at.tag("web") == "1.1.0"
        assert at.rollbacks() == []
        assert any("more than our images changed" in each for each in at.told("RollbackRefused"))
        assert at.status()["rollback"]["state"] == "Refused"


async def test_a_configuration_that_is_mended_before_the_failure_is_judged_is_no_tags_fault(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        at.configure("web", "{containers:", "{hostNetwork: true, containers:")
        at.bad.add(("web", "1.1.0"))
        at.registry.push("acme/web", "1.1.0")
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        failed = at.tip
        at.configure("web", "hostNetwork: true, ", "")
        await at.daemon.look(ObjectKey(SPACE, "all"))
        at.roll(applied=failed)
        await at.until(lambda: at.told("RollbackRefused") or at.rollbacks())
        await at.settle(roll=False)
        assert at.rollbacks() == []
        assert any("own rollout is waited for" in each for each in at.told("RollbackRefused"))
        assert at.status()["rollback"]["state"] == "Intended"
        at.bad.clear()
        await at.settle()
        assert (at.tag("web"), proven(at)) == ("1.1.0", ["1.1.0", "1.0.0"])
        assert at.status()["rollback"]["state"] == "Ended"
        assert at.rollbacks() == []


async def test_what_a_person_changes_after_it_failed_is_tried_before_anything_is_judged(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image_updater.controller.loop.pursuing.LONGEST", 0.1)
    async with living(server, tmp_path) as at:
        at.bad.add(("web", "1.1.0"))
        at.registry.push("acme/web", "1.1.0")
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        failed = at.tip
        at.configure("web", "{containers:", "{hostNetwork: true, containers:")
        at.roll(applied=failed)
        await at.until(lambda: at.told("RollbackRefused") or at.rollbacks())
        await at.settle(roll=False)
        assert at.rollbacks() == []
        assert at.status()["rollback"]["state"] == "Intended", "it is not given up"
        at.configure("web", "hostNetwork: true, ", "")
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        assert at.status()["rollback"]["state"] == "Done"


async def test_what_starts_no_rollout_of_its_own_is_not_waited_for(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        at.bad.add(("web", "1.1.0"))
        at.registry.push("acme/web", "1.1.0")
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        failed = at.tip
        at.configure("web", "spec:\n", "spec:\n  replicas: 3\n")
        at.roll(applied=failed)
        await at.until(lambda: at.tag("web") == "1.0.0")
        assert "replicas: 3" in gitservers.git("show", "main:apps/web.yaml", cwd=at.bare)


async def test_two_bad_tags_in_a_row_open_the_breaker_until_somebody_resumes(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        async with at.life():
            await at.settle()
            await at.push("web", "1.1.0", bad=True)
            await at.push("web", "1.2.0", bad=True)
            assert at.tag("web") == "1.0.0"
            assert len(at.rollbacks()) == 2
            assert "1.1.0" in at.status()["breaker"]["reason"]
            await at.push("web", "1.3.0")
            assert at.tag("web") == "1.0.0", "nobody writes while it is open"
        async with at.life(forgets=True):
            await at.poll()
            assert at.tag("web") == "1.0.0", "it is open after a restart, too"
            at.clock.ahead += timedelta(seconds=5)
            at.cluster.annotate("ImagePolicy", "web", resume=at.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
            await at.settle()
            await at.poll()
            assert at.tag("web") == "1.3.0"
            assert "breaker" not in at.status()


async def test_a_policy_that_was_made_anew_has_a_breaker_of_its_own(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        for tag in ("1.1.0", "1.2.0"):
            await at.push("web", tag, bad=True)
        await at.until(lambda: at.status()["breaker"])
        spec = at.cluster.bodies["ImagePolicy", "web"]["spec"]
        at.cluster.remove("ImagePolicy", "web")
        await at.settle()
        at.cluster.put("ImagePolicy", "web", spec, uid="another")
        await at.until(lambda: "web" in {each.key.name for each in at.daemon.objects.policies})
        await at.settle()
        assert "breaker" not in at.status()
        await at.push("web", "1.3.0", bad=True)
        await at.until(lambda: at.status()["breaker"])
        assert len([each for each in at.told("BreakerOpen") if each.startswith("nothing is written")]) == 2


@pytest.mark.parametrize(
    ("on_failure", "metric"),
    [("rollback", "image_updater_breakers_open"), ("hold", "image_updater_failed_tags_held")],
    ids=["breaker", "hold"],
)
async def test_a_policy_that_is_gone_is_counted_no_more(
    server: gitservers.HttpServer, tmp_path: Path, on_failure: str, metric: str
) -> None:
    async with world(server, tmp_path) as at:
        at.setup(on_failure)
        async with at.life():
            await at.settle()
            assert at.updating is not None
            count = at.updating._context.metrics.registry.get_sample_value
            for tag in ("1.1.0", "1.2.0"):
                await at.push("web", tag, bad=True)
            await at.until(lambda: count(metric) == 1)
            at.cluster.remove("ImagePolicy", "web")
            await at.until(lambda: not at.daemon.objects.policies)
            assert at.updating._loop is not None
            at.updating._loop._closing._sweep()
            assert count(metric) == 0


async def test_a_good_tag_between_two_bad_ones_keeps_the_breaker_shut(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    """However quickly it was proven: Git tells the time of the rollback before it in whole seconds."""
    async with living(server, tmp_path) as at:
        for bad, good in (("1.1.0", "1.1.1"), ("1.2.0", "1.2.1"), ("1.3.0", "1.3.1")):
            await at.push("web", bad, bad=True)
            await at.push("web", good)
            assert at.tag("web") == good
        assert at.told("BreakerOpen") == []
        assert len(at.rollbacks()) == 3


async def test_three_policies_at_once_roll_nothing_back(server: gitservers.HttpServer, tmp_path: Path) -> None:
    names = ("web", "api", "job")
    async with living(server, tmp_path, names) as at:
        for name in names:
            at.registry.push(f"acme/{name}", "1.1.0")
            at.bad.add((name, "1.1.0"))
        for name in names:
            await at.daemon.check(ObjectKey("shop", name))
        await at.until(lambda: all(at.tag(name) == "1.1.0" for name in names))
        await at.settle(roll=False)
        at.roll(since=timedelta(seconds=0))  # seen together, they are judged together
        await at.until(lambda: len(at.told("BreakerOpen")) >= 3, seconds=30)
        await at.settle()
        assert at.rollbacks() == []
        assert {at.tag(name) for name in names} == {"1.1.0"}
        assert all("3 policies failed within 10 minutes" in at.status(name)["breaker"]["reason"] for name in names)


async def test_an_old_failure_is_history_and_one_that_was_begun_is_gone_on_with(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        async with at.life():
            await at.settle()
        gitservers.commit(
            at.bare,
            at.file("web", "1.1.0"),
            message=f"Update\n\nImage-Policy: shop/web\nImage: {at.image('web')}\nOld: 1.0.0\nNew: 1.1.0\n"
            "Automation: shop/all\n",
        )
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        async with at.life():
            at.roll(since=timedelta(hours=-2))
            await at.settle(roll=False)
            assert at.tag("web") == "1.1.0"
            assert any("long before" in each for each in at.told("RollbackRefused"))
        body = at.cluster.bodies["ImagePolicy", "web"]
        body["status"]["rollback"] = {
            "state": "Intended",
            "tag": "1.1.0",
            "kustomization": "shop/apps",
            "object": "Deployment.apps shop/web",
        }
        async with at.life():
            at.roll(since=timedelta(hours=-2))
            await at.settle()
            assert at.tag("web") == "1.0.0"
            assert len(at.rollbacks()) == 1


async def test_a_freeze_stops_a_rollback_unless_it_allows_it(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with living(server, tmp_path) as at:
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        at.cluster.put("Freeze", "xmas", {"reason": "holidays"})
        await at.settle(roll=False)
        await at.settle()
        assert at.tag("web") == "1.1.0"
        assert any("holidays" in each for each in at.told("RollbackRefused"))
        at.cluster.put("Freeze", "xmas", {"reason": "holidays", "allowRollback": True})
        await at.until(lambda: at.tag("web") == "1.0.0")


async def test_a_suspended_policy_is_not_taken_back(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image_updater.pipeline.rollback.decision.FROZEN", timedelta(seconds=0.2))
    async with living(server, tmp_path) as at:
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        spec = at.cluster.bodies["ImagePolicy", "web"]["spec"]
        at.cluster.put("ImagePolicy", "web", {**spec, "suspend": True})
        await at.settle(roll=False)
        await at.settle()
        assert at.tag("web") == "1.1.0"
        assert any("ImagePolicy shop/web is suspended" in each for each in at.told("RollbackRefused"))
        at.cluster.put("ImagePolicy", "web", spec)
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        assert len(at.rollbacks()) == 1


async def test_git_and_the_api_server_may_be_away(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image_updater.controller.loop.pursuing.PAUSES", (0.2,))
    async with living(server, tmp_path) as at:
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        await at.settle(roll=False)
        gitservers.set_hook(at.bare, "#!/bin/sh\necho mending >&2; exit 1\n")
        at.roll()
        await at.until(lambda: "cannot be taken back yet" in at.status()["rollback"]["message"])
        assert at.status()["rollback"]["state"] == "Intended"
        assert at.tag("web") == "1.1.0"
        await at.until(lambda: any(each.tries > 2 for each in at.updating._loop._closing._failures.values()))  # type: ignore[union-attr]
        assert "mending" in at.status()["rollback"]["message"], "said by each try"
        assert [len(at.told(reason)) for reason in ("RollbackIntended", "RollbackRefused")] == [1, 1], "and told once"
        gitservers.set_hook(at.bare, "#!/bin/sh\nexit 0\n")
        at.bad.add(("web", "1.2.0"))
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        # Nothing is pushed while the intent cannot be written.
        at.registry.push("acme/web", "1.2.0")
        await at.until(lambda: at.tag("web") == "1.2.0" or _nudge(at))
        await at.settle(roll=False)
        at.cluster.away = True
        at.roll()
        await at.until(lambda: any(each.tries for each in at.updating._loop._closing._failures.values()))  # type: ignore[union-attr]
        assert at.tag("web") == "1.2.0"
        at.cluster.away = False
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        assert len(at.rollbacks()) == 2


async def test_what_is_proven_stands_in_git_for_others(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        git = {"provenFile": "proven.yaml"}
        at.cluster.put("ImageUpdateAutomation", "all", {"sourceRef": {"name": "fleet"}, "interval": "1h", "git": git})
        async with at.life():
            await at.settle()
            assert at.subjects()[0] == "Note what is proven: shop/web 1.0.0 is proven"
            await at.push("web", "1.1.0")
            text = gitservers.git("show", "main:proven.yaml", cwd=at.bare)
            assert text.index('tag: "1.1.0"') < text.index('tag: "1.0.0"')
            count = len(at.subjects())
            await at.poll()
            assert len(at.subjects()) == count, "what is known is not written again"


async def test_what_was_begun_for_one_tag_is_not_gone_on_with_for_the_next(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with living(server, tmp_path) as at:
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        await at.settle(roll=False)
        at.cluster.bodies["ImagePolicy", "web"]["status"]["rollback"] = {
            "state": "Intended",
            "tag": "1.0.9",
            "to": "1.0.0",
            "kustomization": "shop/apps",
            "object": "Deployment.apps shop/web",
        }
        at.cluster.cache.observe("ImagePolicy", at.cluster.bodies["ImagePolicy", "web"])
        gitservers.set_hook(at.bare, "#!/bin/sh\necho mending >&2; exit 1\n")
    async with at.life():
        at.roll(since=timedelta(hours=-2))
        await at.until(lambda: any("long before" in each for each in at.told("RollbackRefused")))
        assert at.status()["rollback"]["tag"] == "1.0.9", "nothing was begun for the other one"


async def test_of_a_kustomization_that_is_gone_nothing_is_kept(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with living(server, tmp_path) as at:
        closing = at.updating._loop._closing  # type: ignore[union-attr]
        assert closing._healthy
        assert closing._retreat._good
        at.cluster.remove("Kustomization", "apps")
        closing._sweep()
        assert (closing._healthy, closing._retreat._good) == ({}, {})


async def test_what_nothing_has_looked_at_is_not_proven(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        at.unanalysed = {("web", "1.1.0")}
        async with at.life():
            await at.settle()
            await at.push("web", "1.1.0")
            assert at.tag("web") == "1.1.0"
            assert proven(at) == ["1.0.0"]


async def test_a_group_goes_back_together(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with world(server, tmp_path, ("web", "api", "job")) as at:
        at.setup()
        for name in ("web", "api"):
            spec = at.cluster.bodies["ImagePolicy", name]["spec"]
            at.cluster.put("ImagePolicy", name, spec | {"group": "checkout"})
        async with at.life():
            await at.settle()
            for name in ("web", "api", "job"):
                at.registry.push(f"acme/{name}", "1.1.0")
            at.bad.add(("web", "1.1.0"))
            await at.poll()
            assert {name: at.tag(name) for name in at.names} == {"web": "1.0.0", "api": "1.0.0", "job": "1.1.0"}
            assert len(at.rollbacks()) == 1
            body = gitservers.git("log", "-1", "--grep=^Roll back", "--format=%B", "main", cwd=at.bare)
            assert body.startswith("Roll back 2 images in shop/apps")
            assert body.count("Quarantine: ") == 2
            for name in ("web", "api"):
                assert at.status(name)["rollback"]["state"] == "Done", at.status(name)["rollback"]
                at.registry.push(f"acme/{name}", "1.2.0")
            await at.poll()
            assert {name: at.tag(name) for name in ("web", "api")} == {"web": "1.2.0", "api": "1.2.0"}


@pytest.mark.parametrize("how", ["a Quarantine", "a wish"])
async def test_a_group_goes_back_together_when_a_person_asks(
    server: gitservers.HttpServer, tmp_path: Path, how: str
) -> None:
    async with world(server, tmp_path, ("web", "api", "job")) as at:
        at.setup()
        for name in ("web", "api"):
            at.cluster.put("ImagePolicy", name, at.cluster.bodies["ImagePolicy", name]["spec"] | {"group": "checkout"})
        async with at.life():
            await at.settle()
            for name in at.names:
                at.registry.push(f"acme/{name}", "1.1.0")
            await at.poll()
            assert {at.tag(name) for name in at.names} == {"1.1.0"}
            if how == "a wish":
                at.clock.ahead += timedelta(seconds=2)
                wish = {"at": at.clock().isoformat().replace("+00:00", "Z"), "by": "jo"}
                at.cluster.annotate("ImagePolicy", "web", rollback=json.dumps(wish))
            else:
                at.cluster.put("Quarantine", "web", {"image": at.image("web"), "tag": "1.1.0", "reason": "leaks"})
            await at.until(lambda: at.tag("web") == "1.0.0")
            await at.poll()
            assert {name: at.tag(name) for name in at.names} == {"web": "1.0.0", "api": "1.0.0", "job": "1.1.0"}
            assert len(at.rollbacks()) == 1
            assert "its group goes back together" in at.status("api")["rollback"]["reason"]
            for name in ("web", "api"):
                assert at.status(name)["rollback"]["state"] == "Done", at.status(name)["rollback"]


async def test_a_wish_is_done_when_what_was_there_before_is_healthy(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as at:
        at.setup()
        async with at.life():
            await at.settle()
            await at.push("web", "1.1.0")
            at.clock.ahead += timedelta(seconds=2)
            wish = {"at": at.clock().isoformat().replace("+00:00", "Z"), "by": "jo"}
            at.cluster.annotate("ImagePolicy", "web", rollback=json.dumps(wish))
            await at.until(lambda: at.status()["rollback"]["state"] == "Pushed")
            known = at.status()["rollback"]
            assert (at.tag("web"), known["tag"], known["to"]) == ("1.0.0", "1.1.0", "1.0.0")
            await at.settle()
            assert at.status()["rollback"]["state"] == "Done"
            assert len(at.rollbacks()) == 1
        async with at.life(forgets=True):
            await at.poll()
            assert at.tag("web") == "1.0.0"
            assert len(at.rollbacks()) == 1


async def test_what_an_annotation_keeps_from_us_is_not_proven_by_what_has_settled_beside_it(
    server: gitservers.HttpServer, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as here:
        here.setup()
        apps = here.cluster.bodies["Kustomization", "apps"]
        apps["status"] = {"rolloutsSettled": "0123456789abcdef", "lastAppliedRevision": f"main@sha1:{here.tip}"}
        key, ref = ObjectKey(SPACE, "apps"), Ref("apps", "Deployment", SPACE, "web")
        async with here.life():
            await here.settle(roll=False)
            here.rollouts.publish(key, f"main@sha1:{here.tip}", ())
            await here.settle(roll=False)
            assert not here.status().get("proven"), "nobody follows it"
            here.rollouts.forget(key)
            here.rollouts.settle(key, [ref])
            here.rollouts.publish(key, f"main@sha1:{here.tip}", ())
            await here.settle(roll=False)
            assert [each["tag"] for each in here.status()["proven"]] == ["1.0.0"]
            failed = Rollout(
                ref=ref,
                state=RolloutState.FAILED,
                culprit=Culprit.UNKNOWN,
                since=here.clock(),
                images=(("web", f"{here.image('web')}:1.0.0"),),
            )
            closing = here.updating._loop._closing  # type: ignore[union-attr]
            here.rollouts.publish(key, "main@sha1:1", [failed])
            await here.until(lambda: closing._failures)
            here.cluster.put("Kustomization", "apps", apps["spec"] | {"suspend": True})
            here.rollouts.forget(key)
            await here.until(lambda: not closing._failures)


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_group_of_which_one_may_not_go_back_stays(
    server: gitservers.HttpServer, tmp_path: Path, frozen: bool
) -> None:
    async with world(server, tmp_path, ("web", "api")) as at:
        at.setup()
        for name in ("web", "api"):
            spec = at.cluster.bodies["ImagePolicy", name]["spec"]
            at.cluster.put("ImagePolicy", name, spec | {"group": "checkout"}, labels={"app": name})
        async with at.life():
            await at.settle()
            for name in ("web", "api"):
                at.registry.push(f"acme/{name}", "1.1.0")
                await at.daemon.check(ObjectKey(SPACE, name))
            await at.until(lambda: {at.tag(name) for name in at.names} == {"1.1.0"})
            if frozen:
                only = {"matchLabels": {"app": "api"}}
                at.cluster.put("Freeze", "api", {"reason": "release", "policies": only})
            else:
                at.cluster.put("Quarantine", "api", {"image": at.image("api"), "tag": "1.0.0", "reason": "leaks"})
            at.patient = True
            await at.settle(roll=False)
            at.bad.add(("web", "1.1.0"))
            at.roll()
            await at.until(lambda: any("does not go back together" in each for each in at.told("RollbackRefused")))
            await at.settle()
            assert {at.tag(name) for name in at.names} == {"1.1.0"}
            assert not at.rollbacks()
            assert at.status("web")["rollback"]["state"] == ("Intended" if frozen else "Refused")


async def test_what_a_person_took_back_is_not_gone_back_to(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with living(server, tmp_path) as at:
        await at.push("web", "1.1.0")
        at.person("web", "1.0.0")
        at.clock.ahead += timedelta(minutes=1)
        await at.poll()
        assert at.tag("web") == "1.0.0"
        await at.push("web", "1.2.0", bad=True)
        await at.until(lambda: at.rollbacks() and at.tag("web") != "1.2.0")
        assert at.tag("web") == "1.0.0"


@pytest.mark.parametrize("doing", ["it is being analysed", PROMOTED])
async def test_what_is_barred_leaves_a_canary_at_work_but_no_promotion(
    server: gitservers.HttpServer, tmp_path: Path, doing: str
) -> None:
    """facts/flagger.md 2.4, busy: nothing newer is written; what is quarantined may go back, before `Promoting`."""
    async with living(server, tmp_path) as at:
        await at.push("web", "1.1.0")
        at.patient = True
        canary = Rollout(
            ref=Ref("apps", "Deployment", SPACE, "web"),
            state=RolloutState.PROGRESSING,
            reason=doing,
            since=at.clock(),
            images=(("web", f"{at.image('web')}:1.1.0"),),
            canary=Ref("flagger.app", "Canary", SPACE, "web"),
        )
        at.rollouts.publish(ObjectKey(SPACE, "apps"), f"main@sha1:{at.tip}", [canary])
        at.registry.push("acme/web", "1.2.0")
        await at.daemon.check(ObjectKey(SPACE, "web"))
        await at.settle(roll=False)
        assert at.tag("web") == "1.1.0", "the analysis would begin anew"

        at.cluster.put("Quarantine", "web", {"image": at.image("web"), "tag": "1.1.0", "reason": "leaks"})
        at.cluster.put("Quarantine", "next", {"image": at.image("web"), "tag": "1.2.0", "reason": "leaks"})
        if doing == PROMOTED:
            await at.until(lambda: PROMOTED in at.status().get("rollback", {}).get("message", ""))
            await at.settle(roll=False)
            assert (at.tag("web"), at.rollbacks()) == ("1.1.0", [])
            at.verdicts.clear()
            at.roll()
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        assert len(at.rollbacks()) == 1


@pytest.mark.parametrize("when", ["before it fails", "once it has failed"])
@pytest.mark.parametrize("hours", [3, -3])
async def test_a_clock_that_jumps_loses_no_rollback_and_makes_none_twice(
    server: gitservers.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, when: str
) -> None:
    """Right where it hurts: a failure of before a jump back seems to lie ahead, and the start of this process, too."""
    monkeypatch.setattr("image_updater.controller.loop.pursuing.LONGEST", 0.1)
    async with living(server, tmp_path) as at:
        at.registry.push("acme/web", "1.1.0")
        at.bad.add(("web", "1.1.0"))
        await at.until(lambda: at.tag("web") == "1.1.0" or _nudge(at))
        await at.settle(roll=False)
        if when == "before it fails":
            at.clock.ahead += timedelta(hours=hours)
            at.roll()
        else:
            at.roll(since=timedelta())
            await at.until(lambda: at.updating._loop._closing._failures)  # type: ignore[union-attr]
            at.clock.ahead += timedelta(hours=hours)
        await at.until(lambda: at.tag("web") == "1.0.0")
        await at.settle()
        assert at.status()["rollback"]["state"] == "Done"
        await at.push("web", "1.2.0")
        assert (at.tag("web"), sorted(proven(at))) == ("1.2.0", ["1.0.0", "1.2.0"])
        assert len(at.rollbacks()) == 1
