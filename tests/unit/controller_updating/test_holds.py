"""What holds a policy stands in its status and is told once, however often it is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from image_updater.controller.update.holding import field_of, told
from image_updater.patch.decisions import State
from image_updater.policy.situation import Hold
from tests.unit.controller_updating.fakes import Half, Line, automation, policy, repository
from tests.unit.pipeline_selection.fakes import IMAGE, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.pipeline.report import UpdateReport, UpdateRequest

HOLD = Hold(
    reason="held: 0123456789ab by Ada (2024-05-01) replaced 1.1.0 by 1.0.0; a tag newer than 1.1.0 ends it",
    by="Ada",
    since=datetime(2024, 5, 1, 9, tzinfo=UTC),
    tag="1.1.0",
)
FIELD = {"reason": HOLD.reason, "by": "Ada", "since": "2024-05-01T09:00:00Z", "tag": "1.1.0"}


class HoldingLine(Line):
    """Finds the hold that it is given."""

    def __init__(self, *holds: Hold) -> None:
        super().__init__()
        self.holds = holds

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        self.states = {"apps/web": (State.HELD, self.holds[0].reason)} if self.holds else {}
        report = await super().__call__(request)
        holds = {"apps/web": self.holds} if self.holds else {}
        parts = {name: replace(part, holds=holds) for name, part in report.automations.items()}
        return replace(report, automations=parts, holds=holds)


def events(half: Half, reason: str) -> list[tuple[str, str]]:
    return [(name, message) for name, _, why, message in half.events.sent if why == reason]


async def test_a_hold_from_git_is_said_once_and_ends_with_the_run_that_no_longer_finds_it(tmp_path: Path) -> None:
    line = HoldingLine(HOLD)
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), line)
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.written("ImagePolicy", "web").get("hold") == FIELD)
        await half.calm()
        assert half.updating._daemon is not None
        assert half.updating._daemon.holding.count() == 1
        writes = len(half.cluster.statuses)
        for _ in range(3):
            assert half.updating.hint(IMAGE)
            await half.calm()
        assert len(half.cluster.statuses) == writes
        assert events(half, "HoldBegun") == [("fleet", f"apps/web: {HOLD.reason}"), ("web", HOLD.reason)]
        line.holds = ()
        half.registry.push("1.2.0")
        assert half.updating.hint(IMAGE, "1.2.0")
        await half.until(lambda: "hold" not in half.written("ImagePolicy", "web"))
        await half.calm()
        assert half.updating._daemon.holding.count() == 0
    assert [name for name, _ in events(half, "HoldEnded")] == ["web"]


async def test_ready_says_that_what_is_chosen_is_held(tmp_path: Path) -> None:
    line = HoldingLine(HOLD)
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), line)
    half.put(policy(), repository(), automation())

    def message() -> str:
        conditions = half.written("ImagePolicy", "web").get("conditions") or ()
        return next((each["message"] for each in conditions if each["type"] == "Ready"), "")

    held = "; held since 2024-05-01T09:00:00Z: 0123456789ab by Ada (2024-05-01) replaced 1.1.0 by 1.0.0; "
    async with half.running():
        await half.until(lambda: held in message())
        assert message().startswith(f"{IMAGE}:1.1.0: ")
        half.registry.push("1.0.1")
        assert half.updating.hint(IMAGE, "1.0.1")
        await half.calm()
        assert message().count("held since") == 1
        line.holds = ()
        half.registry.push("1.2.0")
        assert half.updating.hint(IMAGE, "1.2.0")
        await half.until(lambda: "1.2.0" in message() and "held" not in message())


async def test_what_people_ask_is_told_once_with_who(tmp_path: Path) -> None:
    asked = {
        "image-updater.dev/approvals": '[{"tag": "1.1.0", "by": "ada"}]',
        "image-updater.dev/deny": '[{"what": "1.0.0", "by": "bob", "reason": "slow"}, {"what": "0.9.0"}]',
        "image-updater.dev/resume": '{"at": "2024-05-01T09:00:00Z", "by": "cleo"}',
    }
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    body = policy(approvals=1)
    body["metadata"]["annotations"] = asked
    half.put(body, repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        await half.until(lambda: "resumed" in half.written("ImagePolicy", "web"))
        half.registry.push("1.2.0")
        assert half.updating.hint(IMAGE, "1.2.0")
        await half.calm()
        status = half.written("ImagePolicy", "web")
    assert status["resumed"] == {"at": "2024-05-01T09:00:00Z", "by": "cleo"}
    assert status["denied"] == [{"what": "1.0.0", "by": "bob", "reason": "slow"}, {"what": "0.9.0"}]
    assert events(half, "Approved") == [("web", "1.1.0 is approved by ada")]
    assert events(half, "Denied") == [("web", "1.0.0 is denied by bob: slow"), ("web", "0.9.0 is denied by somebody")]
    assert [name for name, _ in events(half, "Resumed")] == ["web"]
    again = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    body["metadata"]["annotations"] = {**asked, "image-updater.dev/deny": '[{"what": "1.0.0", "by": "bob"}]'}
    again.put({**body, "status": status}, repository(), automation())
    async with again.running():
        await again.until(lambda: len(again.written("ImagePolicy", "web").get("denied", ())) == 1)
        await again.calm()
    assert not {reason for _, _, reason, _ in again.events.sent} & {"Approved", "Denied", "Resumed"}


async def test_more_approvals_than_status_names_are_told_once_too(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    body = policy(approvals=1)
    body["metadata"]["annotations"] = {"image-updater.dev/approvals": ",".join(f"1.1.{n}" for n in range(25))}
    half.put(body, repository(), automation())
    async with half.running():
        await half.until(lambda: "approvals" in half.written("ImagePolicy", "web"))
        await half.calm()
        told = len(events(half, "Approved"))
        for n in range(1, 4):
            half.registry.push(f"1.1.{n}")
            assert half.updating.hint(IMAGE, f"1.1.{n}")
            await half.calm()
        approvals = half.written("ImagePolicy", "web")["approvals"]
    assert [each["tag"] for each in approvals] == [f"1.1.{n}" for n in range(5, 25)], "the last ones"
    assert len(events(half, "Approved")) == told == len(approvals)


class Incomplete(Line):
    """Nothing is written: a layer of the image is missing."""

    why = "layer sha256:1 answers 404"

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        self.states = {"apps/web": (State.HELD, f"{self.why}; it is asked again at the next look")}
        report = await super().__call__(request)
        parts = {
            name: replace(part, missing={"apps/web": ("1.1.0", self.why)}) for name, part in report.automations.items()
        }
        return replace(report, automations=parts)


async def test_an_image_that_cannot_be_pulled_is_told_once(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Incomplete())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: bool(events(half, "PreflightFailed")))
        for _ in range(3):
            assert half.updating.hint(IMAGE)
            await half.calm()
    assert events(half, "PreflightFailed") == [
        ("fleet", "apps/web: 1.1.0 is not written, as it cannot be pulled: layer sha256:1 answers 404")
    ]


async def test_a_wish_holds_the_policy_too(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    body = policy()
    body["metadata"]["annotations"] = {"image-updater.dev/hold": "wait for the fair"}
    half.put(body, repository(), automation())
    async with half.running():
        await half.until(lambda: "fair" in str(half.written("ImagePolicy", "web").get("hold")))
        half.put(policy(), repository(), automation())
        await half.until(lambda: "hold" not in half.written("ImagePolicy", "web"))


async def test_after_a_start_a_hold_stays_until_its_automation_has_looked(tmp_path: Path) -> None:
    line = HoldingLine(HOLD)
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), line)
    body: dict[str, Any] = {**policy(), "status": {"hold": FIELD}}
    half.put(body, repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await half.calm()
        assert all(status.get("hold") == FIELD for kind, _, status in half.cluster.statuses if kind == "ImagePolicy")
    assert events(half, "HoldEnded") == []


async def test_what_a_failed_rollout_left_is_the_loops_to_end(tmp_path: Path) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    left = {**FIELD, "by": "Kustomization apps/shop"}
    half.put({**policy(), "status": {"hold": left}}, repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImageUpdateAutomation", "fleet")[0] == "True")
        await half.calm()
        assert half.written("ImagePolicy", "web").get("hold") == left
    assert events(half, "HoldEnded") == []


def test_what_status_has_of_a_hold() -> None:
    assert field_of(None) is None
    assert field_of(HOLD) == FIELD
    everything = replace(HOLD, until_resume=True)
    assert "tag" not in (field_of(everything) or {}), "it stops every tag"
    word = {"reason": "the queue is full", "by": "ada", "until": "2024-05-02T00:00:00Z"}
    said = "held by ada until 2024-05-02T00:00:00Z: the queue is full"
    assert [each.message for each in told(None, word)] == [said]
    assert [each.message for each in told(word, None)] == [f"no longer {said}"]
    assert [each.message for each in told(FIELD, None)] == [f"no longer {HOLD.reason}"]
    assert [each.reason for each in told(None, FIELD)] == ["HoldBegun"]
    assert [each.reason for each in told(FIELD, None)] == ["HoldEnded"]
    assert list(told(FIELD, {**FIELD, "since": "2024-05-02T00:00:00Z"})) == []
