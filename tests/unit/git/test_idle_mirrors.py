"""Copies of repositories that nobody uses any more take no room; one that somebody reads from is never touched."""

from __future__ import annotations

import gc
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Author
from image_updater.git import GitAccess, Planned, Work
from image_updater.git.seed import create_repository
from image_updater.pipeline import mirrors as module
from image_updater.pipeline.mirrors import FORGOTTEN, IDLE, Mirrors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from image_updater.git import Tip


ME = Author(name="a", email="a@example.org")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passed = 0.0
        self.mirrors = Mirrors(folder / "mirrors", monotonic=lambda: self.passed)
        for name in ("gone", "other"):
            create_repository(folder / name, {"a.yaml": b"a: 1\n"}, author=ME, when=NOW, message="begin")

    def url(self, name: str) -> str:
        return f"file://{self.folder / name}"

    def copies(self) -> int:
        return len(list((self.folder / "mirrors").glob("*/repository-*/objects")))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.mirrors.close()


async def test_a_mirror_that_nobody_asks_for_is_emptied_and_made_anew_for_who_does(world: World) -> None:
    mirror = await world.mirrors.open(world.url("gone"), GitAccess())
    await mirror.fetch("main")
    world.mirrors.queue(mirror, "main", base="main")
    path = mirror.reading((await mirror.fetch("main")).commit).repository.path
    gc.collect()
    world.passed = IDLE - 1
    await world.mirrors.open(world.url("other"), GitAccess())
    assert world.copies() == 2
    world.passed = IDLE + module.SWEEP
    await world.mirrors.open(world.url("other"), GitAccess())
    assert world.copies() == 1
    assert (len(world.mirrors._mirrors), world.mirrors._queues) == (1, {})
    again = await world.mirrors.open(world.url("gone"), GitAccess())
    tip = await again.fetch("main")
    assert tip.tree.read("a.yaml") == b"a: 1\n"
    assert again.reading(tip.commit).repository.path != path, "what is known of the deeper history was of another one"


async def test_a_mirror_that_somebody_reads_from_stays(world: World) -> None:
    """A GitRepository that is suspended is never fetched, and its Kustomizations go on from what is there."""
    tip = await (await world.mirrors.open(world.url("gone"), GitAccess())).fetch("main")
    world.passed = IDLE * 9
    await world.mirrors.open(world.url("other"), GitAccess())
    assert tip.tree.read("a.yaml") == b"a: 1\n"
    assert world.copies() == 2


async def test_a_push_branch_keeps_what_stands_on_it(world: World) -> None:
    mirror = await world.mirrors.open(world.url("gone"), GitAccess())
    queue = world.mirrors.queue(mirror, "proposed", base="main")

    async def plan(tip: Tip) -> Planned:
        return Planned(files={"a.yaml": b"a: 2\n"}, message="a: 2\n\nAutomation: apps/web", author=ME)

    outcome = await queue.submit(Work(key="apps/web", plan=plan))
    assert outcome.commit is not None
    gc.collect()
    world.passed = IDLE * 2
    await world.mirrors.open(world.url("other"), GitAccess())
    assert world.mirrors.queue(mirror, "proposed", base="main") is queue


@pytest.mark.parametrize(("age", "copies"), [(FORGOTTEN - 3600, 2), (FORGOTTEN + 3600, 1)], ids=["young", "old"])
async def test_what_an_earlier_process_left_goes_after_a_month(world: World, age: float, copies: int) -> None:
    before = Mirrors(world.folder / "mirrors")
    await (await before.open(world.url("gone"), GitAccess())).fetch("main")
    before.close()
    for lock in (world.folder / "mirrors").glob("*/lock"):
        os.utime(lock, (time.time() - age,) * 2)
    world.passed = module.SWEEP
    await world.mirrors.open(world.url("other"), GitAccess())
    assert world.copies() == copies


async def test_what_another_process_uses_is_not_touched_however_old(world: World) -> None:
    other = Mirrors(world.folder / "mirrors")
    await (await other.open(world.url("gone"), GitAccess())).fetch("main")
    for lock in (world.folder / "mirrors").glob("*/lock"):
        os.utime(lock, (time.time() - FORGOTTEN * 2,) * 2)
    world.passed = module.SWEEP
    await world.mirrors.open(world.url("other"), GitAccess())
    assert world.copies() == 2
    other.close()
