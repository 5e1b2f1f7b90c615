"""What the status of a GitRepository says."""

from __future__ import annotations

import pytest

from image_updater.api.model import GitRepository, Meta, ObjectKey
from image_updater.controller.cache import Entry
from image_updater.controller.sources.repositories import _ready, _Source

KEY = ObjectKey("apps", "fleet")


@pytest.mark.parametrize(
    ("suspend", "revision", "message"),
    [
        (True, "main@sha1:1234", "suspended: nothing is fetched; main@sha1:1234 stays in use"),
        (True, None, "suspended: nothing is fetched"),
        (False, "main@sha1:1234", "main@sha1:1234 is fetched"),
    ],
    ids=["suspended", "suspended-at-once", "fetched"],
)
def test_the_message_says_what_is_in_use(suspend: bool, revision: str | None, message: str) -> None:
    value = GitRepository(meta=Meta(key=KEY), url="https://git.example.com/fleet", suspend=suspend)
    entry = Entry(kind="GitRepository", key=KEY, uid="u1", generation=1, value=value, error=None)
    assert _ready(_Source(entry=entry), revision, {}).message == message
