"""Complete tag lists: one a repository and credential identity, however many policies look at it.

A list is whole or an error (law 3). What the store holds from an earlier run is handed to the registry client, so
that an unchanged list is not parsed again; it is never taken for an answer of now.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from image_updater.images import Digest
from image_updater.store.model import StoredTags

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from image_updater.images import ImageName
    from image_updater.registry import Access, Descriptor, ImageFacts, TagList
    from image_updater.registry.manifests import Manifest
    from image_updater.store import Store

SHRUNK_FROM = 10
"""A list of fewer tags may lose any of them without a word."""


class Registry(Protocol):
    """What the line needs of a registry client (`registry.RegistryClient`)."""

    async def tags(
        self, image: ImageName, access: Access, *, previous: TagList | None = None, fresh: bool = False
    ) -> TagList: ...
    async def head(self, image: ImageName, reference: str, access: Access) -> Digest: ...
    async def describe(self, image: ImageName, reference: str, access: Access) -> ImageFacts: ...
    async def manifest(self, image: ImageName, reference: str, access: Access) -> Manifest: ...
    async def has_blob(self, image: ImageName, digest: str, access: Access) -> bool: ...
    async def referrers(self, image: ImageName, digest: str, access: Access) -> tuple[Descriptor, ...]: ...
    async def blob(self, image: ImageName, blob: Descriptor, access: Access, *, limit: int) -> bytes: ...
    async def content(self, image: ImageName, digest: str, access: Access) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A repository as one identity sees it; equal sources share a list and facts."""

    image: ImageName
    access: Access = field(compare=False, repr=False)
    identity: str

    @property
    def repository(self) -> str:
        return self.image.canonical

    @property
    def key(self) -> tuple[str, str]:
        return self.repository, self.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A complete list and when it was made. `notes`: what a person should know of it (it shrank, it is empty)."""

    answer: TagList
    scanned_at: datetime
    notes: tuple[str, ...] = ()
    restored: bool = False
    """From the store, not asked in this process."""
    serial: int = 0
    """Differs between two lists of a source; a hinted tag that joins keeps it."""

    def __contains__(self, tag: object) -> bool:
        return tag in self.answer.tags


class Listings:
    """Lists by source: those of this process, and those of the store."""

    def __init__(self, registry: Registry | None, store: Store, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
        self._known: dict[tuple[str, str], Listing] = {}
        self._running: dict[tuple[str, str], asyncio.Task[Listing]] = {}
        self._turn = self._count = 0
        self._turns: dict[tuple[str, str], int] = {}
        """In which turn the list of a source was asked."""
        self.tags_seen = 0
        """New tags since the start; those of first listings are not new."""

    def known(self, source: Source) -> Listing | None:
        """The last complete list, of this process or of the store."""
        found = self._known.get(source.key)
        if found is None:
            stored = self._store.load_tags(source.repository, source.identity)
            if stored is not None:
                found = Listing(answer=_from_store(stored), scanned_at=stored.scanned_at, restored=True)
                self._known[source.key] = found
        return found

    def recent(self, source: Source, interval: timedelta) -> Listing | None:
        """The last list, if it is younger than one interval: as good as if the process had never stopped.

        One from the future (the clock was set back since) is not: it could be any age.
        """
        found = self.known(source)
        if found is None:
            return None
        return found if timedelta(0) <= self._clock() - found.scanned_at < interval else None

    def release(self, key: tuple[str, str]) -> None:
        """Nobody asks as this source any more: what is known of it is in the store."""
        self._known.pop(key, None)
        self._turns.pop(key, None)

    def turn(self) -> int:
        """Begin a turn: `fetch(…, turn)` asks each source at most once in it."""
        self._turn += 1
        return self._turn

    async def fetch(self, source: Source, *, turn: int | None = None, fresh: bool = False) -> Listing:
        """Ask the registry now; who comes while it is asked shares the answer. Raises RegistryError, AccessDenied.

        `fresh`: the answer must not be older than this call (something was said to have changed).
        """
        if turn is not None and self._turns.get(source.key, -1) >= turn:
            return self._known[source.key]
        running = self._running.get(source.key)
        if running is not None and fresh:
            await asyncio.wait([running])
            running = self._running.get(source.key)
        if running is None:
            running = asyncio.create_task(self._fetch(source, fresh=fresh))
            self._running[source.key] = running
            running.add_done_callback(lambda task: self._ended(source, task))
        return await asyncio.shield(running)

    def _ended(self, source: Source, task: asyncio.Task[Listing]) -> None:
        if self._running.get(source.key) is task:
            del self._running[source.key]
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, it is no news

    async def _fetch(self, source: Source, *, fresh: bool) -> Listing:
        assert self._registry is not None, "no registry is asked where a tags file is the answer"
        before = self.known(source)
        previous = before.answer if before is not None else None
        started, turn = self._clock(), self._turn
        answer = await self._registry.tags(source.image, source.access, previous=previous, fresh=fresh)
        joined = self._known.get(source.key)
        if joined is not None and joined is not before and not set(joined.answer.tags) <= set(answer.tags):
            # A hinted tag joined while this list was asked for: it may be older than the tag and must not drop it.
            answer = await self._registry.tags(source.image, source.access, previous=previous, fresh=True)
        notes = before.notes if before is not None and answer is previous else _notes(previous, answer)
        self._count += 1
        listing = Listing(answer=answer, scanned_at=started, notes=notes, serial=self._count)
        self._keep(source, previous, listing)
        self._known[source.key] = listing
        self._turns[source.key] = turn
        return listing

    def add(self, source: Source, tag: str, digest: Digest) -> Listing | None:
        """A tag that the registry was seen to have joins the last complete list; the next poll asks for all of it
        again.
        """
        before = self.known(source)
        if before is None:
            return None
        if tag in before:
            return before
        answer = replace(
            before.answer,
            tags=(*before.answer.tags, tag),
            # No body has this fingerprint: the next poll is read in full.
            fingerprint=sha256(f"{before.answer.fingerprint}+{tag}@{digest}".encode()).hexdigest(),
            digests={**before.answer.digests, tag: digest} if before.answer.digests else before.answer.digests,
        )
        listing = replace(before, answer=answer)
        self._keep(source, before.answer, listing)
        self._known[source.key] = listing
        return listing

    def _keep(self, source: Source, previous: TagList | None, listing: Listing) -> None:
        """Equal lists cost the store nothing but, later, their time."""
        answer = listing.answer
        if answer is not previous:
            new = answer.tags if previous is None else tuple(set(answer.tags).difference(previous.tags))
            self._store.note_seen(source.repository, source.identity, new, self._clock())
            self.tags_seen += len(new) if previous is not None else 0
        self._store.save_tags(
            source.repository,
            source.identity,
            StoredTags(
                tags=answer.tags,
                fingerprint=answer.fingerprint,
                scanned_at=listing.scanned_at,
                pushed=answer.pushed,
                digests=answer.digests,
            ),
        )


def _notes(previous: TagList | None, answer: TagList) -> tuple[str, ...]:
    if previous is None or len(previous.tags) < SHRUNK_FROM or len(answer.tags) * 2 >= len(previous.tags):
        return ()
    now = f"{len(answer.tags)} tags" if answer.tags else "none"
    return (f"the list shrank from {len(previous.tags)} tags to {now}: the registry says that this is all of it",)


def _from_store(stored: StoredTags) -> TagList:
    from image_updater.registry import TagList

    return TagList(
        tags=stored.tags,
        fingerprint=stored.fingerprint,
        pushed=stored.pushed,
        digests={tag: Digest(digest) for tag, digest in stored.digests.items()},
    )
