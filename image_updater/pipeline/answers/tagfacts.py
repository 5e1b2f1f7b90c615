"""What gates want to know of tags, put together for those that are looked at: mostly a few of very many.

Made from copies: what is learned later does not change an answer that is still read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from image_updater.policy.model import TagFacts, Verified

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.images import Digest
    from image_updater.policy.situation import Need
    from image_updater.registry import TagList

_NOTHING = TagFacts()


@dataclass(eq=False, kw_only=True)
class GateFacts(Mapping[str, TagFacts]):
    """By tag; tags of which nothing is known are left out."""

    base: Mapping[str, TagFacts]
    """What the strategy knows."""
    answer: TagList
    digests: Mapping[str, Digest]
    """The last known of each tag."""
    platforms: Mapping[Digest, object]
    verified: Mapping[Digest, Verified]
    seen: Mapping[str, datetime]
    """By tag, and by `tag@digest`, since when it is there."""
    reflected: bool
    """Only digests that the strategy knows count as known: they are written."""
    unknowable: frozenset[Need] = frozenset()
    since: datetime | None = None
    """With `unknowable`: when a tag of this list counts as seen first."""
    _made: dict[str, TagFacts] = field(default_factory=dict, init=False, repr=False)

    def __getitem__(self, tag: str) -> TagFacts:
        found = self._made.get(tag)
        if found is None:
            if tag not in self._tags:
                raise KeyError(tag)
            found = self._made[tag] = self._make(tag)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)

    @cached_property
    def _tags(self) -> Mapping[str, None]:
        listed = self.answer.tags if self.seen or self.unknowable else ()
        return dict.fromkeys((*self.base, *self.digests, *self.answer.pushed, *listed))

    def _make(self, tag: str) -> TagFacts:
        one, digest = self.base.get(tag, _NOTHING), self.digests.get(tag)
        platforms = self.platforms.get(digest) if digest is not None else None
        return replace(
            one,
            digest=one.digest if one.digest is not None or self.reflected else digest,
            # A push time is of the bytes that the list names; those that came since are younger.
            pushed=self.answer.pushed.get(tag) if self.answer.digests.get(tag) == digest else None,
            first_seen=one.first_seen or self.since or self.seen.get(tag),
            bytes_seen=self.seen.get(f"{tag}@{digest}") if digest is not None else None,
            platforms=tuple(map(str, platforms)) if isinstance(platforms, list) else None,
            verified=self.verified.get(digest) if digest is not None else None,
            unknowable=self.unknowable or one.unknowable,
        )
