"""Never down, but for one thing: what a person has put into quarantine does not stay where it is.

A process that lives on takes such a value back by a planned rollback (`reverting.py`), to the last proven one. A single
run knows of nothing proven: it writes the best tag that is left, through all gates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.policy import may_replace
from image_updater.policy.gates.quarantines import reason
from image_updater.policy.gating import downgrade
from image_updater.policy.model import MoveKind

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.policy.contest import Facts
    from image_updater.policy.model import Movement


def movement(outcome: Outcome, tag: str | None, digest: str | None, facts: Facts, now: datetime | None) -> Movement:
    """May the selection of an outcome, which has one, be written over this value?"""
    assert outcome.compiled is not None
    assert outcome.selection is not None
    found = may_replace(outcome.compiled, outcome.selection, tag, digest, facts)
    if found.kind is not MoveKind.REFUSED or now is None or not outcome.situation.quarantined:
        return found
    known = facts.get(tag) if tag else None
    bytes_ = digest or (known.digest if known is not None else None)
    entry = downgrade(outcome.compiled, outcome.situation, tag, bytes_, now)
    if entry is None:
        return found
    return replace(
        found,
        kind=MoveKind.REPLACE,
        reason=f"{tag or bytes_} is {reason(entry, tag, now)}; down to {outcome.selection.tag}, the best that is left",
    )
