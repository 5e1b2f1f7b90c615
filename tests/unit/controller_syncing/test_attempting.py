"""What becomes of one attempt; what it works with are stand-ins."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster.errors import ClusterUnavailable
from image_updater.controller.status import Ready
from image_updater.controller.sync.admitting import SourceNotReady
from image_updater.controller.sync.agenda import FAULT
from image_updater.controller.sync.attempting import PATIENCE, Attempting
from image_updater.controller.sync.states import State

KEY = ObjectKey("apps", "shop")


class Rig:
    """A Kustomization whose source is not fetched. `failing`: the fetch has failed."""

    def __init__(self, *, status: dict[str, Any] | None = None, failing: bool = False) -> None:
        self.seconds = 100.0
        self.told: list[str] = []
        self.alarms: list[float | None] = []
        kustomization = Kustomization(meta=Meta(key=KEY), source_ref=ObjectKey("apps", "fleet"), path="apps")
        entry: Any = SimpleNamespace(key=KEY, value=kustomization, generation=1, kind="Kustomization")
        self.state = State(key=KEY, entry=entry, owned=True)
        context: Any = SimpleNamespace(
            monotonic=lambda: self.seconds, status=SimpleNamespace(current=lambda entry: status or {})
        )
        admitting: Any = SimpleNamespace(check=self._check, may_come=lambda state, error: not failing)
        kustomizing: Any = SimpleNamespace(tell=self._tell)
        planning: Any = SimpleNamespace(note_unbuilt=self._note_unbuilt)
        nothing: Any = SimpleNamespace()
        self.attempting = Attempting(
            context,
            admitting,
            kustomizing,
            planning,
            nothing,
            nothing,
            states={KEY: self.state},
            alarm=lambda state, seconds: self.alarms.append(seconds),
            became_ready=lambda state: None,
        )

    def _check(self, state: State, kustomization: Kustomization) -> None:
        raise SourceNotReady("GitRepository apps/fleet is not fetched yet")

    async def _tell(self, state: State, entry: object, ready: Ready, fields: object, **_: object) -> None:
        self.told.append(ready.reason)

    async def _note_unbuilt(self, state: State, kustomization: Kustomization) -> None:
        pass

    async def run(self, after: float = 0.0) -> None:
        self.seconds += after
        await self.attempting.run(self.state)


async def test_a_new_object_waits_a_moment_for_its_source_without_a_word() -> None:
    rig = Rig()
    await rig.run()
    assert (rig.told, rig.alarms) == ([], [PATIENCE])
    await rig.run(after=PATIENCE / 2)
    assert (rig.told, rig.alarms[1:]) == ([], [PATIENCE / 2])
    await rig.run(after=PATIENCE / 2)
    assert rig.told == ["SourceNotReady"]
    assert rig.state.generation == 1


@pytest.mark.parametrize(
    "fields",
    [{"failing": True}, {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "SourceNotFound"}]}}],
    ids=["whose-fetch-fails", "that-said-something-else"],
)
async def test_an_object_says_at_once_what_it_waits_for(fields: dict[str, Any]) -> None:
    rig = Rig(**fields)
    await rig.run()
    assert rig.told == ["SourceNotReady"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ClusterUnavailable("no answer"), None), (RuntimeError("a bug"), RuntimeError)],
    ids=["no status can be written", "a fault of ours"],
)
async def test_what_waits_for_health_is_looked_at_again_whatever_becomes_of_it(
    error: Exception, raised: type[Exception] | None
) -> None:
    rig = Rig()

    async def tell(*_: object, **__: object) -> None:
        raise error

    async def healthy(*_: object, **__: object) -> list[object]:
        return []

    rig.attempting._kustomizing.tell = tell  # type: ignore[method-assign]
    report = SimpleNamespace(done=(), changed=False, inventory=())
    synced: Any = SimpleNamespace(syncer=SimpleNamespace(wait=healthy), report=report, manifests=())
    kustomization: Any = rig.state.entry.value
    good = Ready(state=True, reason="Applied", message="")
    wait = rig.attempting._wait(rig.state, rig.state.entry, kustomization, synced, [], good, {}, (), "main@sha1:1")
    with pytest.raises(raised) if raised else nullcontext():
        await wait
    assert rig.alarms == [FAULT]
