"""Workspaces go when nobody uses them, and are made anew when somebody took them away."""

from __future__ import annotations

import shutil
from pathlib import Path

from image_updater.render.child import within
from image_updater.render.leases import IDLE_SECONDS, Workspaces
from image_updater.render.sandbox import Limits
from tests.parts.trees import MemoryTree

TREES = [MemoryTree({"a": str(number)}) for number in range(4)]


def leased(workspaces: Workspaces, tree: MemoryTree) -> Path:
    with workspaces.lease(tree) as workspace:
        return Path(workspace.folder)


def test_two_idle_trees_stay_and_go_after_a_while() -> None:
    now = [0.0]
    workspaces = Workspaces(limits=Limits(), monotonic=lambda: now[0])
    folders = [leased(workspaces, tree) for tree in TREES]
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    now[0] += IDLE_SECONDS - 1
    assert leased(workspaces, TREES[3]) == folders[3]
    now[0] += 1
    workspaces.sweep()
    assert [folder.exists() for folder in folders] == [False, False, False, True]
    with workspaces.lease(TREES[3]):
        now[0] += 10 * IDLE_SECONDS
        workspaces.sweep()
        assert folders[3].exists()
    workspaces.close()
    assert not folders[3].exists()


def test_a_folder_that_was_taken_away_is_made_anew() -> None:
    """Cleaners of temporary folders do that, and the end of a login session does."""
    workspaces = Workspaces(limits=Limits())
    before = leased(workspaces, TREES[0])
    shutil.rmtree(before)
    assert leased(workspaces, TREES[0]).exists()
    workspaces.close()


def test_a_limit_is_never_raised_over_our_own() -> None:
    assert within(-1, 60, 61) == (60, 61)
    assert within(100, 60, 61) == (60, 61)
    assert within(30, 60, 61) == (30, 30)
