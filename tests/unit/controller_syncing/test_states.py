"""What is kept of a Kustomization between two looks."""

from __future__ import annotations

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.controller.cache import Entry
from image_updater.controller.sync.states import State

KEY = ObjectKey("apps", "web")


@pytest.mark.parametrize(
    ("tried", "content", "listed", "applied", "another"),
    [
        ("new", "new", "new", "old", False),
        ("new", "new", "old", "old", True),
        ("new", "new", None, "new", False),
        ("new", "new", None, "old", True),
        ("old", "new", "old", "old", False),
        (None, "new", "old", "old", False),
    ],
    ids=["told", "other", "applied-before-a-restart", "other-since-a-restart", "waits", "never-tried"],
)
def test_objects_of_older_content_are_known_as_such(
    tried: str | None, content: str, listed: str | None, applied: str, another: bool
) -> None:
    value = Kustomization(meta=Meta(key=KEY), source_ref=KEY, path=".", prune=True)
    assert _state(value, tried, content, listed).tried_another(applied) is another


def test_a_spec_that_cannot_be_read_is_about_no_objects() -> None:
    assert _state(None, "old", "old", "old").tried_another("old")


def _state(value: Kustomization | None, tried: str | None, content: str, listed: str | None) -> State:
    entry = Entry(kind="Kustomization", key=KEY, uid="u1", generation=1, value=value, error=None, resource_version="7")
    return State(key=KEY, entry=entry, owned=True, tried=tried, content=content, listed=listed)
