"""The commit message: a subject, one line a change, and the trailers that every later writer reads.

A template may replace the text above the trailers; the trailers are always ours, because they are the record: who
set which site, from what, by which policy, on which proof (design section 7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.moments import exact_rfc3339
from image_updater.images.names import split
from image_updater.pipeline.rollback.decision import QUARANTINE, QUARANTINE_REASON, ROLLBACK, ROLLBACK_ASKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from image_updater.patch.decisions import Choice, Decision
    from image_updater.patch.model import Edit
    from image_updater.pipeline.rollback.decision import RollbackPlan

MAX_LISTED = 200
"""Changes that the text lists; a storm of thousands ends in a count. Trailers are never cut."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What drives a terminal (C0, C1) or turns text around (bidirectional controls); line breaks and tabs may stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One policy's move in this commit: what images went from what to what."""

    policy: str
    image: str
    old: tuple[str, ...]
    new: str
    digest: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A commit message in its two halves."""

    text: str
    trailers: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        trailers = "\n".join(f"{key}: {_line(value)}" for key, value in self.trailers)
        return f"{self.text.strip()}\n\n{trailers}\n"

    @property
    def subject(self) -> str:
        return self.text.strip().partition("\n")[0]


def moves(decisions: Sequence[Decision], choices: Mapping[str, Choice]) -> tuple[Moved, ...]:
    """The policies that moved, in order of their keys, with all old values they displaced."""
    old: dict[str, dict[str, None]] = {}
    for decision in decisions:
        if not decision.changes or decision.policy is None:
            continue
        olds = old.setdefault(decision.policy, {})
        roots = set(decision.roots)
        uses = [use for use in decision.site.uses if use.root in roots] or list(decision.site.uses)
        for value in [use.value for use in uses] or [decision.site.image]:
            _, tag, digest = split(value)
            olds.setdefault(tag or digest or value)
    result = []
    for policy in sorted(old):
        choice = choices.get(policy)
        if choice is None or choice.selection is None:
            continue
        selection = choice.selection
        result.append(
            Moved(
                policy=policy,
                image=selection.name,
                old=tuple(old[policy]),
                new=selection.tag,
                digest=selection.digest,
                reason=choice.reason,
            )
        )
    return tuple(result)


def compose(
    *,
    moved: Sequence[Moved],
    edits: Sequence[Edit],
    revision: str | None,
    automation: str,
    proof: str,
    text: str | None = None,
    rollback: RollbackPlan | None = None,
) -> Message:
    """The message of one automation's commit; `text` (a rendered template) replaces subject and list."""
    if text is None:
        subject = _subject(moved) if rollback is None else _taken_back(moved, rollback)
        text = subject + "\n\n" + "\n".join(_listed(edits))
    trailers: list[tuple[str, str]] = []
    for move in moved:
        trailers += [("Image-Policy", move.policy), ("Image", move.image)]
        trailers += [("Old", old) for old in move.old]
        trailers.append(("New", move.new))
        if move.digest:
            trailers.append(("Digest", move.digest))
    if revision:
        trailers.append(("Source-Revision", revision))
    trailers += [("Automation", automation), ("Proof", proof)]
    if rollback is not None:
        trailers += _record(rollback)
    return Message(text=_CONTROL.sub(" ", text), trailers=tuple(trailers))


def _subject(moved: Sequence[Moved]) -> str:
    if len(moved) == 1:
        return f"Update {moved[0].image} to {moved[0].new}"
    images = sorted({move.image for move in moved})
    if len(images) == 1:
        return f"Update {images[0]} to {', '.join(sorted({move.new for move in moved}))}"
    return f"Update {len(images)} images"


def _taken_back(moved: Sequence[Moved], rollback: RollbackPlan) -> str:
    place = f" in {rollback.place}" if rollback.place else ""
    if len(moved) == 1:
        old = ", ".join(moved[0].old)
        return f"Roll back {moved[0].image} from {old} to {moved[0].new}{place}"
    return f"Roll back {len(moved)} images{place}"


def _record(rollback: RollbackPlan) -> list[tuple[str, str]]:
    """What binds every writer that reads the branch (design section 9)."""
    trailers = [(ROLLBACK, rollback.reason)]
    if rollback.asked is not None:
        trailers.append((ROLLBACK_ASKED, exact_rfc3339(rollback.asked)))
    for each in rollback.quarantines:
        trailers += [(QUARANTINE, str(each)), (QUARANTINE_REASON, each.reason or rollback.reason)]
    return trailers


def _listed(edits: Sequence[Edit]) -> list[str]:
    lines = []
    for edit in edits[:MAX_LISTED]:
        change = (
            f"{edit.old} -> {edit.new}" if edit.old is not None and edit.new is not None else (edit.new or "removed")
        )
        lines.append(_line(f"{edit.file}:{edit.line} {edit.field}: {change} ({edit.policy})"))
    if len(edits) > MAX_LISTED:
        lines.append(f"and {len(edits) - MAX_LISTED} more")
    return lines


def _line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())
