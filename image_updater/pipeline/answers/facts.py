"""Facts of tags: fetched only for what could still win, kept by digest for ever, and as they come.

A digest's facts never change. Which digest a tag has does: where a digest is to be written it is asked anew with
every list, else (dates of tags that automation writes once) the digest seen first is good enough.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, assert_never

from image_updater.api.model import DigestReflection, NewestBy, NewestPolicy
from image_updater.api.moments import exact_rfc3339, parse_rfc3339
from image_updater.images import Digest
from image_updater.policy.model import TagFacts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from image_updater.api.model import ImagePolicy
    from image_updater.pipeline.answers.listing import Listing, Registry, Source
    from image_updater.store import Store

AT_ONCE = 16
"""Requests of one policy under way together; the client's budgets bound what a host sees."""

Heads: TypeAlias = "dict[tuple[str, str], asyncio.Future[Digest]]"
"""What was asked of one tag, by source."""

FLUSH_EVERY = 64
"""Facts that a killed process may lose."""


@dataclass(slots=True)
class Known:
    """What is known of one source's tags. `fresh`: digests that were asked since the last list."""

    digests: dict[str, Digest]
    facts: dict[Digest, dict[str, object]]
    fresh: dict[str, Digest] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    """Tags of the last list that the registry cannot deliver, and why."""
    unsaved_facts: dict[Digest, dict[str, object]] = field(default_factory=dict)
    unsaved_digests: dict[str, Digest] = field(default_factory=dict)
    asking: dict[tuple[str, bool], asyncio.Future[Digest | None]] = field(default_factory=dict)
    """Requests under way by tag and whether they bring dates."""
    serial: int = -1
    """Of the list that `fresh` and `gone` belong to."""


