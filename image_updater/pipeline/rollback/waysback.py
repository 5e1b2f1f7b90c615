"""Where the places of a policy go back to when nobody names a tag: never up by the policy's own order, never to what a
person or a rollback took back there, and never to bytes that are barred.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.images import parse_name
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.rollback.decision import Author, good_value
from image_updater.pipeline.rollback.placements import Value
from image_updater.policy import MoveKind, Selection, may_replace
from image_updater.policy.gating import bars

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.rollback.decision import Written
    from image_updater.pipeline.rollback.evidence import Key
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.contest import Facts
    from image_updater.policy.situation import Proven, Situation


class Side(StrEnum):
    """Where a value lies of another one, by a policy's order."""

    DOWN = "down"
    UP = "up"
    BESIDE = "beside"
    """The order has no word for one of the two, or takes them for equal."""
    UNKNOWN = "unknown"
    """The order would tell, if more were known: a date, mostly."""


def side(compiled: CompiledPolicy, facts: Facts, value: Value, of: Value) -> Side:
    """Bytes of one tag are beside each other."""
    if value.tag is None or value.tag == of.tag:
        return Side.BESIDE
    # What may go down by itself is no less down.
    strict = replace(compiled, policy=replace(compiled.policy, allow_downgrade=False))
    there = _move(strict, facts, value, of)
    if there is MoveKind.UP:
        return Side.UP
    if _move(strict, facts, of, value) is MoveKind.UP:
        return Side.DOWN
    return Side.UNKNOWN if there is MoveKind.REFUSED else Side.BESIDE


def _move(compiled: CompiledPolicy, facts: Facts, to: Value, of: Value) -> MoveKind | None:
    """What writing one over the other would be; None = nothing can be written."""
    if to.tag is None:
        return None
    selection = Selection(policy=policy_name(compiled.policy), name=compiled.policy.image, tag=to.tag)
    return may_replace(compiled, selection, of.tag, of.digest, facts).kind


def taken_back(compiled: CompiledPolicy, facts: Facts, value: Value, displaced: Iterable[tuple[Value, Value]]) -> bool:
    """Has somebody replaced it by something that is not newer, without that it came again? `displaced`: see Written."""
    for before, after in displaced:
        if value.is_of(after):
            return False
        if value.is_of(before):
            return side(compiled, facts, before, after) is not Side.DOWN
    return False


async def way_back(
    outcome: Outcome,
    meant: Sequence[Placement],
    known: Mapping[Key, Written],
    *,
    proven: Sequence[Proven],
    situation: Situation,
    now: datetime,
    digests: Callable[[ImagePolicy, Iterable[str]], Awaitable[Mapping[str, str]]],
) -> Value | None:
    """What served before our commit, if that is proven; else the last proven value, the one before, what the policy
    has chosen: of those that lie below all that Git holds at these places. None = nothing is known.
    """
    spec, compiled = outcome.spec, outcome.compiled
    assert compiled is not None
    image = parse_name(spec.image)
    current = {each.value for each in meant}
    newest = sorted((known[each.key] for each in meant), key=lambda each: str(each.at or ""), reverse=True)
    olds = [each.old for each in newest if each.old is not None and each.old.tag]
    ours = {each.old for each in newest if each.author is Author.OURS and each.old is not None and each.old.tag}
    asked: Mapping[str, str] = {}
    careful = outcome.listing is not None and any(each.digest for each in situation.quarantined)
    if careful:
        # What is bad by its bytes is bad under every tag.
        values = (*(Value(each.tag, each.digest) for each in proven), *olds)
        tags = {each.tag for each in values if each.tag and not (each.digest or digest_of(outcome, each.tag))}
        asked = await digests(spec, tags) if tags else {}

    def lies_below(value: Value) -> bool:
        sides = {side(compiled, outcome.facts, value, each) for each in current}
        if Side.UP in sides or (Side.UNKNOWN in sides and not any(value.is_of(each) for each in ours)):
            return False
        return not any(taken_back(compiled, outcome.facts, value, each.displaced) for each in newest)

    def fits(value: Value) -> bool:
        digest = value.digest or digest_of(outcome, value.tag) or asked.get(value.tag or "")
        if digest is None and careful:
            return False
        return (
            not any(value.is_of(each) for each in current)
            and lies_below(value)
            and bars(situation.quarantined, image, value.tag, digest, now) is None
            and not {value.tag, digest} & {*(each.what for each in situation.denied), *spec.deny}
        )

    served = next(iter(ours)) if len(ours) == 1 else None
    if served is not None and fits(served) and is_proven(proven, served):
        # What was proven after it, somebody has taken back.
        return served
    found = good_value(proven, fits) or next((old for old in olds if fits(old)), None)
    chosen = outcome.selection
    if found is None and chosen is not None and fits(Value(chosen.tag, chosen.digest)):
        return Value(chosen.tag, chosen.digest)
    return found


def is_proven(proven: Iterable[Proven], value: Value) -> bool:
    return any(each.withdrawn is None and Value(each.tag, each.digest).is_of(value) for each in proven)


def digest_of(outcome: Outcome, tag: str | None) -> str | None:
    """The bytes of a tag, as the answer knows them."""
    known = outcome.facts.get(tag) if tag is not None else None
    return str(known.digest) if known is not None and known.digest is not None else None
