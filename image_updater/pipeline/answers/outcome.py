"""The answer for one policy, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.errors import Transient
from image_updater.policy.model import Fate, Verdict
from image_updater.policy.situation import Situation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.answers.listing import Listing
    from image_updater.policy import CompiledPolicy, Judged
    from image_updater.policy.gating import Gated, Takes
    from image_updater.policy.model import Chosen, Judgement, Selection, TagFacts

ANNOTATION = "annotation:"


def policy_name(policy: ImagePolicy) -> str:
    """`namespace/name`, or for an implicit policy `annotation:<image>:<text>`, in a cluster with its automation: the
    pull secrets may differ.
    """
    if not policy.key.name.startswith(ANNOTATION):
        return str(policy.key)
    return policy.key.name if policy.found_by is None else f"{policy.key.name} ({policy.found_by})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known for one policy.

    `selection` is set only where an edit may follow. `error`: no answer now; `judgement` is then the one kept from
    before. `scanned_at` is when the list was made.

    `base` is the judgement of the tags alone, `gated` what the gates left of it in `situation` (None: no gate has a
    say); `judgement` is what people read. Waiting alone changes the answer at `until`.
    """

    policy: str
    spec: ImagePolicy
    reason: str
    compiled: CompiledPolicy | None = None
    judgement: Judgement | None = None
    selection: Selection | None = None
    facts: Mapping[str, TagFacts] = field(default_factory=dict, repr=False)
    error: ImageUpdaterError | None = None
    listing: Listing | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    base: Judged | None = field(default=None, repr=False)
    gated: Gated | None = field(default=None, repr=False)
    until: datetime | None = None
    judged_at: datetime | None = None
    situation: Situation = field(default_factory=Situation, repr=False)
    taken: Takes | None = field(default=None, repr=False)
    """For `group`: the tags that this policy would take, whatever the others say."""

    @property
    def held(self) -> bool:
        """A gate holds back what would be chosen."""
        return self.error is None and self.gated is not None and self.gated.held

    @property
    def scanned_at(self) -> datetime | None:
        return self.listing.scanned_at if self.listing is not None else None


def overtaken(outcome: Outcome, selection: Selection) -> str | None:
    """Why what an earlier answer chose must not be written by this one: it is held or out now. None = it may; something
    better that came meanwhile, or a registry that does not answer, takes nothing back.
    """
    if outcome.error is not None or outcome.gated is None:
        return None
    bad = any(blocked.tag == selection.tag for blocked in outcome.gated.because)
    return outcome.reason if bad or outcome.selection is None else None


def faulty(policy: ImagePolicy, fault: Exception) -> Outcome:
    """No answer, because of a fault of ours, which the log has."""
    error = Transient(f"unexpected fault: {type(fault).__name__}", remedy="see the log, and report it")
    return Outcome(policy=policy_name(policy), spec=policy, reason=str(error), error=error)


@dataclass(frozen=True, slots=True)
class Amended:
    """A judgement in which some tags were denied after all, each with its reason."""

    inner: Judgement
    denied: Mapping[str, str]

    @property
    def chosen(self) -> Chosen | None:
        return self.inner.chosen

    @property
    def reason(self) -> str:
        if self.inner.chosen is None and self.denied:
            tag, reason = next(iter(self.denied.items()))
            more = f" (and {len(self.denied) - 1} more)" if len(self.denied) > 1 else ""
            return f"{self.inner.reason}; {tag}: {reason}{more}"
        return self.inner.reason

    @property
    def verdicts(self) -> Sequence[Verdict]:
        return (*self.inner.verdicts, *(Verdict(tag, Fate.REJECTED, reason) for tag, reason in self.denied.items()))

    def best(self, count: int) -> Sequence[Verdict]:
        found = tuple(self.inner.best(count))
        return found if len(found) == count else self.verdicts[:count]

    @property
    def needs_facts(self) -> Sequence[str]:
        return self.inner.needs_facts
