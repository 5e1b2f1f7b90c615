"""Gates in status: what a person reads, what outlives the state file, and how seldom it is written."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.controller.update.gateinputs import GateInputs, platforms_of
from image_updater.controller.update.gatestatus import remembered
from image_updater.errors import Transient
from tests.unit.controller_updating.fakes import Half, Line, automation, object_, policy, repository
from tests.unit.pipeline_selection.fakes import IMAGE, START, FakeRegistry, digest

if TYPE_CHECKING:
    from pathlib import Path

NODE = {"metadata": {"name": "a"}, "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "arm64"}}}


def half(folder: Path, *tags: str) -> Half:
    return Half(folder, FakeRegistry(*tags), Line())


async def test_a_candidate_that_waits_is_shown_with_its_time_and_is_remembered(tmp_path: Path) -> None:
    world = half(tmp_path, "1.0.0", "1.1.0")
    world.put(policy(minAge="72h"), repository(), automation())
    async with world.running():
        await world.until(lambda: world.ready("ImagePolicy", "web") == ("False", "Soaking"))
        status = world.written("ImagePolicy", "web")
        assert status["eligibleAt"] == "2024-05-04T12:00:00Z"
        assert status["candidates"][0]["tag"] == "1.1.0"
        assert status["candidates"][0]["verdict"] == "held"
        assert "eligible at 2024-05-04T12:00Z" in status["candidates"][0]["reason"]
        seen = {"tag": "1.1.0", "digest": digest("1.1.0"), "seen": "2024-05-01T12:00:00Z"}
        assert seen in status["firstSeen"]
        assert "latest" not in status
        written = [each for each in world.cluster.statuses if each[0] == "ImagePolicy"]
        await world.updating._daemon._check(next(iter(world.updating._daemon._polls.keys())))  # type: ignore[union-attr]
        now = [each for each in world.cluster.statuses if each[0] == "ImagePolicy"]
        assert now == written, "a poll that changes nothing writes nothing"
    later = half(tmp_path / "other", "1.0.0", "1.1.0")
    (tmp_path / "other").mkdir()
    later.clock.forward(days=3)
    later.put({**policy(minAge="72h"), "status": status}, repository(), automation())
    async with later.running():
        await later.until(lambda: later.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        assert later.written("ImagePolicy", "web")["latest"]["tag"] == "1.1.0"


async def test_what_waits_longest_is_remembered_however_many_come_behind_it(tmp_path: Path) -> None:
    """Else a new tag each hour and a pod that moves now and then let nothing ever grow old enough."""
    world = half(tmp_path, "1.0.0")
    world.put(policy(minAge="72h"), repository(), automation())
    async with world.running():
        for number in range(1, 31):
            await world.until(lambda number=number: world.written("ImagePolicy", "web").get("tagCount") == number)
            world.clock.forward(hours=1)
            world.registry.push(f"1.{number}.0")
            assert world.updating.hint(IMAGE, f"1.{number}.0")
        await world.until(lambda: world.written("ImagePolicy", "web").get("tagCount") == 31)
        status = world.written("ImagePolicy", "web")
    assert len(status["firstSeen"]) == 20
    assert status["firstSeen"][0] == {"tag": "1.0.0", "digest": digest("1.0.0"), "seen": "2024-05-01T12:00:00Z"}
    (tmp_path / "other").mkdir()
    later = half(tmp_path / "other", "1.0.0", *(f"1.{number}.0" for number in range(1, 31)))
    later.clock.forward(hours=74)
    later.put({**policy(minAge="72h"), "status": status}, repository(), automation())
    async with later.running():
        await later.until(lambda: later.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        assert later.written("ImagePolicy", "web")["latest"]["tag"] == "1.2.0"


async def test_a_better_tag_that_waits_leaves_the_policy_ready_with_the_reason(tmp_path: Path) -> None:
    world = half(tmp_path, "1.0.0", "1.1.0")
    bad = {"image": "registry.test/acme/web", "tag": "1.1.0", "reason": "crash loop"}
    world.put(policy(), repository(), automation(), object_("Quarantine", "web-1", bad))
    async with world.running():
        await world.until(lambda: world.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        (ready,) = (each for each in world.written("ImagePolicy", "web")["conditions"] if each["type"] == "Ready")
        assert "1.0.0" in ready["message"]
        assert "crash loop" in ready["message"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"approvals": 1}, "AwaitingApproval"),
        ({"windows": [{"cron": "0 22 * * *", "duration": "2h"}]}, "OutsideWindow"),
        ({"after": {"name": "staging"}}, "Soaking"),
        ({"platforms": ["fromNodes"]}, "Held"),
    ],
    ids=["approvals", "windows", "after", "nodes-unknown"],
)
async def test_the_gate_that_leaves_nothing_names_the_reason(tmp_path: Path, spec: dict[str, Any], reason: str) -> None:
    world = half(tmp_path, "1.0.0")
    world.put(policy(**spec), repository(), automation())
    async with world.running():
        await world.until(lambda: world.ready("ImagePolicy", "web") == ("False", reason))


async def test_a_freeze_object_stops_at_once_and_its_end_releases(tmp_path: Path) -> None:
    world = half(tmp_path, "1.0.0")
    world.put(policy(), repository(), automation(), object_("Freeze", "sale", {"reason": "a sale is on"}))
    async with world.running():
        await world.until(lambda: world.ready("ImagePolicy", "web") == ("False", "Frozen"))
        assert world.line.written == {}
        world.cache.forget("Freeze", ObjectKey("apps", "sale"))
        await world.until(lambda: world.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        await world.until(lambda: world.line.written)


def test_platforms_are_those_of_the_nodes() -> None:
    assert platforms_of([NODE, NODE, {"status": {}}]) == ("linux/arm64",)


async def test_nodes_that_cannot_be_read_are_no_platforms_and_what_was_known_stays(tmp_path: Path) -> None:
    world = half(tmp_path, "1.0.0")
    answers: list[Any] = [([NODE], "1"), Transient("no route")]

    async def listed(_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.cluster.list = listed  # type: ignore[attr-defined]
    async with world.running():
        await world.until(lambda: world.updating._selector is not None)
        selector = world.updating._selector
        assert selector is not None
        inputs = GateInputs(world.context, selector)
        assert await inputs.look()
        assert not await inputs.look()
        assert selector.situations._nodes == ("linux/arm64",)


async def test_nodes_that_may_not_be_read_are_asked_for_less_and_less() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 10:
            raise asyncio.CancelledError

    class Nodes(GateInputs):
        def _wanted(self) -> bool:
            return len(waits) != 1

        async def look(self) -> bool:
            return len(waits) == 8

    context: Any = SimpleNamespace(sleep=sleep)
    selector: Any = None
    with pytest.raises(asyncio.CancelledError):
        await Nodes(context, selector).run()
    assert waits == [5.0, 5.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0, 5.0]


def test_what_a_status_remembers_is_read_back_and_what_is_broken_counts_anew() -> None:
    status = {
        "firstSeen": [
            {"tag": "1.0.0", "digest": "sha256:aa", "seen": "2024-05-01T12:00:00Z"},
            {"tag": "1.1.0", "digest": "sha256:bb", "seen": "yesterday"},
            {"tag": "1.2.0"},
        ]
    }
    assert remembered(status) == [("1.0.0", "sha256:aa", START)]
    assert remembered({}) == []
