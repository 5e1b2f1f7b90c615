"""State is a cache: a place that nobody asked for, and that cannot be used, is done without."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.images import parse_name
from image_updater.pipeline.answers.listing import Listings, Source
from image_updater.pipeline.session import kept_facts
from image_updater.registry import anonymous
from image_updater.store import StateError, Store
from tests.unit.pipeline_selection.fakes import IMAGE, Clock, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path


def test_a_default_place_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "state.sqlite"
    with kept_facts(place, asked=False) as facts:
        assert facts is None
    with pytest.raises(StateError, match="cannot be opened"), kept_facts(place):
        raise AssertionError("unreachable")


async def test_a_list_from_the_future_is_not_recent() -> None:
    """It was made while the clock was wrong: taken for recent, it would stand until that time comes."""
    clock = Clock()
    with Store.open(None) as store:
        source = Source(image=parse_name(IMAGE), access=anonymous(), identity="i")
        lists = Listings(FakeRegistry("1.0.0"), store, clock)
        made = await lists.fetch(source)
        clock.forward(minutes=1)
        assert lists.recent(source, timedelta(minutes=5)) is made
        clock.forward(days=-400)
        assert lists.recent(source, timedelta(minutes=5)) is None
