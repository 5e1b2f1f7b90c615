"""Freezes and quarantines of the cluster stop the image half, and let it go on by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import ObjectKey
from tests.unit.controller_updating.fakes import Half, Line, automation, object_, policy, repository
from tests.unit.pipeline_selection.fakes import IMAGE, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path


def gone(half: Half, kind: str, name: str) -> None:
    half.cache.forget(kind, ObjectKey("" if kind.startswith("Cluster") else "apps", name))


@pytest.mark.parametrize("kind", ["Freeze", "ClusterFreeze"])
async def test_a_freeze_stops_what_would_be_written_until_it_is_deleted(tmp_path: Path, kind: str) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation(), object_(kind, "audit", {"reason": "auditors are here"}))
    async with half.running():
        await half.until(lambda: bool(half.line.requests))
        await half.calm()
        assert half.pushed == []
        assert "auditors are here" in str(half.written("ImagePolicy", "web"))
        gone(half, kind, "audit")
        await half.until(lambda: len(half.pushed) == 1)
        half.put(object_(kind, "again", {"reason": "once more"}))
        await half.calm()
        half.registry.push("1.1.0")
        half.updating.hint(IMAGE)
        await half.calm()
        assert len(half.pushed) == 1


@pytest.mark.parametrize("kind", ["Quarantine", "ClusterQuarantine"])
async def test_a_quarantined_tag_is_not_chosen_until_it_is_released(tmp_path: Path, kind: str) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0", "1.1.0"), Line())
    bad = object_(kind, "bad", {"image": IMAGE, "tag": "1.1.0", "reason": "it leaks"})
    half.put(policy(), repository(), automation(), bad)
    async with half.running():
        await half.until(lambda: half.line.written.get("apps/web") == "1.0.0")
        await half.calm()
        assert half.line.written["apps/web"] == "1.0.0"
        gone(half, kind, "bad")
        await half.until(lambda: half.line.written.get("apps/web") == "1.1.0")


@pytest.mark.parametrize("kind", ["Quarantine", "ClusterQuarantine"])
async def test_a_quarantine_that_cannot_be_read_stops_what_it_may_be_about(tmp_path: Path, kind: str) -> None:
    half = Half(tmp_path, FakeRegistry("1.0.0"), Line())
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: len(half.pushed) == 1)
        half.put(object_(kind, "bad", {"image": f"{IMAGE}:1.1.0", "tag": "1.1.0"}))
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("False", "Frozen"))
        half.registry.push("1.1.0")
        assert half.updating.hint(IMAGE)
        await half.calm()
        assert len(half.pushed) == 1
        assert "bad stops it until it is deleted: it cannot be read" in str(half.written("ImagePolicy", "web"))
        gone(half, kind, "bad")
        await half.until(lambda: len(half.pushed) == 2)
