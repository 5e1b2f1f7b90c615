"""From policies to answers: lists, verdicts, the facts that the verdicts need, and what may be written.

The registry is asked once for each repository and identity, whatever the number of policies; facts only for what
could still win. An answer that failed is kept for the reader (`judgement`, `kept`) but selects nothing: it never
starts an edit. With a tags file no request is ever made.

An answer is good until its policy's situation changes or its time has come; then it is judged again on the list that is
known. Policies of one group answer together.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.api.model import DigestPolicy
from image_updater.errors import ImageUpdaterError, SpecError, Waiting
from image_updater.images import parse_name
from image_updater.pipeline.answers.examining import Examiner
from image_updater.pipeline.answers.facts import FactBook
from image_updater.pipeline.answers.grouping import settle, together
from image_updater.pipeline.answers.judging import Judging, looks_at_bytes
from image_updater.pipeline.answers.listing import Listing, Listings, Source
from image_updater.pipeline.answers.logins import is_login, noted
from image_updater.pipeline.answers.outcome import Outcome, faulty, overtaken, policy_name
from image_updater.pipeline.answers.preflight import Candidate, Preflight
from image_updater.pipeline.answers.situations import Situations
from image_updater.pipeline.answers.validity import Validity
from image_updater.pipeline.report import Progress, silent
from image_updater.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, Objects
    from image_updater.images import Digest, ImageName
    from image_updater.pipeline.answers.examining import Verifier
    from image_updater.pipeline.answers.facts import Heads
    from image_updater.pipeline.answers.listing import Registry
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.pipeline.report import Secrets
    from image_updater.policy import CompiledPolicy, Selection
    from image_updater.policy.model import Verified


log = logging.getLogger("image_updater.run")


class Selector:
    """Answers for policies, kept between calls. One-shot commands make one, the daemon keeps one."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        environment: Mapping[str, str],
        clock: Callable[[], datetime],
        registry: Registry | None = None,
        tags: TagsFile | None = None,
        durable: bool = False,
        at_once: int = 64,
        progress: Progress = silent,
        renew: Callable[[ImagePolicy], Awaitable[bool]] | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        """`durable`: the store outlives the process (`firstSeen` needs it). `at_once`: policies looked at together.
        `renew` reads a policy's Secrets anew after its login was refused; True: they are other ones, ask once more.
        `verifier` checks signatures, by default through `registry`.
        """
        if verifier is None and registry is not None:
            # Where there is a registry client, what this imports is there already.
            from image_updater.pipeline.answers.verifying import Verifying

            verifier = Verifying(registry)
        self._at_once = at_once
        self._store = store
        self._clock = clock
        self._tags = tags
        self._progress = progress
        self._renew = renew
        self._validity = Validity(secrets, environment, durable=durable, asks=tags is None)
        self._listings = Listings(registry, store, clock)
        self._book = FactBook(registry, store)
        self.situations = Situations()
        """What decides beside the tags; whoever knows of it tells it here."""
        self._examiner = Examiner(
            self._book, store, secrets=secrets, clock=clock, verifier=verifier, durable=durable and tags is None
        )
        self._preflight = Preflight(registry, store) if registry is not None and tags is None else None
        self._judging = Judging(
            book=self._book,
            examiner=self._examiner,
            store=store,
            situations=self.situations,
            clock=clock,
            compile=self._validity.compile,
            durable=durable,
            progress=progress,
        )
        self._answers: dict[str, Outcome] = {}
        self._missed: dict[tuple[str, str], set[str]] = {}
        self._remembered: dict[str, dict[str, datetime]] = {}
        self.judging: set[str] = set()
        """Policies whose new list is being judged now: a push that waits for them loses little (design: batch)."""

    def check(self, objects: Objects, *, git: bool = True) -> None:
        """As `Validity.check`: what is wrong with whole objects. Raises SpecErrors."""
        self._validity.check(objects, git=git)

    def compile(self, policy: ImagePolicy) -> CompiledPolicy:
        """The policy's strategy and filters, kept while it is the same. Raises SpecError."""
        return self._validity.compile(policy)

    def source(self, policy: ImagePolicy) -> Source:
        """Where the policy's image is and who asks. Raises SpecError for a secret that is missing or unusable."""
        return self._validity.source(policy)

    # ------------------------------------------------------------------------------------------------- answers

    def now(self) -> datetime:
        """The time that everything here is judged by."""
        return self._clock()

    @property
    def store(self) -> Store:
        """Where this selector keeps what it saw."""
        return self._store

    @property
    def answers(self) -> Mapping[str, Outcome]:
        """The last answer of every policy that was asked about."""
        return self._answers

    @property
    def fetched(self) -> int:
        """Requests for digests and dates so far."""
        return self._book.fetched

    @property
    def tags_seen(self) -> int:
        """New tags since the start."""
        return self._listings.tags_seen

    def first_seen(self, outcome: Outcome) -> Mapping[str, datetime]:
        """When the tags of an answer were first seen here; those of the first complete list are not in it."""
        try:
            source = self.source(outcome.spec)
        except ImageUpdaterError:
            return {}
        return self._store.first_seen(source.repository, source.identity)

    def forget(self, names: Iterable[str]) -> None:
        """Policies that are no more."""
        for name in names:
            self._answers.pop(name, None)
            self._validity.forget(name)

    def release(self, keys: Iterable[tuple[str, str]]) -> None:
        """Repositories and identities that nobody asks as any more: the memory that they took is free again."""
        for key in keys:
            self._missed.pop(key, None)
            for part in (self._listings, self._book, self._examiner):
                part.release(key)

    async def select(
        self, policies: Iterable[ImagePolicy], *, current: Mapping[str, frozenset[str]] | None = None
    ) -> dict[str, Outcome]:
        """The answers, asked now where there is none yet; by policy name.

        `current`: by policy the tags that Git holds. A list that lacks one is asked again once; the second answer
        counts. A followed tag (`digest`) is looked up anew each time: this is right before planning.
        """
        held = current or {}
        turn = self._listings.turn()
        asked = self._with_members(policies)
        return await self._each(asked, lambda policy: self._select(policy, held.get(policy_name(policy)), turn))

    async def refresh(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Ask the registry now, once for each source, and judge anew."""
        turn = self._listings.turn()
        return await self._each(self._with_members(policies), lambda policy: self._refresh(policy, turn=turn))

    async def missing(self, policy: ImagePolicy, selection: Selection) -> str | None:
        """Right before it is written: why what was chosen may not be any more, or cannot be pulled (`preflight`).

        Raises RegistryError where nothing can be said, AccessDenied, SpecError.
        """
        known = self._answers.get(policy_name(policy))
        if known is None:
            return None
        outcome = await self._again(known)
        if (why := overtaken(outcome, selection)) is not None or self._preflight is None or outcome.listing is None:
            return why
        exact = outcome.gated is not None and looks_at_bytes(policy, outcome.situation)
        nodes = self.situations.of(policy).node_platforms or () if policy.from_nodes else ()
        preflight = self._preflight

        async def ask() -> str | None:
            source = self.source(policy)
            candidate = Candidate(
                source=source,
                tag=selection.tag,
                digest=selection.digest,
                judged=self._judging.judged_bytes(outcome, source, selection.tag),
                exact=exact,
                platforms=(*policy.platforms, *nodes),
            )
            return await (preflight.check(candidate) if policy.preflight else preflight.moved(candidate))

        try:
            return await ask()
        except ImageUpdaterError as error:
            if self._renew is None or not is_login(error) or not await self._renew(policy):
                raise noted(policy, error, self.source) from None
            return await ask()

    async def verified(self, policy: ImagePolicy, tag: str, digest: Digest | None) -> Verified | None:
        """Of a tag that Git holds, whoever wrote it; as `Examiner.verified`. None before the policy has a list."""
        outcome = self._answers.get(policy_name(policy))
        if outcome is None or outcome.listing is None:
            return None
        return await self._examiner.verified(policy, self.source(policy), outcome.listing, tag, digest)

    async def regate(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Answers that are not good any more (their situation changed, or their time has come), judged again on the
        lists that are known; without a request, as far as the facts of what wins now are known.
        """
        due = [policy for policy in policies if self.is_stale(policy)]
        return await self._each(due, lambda policy: self._again(self._answers[policy_name(policy)]))

    def is_stale(self, policy: ImagePolicy) -> bool:
        """Would judging again on the known list give another answer, or may it?"""
        known = self._answers.get(policy_name(policy))
        return known is not None and known.spec == policy and self._judging.stale(known)

    def remember_seen(self, policy: ImagePolicy, seen: Iterable[tuple[str, str, datetime]]) -> None:
        """What somebody else remembers of a policy's candidates (tag, digest, first seen): the store may be lost.
        Kept until the policy is judged next: who asks for it may not be known yet.
        """
        self._remembered[policy_name(policy)] = {f"{tag}@{digest}": at for tag, digest, at in seen}

    async def restore(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Answers from the store alone, without a request: those younger than their interval count as asked now."""
        return await self._each(policies, self._restore)

    async def hint(self, image: ImageName, tag: str | None, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Someone says that `tag` of `image` was pushed: one HEAD for each identity that looks at it (law 9).

        Without a tag, or where no complete list is known, the list is asked instead.
        """
        looking = [policy for policy in policies if parse_name(policy.image) == image]
        heads: Heads = {}
        return await self._each(looking, lambda policy: self._hint(policy, tag, heads))

    async def _asked(self, policy: ImagePolicy, ask: Callable[[ImagePolicy], Awaitable[Outcome]]) -> Outcome:
        """With Secrets that are read anew, once, when the login is refused or missing."""
        try:
            outcome = await ask(policy)
        except ImageUpdaterError as error:
            if self._renew is None or not is_login(error) or not await self._renew(policy):
                raise
            return await ask(policy)
        if self._renew is not None and is_login(outcome.error) and await self._renew(policy):
            return await ask(policy)
        return outcome

    async def _each(
        self, policies: Iterable[ImagePolicy], ask: Callable[[ImagePolicy], Awaitable[Outcome]]
    ) -> dict[str, Outcome]:
        gate = asyncio.Semaphore(self._at_once)
        unique = {policy_name(policy): policy for policy in policies}

        async def one(name: str, policy: ImagePolicy) -> tuple[str, Outcome]:
            async with gate:
                try:
                    outcome = await self._asked(policy, ask)
                except ImageUpdaterError as error:
                    outcome = await self._failed(policy, noted(policy, error, self.source))
                except Exception as fault:
                    # Whatever is wrong with one of them, or with us, ends the answers of no other.
                    log.exception("unexpected fault while ImagePolicy %s is looked at", name)
                    outcome = faulty(policy, fault)
                self._answers[name] = outcome = self._newer(outcome)
                return name, outcome

        answers = dict(await asyncio.gather(*(one(name, policy) for name, policy in unique.items())))
        return answers | await self._together(answers)

    async def _together(self, answers: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """The answers of groups that these belong to, after each member knows what the others would take."""
        if not any(outcome.spec.group is not None for outcome in answers.values()):
            return {}
        changed: dict[str, Outcome] = {}
        for group in {(each.spec.key.namespace, each.spec.group) for each in answers.values()}:
            members = self._members(*group)
            settle(self.situations, members, self._answers)
            for name in members:
                if (known := self._answers.get(name)) is None:
                    continue
                try:
                    again = await self._again(known)
                except ImageUpdaterError as error:
                    again = await self._failed(known.spec, noted(known.spec, error, self.source))
                if again is not known:
                    self._answers[name] = changed[name] = again
        return changed

    def _with_members(self, policies: Iterable[ImagePolicy]) -> list[ImagePolicy]:
        """These, and those that they move together with and that have no answer yet."""
        asked = list(policies)
        for namespace, group in {(policy.key.namespace, policy.group) for policy in asked}:
            members = self._members(namespace, group)
            asked += (policy for name, policy in members.items() if name not in self._answers and not policy.suspend)
        return asked

    def _members(self, namespace: str, group: str | None) -> dict[str, ImagePolicy]:
        """All policies of a group: those of the objects, and those that were asked about."""
        answered = {name: answer.spec for name, answer in self._answers.items()} if group is not None else {}
        return together(namespace, group, answered | self.situations.objects)

    async def _select(self, policy: ImagePolicy, held: frozenset[str] | None, turn: int) -> Outcome:
        if policy.suspend:
            return Outcome(policy=policy_name(policy), spec=policy, reason="the policy is suspended")
        known = self._answers.get(policy_name(policy))
        if self._tags is not None:
            if known is not None and known.spec == policy:
                return await self._again(known)
            return self._judging.from_file(policy, self._tags)
        if known is None or known.spec != policy:
            # New, or the object was edited: a list of the same source that was asked in this process still counts.
            source = self.source(policy)
            listing = self._listings.recent(source, policy.interval)
            if listing is not None and not listing.restored:
                return await self._judge(policy, source, listing)
            return await self._refresh(policy, turn=turn)
        if known.error is not None or known.listing is None:
            return known
        if held and not all(tag in known.listing for tag in held):
            source = self.source(policy)
            missing = {tag for tag in held if tag not in known.listing}
            asked = self._missed.setdefault(source.key, set())
            if not missing <= asked:
                asked |= missing
                return await self._refresh(policy, turn=turn)
        if isinstance(policy.strategy, DigestPolicy):
            source = self.source(policy)
            digest = await self._book.digest(source, known.listing, policy.strategy.tag)
            if known.selection is None or known.selection.digest != digest:
                return await self._judge(policy, source, known.listing)
        return await self._again(known)

    async def _refresh(self, policy: ImagePolicy, *, turn: int | None = None, fresh: bool = False) -> Outcome:
        if self._tags is not None:
            return self._judging.from_file(policy, self._tags)
        self.compile(policy)
        source = self.source(policy)
        self._progress(f"listing {policy.image}")
        listing = await self._listings.fetch(source, turn=turn, fresh=fresh)
        known = self._answers.get(policy_name(policy))
        if (
            known is not None
            and known.spec == policy
            and known.error is None
            and known.listing is not None
            and known.listing.answer is listing.answer
            and not self._judging.depends_on_bytes(policy)
        ):
            return await self._again(replace(known, listing=listing))
        return await self._judge(policy, source, listing)

    async def _restore(self, policy: ImagePolicy) -> Outcome:
        self.compile(policy)
        source = self.source(policy)
        if (listing := self._listings.recent(source, policy.interval)) is None:
            return await self._failed(policy, Waiting("not asked since the start"))
        return await self._judge(policy, source, listing, ask=self._judging.depends_on_bytes(policy))

    async def _hint(self, policy: ImagePolicy, tag: str | None, heads: Heads) -> Outcome:
        from image_updater.registry.errors import TagNotFound

        self.compile(policy)
        source = self.source(policy)
        listing = self._listings.known(source)
        name = policy_name(policy)
        if tag is None or listing is None or (name not in self._answers and listing.restored):
            return await self._refresh(policy, fresh=True)
        try:
            digest = await self._book.digest(source, listing, tag, heads)
        except TagNotFound:
            # Whoever said so was wrong, or the tag is gone again: the last answer stands.
            known = self._answers.get(name)
            return await self._again(known) if known is not None else await self._judge(policy, source, listing)
        grown = self._listings.add(source, tag, digest)
        assert grown is not None
        return await self._judge(policy, source, grown)

    async def _judge(self, policy: ImagePolicy, source: Source, listing: Listing, *, ask: bool = True) -> Outcome:
        name = policy_name(policy)
        self._store.date_seen(source.repository, source.identity, self._remembered.pop(name, {}))
        self.judging.add(name)
        try:
            return await self._judging.judge(policy, source, listing, self._answers.get(name), ask=ask)
        finally:
            self.judging.discard(name)

    async def _again(self, known: Outcome) -> Outcome:
        """An answer that is not good any more, judged anew on its list; or another one that came meanwhile."""
        if not self._judging.stale(known):
            return known
        if self._tags is not None:
            return self._judging.from_file(known.spec, self._tags)
        assert known.listing is not None
        before = self._answers.get(known.policy)
        found = await self._judge(known.spec, self.source(known.spec), known.listing)
        now = self._answers.get(known.policy, before)
        return now if now is not None and now is not before and now.spec == known.spec else found

    def _newer(self, outcome: Outcome) -> Outcome:
        """Of an answer and the one that was given while it was made, the one by the newer list."""
        now = self._answers.get(outcome.policy)
        if now is None or now.listing is None or outcome.listing is None or now.spec != outcome.spec:
            return outcome
        return now if now.listing.serial > outcome.listing.serial else outcome

    async def _failed(self, policy: ImagePolicy, error: ImageUpdaterError) -> Outcome:
        """No answer: what was known before, in this process or in the store, stays to be read, and selects nothing."""
        name = policy_name(policy)
        before = self._answers.get(name)
        if before is None or before.spec != policy:
            try:
                before = await self._stored(policy) if not isinstance(error, SpecError) else None
            except ImageUpdaterError:
                before = None  # its Secret is not to be had: that is the error, most likely
        if before is None:
            return Outcome(policy=name, spec=policy, reason=str(error), error=error)
        reason = str(error)
        if before.judgement is not None and before.judgement.chosen is not None:
            reason = f"{error}; the answer kept from before is {before.judgement.chosen.tag}"
        return replace(before, selection=None, error=error, reason=reason)

    async def _stored(self, policy: ImagePolicy) -> Outcome | None:
        """What the last complete list of the store says, without asking anyone; None when there is none."""
        if self._tags is not None:
            return None
        listing = self._listings.known(source := self.source(policy))
        return await self._judge(policy, source, listing, ask=False) if listing is not None else None
