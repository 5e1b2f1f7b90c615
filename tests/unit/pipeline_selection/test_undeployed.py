"""Chosen tags that Git does not hold, and for how long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from image_updater.patch.decisions import State
from image_updater.pipeline.answers.undeployed import Undeployed
from tests.unit.pipeline_selection.fakes import Clock


def answers(**tags: str | None) -> Any:
    return {
        name: SimpleNamespace(selection=SimpleNamespace(tag=tag) if tag is not None else None)
        for name, tag in tags.items()
    }


def test_a_refused_tag_grows_old_until_it_is_written() -> None:
    clock = Clock()
    kept = Undeployed(clock)
    kept.ran("main", [("web", State.REFUSED), ("db", State.CURRENT)], answers(web="2", db="1"))
    clock.forward(seconds=60)
    kept.ran("main", [("web", State.HELD), ("db", State.CURRENT)], answers(web="2", db="1"))
    assert (kept.count(), kept.oldest()) == (1, 60)
    kept.ran("main", [("web", State.HELD)], answers(web="3"))
    assert (kept.count(), kept.oldest()) == (1, 0), "another tag is another wait"
    kept.ran("main", [("web", State.UPDATED)], answers(web="3"))
    assert (kept.count(), kept.oldest()) == (0, 0)


def test_what_changes_while_git_is_away_waits_and_the_rest_does_not() -> None:
    clock = Clock()
    kept = Undeployed(clock)
    kept.failed("main", ["web", "db"], answers(web="1", db="1"))
    assert kept.count() == 0, "nobody knows what Git holds"
    kept.ran("main", [("web", State.UPDATED), ("db", State.CURRENT)], answers(web="1", db="1"))
    kept.failed("main", ["web", "db", "new"], answers(web="2", db="1", new=None))
    clock.forward(seconds=30)
    kept.failed("main", ["web", "db"], answers(web="2", db="1"))
    assert (kept.count(), kept.oldest()) == (1, 30)
    kept.drop("main")
    assert kept.count() == 0


def test_a_policy_whose_sites_disagree_waits() -> None:
    kept = Undeployed(Clock())
    kept.ran(
        "main", [("web", State.CURRENT), ("web", State.CONFLICT), ("none", State.HELD)], answers(web="1", none=None)
    )
    assert kept.count() == 1
