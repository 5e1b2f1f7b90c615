"""Laws about histories: commits, builds, syncs and kills in any order.

1. No object is deleted that another Kustomization renders at the newest commit.
2. When all has been built and synced again, the cluster is what Git says, and inventories name exactly that.
3. Then nothing is written any more.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync import watches as watches_module
from image_updater.sync.manifests import prepare
from image_updater.sync.model import Elsewhere, SyncRequest
from image_updater.sync.syncer import Syncer
from image_updater.sync.watches import Watches
from tests.unit.sync_effects.world import OWNER, Killed, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.cluster.model import Body
    from image_updater.sync.model import Applied, Entry, SyncReport

OWNERS = ("a", "b", "c")
OBJECTS = ("one", "two", "three", "four")
Commit = dict[str, tuple[str, str]]
"""Object → the Kustomization that renders it, and its value."""


class Controller:
    """What the real one keeps: inventories and what is known survive a kill, the rest does not."""

    def __init__(self, dice: random.Random, watched: bool) -> None:
        self._dice = dice
        self._watched = watched
        self.world = World(lambda: dice.randrange(4), self._deleted)
        self.git: Commit = {}
        self.inventories: dict[str, tuple[Entry, ...]] = {}
        self.known: dict[str, dict[Ref, Applied]] = {}
        self.renders: dict[str, frozenset[Ref]] = {}
        self.unsettled: set[str] = set(OWNERS)
        self.watches: Watches | None = None
        self.start()

    def start(self) -> None:
        self.unsettled = set(OWNERS)
        self.renders = {name: frozenset(e.ref for e in self.inventories.get(name, ())) for name in OWNERS}
        self.watches = Watches(self.world, on_moved=lambda *_: None) if self._watched else None  # type: ignore[arg-type]

    async def stop(self) -> None:
        if self.watches is not None:
            await self.watches.close()

    def commit(self, commit: Commit) -> None:
        for name in OWNERS:
            if _of(commit, name) != _of(self.git, name):
                self.unsettled.add(name)
        self.git = commit

    def _deleted(self, ref: Ref, body: Body) -> None:
        owner = body["metadata"]["labels"][OWNER]
        now = self.git.get(ref.name)
        assert now is None or now[0] == owner, f"{ref} was deleted for {owner}, and {now[0]} renders it"

    def _elsewhere(self, name: str, ref: Ref) -> Elsewhere:
        others = [other for other in OWNERS if other != name]
        renders = next((o for o in others if o not in self.unsettled and ref in self.renders[o]), None)
        unsettled = next((o for o in others if o in self.unsettled), None)
        return Elsewhere(
            renders=ObjectKey("apps", renders) if renders else None,
            unsettled=ObjectKey("apps", unsettled) if unsettled else None,
        )

    async def sync(self, name: str, *, forget: bool = False) -> SyncReport:
        """Build and sync one."""
        kustomization = Kustomization(meta=Meta(key=ObjectKey("apps", name)), source_ref=None, path=".", prune=True)
        documents = [
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {each}}}\ndata: {{value: '{value}'}}\n"
            for each, value in _of(self.git, name).items()
        ]
        manifests = prepare("---\n".join(documents).encode(), kustomization, namespaced=lambda *_: True)
        self.renders[name] = frozenset(m.ref for m in manifests)
        self.unsettled.discard(name)
        if forget:
            self.known.pop(name, None)
        request = SyncRequest(
            kustomization=kustomization,
            revision="r",
            manifests=manifests,
            inventory=self.inventories.get(name, ()),
            known=self.known.get(name, {}),
            elsewhere=lambda ref: self._elsewhere(name, ref),
        )

        async def save(entries: Sequence[Entry]) -> None:
            await asyncio.sleep(0)
            self.inventories[name] = tuple(entries)

        syncer = Syncer(
            self.world,  # type: ignore[arg-type]
            watches=self.watches,
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            monotonic=lambda: 0.0,
            sleep=lambda _: asyncio.sleep(0),
        )
        report = await syncer.sync(request, save_inventory=save, preempted=lambda: False)
        if self.world.kill_in == 0:
            raise Killed  # between the last request and the status
        self.inventories[name] = report.inventory
        self.known[name] = dict(report.known)
        return report

    async def together(self, names: Sequence[str], forget: bool) -> None:
        """Several at once, of one process."""
        tasks = [asyncio.create_task(self.sync(name, forget=forget)) for name in names]
        try:
            await asyncio.gather(*tasks)
        except* Killed:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.world.kill_in = -1
            await self.stop()
            self.start()


def _of(commit: Commit, name: str) -> dict[str, str]:
    return {each: value for each, (owner, value) in sorted(commit.items()) if owner == name}


def state(controller: Controller) -> dict[str, tuple[str, str]]:
    objects = controller.world.objects.items()
    return {ref.name: (body["metadata"]["labels"][OWNER], body["data"]["value"]) for ref, body in objects}


commits = st.dictionaries(st.sampled_from(OBJECTS), st.tuples(st.sampled_from(OWNERS), st.sampled_from("12")))
rounds = st.lists(
    st.tuples(
        commits,
        st.lists(st.lists(st.sampled_from(OWNERS), min_size=1, max_size=3, unique=True), max_size=4),
        st.integers(-1, 25),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300)
@given(history=rounds, seed=st.integers(0, 2**16), watched=st.booleans())
def test_whatever_happens_nothing_is_lost_and_git_wins(history: list[Any], seed: int, watched: bool) -> None:
    async def play() -> None:
        controller = Controller(random.Random(seed), watched)
        try:
            for commit, batches, kill_in, forget, drifts in history:
                controller.commit(commit)
                controller.world.kill_in = kill_in
                for batch in batches:
                    await controller.together(batch, forget)
                if drifts and controller.world.objects:
                    controller.world.drift(min(controller.world.objects), "drifted")
            controller.world.kill_in = -1
            for _ in range(3):
                for name in OWNERS:
                    await controller.sync(name)
            assert state(controller) == controller.git
            for name in OWNERS:
                entries = controller.inventories[name]
                assert {entry.ref.name for entry in entries} == set(_of(controller.git, name))
            writes = controller.world.writes
            for name in OWNERS:
                assert not (await controller.sync(name)).changed
            assert controller.world.writes == writes
        finally:
            await controller.stop()

    def watcher(world: World, resource: Any, **options: Any) -> Any:
        return world.watcher(world, resource, **options)

    with mock.patch.object(watches_module, "Watcher", watcher):
        asyncio.run(play())
