"""What the gates ask of tags: which bytes they have and since when, for which platforms, signed by whom.

Asked only for tags that could still win, within each host's budget, and kept by digest: platforms and good signatures
for ever, what may change yet until the next list. When bytes were first seen is kept by `tag@digest`, from the moment
they were first looked at: never from a date that the image's builder wrote.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from image_updater.api.model import DigestReflection, ObjectKey
from image_updater.images import Digest
from image_updater.pipeline.answers.tagfacts import GateFacts
from image_updater.policy.model import Verified
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, Verify
    from image_updater.errors import Where
    from image_updater.pipeline.answers.facts import FactBook
    from image_updater.pipeline.answers.listing import Listing, Source
    from image_updater.pipeline.report import Secrets
    from image_updater.policy.model import TagFacts
    from image_updater.store import Store

SIGNED: Final = "#signed"
"""Good signatures are kept beside the facts, under the identity that asked."""

_AGE: Final = frozenset({Need.DIGEST})

UNSIGNED_FOR: Final = timedelta(hours=1)
"""How long signatures that do not count are taken for an answer: somebody may sign anew."""


class Verifier(Protocol):
    """Who checks signatures (`verifying.Verifying`)."""

    async def verify(
        self,
        source: Source,
        digest: str,
        verify: Verify,
        *,
        secrets: Secrets,
        namespace: str,
        where: Where | None = None,
    ) -> Verified: ...


class Examiner:
    """Facts for gates, from the fact book, the store and a verifier."""

    def __init__(
        self,
        book: FactBook,
        store: Store,
        *,
        secrets: Secrets,
        clock: Callable[[], datetime],
        verifier: Verifier | None = None,
        durable: bool = False,
    ) -> None:
        """`durable`: the store outlives the process; else nobody can say how long bytes have been there."""
        self._book = book
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._verifier = verifier
        self._durable = durable
        self._verified: dict[tuple[str, str], dict[tuple[str, Digest], tuple[Verified, int, datetime]]] = {}
        """By source, with the list that it was asked after, and when."""

    # ------------------------------------------------------------------------------------------------- reading

    def facts(
        self, policy: ImagePolicy, source: Source, listing: Listing, base: Mapping[str, TagFacts]
    ) -> Mapping[str, TagFacts]:
        """`base` with what gates want to know; tags of which nothing is known are left out."""
        known = self._book.known(source, listing)
        # A tag's last known bytes are good enough to leave it out; the one that wins is asked again (`fresh`).
        digests = {**known.digests, **listing.answer.digests, **known.fresh}
        mark = self._mark(policy) if policy.verify is not None else ""
        verdicts = {each: self._verdict(source, mark, each, listing) for each in set(digests.values())} if mark else {}
        # Asking for a digest would not tell since when it is there, where nobody remembers.
        ageless = bool(policy.min_age) and not self.remembers(listing)
        return GateFacts(
            base=base,
            answer=listing.answer,
            digests=digests,
            platforms={each: facts.get("platforms") for each, facts in known.facts.items()},
            verified={each: verdict for each, verdict in verdicts.items() if verdict is not None},
            seen=self._store.first_seen(*source.key) if policy.min_age and self._durable else {},
            reflected=policy.reflection is DigestReflection.ALWAYS,
            unknowable=_AGE if ageless else frozenset(),
            since=self._clock() if ageless else None,
        )

    def remembers(self, listing: Listing) -> bool:
        """Can anybody say since when bytes are there: we, or the registry?"""
        return self._durable or bool(listing.answer.pushed)

    def fresh(self, source: Source, listing: Listing, tag: str) -> Digest | None:
        """The digest of a tag, if it was asked since the last list (or stood in it)."""
        return self._book.known(source, listing).fresh.get(tag) or listing.answer.digests.get(tag)

    # ------------------------------------------------------------------------------------------------- asking

    async def fetch(
        self, policy: ImagePolicy, source: Source, listing: Listing, needs: Mapping[str, frozenset[Need]]
    ) -> None:
        """Ask for what is needed. What came before an error is kept; raises RegistryError, AccessDenied, SpecError."""
        known = self._book.known(source, listing)

        async def one(tag: str) -> None:
            digest = await self._book.ask(source, known, tag, listing, described=Need.PLATFORMS in needs[tag])
            if digest is not None and Need.SIGNATURE in needs[tag]:
                await self._verify(policy, source, listing, digest)

        await self._book.each(source, known, list(needs), one)

    def note(self, source: Source, listing: Listing) -> None:
        """The bytes that were looked at since this list are there now: dated, unless they have a date already."""
        if not self._durable:
            return
        keys = [f"{tag}@{digest}" for tag, digest in self._book.known(source, listing).fresh.items()]
        if not keys:
            return
        seen, now = self._store.first_seen(*source.key, keys), self._clock()
        self._store.date_seen(*source.key, {key: now for key in keys if key not in seen})

    async def verified(
        self, policy: ImagePolicy, source: Source, listing: Listing, tag: str, digest: Digest | None
    ) -> Verified | None:
        """What its signatures are worth: of `digest`, None = of the bytes that the tag has now. None: there are none.

        Raises RegistryError, AccessDenied, SpecError.
        """
        if digest is None:
            digest = await self._book.ask(source, self._book.known(source, listing), tag, listing, described=False)
        if digest is None:
            return None
        await self._verify(policy, source, listing, digest)
        return self._verdict(source, self._mark(policy), digest, listing)

    async def _verify(self, policy: ImagePolicy, source: Source, listing: Listing, digest: Digest) -> None:
        assert policy.verify is not None
        mark = self._mark(policy)
        if self._verdict(source, mark, digest, listing) is not None:
            return
        if self._verifier is None:
            return
        place = policy.meta.source.where
        verified = await self._verifier.verify(
            source,
            digest,
            policy.verify,
            secrets=self._secrets,
            namespace=policy.key.namespace,
            where=place("spec.verify") if place is not None else None,
        )
        self._known(source, listing)[mark, digest] = (verified, listing.serial, self._clock())
        if verified.ok:
            repository, identity = source.key
            kept = self._store.facts(repository, identity + SIGNED, [digest]).get(digest, {})
            self._store.save_facts(repository, identity + SIGNED, {digest: {**kept, mark: verified.reason}})

    def _verdict(self, source: Source, mark: str, digest: Digest, listing: Listing) -> Verified | None:
        """What is known of its signatures, if that still counts."""
        found = self._known(source, listing).get((mark, digest))
        if found is None:
            return None
        verified, serial, at = found
        if verified.ok:
            return verified
        if verified.lasting:
            return verified if timedelta(0) <= self._clock() - at < UNSIGNED_FOR else None
        return verified if serial == listing.serial else None

    def _known(self, source: Source, listing: Listing) -> dict[tuple[str, Digest], tuple[Verified, int, datetime]]:
        """Of this source; good signatures are read from the store at first."""
        found = self._verified.get(source.key)
        if found is None:
            repository, identity = source.key
            found = self._verified[source.key] = {
                (of, Digest(signed)): (
                    Verified(ok=True, reason=str(reason), lasting=True),
                    listing.serial,
                    self._clock(),
                )
                for signed, reasons in self._store.facts(repository, identity + SIGNED).items()
                for of, reason in reasons.items()
            }
        return found

    def release(self, key: tuple[str, str]) -> None:
        """Nobody asks as this source any more: its good signatures are in the store."""
        self._verified.pop(key, None)

    def _mark(self, policy: ImagePolicy) -> str:
        """What a verdict is good for: this `verify`, with the keys that its Secrets hold now."""
        verify = policy.verify
        assert verify is not None
        total = hashlib.sha256(repr(verify).encode())
        for name in (verify.secret_ref, verify.trust_root):
            secret = self._secrets(ObjectKey(policy.key.namespace, name)) if name is not None else None
            for key, value in sorted(secret.data.items()) if secret is not None else ():
                total.update(b"\0%b\0%d\0" % (key.encode(), len(value)) + value)
        return total.hexdigest()
