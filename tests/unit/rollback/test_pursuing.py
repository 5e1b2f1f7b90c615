"""A failed rollout, followed step by step: what is done again, and what is never taken for done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey, OnFailure
from image_updater.cluster.model import Ref
from image_updater.controller.loop.pursuing import LONGEST, Failure, Pursuing
from image_updater.git.errors import GitUnavailable
from image_updater.kustomize.model import ObjectId
from image_updater.pipeline.report import AutomationReport
from image_updater.pipeline.rollback.decision import Action, Kind, RollbackPlan, Suspect
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

if TYPE_CHECKING:
    from image_updater.controller.loop.case import Case

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
KEY = ObjectKey("shop", "apps")
AUTOMATION = ObjectKey("shop", "all")
REF = Ref("apps", "Deployment", "shop", "web")

PLACEMENT = Placement(
    automation=AUTOMATION,
    policy="shop/web",
    name="shop/web",
    root="apps",
    folder="apps",
    object=ObjectId(group="apps", kind="Deployment", namespace="shop", name="web"),
    container="web",
    path=("spec", "template", "spec", "containers", 0, "image"),
    image="acme/web",
    value=Value("1.5.0"),
    site="apps/web.yaml#0:image",
    file="apps/web.yaml",
)
BACK = Action(kind=Kind.ROLLBACK, reason="it crashes", suspects=(Suspect(placement=PLACEMENT, to=Value("1.4.2")),))


def failure() -> Failure:
    kustomization = Kustomization(
        meta=Meta(key=KEY), path="apps", source_ref=ObjectKey("shop", "repo"), on_failure=OnFailure.ROLLBACK
    )
    rollout = Rollout(
        ref=REF, state=RolloutState.FAILED, culprit=Culprit.TAG, since=NOW, images=(("web", "acme/web:1.5.0"),)
    )
    return Failure(kustomization, rollout, NOW, (PLACEMENT,))


class Rig:
    """`glance` and `take` say what the retreat finds; `report` what the line made of it."""

    def __init__(self) -> None:
        self.now = NOW + timedelta(minutes=1)
        self.glance: Any = lambda case, images: BACK
        self.take: Any = lambda case: None
        self.report = AutomationReport()
        self.amended: list[dict[str, Any]] = []
        self.looks = 0
        retreat = SimpleNamespace(
            glance=self._glance, take=lambda case, _: self.take(case), begun=lambda case, name: None, name_of=str
        )
        nothing: Any = SimpleNamespace(of=lambda _: (), labels=lambda *_: SimpleNamespace(inc=lambda: None))
        self.pursuing = Pursuing(
            SimpleNamespace(clock=lambda: self.now),  # type: ignore[arg-type]
            retreat=retreat,  # type: ignore[arg-type]
            saying=nothing,
            situations=nothing,
            proving=nothing,
            metrics=SimpleNamespace(rollbacks=nothing),  # type: ignore[arg-type]
            entry=lambda _: None,
            tell=lambda *_: None,
            take_back=self._take_back,
            released=lambda _: None,
        )

    def _glance(self, case: Case, images: Any) -> Action:
        self.looks += 1
        found: Action = self.glance(case, images)
        return found

    async def _take_back(self, _: ObjectKey, taking: Any) -> AutomationReport:
        await asyncio.sleep(0)
        taking(None)
        return self.report


async def test_an_old_rollback_of_an_image_beside_it_is_none_of_this_failure() -> None:
    rig, found = Rig(), failure()
    taken: list[str] = []

    def take(case: Case) -> None:
        case.action, case.commit = BACK, "d" * 40
        case.plan = RollbackPlan(automation=AUTOMATION, backs=(), reason="it crashes")
        taken.append("planned")

    rig.take = take
    rig.report = replace(rig.report, error=GitUnavailable("the server is down"))
    assert await rig.pursuing.step(found), "it is tried again"
    assert found.tries == 1
    assert found.pending, "nothing newer is written before it is recorded"
    rig.report = replace(rig.report, error=None)
    await rig.pursuing.step(found)
    assert len(taken) == 2


async def test_what_git_holds_already_needs_nobody_who_answers() -> None:
    rig, found = Rig(), failure()

    def take(case: Case) -> None:
        case.action, case.commit = Action(kind=Kind.NOTHING, reason="Git holds other images by now"), "d" * 40

    rig.take = take
    rig.report = replace(rig.report, error=GitUnavailable("the server is down"))
    assert await rig.pursuing.step(found) is None
    assert not found.pending


async def test_a_fault_of_ours_forgets_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig, found = Rig(), failure()
    waits: list[float | None] = []

    async def wait(_: asyncio.Event, seconds: float | None) -> None:
        waits.append(seconds)
        rig.glance = lambda case, images: Action(kind=Kind.NOTHING, reason="it is healthy")
        found.over = len(waits) == 2

    def fault(case: Case, images: Any) -> Action:
        raise KeyError("web")

    rig.glance = fault
    monkeypatch.setattr("image_updater.controller.loop.pursuing.pause", wait)
    await rig.pursuing.run(found)
    assert rig.looks == 2
    assert waits == [300.0, None]
    assert "unexpected fault" in caplog.text


async def test_a_clock_that_was_set_back_keeps_nothing_waiting_for_hours() -> None:
    rig, found = Rig(), failure()
    later = rig.now + timedelta(hours=3)
    rig.glance = lambda case, images: Action(kind=Kind.WAIT, reason="it has failed just now", again=later)
    assert await rig.pursuing.step(found) == LONGEST
