"""One policy's answer: its tags judged, then gated, with the facts fetched that either needs.

First comes the judgement of the tags alone, which is kept from list to list; then the gates look at the best tags in
the policy's situation. What they ask for is fetched for tags that could still win. Judging again on the list that is
known asks nobody for what is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from image_updater import policy as policies_room
from image_updater.api.model import DigestReflection, NewestBy, NewestPolicy
from image_updater.errors import ImageUpdaterError
from image_updater.images import parse_name
from image_updater.pipeline.answers.grouping import alone
from image_updater.pipeline.answers.outcome import Amended, Outcome, policy_name
from image_updater.pipeline.answers.situations import NOTHING
from image_updater.policy.situation import Need, has_gates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.images import Digest
    from image_updater.pipeline.answers.examining import Examiner
    from image_updater.pipeline.answers.facts import FactBook
    from image_updater.pipeline.answers.listing import Listing, Source
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.pipeline.report import Progress
    from image_updater.policy import CompiledPolicy, Judged
    from image_updater.policy.gating import Gated, Takes
    from image_updater.policy.model import Judgement, TagFacts
    from image_updater.policy.situation import Hold, Situation
    from image_updater.store import Store

LOOKED_BACK: Final = 8
"""Better tags that gates hold back and that are looked at again with each list: they may have been pushed again."""

AGELESS: Final = (
    "minAge counts from when an image was first seen, and this run has no state that remembers it: give --state FILE,"
    " and the same one each time"
)

FILE_IDENTITY: Final = "tags-file"


def is_gated(policy: ImagePolicy, situation: Situation) -> bool:
    """Has anything but its tags a say? Most policies have no gate, and cost nothing here."""
    return situation is not NOTHING or has_gates(policy)


def looks_at_bytes(policy: ImagePolicy, situation: Situation) -> bool:
    """Does a gate ask which bytes a tag has? Then each list is judged anew: a tag may have been pushed again."""
    return bool(
        policy.min_age
        or policy.platforms
        or policy.from_nodes
        or policy.verify is not None
        or policy.after is not None
        or any(each.digest for each in situation.quarantined)
        or any(each.digest for each in situation.approvals)
        or any(":" in each.what for each in situation.denied)
        or _held_bytes(situation.hold)
    )


def _held_bytes(hold: Hold | None) -> bool:
    return hold is not None and (hold.digest is not None or _held_bytes(hold.then))


class Judging:
    """Judges for a Selector. `judge()` may ask the registry, `from_file()` never does."""

    def __init__(
        self,
        *,
        book: FactBook,
        examiner: Examiner,
        store: Store,
        situations: Situations,
        clock: Callable[[], datetime],
        compile: Callable[[ImagePolicy], CompiledPolicy],  # noqa: A002 - it is the Selector's `compile`
        durable: bool,
        progress: Progress,
    ) -> None:
        """`durable`: the store outlives the process."""
        self._book = book
        self._examiner = examiner
        self._store = store
        self._situations = situations
        self._clock = clock
        self._compile = compile
        self._durable = durable
        self._progress = progress

    def stale(self, outcome: Outcome) -> bool:
        """Would it be another answer now, although nobody brought another list? Then judging again tells."""
        if outcome.error is not None or outcome.base is None:
            return False
        if self._situations.of(outcome.spec) is not outcome.situation:
            return True
        if outcome.until is None or outcome.judged_at is None:
            return False
        now = self._clock()
        return now >= outcome.until or now < outcome.judged_at

    def depends_on_bytes(self, policy: ImagePolicy) -> bool:
        """Must each list be judged anew, even an equal one? Its tags may have been pushed again."""
        return policy.reflection is DigestReflection.ALWAYS or looks_at_bytes(policy, self._situations.of(policy))

    def judged_bytes(self, outcome: Outcome, source: Source, tag: str) -> Digest | None:
        """The bytes that an answer chose: what was written must be those. None: nobody looked at them."""
        assert outcome.listing is not None
        fresh = self._examiner.fresh(source, outcome.listing, tag)
        if fresh is None and outcome.gated is not None and looks_at_bytes(outcome.spec, outcome.situation):
            known = outcome.facts.get(tag)
            return known.digest if known is not None else None
        return fresh

    # ------------------------------------------------------------------------------------------------- a list

    async def judge(
        self, policy: ImagePolicy, source: Source, listing: Listing, before: Outcome | None, *, ask: bool
    ) -> Outcome:
        """Judge, fetch what that needs, judge again, until nothing is needed that can still be had."""
        compiled = self._compile(policy)
        previous = before.base if before is not None and before.compiled is compiled else None
        asked: set[str] = set()
        examined: dict[str, frozenset[Need]] = {}
        failure: ImageUpdaterError | None = None
        while True:
            situation = self._situations.of(policy)
            gated = is_gated(policy, situation)
            facts: Mapping[str, TagFacts] = self._book.tag_facts(policy, source, listing)
            if gated:
                if policy.min_age:
                    self._examiner.note(source, listing)
                facts = self._examiner.facts(policy, source, listing, facts)
            gone = dict(self._book.known(source, listing).gone) if asked or gated else {}
            tags = [tag for tag in listing.answer.tags if tag not in gone] if gone else listing.answer.tags
            judged = policies_room.judge(compiled, tags, facts, now=self._clock(), previous=previous)
            previous = judged
            ages = self._examiner.remembers(listing)
            outcome = self._outcome(policy, compiled, judged, facts, situation, gone, ages=ages, gated=gated)
            if not ask or failure is not None:
                break
            needed = [
                tag
                for tag in _unjudged(judged, outcome)
                if tag not in asked and self._book.askable(policy, listing, tag)
            ]
            if needed:
                self._progress(f"{policy.image}: asking for {len(needed)} of {len(tags)} tags")
                asked.update(needed)
                failure = await _try(self._book.fetch(policy, source, listing, needed))
                continue
            wanted = self._wanted(outcome, source, listing, examined)
            if not wanted:
                break
            self._progress(f"{policy.image}: looking at {len(wanted)} of {len(tags)} tags")
            for tag, needs in wanted.items():
                examined[tag] = examined.get(tag, frozenset()) | needs
            failure = await _try(self._examiner.fetch(policy, source, listing, wanted))
        outcome = replace(outcome, listing=listing, notes=(*listing.notes, *outcome.notes))
        if failure is not None:
            return replace(outcome, selection=None, error=failure, reason=f"{failure.message}; {outcome.reason}")
        self._keep(outcome)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        """For those who ask by its name later: `image-updater hold`, and the others."""
        if not self._durable:
            return
        chosen = outcome.judgement.chosen if outcome.judgement is not None else None
        winner = chosen.tag if chosen is not None else None
        digest = chosen.digest if chosen is not None else None
        self._store.save_decision(outcome.policy, winner, digest, outcome.reason, self._clock())

    def _wanted(
        self, outcome: Outcome, source: Source, listing: Listing, examined: Mapping[str, frozenset[Need]]
    ) -> dict[str, frozenset[Need]]:
        """What the gates have to know yet, best tag first: facts that they miss, and whether what was known of bytes is
        still so."""
        gated, policy = outcome.gated, outcome.spec
        if gated is None:
            return {}
        missing = dict(gated.needs)
        for tag, needs in outcome.taken.needs.items() if outcome.taken is not None else ():
            missing[tag] = missing.get(tag, frozenset()) | needs
        if looks_at_bytes(policy, outcome.situation):
            known = outcome.facts
            blocked = dict.fromkeys(each.tag for each in gated.because if each.tag is not None)
            back = [tag for tag in blocked if tag in known and known[tag].digest is not None][:LOOKED_BACK]
            chosen = [gated.chosen.tag] if gated.chosen is not None else []
            for tag in (*chosen, *back):
                if self._examiner.fresh(source, listing, tag) is None:
                    missing[tag] = missing.get(tag, frozenset()) | {Need.DIGEST}
        new = {tag: needs - examined.get(tag, frozenset()) for tag, needs in missing.items()}
        return {tag: needs for tag, needs in new.items() if needs}

    # ------------------------------------------------------------------------------------------------- a tags file

    def from_file(self, policy: ImagePolicy, file: TagsFile) -> Outcome:
        """The answer of a tags file: what it does not say is not known and never will be."""
        compiled = self._compile(policy)
        image = parse_name(policy.image)
        answer = file.answer(image)
        situation = self._situations.of(policy)
        facts: Mapping[str, TagFacts] = answer.facts
        by_sight = isinstance(policy.strategy, NewestPolicy) and policy.strategy.by is NewestBy.FIRST_SEEN
        if by_sight or (policy.min_age and self._durable):
            scope, now = (image.canonical, FILE_IDENTITY), self._clock()
            self._store.note_seen(*scope, answer.tags, now)
            if policy.min_age:
                bytes_now = (f"{tag}@{known.digest}" for tag, known in facts.items() if known.digest is not None)
                known_since = self._store.first_seen(*scope)
                self._store.date_seen(*scope, {key: now for key in bytes_now if key not in known_since})
            seen = self._store.first_seen(*scope)
            facts = {
                tag: replace(
                    known,
                    first_seen=seen.get(tag),
                    bytes_seen=seen.get(f"{tag}@{known.digest}") if known.digest is not None else None,
                )
                for tag, known in facts.items()
            }
        elif policy.min_age:
            # Nobody remembers an earlier time.
            now = self._clock()
            facts = {tag: replace(known, bytes_seen=now if known.digest else None) for tag, known in facts.items()}
        judged = policies_room.judge(compiled, answer.tags, facts, now=self._clock())
        gated = is_gated(policy, situation)
        outcome = self._outcome(policy, compiled, judged, facts, situation, {}, ages=self._durable, gated=gated)
        self._keep(outcome)
        return outcome

    # ------------------------------------------------------------------------------------------------- together

    def _outcome(
        self,
        policy: ImagePolicy,
        compiled: CompiledPolicy,
        judged: Judged,
        facts: Mapping[str, TagFacts],
        situation: Situation,
        gone: Mapping[str, str],
        *,
        ages: bool,
        gated: bool,
    ) -> Outcome:
        """`ages`: somebody knows since when bytes are there. `gated`: gates have a say."""
        name, now = policy_name(policy), self._clock()
        answer: Gated | None = None
        taken: Takes | None = None
        if gated:
            from image_updater.policy.gating import gate, takes

            if policy.group is not None:
                taken = takes(judged, compiled, facts, situation, now=now)
            answer = gate(judged, compiled, facts, situation, now=now)
        judgement: Judgement = answer if answer is not None else judged
        selection = policies_room.select(compiled, judgement, facts)
        if selection is not None and selection.policy != name:
            selection = replace(selection, policy=name)
        if gone:
            judgement = Amended(judgement, gone)
        reason = judgement.reason
        if policy.min_age and not ages and selection is None:
            reason = f"{reason}; {AGELESS}"
        moments = [each.until for each in (answer, taken) if each is not None and each.until is not None]
        return Outcome(
            policy=name,
            spec=policy,
            reason=reason,
            compiled=compiled,
            judgement=judgement,
            selection=selection,
            facts=facts,
            base=judged,
            gated=answer,
            until=min(moments, default=None),
            notes=alone(policy, situation),
            judged_at=now,
            situation=situation,
            taken=taken,
        )


def _unjudged(judged: Judged, outcome: Outcome) -> Sequence[str]:
    """Tags that cannot be ordered, or written, before more is known of them: what the strategy itself asks for."""
    if outcome.gated is None:
        return judged.needs_facts
    return [tag for tag in outcome.gated.needs_facts if tag not in outcome.gated.needs]


async def _try(work: Awaitable[None]) -> ImageUpdaterError | None:
    try:
        await work
    except ImageUpdaterError as error:
        return error
    return None
