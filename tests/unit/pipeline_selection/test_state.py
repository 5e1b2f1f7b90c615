"""State is a cache: a place that nobody asked for, and that cannot be used, is done without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.pipeline.session import kept_facts
from image_updater.store import StateError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_default_place_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "state.sqlite"
    with kept_facts(place, asked=False) as facts:
        assert facts is None
    with pytest.raises(StateError, match="cannot be opened"), kept_facts(place):
        raise AssertionError("unreachable")
