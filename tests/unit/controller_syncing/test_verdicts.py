"""What of a rollout is written to status, and how often; the workloads are followed by a stand-in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.rollouts import Rollouts
from image_updater.controller.sync import verdicts
from image_updater.controller.sync.rolloutmetrics import RolloutMetrics
from image_updater.controller.sync.verdicts import TOGETHER, Verdicts
from image_updater.sync.manifests import prepare
from image_updater.sync.model import Action, Done, SyncReport
from image_updater.sync.rollout.evidence import STALE
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = ObjectKey("apps", "shop")
NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
KUSTOMIZATION = Kustomization(meta=Meta(key=KEY), source_ref=None, path="apps")
MANIFESTS = prepare(
    b"""
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: "web:1"}]}}}
""",
    KUSTOMIZATION,
    namespaced=lambda group, kind: True,
)
WEB = Ref("apps", "Deployment", "apps", "web")
IMAGES = (("web", "web:1"),)


class _Followed:
    """Stands for a Following: the test says what is seen."""

    def __init__(self, *_: object, changed: Any, **__: object) -> None:
        self.rollouts: dict[Ref, Rollout] = {}
        self.open: frozenset[Ref] = frozenset()
        self._changed = changed

    def follow(self, wanted: Mapping[Ref, Any]) -> None:
        self.open = frozenset(wanted)
        for ref in wanted:
            self.rollouts[ref] = Rollout(ref=ref, state=RolloutState.PENDING, images=IMAGES)

    def forget(self, refs: object) -> None:
        pass

    async def close(self) -> None:
        pass

    def see(self, state: RolloutState, **fields: Any) -> None:
        self.rollouts[WEB] = Rollout(ref=WEB, state=state, **{"images": IMAGES, **fields})
        self.open = frozenset() if state is RolloutState.HEALTHY else frozenset({WEB})
        self._changed()


class Rig:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.written: list[Mapping[str, Any]] = []
        self.events: list[str] = []
        self.messages: list[str] = []
        context: Any = SimpleNamespace(
            status=SimpleNamespace(current=lambda entry: {}, amend=self._amend),
            recorder=SimpleNamespace(event=self._event),
            clock=lambda: NOW,
            monotonic=lambda: self.seconds,
            sleep=asyncio.sleep,
            dice=lambda: 0.5,
        )
        hub = Rollouts()
        self.verdicts = Verdicts(context, hub, RolloutMetrics(counts=hub.counts, followed=lambda: 0))

    def _event(self, *, reason: str, message: str, **_: object) -> None:
        self.events.append(reason)
        self.messages.append(message)

    async def _amend(self, entry: object, fields: Mapping[str, Any], own: object) -> bool:
        self.written.append(fields)
        return True

    def apply(self) -> None:
        entry: Any = SimpleNamespace(key=KEY, uid="1", reference={})
        means: Any = SimpleNamespace(cluster=None, watches=None, scaling=None, reading=None)
        synced: Any = SimpleNamespace(
            report=SyncReport(revision="main@sha1:1", done=(Done(ref=WEB, action=Action.CREATED),)),
            manifests=MANIFESTS,
            target=SimpleNamespace(name="local"),
            syncer=SimpleNamespace(means=means),
        )
        self.verdicts.applied(entry, KUSTOMIZATION, synced, "main@sha1:1")

    @property
    def followed(self) -> Any:
        return self.verdicts._records[KEY].following

    async def after(self, seconds: float) -> None:
        """Time passes, and everything that can happen has."""
        self.seconds += seconds
        for record in self.verdicts._records.values():
            record.hurry.set()
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(verdicts, "Following", _Followed)
    return Rig()


async def test_what_is_said_with_an_apply_is_not_said_again_because_the_rollout_goes_on(rig: Rig) -> None:
    rig.apply()
    assert rig.verdicts.telling(KEY)["rollouts"][0]["state"] == "pending"
    rig.followed.see(RolloutState.PROGRESSING, reason="container web runs and is not ready")
    await rig.after(TOGETHER)
    assert rig.written == []
    rig.followed.see(RolloutState.HEALTHY)
    await rig.after(TOGETHER)
    assert [bool(each["rolloutsSettled"]) for each in rig.written] == [True]
    await rig.verdicts.close()


async def test_a_mere_reason_is_written_when_it_has_stood_for_long(rig: Rig) -> None:
    rig.apply()
    rig.verdicts.telling(KEY)
    rig.followed.see(RolloutState.PROGRESSING, reason="container web runs and is not ready")
    await rig.after(STALE)
    assert [each["rollouts"][0]["reason"] for each in rig.written] == ["container web runs and is not ready"]
    await rig.verdicts.close()


async def test_a_failure_is_written_at_once(rig: Rig) -> None:
    rig.apply()
    rig.verdicts.telling(KEY)
    rig.followed.see(RolloutState.FAILED, culprit=Culprit.TAG, reason="it ends")
    await rig.after(0)
    assert [each["rollouts"][0]["state"] for each in rig.written] == ["failed"]
    assert rig.events == ["RolloutFailed"]
    await rig.verdicts.close()


async def test_an_event_names_the_image_that_failed_so_that_two_bad_tags_are_two(rig: Rig) -> None:
    rig.apply()
    rig.verdicts.telling(KEY)
    images = (("main", "example.com/web:2"), ("proxy", "example.com/proxy:1"))
    rig.followed.see(RolloutState.FAILED, culprit=Culprit.TAG, reason="it ends", images=images, failing=("main",))
    await rig.after(0)
    assert rig.messages == [f"{WEB} with example.com/web:2: it ends (the tag's failure)"]
    await rig.verdicts.close()
