"""Two processes whose Git is not the same for a moment: what one took, the other does not take back at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Drift, Kustomization, Meta, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync.manifests import prepare
from image_updater.sync.model import Action, SyncRequest
from image_updater.sync.syncer import Syncer
from tests.unit.sync_effects.world import OWNER, World

if TYPE_CHECKING:
    from image_updater.sync.model import Applied, Entry, SyncReport

MOVED = Ref("", "ConfigMap", "apps", "moved")


async def _sleep(_: float) -> None:
    return


@dataclass
class Process:
    """A controller of one shard, with one Kustomization that still, or already, renders the object."""

    world: World
    name: str
    drift: Drift = Drift.CORRECT
    yields: bool = True
    known: dict[Ref, Applied] = field(default_factory=dict)
    inventory: tuple[Entry, ...] = ()
    asked: list[tuple[Ref, ObjectKey]] = field(default_factory=list)

    def _yields(self, ref: Ref, owner: ObjectKey) -> bool:
        self.asked.append((ref, owner))
        return self.yields

    async def sync(self, value: str) -> SyncReport:
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: moved}}\ndata: {{value: '{value}'}}\n"
        kustomization = Kustomization(
            meta=Meta(key=ObjectKey("apps", self.name)), source_ref=None, path=".", prune=True, drift=self.drift
        )
        request = SyncRequest(
            kustomization=kustomization,
            revision="r",
            manifests=prepare(text.encode(), kustomization, namespaced=lambda *_: True),
            inventory=self.inventory,
            known=self.known,
            yields=self._yields,
        )

        async def save(_: object) -> None:
            return

        syncer = Syncer(
            self.world,  # type: ignore[arg-type]
            watches=None,
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            monotonic=lambda: 0.0,
            sleep=_sleep,
        )
        report = await syncer.sync(request, save_inventory=save, preempted=lambda: False)
        self.inventory, self.known = report.inventory, dict(report.known)
        return report

    @property
    def owner(self) -> tuple[str, str]:
        body = self.world.objects[MOVED]
        return body["metadata"]["labels"][OWNER], body["data"]["value"]


@pytest.fixture
def world() -> World:
    return World(lambda: 0, lambda *_: None)


@pytest.mark.parametrize("drift", [Drift.CORRECT, Drift.WARN])
async def test_what_another_shard_took_is_left_to_it_and_stays_in_the_inventory(world: World, drift: Drift) -> None:
    giver, taker = Process(world, "giver", drift=drift), Process(world, "taker")
    await giver.sync("1")
    await taker.sync("2")
    for _ in range(3):
        writes = world.writes
        report = await giver.sync("1")
        assert [(done.ref, done.action) for done in report.done] == [(MOVED, Action.YIELDED)]
        assert (report.ok, report.changed, report.yielded) == (True, False, (MOVED,))
        assert [entry.ref for entry in report.inventory] == [MOVED]
        assert (world.writes, giver.owner) == (writes, ("taker", "2"))
    assert set(giver.asked) == {(MOVED, ObjectKey("apps", "taker"))}
    # The taker never notices, and has nothing to set back.
    assert not (await taker.sync("2")).changed
    assert taker.asked == []


async def test_it_is_taken_back_when_that_is_right_after_all(world: World) -> None:
    giver, taker = Process(world, "giver"), Process(world, "taker")
    await giver.sync("1")
    await taker.sync("2")
    assert (await giver.sync("1")).yielded
    giver.yields = False
    report = await giver.sync("1")
    assert [done.action for done in report.done] == [Action.CONFIGURED]
    assert giver.owner == ("giver", "1")


async def test_what_git_changes_is_taken_at_once(world: World) -> None:
    giver, taker = Process(world, "giver"), Process(world, "taker")
    await giver.sync("1")
    await taker.sync("2")
    assert not (await giver.sync("3")).yielded
    assert giver.owner == ("giver", "3")
    assert giver.asked == []


async def test_drift_that_nobody_took_is_mended(world: World) -> None:
    giver = Process(world, "giver")
    await giver.sync("1")
    world.drift(MOVED, "other")
    assert [done.action for done in (await giver.sync("1")).done] == [Action.CONFIGURED]
    assert giver.asked == []
