"""The image half: objects in, decisions out, each said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.controller.update import updating
from image_updater.errors import GitError
from image_updater.git.errors import GitAuthenticationFailed
from image_updater.patch.decisions import State
from image_updater.registry.errors import AuthenticationFailed, RegistryUnavailable
from tests.unit.controller_updating.fakes import (
    Half,
    Line,
    automation,
    docker_config,
    object_,
    policy,
    repository,
)
from tests.unit.pipeline_selection.fakes import IMAGE, FakeRegistry, digest
from tests.unit.pipeline_selection.fakes import policy as model_policy

if TYPE_CHECKING:
    from pathlib import Path


def requested(body: dict[str, Any], at: str) -> dict[str, Any]:
    annotations = {"image-updater.dev/requestedAt": at}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}


async def test_a_policy_and_an_automation_say_what_was_decided_and_done(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0", "latest"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        status = half.written("ImagePolicy", "web")
        assert status["latest"] == {"image": IMAGE, "tag": "1.1.0", "since": "2024-05-01T12:00:00Z"}
        assert [(each["tag"], each["verdict"]) for each in status["candidates"]] == [
            ("1.1.0", "chosen"),
            ("1.0.0", "eligible"),
            ("latest", "rejected"),
        ]
        assert status["tagCount"] == 3
        assert status["observedGeneration"] == 1
        status = half.written("ImageUpdateAutomation", "fleet")
        assert status["lastPushTime"] == "2024-05-01T12:00:00Z"
        assert status["siteCounts"] == {"current": 1}
        assert "sites" not in status
        assert status["observedRevision"] == f"main@sha1:{status['lastPushCommit']}"
        assert half.pushed == [("https://git.test/fleet.git", "main", status["lastPushCommit"])]
    assert ("fleet", "Normal", "CommitPushed") in [each[:3] for each in half.events.sent]
    assert len(half.events.sent) == 3


async def test_what_does_not_change_is_not_written_again(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await half.calm()
        writes, events = len(half.cluster.statuses), len(half.events.sent)
        half.put(policy(), repository(), automation())  # the echo of our own status
        for _ in range(3):
            assert half.updating.hint(IMAGE)
            await half.calm()
        assert len(half.cluster.statuses) == writes
        assert len(half.events.sent) == events


async def test_a_new_tag_is_told_by_a_hint_and_said_everywhere(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: len(half.pushed) == 1)
        half.registry.push("1.1.0")
        assert half.updating.hint(IMAGE, "1.1.0")
        await half.until(lambda: len(half.pushed) == 2)
        await half.until(lambda: half.written("ImagePolicy", "web").get("latest", {}).get("tag") == "1.1.0")
        await half.until(
            lambda: half.written("ImageUpdateAutomation", "fleet").get("lastPushCommit") == half.pushed[-1][2]
        )


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (policy(version_range="no range"), ("False", "InvalidSpec")),
        (policy(secretRef={"name": "gone"}), ("False", "SecretNotFound")),
        (policy(suspend=True), ("Unknown", "Suspended")),
        (policy(version_range="^9"), ("False", "NothingEligible")),
    ],
    ids=["a range that is none", "a Secret that is not there", "suspended", "no tag fits"],
)
async def test_one_bad_policy_says_why_and_stops_nobody(
    tmp_path: Path, body: dict[str, Any], state: tuple[str, str]
) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    body["metadata"]["name"] = "bad"
    half.put(body, policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "bad") == state)
        await half.until(lambda: half.line.written == {"apps/web": "1.0.0"})


async def test_a_missing_secret_is_no_stall_and_its_coming_is_seen(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(secretRef={"name": "login"}), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("False", "SecretNotFound"))
        assert {each["type"] for each in half.written("ImagePolicy", "web")["conditions"]} == {"Ready", "Reconciling"}
        half.cluster.put("Secret", "login", docker_config("registry.test"))
        await half.context.secrets.need(half.context.secrets.wanted, fresh=0.0)
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        await half.until(lambda: half.line.written == {"apps/web": "1.0.0"})


async def test_what_failed_keeps_what_was_chosen_and_says_why_once(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: len(half.pushed) == 1)
        for number in range(3):
            half.registry.fail["tags"] = RegistryUnavailable(f"no answer since {number}")
            half.put(requested(policy(), f"now-{number}"))
            await half.until(lambda now=f"now-{number}": half.handled("ImagePolicy", "web") == now)
        status = half.written("ImagePolicy", "web")
        assert status["latest"]["tag"] == "1.0.0"
        (ready, _) = status["conditions"]
        assert (ready["status"], ready["reason"]) == ("False", "RegistryUnavailable")
        assert "no answer since 0" in ready["message"]
        assert "kept from before is 1.0.0" in ready["message"]
        told = [each for each in half.events.sent if each[2] == "RegistryUnavailable"]
        assert len(told) == 1
        del half.registry.fail["tags"]
        half.put(requested(policy(), "again"))
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Succeeded"))


async def test_a_request_is_answered_when_the_work_is_done(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await half.calm()
        asked, runs = half.registry.calls["tags"], len(half.line.requests)
        half.put(requested(policy(), "t1"))
        await half.until(lambda: half.handled("ImagePolicy", "web") == "t1")
        assert half.registry.calls["tags"] == asked + 1
        half.put(requested(automation(), "t2"))
        await half.until(lambda: half.handled("ImageUpdateAutomation", "fleet") == "t2")
        assert len(half.line.requests) == runs + 1
        half.put(requested(policy(version_range="no"), "t3"))
        await half.until(lambda: half.handled("ImagePolicy", "web") == "t3")


async def test_suspending_is_honoured_at_once_and_resuming_looks_anew(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] == "True")
        half.put(policy(suspend=True))
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Suspended"))
        half.put(requested(policy(suspend=True), "t1"))
        await half.until(lambda: half.handled("ImagePolicy", "web") == "t1")
        assert half.written("ImagePolicy", "web")["latest"]["tag"] == "1.0.0"
        assert not half.updating.hint(IMAGE, "1.1.0")
        half.registry.push("1.1.0")
        half.put(policy())
        half.put(repository(suspend=True))
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Suspended"))
        half.updating.hint(IMAGE, "1.1.0")
        await half.until(lambda: half.written("ImagePolicy", "web")["latest"]["tag"] == "1.1.0")
        await half.calm()
        assert half.line.written == {"apps/web": "1.0.0"}
        half.put(repository())
        await half.until(lambda: half.line.written == {"apps/web": "1.1.0"})


async def test_an_edit_that_changes_nothing_is_observed_all_the_same(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] == "True")
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await half.calm()
        asked = len(half.line.requests)
        half.put(policy(suspend=False), automation(suspend=False))
        await half.until(lambda: half.written("ImagePolicy", "web")["observedGeneration"] == 2)
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet")["observedGeneration"] == 2)
        assert len(half.line.requests) == asked


async def test_an_edit_of_the_range_leads_to_another_answer(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "2.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.line.written == {"apps/web": "2.0.0"})
        half.put(policy(version_range="^1"))
        await half.until(lambda: half.line.written == {"apps/web": "1.0.0"})
        await half.until(lambda: half.written("ImagePolicy", "web")["latest"]["tag"] == "1.0.0")
        assert half.written("ImagePolicy", "web")["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("reference", "allowed", "reason", "stalled"),
    [
        ({"name": "gone"}, False, "SourceNotFound", False),
        ({"name": "fleet", "namespace": "other"}, False, "AccessDenied", True),
        ({"name": "fleet", "namespace": "other"}, True, "SourceNotFound", False),
        ({"name": "local"}, False, "InvalidSpec", True),
        ({"name": "tagged"}, False, "InvalidSpec", True),
    ],
    ids=["no such", "elsewhere", "elsewhere, allowed, and not there", "our own disk", "a tag"],
)
async def test_an_automation_whose_source_cannot_be_used_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, str],
    allowed: bool,
    reason: str,
    stalled: bool,
) -> None:
    monkeypatch.setattr(updating, "GRACE", 0.05)
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line(), allow_cross_namespace_refs=allowed)
    half.put(policy(), repository(), automation(), automation("bad", sourceRef=reference))
    half.put(object_("GitRepository", "local", {"url": "file:///etc/fleet.git", "ref": {"branch": "main"}}))
    half.put(object_("GitRepository", "tagged", {"url": "https://git.test/x.git", "ref": {"tag": "v1"}}))
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "bad") == ("False", reason))
        types = {each["type"] for each in half.written("ImageUpdateAutomation", "bad")["conditions"]}
        assert ("Stalled" in types) is stalled
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))
        if reference == {"name": "gone"}:
            half.put(repository("gone", url="https://git.test/other.git"))
            await half.until(lambda: half.ready("ImageUpdateAutomation", "bad") == ("True", "Succeeded"))


async def test_objects_of_one_file_that_come_in_any_order_are_no_failure(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    async with half.running():
        half.put(automation())
        await half.calm()
        half.put(repository())
        await half.calm()
        half.put(policy())
        await half.until(lambda: half.line.written == {"apps/web": "1.0.0"})
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] == "True")
        await half.calm()
        assert "Warning" not in {each[1] for each in half.events.sent}


async def test_a_run_that_fails_says_so_and_keeps_the_last_commit(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet").get("lastPushCommit"))
        commit = half.written("ImageUpdateAutomation", "fleet")["lastPushCommit"]
        half.line.fail = GitError("the server is away")
        half.put(requested(automation(), "now"))
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("False", "GitOperationFailed"))
        assert half.written("ImageUpdateAutomation", "fleet")["lastPushCommit"] == commit
        assert half.written("ImageUpdateAutomation", "fleet")["siteCounts"] == {"current": 1}
        half.line.fail = None
        half.put(requested(automation(), "later"))
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))


async def test_after_a_restart_everything_is_known_and_nothing_is_written(tmp_path: Path) -> None:
    first = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    first.put(policy(), repository(), automation())
    async with first.running():
        await first.until(lambda: first.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await first.until(lambda: first.ready("ImagePolicy", "web")[0] == "True")
    second = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    second.line.written = dict(first.line.written)  # Git still has it
    for body in (policy(), repository(), automation()):
        second.put({**body, "status": first.written(body["kind"], body["metadata"]["name"])})
    second.clock.forward(minutes=5)
    async with second.running():
        await second.until(lambda: second.line.requests and second.updating.decided())
        await second.calm()
        assert not second.cluster.statuses
        assert not second.events.sent
        assert not second.registry.calls


async def test_refused_sites_stand_in_status_and_are_told_when_they_are_new(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.line.states = {"apps/web": (State.REFUSED, "the base is shared with prod")}
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet").get("sites"))
        (site,) = half.written("ImageUpdateAutomation", "fleet")["sites"]
        assert site == {
            "file": "apps/web.yaml",
            "line": 3,
            "field": "image[apps/web]",
            "image": f"{IMAGE}:1.0.0",
            "policy": "apps/web",
            "current": "1.0.0",
            "wanted": "1.0.0",
            "state": "refused",
            "reason": "the base is shared with prod",
        }
        half.put(requested(automation(), "again"))
        await half.until(lambda: half.handled("ImageUpdateAutomation", "fleet") == "again")
    told = [each for each in half.events.sent if each[2] == "SitesRefused"]
    assert told == [("fleet", "Warning", "SitesRefused", "apps/web.yaml:3: the base is shared with prod")]


async def test_a_policy_of_an_annotation_shows_in_its_automation(tmp_path: Path) -> None:
    registry = FakeRegistry("1.0.0")
    half = Half(tmp_path, registry, Line())
    name = f"annotation:{IMAGE}:semver *"
    half.line.implicit = {name: model_policy(name=name)}
    half.put(repository(), automation())
    async with half.running():
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet").get("policies"))
        (found,) = half.written("ImageUpdateAutomation", "fleet")["policies"]
        assert (found["name"], found["image"], found["tag"]) == (name, IMAGE, "1.0.0")
        registry.push("1.1.0")
        assert half.updating.hint(IMAGE, "1.1.0")
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet")["policies"][0]["tag"] == "1.1.0")
        registry.fail = {"tags": AuthenticationFailed("no"), "head": AuthenticationFailed("no")}
        half.updating.hint(IMAGE)
        await half.until(lambda: ("fleet", "Warning", "AuthenticationFailed") in [e[:3] for e in half.events.sent])
        (found,) = half.written("ImageUpdateAutomation", "fleet")["policies"]
        assert found["reason"].startswith("AuthenticationFailed: ")
    assert registry.digests["1.1.0"] == digest("1.1.0")


async def test_a_shard_works_for_its_own_objects_and_reads_the_policies_that_they_select(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line(), selector="shard=a")
    mine = automation()
    mine["metadata"]["labels"] = {"shard": "a"}
    other = automation("theirs")
    lonely = policy("lonely")
    lonely["metadata"]["namespace"] = "elsewhere"
    half.put(policy(), lonely, repository(), mine, other)
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))
        await half.calm()
        assert half.line.written == {"apps/web": "1.0.0"}
        assert {(kind, name) for kind, name, _ in half.cluster.statuses} == {("ImageUpdateAutomation", "fleet")}
        assert half.registry.calls["tags"] == 1
        assert [each.key.name for each in half.line.requests[-1].objects.policies] == ["web"]


async def test_only_a_kustomization_that_reads_the_repository_names_a_root_of_it(tmp_path: Path) -> None:
    def kustomization(name: str, source: dict[str, str], namespace: str = "apps") -> dict[str, Any]:
        made = object_("Kustomization", name, {"sourceRef": source, "path": f"clusters/{name}"})
        made["metadata"]["namespace"] = namespace
        return made

    other = repository("other", url="https://git.test/other.git")
    same = repository("same", url="https://git.test/fleet")
    same["metadata"]["namespace"] = "elsewhere"
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(
        policy(),
        repository(),
        automation(),
        other,
        same,
        kustomization("mine", {"name": "fleet"}),
        kustomization("lost", {"name": "missing"}),
        kustomization("stranger", {"name": "other"}),
        kustomization("neighbour", {"name": "same"}, "elsewhere"),
        kustomization("intruder", {"name": "fleet", "namespace": "apps"}, "elsewhere"),
    )

    def roots() -> set[str]:
        return (
            {str(each.key) for each in half.line.requests[-1].objects.kustomizations} if half.line.requests else set()
        )

    async with half.running():
        await half.until(lambda: roots() == {"apps/mine", "elsewhere/neighbour"})
        assert {str(each.source_ref) for each in half.line.requests[-1].objects.kustomizations} == {"apps/fleet"}
        half.put(repository("missing"))
        await half.until(lambda: roots() == {"apps/mine", "apps/lost", "elsewhere/neighbour"})


async def test_a_thousand_policies_made_one_by_one_cost_a_thousand_lists_and_few_runs(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(repository(), automation())
    async with half.running():
        await half.until(lambda: half.line.requests)
        for number in range(300):
            half.put(policy(f"p-{number}", f"registry.test/acme/i-{number}"))
            if number % 10 == 0:
                await half.until(lambda: True)
        await half.until(lambda: half.updating.decided() and len(half.line.written) == 300)
        await half.calm()
        assert half.registry.calls["tags"] == 300
        assert sum(kind == "ImagePolicy" for kind, _, _ in half.cluster.statuses) == 300
        assert len(half.line.requests) < 20


async def test_a_rotated_login_of_git_is_read_when_the_old_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "RENEWED", 0.0)
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.cluster.put("Secret", "git", {"data": {}})
    half.put(policy(), repository(secretRef={"name": "git"}), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))
        half.line.fail = GitAuthenticationFailed("no")
        half.put(requested(automation(), "now"))
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("False", "AuthenticationFailed"))
        await half.calm()
        half.cluster.put("Secret", "git", {"data": {"password": "cA=="}})
        half.line.failures = 1
        half.put(requested(automation(), "later"))
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet") == ("True", "Succeeded"))
