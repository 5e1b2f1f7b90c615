"""From policies to answers: lists, verdicts, the facts that the verdicts need, and what may be written.

The registry is asked once for each repository and identity, whatever the number of policies; facts only for what
could still win. An answer that failed is kept for the reader (`judgement`, `kept`) but selects nothing: it never
starts an edit. With a tags file no request is ever made.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater import policy as policies_room
from image_updater.api import SpecErrors, check_references
from image_updater.api.model import DigestPolicy, DigestReflection, NewestBy, NewestPolicy
from image_updater.errors import AccessDenied, ImageUpdaterError, SecretNotFound, SpecError, Waiting, Where
from image_updater.images import parse_name
from image_updater.pipeline.facts import FactBook
from image_updater.pipeline.listing import Listing, Listings, Source
from image_updater.pipeline.outcome import Amended, Outcome, policy_name
from image_updater.pipeline.report import Progress, silent
from image_updater.pipeline.secrets import CurrentSecrets
from image_updater.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, Objects
    from image_updater.images import ImageName
    from image_updater.pipeline.listing import Registry
    from image_updater.pipeline.report import Secrets
    from image_updater.pipeline.tagsfile import TagsFile
    from image_updater.policy import CompiledPolicy
    from image_updater.policy.model import Judgement, TagFacts


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
    ) -> None:
        """`durable`: the store outlives the process (`firstSeen` needs it). `at_once`: policies looked at together.
        `renew` reads a policy's Secrets anew after its login was refused; True: they are other ones, ask once more.
        """
        self._at_once = at_once
        self._store = store
        self._secrets = secrets
        self._environment = environment
        self._clock = clock
        self._tags = tags
        self._durable = durable
        self._progress = progress
        self._renew = renew
        self._listings = Listings(registry, store, clock)
        self._book = FactBook(registry, store)
        self._compiled: dict[str, tuple[ImagePolicy, CompiledPolicy]] = {}
        self._answers: dict[str, Outcome] = {}
        self._again: dict[tuple[str, str], set[str]] = {}
        self.judging: set[str] = set()
        """Policies whose new list is being judged now: a push that waits for them loses little (design: batch)."""

    # ------------------------------------------------------------------------------------------------- validity

    def validate(self, policies: Iterable[ImagePolicy], *, secrets: Secrets | None = None) -> None:
        """Everything about the policies that can be wrong without asking anyone. Raises SpecErrors with all of it."""
        errors: list[SpecError] = []
        for policy in policies:
            try:
                self.compile(policy)
                if self._tags is None:
                    self.source(policy, secrets)
            except SpecErrors as error:
                errors += error.errors
            except SpecError as error:
                errors.append(error)
        if errors:
            raise SpecErrors(errors)

    def check(self, objects: Objects, *, git: bool = True) -> None:
        """`validate` for whole objects with their own secrets, and what their references lead to. Raises SpecErrors.

        `git=False`: no GitRepository will be contacted.
        """
        secrets = self._secrets
        if isinstance(secrets, CurrentSecrets):
            secrets = secrets.of(objects.secrets)
        errors = list(check_references(objects, secrets, registry=self._tags is None, git=git))
        missing = {(error.where.object, error.where.field) for error in errors}
        try:
            self.validate(objects.policies, secrets=secrets)
        except SpecErrors as error:
            errors += [each for each in error.errors if (each.where.object, f"{each.where.field}.name") not in missing]
        if errors:
            raise SpecErrors(sorted(errors, key=lambda error: (error.where.file or "", error.where.line or 0)))

    def compile(self, policy: ImagePolicy) -> CompiledPolicy:
        """The policy's strategy and filters, kept while it is the same. Raises SpecError."""
        name = policy_name(policy)
        known = self._compiled.get(name)
        if known is not None and known[0] == policy:
            return known[1]
        strategy = policy.strategy
        if isinstance(strategy, NewestPolicy) and strategy.by is NewestBy.FIRST_SEEN and not self._durable:
            place = policy.meta.source.where
            raise SpecError(
                "firstSeen needs to remember when tags were first seen, and this run has no state",
                where=place("spec.policy.newest.by") if place else Where(field="spec.policy.newest.by"),
                remedy="give --state FILE, or use by: created",
            )
        compiled = policies_room.compile(policy)
        self._compiled[name] = (policy, compiled)
        return compiled

    def source(self, policy: ImagePolicy, secrets: Secrets | None = None) -> Source:
        """Where the policy's image is and who asks. Raises SpecError for a secret that is missing or unusable."""
        from image_updater.registry import access_for

        access = access_for(policy, secrets or self._secrets, self._environment)
        return Source(image=parse_name(policy.image), access=access, identity=access.identity)

    # ------------------------------------------------------------------------------------------------- answers

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
            self._compiled.pop(name, None)

    async def select(
        self, policies: Iterable[ImagePolicy], *, current: Mapping[str, frozenset[str]] | None = None
    ) -> dict[str, Outcome]:
        """The answers, asked now where there is none yet; by policy name.

        `current`: by policy the tags that Git holds. A list that lacks one is asked again once; the second answer
        counts. A followed tag (`digest`) is looked up anew each time: this is right before planning.
        """
        held = current or {}
        turn = self._listings.turn()
        return await self._each(policies, lambda policy: self._select(policy, held.get(policy_name(policy)), turn))

    async def refresh(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Ask the registry now, once for each source, and judge anew."""
        turn = self._listings.turn()
        return await self._each(policies, lambda policy: self._refresh(policy, turn=turn))

    async def restore(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Answers from the store alone, without a request: those younger than their interval count as asked now."""
        return await self._each(policies, self._restore)

    async def hint(self, image: ImageName, tag: str | None, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Someone says that `tag` of `image` was pushed: one HEAD for each identity that looks at it (law 9).

        Without a tag, or where no complete list is known, the list is asked instead.
        """
        looking = [policy for policy in policies if parse_name(policy.image) == image]
        return await self._each(looking, lambda policy: self._hint(policy, tag))

    # ------------------------------------------------------------------------------------------------- one policy

    async def _asked(self, policy: ImagePolicy, ask: Callable[[ImagePolicy], Awaitable[Outcome]]) -> Outcome:
        """With Secrets that are read anew, once, when the login is refused or missing."""
        try:
            outcome = await ask(policy)
        except ImageUpdaterError as error:
            if self._renew is None or not _is_login(error) or not await self._renew(policy):
                raise
            return await ask(policy)
        if self._renew is not None and _is_login(outcome.error) and await self._renew(policy):
            return await ask(policy)
        return outcome

    def _noted(self, policy: ImagePolicy, error: ImageUpdaterError) -> ImageUpdaterError:
        """A refusal, with what is known of logins that were not used."""
        if not isinstance(error, AccessDenied):
            return error
        try:
            notes = self.source(policy).access.notes
        except ImageUpdaterError:
            return error
        if not notes:
            return error
        remedy = "; ".join(part for part in (error.remedy, *notes) if part)
        return type(error)(error.message, where=error.where, remedy=remedy)

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
                    outcome = await self._failed(policy, self._noted(policy, error))
                self._answers[name] = outcome
                return name, outcome

        return dict(await asyncio.gather(*(one(name, policy) for name, policy in unique.items())))

    async def _select(self, policy: ImagePolicy, held: frozenset[str] | None, turn: int) -> Outcome:
        if policy.suspend:
            return Outcome(policy=policy_name(policy), spec=policy, reason="the policy is suspended")
        known = self._answers.get(policy_name(policy))
        if self._tags is not None:
            return known if known is not None and known.spec == policy else self._from_file(policy, self._tags)
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
            asked = self._again.setdefault(source.key, set())
            if not missing <= asked:
                asked |= missing
                return await self._refresh(policy, turn=turn)
        if isinstance(policy.strategy, DigestPolicy):
            source = self.source(policy)
            digest = await self._book.digest(source, known.listing, policy.strategy.tag)
            if known.selection is None or known.selection.digest != digest:
                return await self._judge(policy, source, known.listing)
        return known

    async def _refresh(self, policy: ImagePolicy, *, turn: int | None = None, fresh: bool = False) -> Outcome:
        if self._tags is not None:
            return self._from_file(policy, self._tags)
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
            and policy.reflection is not DigestReflection.ALWAYS
        ):
            return replace(known, listing=listing)
        return await self._judge(policy, source, listing)

    async def _restore(self, policy: ImagePolicy) -> Outcome:
        self.compile(policy)
        source = self.source(policy)
        listing = self._listings.recent(source, policy.interval)
        if listing is None:
            return await self._failed(policy, Waiting("not asked since the start"))
        return await self._judge(policy, source, listing, ask=policy.reflection is DigestReflection.ALWAYS)

    async def _hint(self, policy: ImagePolicy, tag: str | None) -> Outcome:
        from image_updater.registry.errors import TagNotFound

        self.compile(policy)
        source = self.source(policy)
        listing = self._listings.known(source)
        name = policy_name(policy)
        if tag is None or listing is None or (name not in self._answers and listing.restored):
            return await self._refresh(policy, fresh=True)
        try:
            digest = await self._book.digest(source, listing, tag)
        except TagNotFound:
            # Whoever said so was wrong, or the tag is gone again: the last answer stands.
            known = self._answers.get(name)
            return known if known is not None else await self._judge(policy, source, listing)
        grown = self._listings.add(source, tag, digest)
        assert grown is not None
        return await self._judge(policy, source, grown)

    async def _judge(self, policy: ImagePolicy, source: Source, listing: Listing, *, ask: bool = True) -> Outcome:
        name = policy_name(policy)
        self.judging.add(name)
        try:
            return await self._judge_fully(policy, source, listing, ask=ask)
        finally:
            self.judging.discard(name)

    async def _judge_fully(self, policy: ImagePolicy, source: Source, listing: Listing, *, ask: bool) -> Outcome:
        """Judge, fetch what that needs, judge again, until nothing is needed that can still be had."""
        compiled = self.compile(policy)
        name = policy_name(policy)
        before = self._answers.get(name)
        previous = before.judgement if before is not None and before.compiled is compiled else None
        if isinstance(previous, Amended):
            previous = previous.inner
        asked: set[str] = set()
        failure: ImageUpdaterError | None = None
        while True:
            facts = self._book.tag_facts(policy, source, listing)
            gone = self._book.known(source, listing).gone if asked else {}
            tags = [tag for tag in listing.answer.tags if tag not in gone] if gone else listing.answer.tags
            judgement = policies_room.judge(compiled, tags, facts, now=self._clock(), previous=previous)
            needed = [
                tag for tag in judgement.needs_facts if tag not in asked and self._book.askable(policy, listing, tag)
            ]
            if not needed or not ask or failure is not None:
                break
            self._progress(f"{policy.image}: asking for {len(needed)} of {len(tags)} tags")
            asked.update(needed)
            previous = judgement
            try:
                await self._book.fetch(policy, source, listing, needed)
            except ImageUpdaterError as error:
                failure = error
        final: Judgement = Amended(judgement, dict(gone)) if gone else judgement
        return self._outcome(policy, compiled, final, facts, listing=listing, error=failure)

    def _from_file(self, policy: ImagePolicy, file: TagsFile) -> Outcome:
        """The answer of a tags file: what it does not say is not known and never will be."""
        compiled = self.compile(policy)
        answer = file.answer(parse_name(policy.image))
        facts: Mapping[str, TagFacts] = answer.facts
        if isinstance(policy.strategy, NewestPolicy) and policy.strategy.by is NewestBy.FIRST_SEEN:
            repository = parse_name(policy.image).canonical
            self._store.note_seen(repository, "tags-file", answer.tags, self._clock())
            seen = self._store.first_seen(repository, "tags-file")
            facts = {tag: replace(facts[tag], first_seen=seen.get(tag)) for tag in answer.tags}
        judgement = policies_room.judge(compiled, answer.tags, facts, now=self._clock())
        return self._outcome(policy, compiled, judgement, facts)

    def _outcome(
        self,
        policy: ImagePolicy,
        compiled: CompiledPolicy,
        judgement: Judgement,
        facts: Mapping[str, TagFacts],
        *,
        listing: Listing | None = None,
        error: ImageUpdaterError | None = None,
    ) -> Outcome:
        name = policy_name(policy)
        selection = None
        if error is None:
            selection = policies_room.select(compiled, judgement, facts)
            if selection is not None and selection.policy != name:
                selection = replace(selection, policy=name)
        if error is None and self._durable and self._tags is None:
            chosen = judgement.chosen
            tag, digest = (chosen.tag, chosen.digest) if chosen is not None else (None, None)
            self._store.save_decision(name, tag, digest, judgement.reason, self._clock())
        reason = judgement.reason if error is None else f"{error.message}; {judgement.reason}"
        return Outcome(
            policy=name,
            spec=policy,
            reason=reason,
            compiled=compiled,
            judgement=judgement,
            selection=selection,
            facts=facts,
            error=error,
            listing=listing,
            notes=listing.notes if listing is not None else (),
        )

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
        source = self.source(policy)
        listing = self._listings.known(source)
        return await self._judge(policy, source, listing, ask=False) if listing is not None else None


def _is_login(error: ImageUpdaterError | None) -> bool:
    """Could other Secrets help?"""
    return isinstance(error, AccessDenied | SecretNotFound)


__all__ = ["Outcome", "Selector", "policy_name"]
