"""Hinted tags that wait to be looked at: bounded, whoever sends them, and coalesced by image."""

from __future__ import annotations

from enum import StrEnum

MAX_IMAGES = 1000
"""Images that hints may wait for; more are dropped, the polls find their tags."""
MAX_TAGS = 3
"""Hinted tags of one image that are looked at one by one; more are one list."""


class Taken(StrEnum):
    """What became of a hint."""

    STARTED = "started"
    """Nobody looks at this image yet: someone has to."""
    JOINED = "joined"
    """Whoever looks at this image takes it along."""
    DROPPED = "dropped"


class Hints:
    """By canonical image name. An image is in from its first hint until `take` gives nothing more."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[str | None]] = {}

    def put(self, image: str, tag: str | None) -> Taken:
        """`tag` None = all of the image."""
        waiting = self._waiting.get(image)
        if waiting is not None:
            if len(waiting) <= MAX_TAGS:
                waiting.add(tag)
            return Taken.JOINED
        if len(self._waiting) >= MAX_IMAGES:
            return Taken.DROPPED
        self._waiting[image] = {tag}
        return Taken.STARTED

    def take(self, image: str) -> tuple[str | None, ...]:
        """What to look at now: tags, or (None,) for the list; () ends it."""
        tags = self._waiting[image]
        if not tags:
            del self._waiting[image]
            return ()
        self._waiting[image] = set()
        if None in tags or len(tags) > MAX_TAGS:
            return (None,)
        return tuple(tags)

    def end(self, image: str) -> None:
        """Whoever looked gave up."""
        self._waiting.pop(image, None)
