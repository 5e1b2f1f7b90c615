"""The tags of an image over time, as a replay needs them: when each came, with which bytes, and what is made up.

What nobody kept is made up in the one way that changes least, and counted, so that it can be said: a tag without a
known digest has bytes of its own and keeps them, one without a creation date was made when it appeared, one without
known platforms has all that are asked for. A tag of the first listing, whose date nobody knows, was there all the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from image_updater.api.model import DigestReflection, Start
from image_updater.images import Digest
from image_updater.policy.model import TagFacts
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy
    from image_updater.pipeline.answers.tagsfile import TagsAnswer
    from image_updater.store import TagHistory


LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Since when something is that was there all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTag:
    """`at`: when it appeared; None = it was there all the time. `bytes`: its digests, each from when (None = from its
    beginning), the oldest first; never empty.
    """

    tag: str
    at: datetime | None
    bytes: tuple[tuple[Digest, datetime | None], ...]
    first_seen: datetime | None = None
    pushed: datetime | None = None

    def begins(self, index: int) -> datetime | None:
        """From when it has its digest of this number."""
        since = self.bytes[index][1]
        if since is None or self.at is None:
            return since if index else self.at
        return max(since, self.at) if index else self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTags:
    """All tags of one image; `made_up` are digests that stand for unknown ones."""

    tags: tuple[PastTag, ...] = field(default=(), repr=False)
    created: Mapping[Digest, datetime] = field(default_factory=dict, repr=False)
    platforms: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict, repr=False)
    made_up: frozenset[Digest] = field(default=frozenset(), repr=False)
    known_from: datetime | None = None

    def facts(self, policy: ImagePolicy, tag: PastTag, index: int) -> TagFacts:
        """What a policy may know of a tag while it has its digest of this number."""
        digest = tag.bytes[index][0]
        begins = tag.begins(index)
        created = self.created.get(digest) or begins
        return TagFacts(
            digest=digest,
            created=created,
            dateless=created is None,
            created_known=True,
            pushed=tag.pushed if index == len(tag.bytes) - 1 else None,
            first_seen=tag.first_seen,
            bytes_seen=begins or LONG_AGO,
            platforms=self.platforms.get(digest, policy.platforms),
            unknowable=frozenset({Need.SIGNATURE}),
        )

    def notes(self, policy: ImagePolicy) -> list[str]:
        """What the history lacks, where it matters to the policy."""
        found = []
        undated = sum(1 for tag in self.tags if tag.at is None)
        if undated:
            found.append(f"{undated:,} of {len(self.tags):,} tags have no date: as if they had been there all the time")
        strange = sum(1 for tag in self.tags if any(digest in self.made_up for digest, _ in tag.bytes))
        by_bytes = policy.reflection is not DigestReflection.NEVER or policy.min_age or policy.after is not None
        if strange and (by_bytes or any(":" in each for each in policy.deny)):
            found.append(f"the digest of {strange:,} tags is not known: as if each had always had bytes of its own")
        moved = sum(1 for tag in self.tags if any(since is None for _, since in tag.bytes[1:]))
        if moved:
            found.append(f"{moved:,} tags have had other bytes, and nobody knows since when")
        if policy.platforms:
            blind = sum(1 for tag in self.tags if tag.bytes[-1][0] not in self.platforms)
            if blind:
                found.append(f"the platforms of {blind:,} tags are not known: as if they had all that are asked for")
        return found

    def creation_notes(self) -> list[str]:
        """For policies that go by the creation date."""
        unknown = sum(1 for tag in self.tags if tag.bytes[-1][0] not in self.created)
        return (
            [f"{unknown:,} tags have no creation date: as if they had been made when they appeared"] if unknown else []
        )


def of_history(history: TagHistory, image: str) -> PastTags:
    """Of the state file: a tag appeared when it was first listed."""
    made_up: set[Digest] = set()
    tags = []
    created = {Digest(digest): moment for digest, moment in history.created.items()}
    for seen in history.tags:
        digests = sorted(seen.digests, key=lambda pair: (pair[1] is not None, pair[1] or LONG_AGO))
        pairs = tuple((Digest(digest), since) for digest, since in digests)
        if not pairs:
            stand_in = _stand_in(image, seen.tag)
            made_up.add(stand_in)
            pairs = ((stand_in, None),)
        at = seen.first_seen or seen.pushed
        if at is None:
            at = min((created[digest] for digest, _ in pairs if digest in created), default=None)
            # The first listing had it: what is known to be younger than that is wrong.
            at = at if at is None or history.since is None or at <= history.since else history.since
        tags.append(PastTag(tag=seen.tag, at=at, bytes=pairs, first_seen=seen.first_seen, pushed=seen.pushed))
    return PastTags(
        tags=tuple(tags),
        created=created,
        platforms={Digest(digest): names for digest, names in history.platforms.items()},
        made_up=frozenset(made_up),
        known_from=history.since,
    )


def of_file(answer: TagsAnswer, image: str) -> PastTags:
    """Of a tags file: a tag appeared when its image was made."""
    made_up: set[Digest] = set()
    created: dict[Digest, datetime] = {}
    platforms: dict[Digest, tuple[str, ...]] = {}
    tags = []
    for tag in answer.tags:
        known = answer.facts.get(tag, TagFacts())
        digest = known.digest
        if digest is None:
            digest = _stand_in(image, tag)
            made_up.add(digest)
        if known.created is not None:
            created[digest] = known.created
        if known.platforms is not None:
            platforms[digest] = known.platforms
        tags.append(PastTag(tag=tag, at=known.created, bytes=((digest, None),), first_seen=known.created))
    return PastTags(tags=tuple(tags), created=created, platforms=platforms, made_up=frozenset(made_up))


def without_unplayable(policy: ImagePolicy) -> tuple[ImagePolicy, list[str]]:
    """The policy without what no history can tell, and what is assumed instead."""
    notes = []
    if policy.verify is not None:
        notes.append("signatures are not looked at: as if every image had been signed")
    if policy.from_nodes:
        notes.append("the nodes of that time are not known: fromNodes asks for nothing")
    plain = replace(
        policy, meta=replace(policy.meta, annotations={}), start=Start.NEWEST, verify=None, from_nodes=False
    )
    return plain, notes


def _stand_in(image: str, tag: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(f'{image}:{tag}'.encode()).hexdigest()}")
