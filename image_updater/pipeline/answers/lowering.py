"""Never down, but for one thing: what a person has put into quarantine does not stay where it is.

A process that lives on takes such a value back by a planned rollback (`reverting.py`), to the last proven one. A single
run knows of nothing proven: it writes the best tag that is left, through all gates. The members of a group go together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.pipeline.answers.outcome import policy_name
from image_updater.policy import may_replace
from image_updater.policy.gates.quarantines import reason
from image_updater.policy.gating import downgrade
from image_updater.policy.model import MoveKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.policy.contest import Facts
    from image_updater.policy.model import Movement


def movement(
    outcome: Outcome,
    tag: str | None,
    digest: str | None,
    facts: Facts,
    now: datetime | None,
    members: Iterable[Outcome] = (),
) -> Movement:
    """May the selection of an outcome, which has one, be written over this value? `members`: the rest of its group."""
    assert outcome.compiled is not None
    assert outcome.selection is not None
    found = may_replace(outcome.compiled, outcome.selection, tag, digest, facts)
    if found.kind is not MoveKind.REFUSED or now is None:
        return found
    why = _quarantined(outcome, tag, digest, facts, now) or next(
        (
            f"{text} for {policy_name(each.spec)} of its group"
            for each in members
            if (text := _quarantined(each, tag, None, each.facts, now))
        ),
        None,
    )
    if why is None:
        return found
    text = f"{why}; down to {outcome.selection.tag}, the best that is left"
    return replace(found, kind=MoveKind.REPLACE, reason=text)


def _quarantined(outcome: Outcome, tag: str | None, digest: str | None, facts: Facts, now: datetime) -> str | None:
    """Why a person wants this value of the outcome's image away; None: nobody does."""
    if outcome.compiled is None or not outcome.situation.quarantined:
        return None
    known = facts.get(tag) if tag else None
    bytes_ = digest or (known.digest if known is not None else None)
    entry = downgrade(outcome.compiled, outcome.situation, tag, bytes_, now)
    return f"{tag or bytes_} is {reason(entry, tag, now)}" if entry is not None else None