class FactBook:
    """Facts by source, from the store and the registry."""

    def __init__(self, registry: Registry | None, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._known: dict[tuple[str, str], Known] = {}
        self.fetched = 0
        """Requests for facts so far (digests and dates)."""

    def known(self, source: Source, listing: Listing) -> Known:
        """What is known, with digests as fresh as `listing`."""
        found = self._known.get(source.key)
        if found is None:
            digests = self._store.tag_digests(source.repository, source.identity)
            facts = self._store.facts(source.repository, source.identity, set(digests.values()))
            found = self._known[source.key] = Known(
                digests={tag: Digest(digest) for tag, digest in digests.items()},
                facts={Digest(digest): dict(known) for digest, known in facts.items()},
            )
        if found.serial < listing.serial:  # who still judges an older list may know what came since
            found.fresh.clear()
            found.gone.clear()
            found.serial = listing.serial
        return found

    def release(self, key: tuple[str, str]) -> None:
        """Nobody asks as this source any more: what is known of it is in the store."""
        self._known.pop(key, None)

    def tag_facts(self, policy: ImagePolicy, source: Source, listing: Listing) -> dict[str, TagFacts]:
        """What `policy` may know of the tags of `listing`; tags of which nothing is known are left out."""
        by = policy.strategy.by if isinstance(policy.strategy, NewestPolicy) else None
        needs_digest = policy.reflection is not DigestReflection.NEVER or any(":" in each for each in policy.deny)
        if by is None and not needs_digest:
            return {}
        known = self.known(source, listing)
        answer = listing.answer
        seen_last = {**known.digests, **answer.digests, **known.fresh}
        # Always: only digests that were asked since this list count as known.
        always = policy.reflection is DigestReflection.ALWAYS
        digests = {**answer.digests, **known.fresh} if always else seen_last
        match by:
            case None:
                return {tag: TagFacts(digest=digest) for tag, digest in digests.items()}
            case NewestBy.CREATED:
                return {
                    tag: TagFacts(
                        digest=digests.get(tag),
                        created=_created(known.facts.get(digest)),
                        dateless=digest in known.facts and _created(known.facts[digest]) is None,
                        created_known=digest in known.facts and (tag in digests or not needs_digest),
                    )
                    for tag, digest in seen_last.items()
                }
            case NewestBy.PUSHED:
                return {
                    tag: TagFacts(
                        digest=digests.get(tag),
                        pushed=answer.pushed.get(tag),
                        created_known=tag in digests or not needs_digest,
                    )
                    for tag in answer.tags
                }
            case NewestBy.FIRST_SEEN:
                seen = self._store.first_seen(source.repository, source.identity)
                return {
                    tag: TagFacts(
                        digest=digests.get(tag),
                        first_seen=seen.get(tag),
                        created_known=tag in digests or not needs_digest,
                    )
                    for tag in answer.tags
                }
            case _:
                assert_never(by)

    @staticmethod
    def askable(policy: ImagePolicy, listing: Listing, tag: str) -> bool:
        """Can a request tell what is missing? A push time stands in the list or nowhere."""
        strategy = policy.strategy
        return not (isinstance(strategy, NewestPolicy) and strategy.by is NewestBy.PUSHED) or (
            tag in listing.answer.pushed
        )

    async def fetch(self, policy: ImagePolicy, source: Source, listing: Listing, tags: Sequence[str]) -> None:
        """Ask for what `policy` needs of `tags`. What came before an error is kept; raises RegistryError,
        AccessDenied.
        """
        known = self.known(source, listing)
        dated = isinstance(policy.strategy, NewestPolicy) and policy.strategy.by is NewestBy.CREATED

        async def one(tag: str) -> None:
            await self.ask(source, known, tag, listing, described=dated)

        await self.each(source, known, tags, one)

    async def ask(self, source: Source, known: Known, tag: str, listing: Listing, *, described: bool) -> Digest | None:
        """The digest of a tag as of this list, with `described` what is true of its bytes; None when it is gone."""
        digest = await self._shared(source, known, tag, listing, dated=described)
        if digest is not None:
            self._found(known, tag, digest)
        return digest

    async def each(
        self, source: Source, known: Known, tags: Sequence[str], one: Callable[[str], Awaitable[None]]
    ) -> None:
        """`one` for each tag, some at once; what is found is kept as it comes, and the first error ends it."""
        waiting = list(reversed(tags))

        async def worker() -> None:
            while waiting:
                await one(waiting.pop())
                if len(known.unsaved_facts) + len(known.unsaved_digests) >= FLUSH_EVERY:
                    self._save(source, known)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(tags))):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise first(errors) from None
        finally:
            self._save(source, known)

    def _save(self, source: Source, known: Known) -> None:
        if known.unsaved_facts:
            facts = {str(digest): each for digest, each in known.unsaved_facts.items()}
            self._store.save_facts(source.repository, source.identity, facts)
            known.unsaved_facts.clear()
        if known.unsaved_digests:
            self._store.save_tag_digests(source.repository, source.identity, dict(known.unsaved_digests))
            known.unsaved_digests.clear()

    @staticmethod
    def _found(known: Known, tag: str, digest: Digest) -> None:
        known.fresh[tag] = digest
        known.gone.pop(tag, None)
        if known.digests.get(tag) != digest:
            known.digests[tag] = known.unsaved_digests[tag] = digest

    async def _shared(self, source: Source, known: Known, tag: str, listing: Listing, *, dated: bool) -> Digest | None:
        """What `_ask` gives; policies of one image that ask for the same tag together ask once."""
        fresh = known.fresh.get(tag)
        if fresh is not None and (not dated or fresh in known.facts):
            return fresh
        for kind in (True,) if dated else (True, False):
            running = known.asking.get((tag, kind))
            if running is not None:
                return await asyncio.shield(running)
        task = asyncio.ensure_future(self._ask(source, known, tag, listing, dated=dated))
        known.asking[tag, dated] = task

        def ended(done: asyncio.Future[Digest | None]) -> None:
            del known.asking[tag, dated]
            if not done.cancelled():
                # Whoever asked may be gone (a sibling failed); an error is then nobody's news.
                done.exception()

        task.add_done_callback(ended)
        return await asyncio.shield(task)

    async def _ask(self, source: Source, known: Known, tag: str, listing: Listing, *, dated: bool) -> Digest | None:
        """The digest of `tag` now, with its facts in `known` where dates count; None when the registry has lost it."""
        from image_updater.registry.errors import TagNotFound, UnsupportedManifest

        assert self._registry is not None
        try:
            self.fetched += 1
            if not dated:
                return await self._registry.head(source.image, tag, source.access)
            digest = listing.answer.digests.get(tag)
            if digest is None and known.digests.get(tag) in known.facts:
                # Its date is known, so what is missing is whether the tag still has those bytes.
                digest = await self._registry.head(source.image, tag, source.access)
            if digest is not None and digest in known.facts:
                return digest
            described = await self._registry.describe(source.image, digest or tag, source.access)
        except (TagNotFound, UnsupportedManifest) as error:
            known.gone[tag] = error.message
            return None
        facts: dict[str, object] = {
            "created": exact_rfc3339(described.created) if described.created else None,
            "platforms": list(described.platforms),
            "media_type": described.media_type,
        }
        known.facts[described.digest] = known.unsaved_facts[described.digest] = facts
        return described.digest

    async def digest(self, source: Source, listing: Listing, tag: str, asked: Heads | None = None) -> Digest:
        """HEAD one tag now, or once for all that ask with the same `asked`. Raises RegistryError (TagNotFound too),
        AccessDenied.
        """
        heads = {} if asked is None else asked
        running = heads.get(source.key)
        if running is None or (running.done() and running.exception() is not None):
            running = heads[source.key] = asyncio.ensure_future(self._head(source, tag))
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
        digest = await asyncio.shield(running)
        known = self.known(source, listing)
        self._found(known, tag, digest)
        self._save(source, known)
        return digest

    async def _head(self, source: Source, tag: str) -> Digest:
        assert self._registry is not None
        self.fetched += 1
        return await self._registry.head(source.image, tag, source.access)


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups."""
    inner = errors.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _created(facts: Mapping[str, object] | None) -> datetime | None:
    value = facts.get("created") if facts is not None else None
    return parse_rfc3339(value) if isinstance(value, str) else None
