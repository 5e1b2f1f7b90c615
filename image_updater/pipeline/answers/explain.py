"""`explain`: for every tag of every policy its fate, and why. Nothing is written, and with a tags file nothing is
asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.model import Start
from image_updater.errors import SpecError
from image_updater.images import parse_name
from image_updater.pipeline.answers.grouping import others
from image_updater.pipeline.answers.lowering import movement
from image_updater.pipeline.answers.opening import open_selector
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.report import PolicyReport
from image_updater.policy.gates.windows import opening
from image_updater.policy.model import Chosen, Fate, MoveKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.report import CurrentValue, ExplainRequest
    from image_updater.policy.model import Judgement


async def explain(request: ExplainRequest) -> tuple[PolicyReport, ...]:
    """One report a policy, in the objects' order. Raises SpecErrors when one is invalid."""
    wanted = _wanted(request)
    async with open_selector(
        request.settings,
        secrets=request.secrets,
        environment=request.environment,
        clock=lambda: request.now,
        tags=request.tags,
        progress=request.progress,
    ) as selector:
        selector.check(request.objects, git=False)
        selector.situations.adopt(request.objects)
        # Not `select`: a suspended policy is explained as well.
        outcomes = await selector.refresh(wanted)
    automations = request.objects.automations
    return tuple(
        report(
            outcomes[policy_name(policy)],
            request.current,
            _beside(policy, automations, request.now),
            others(policy, outcomes),
        )
        for policy in wanted
    )


def report(
    outcome: Outcome,
    current: Sequence[CurrentValue] = (),
    notes: Sequence[str] = (),
    members: Sequence[Outcome] = (),
) -> PolicyReport:
    """An outcome as people read it, against the value that a site holds. `notes`: what else a person should know;
    `members`: the others of its group.
    """
    chosen = None
    if outcome.selection is not None:
        chosen = Chosen(tag=outcome.selection.tag, digest=outcome.selection.digest)
    reason, judgement = outcome.reason, outcome.judgement
    value = _value(outcome.spec, current)
    if value is not None and outcome.selection is not None and outcome.compiled is not None:
        move = movement(outcome, value.tag, value.digest, outcome.facts, outcome.judged_at, members)
        reason = f"{reason}; {_added(move.reason, reason)}"
        if move.kind is MoveKind.REFUSED:
            assert judgement is not None
            judgement = Withheld(judgement, outcome.selection.tag, move.reason)
            chosen, reason = None, move.reason
    elif outcome.selection is None and judgement is not None and judgement.chosen is not None:
        # A kept old answer: it may be read, but nothing follows from it.
        judgement = Withheld(judgement, judgement.chosen.tag, outcome.reason)
    return PolicyReport(
        policy=outcome.policy,
        image=outcome.spec.image,
        chosen=chosen,
        reason=reason,
        judgement=judgement,
        error=outcome.error,
        notes=(*outcome.notes, *_notes(outcome.spec), *notes) if judgement is not None else (),
    )


@dataclass(frozen=True, slots=True)
class Withheld:
    """A judgement whose winner is not written after all: it is `held`, with the reason."""

    inner: Judgement
    tag: str
    reason: str

    @property
    def chosen(self) -> None:
        return None

    @property
    def verdicts(self) -> Sequence[Verdict]:
        return tuple(
            Verdict(self.tag, Fate.HELD, self.reason) if verdict.tag == self.tag else verdict
            for verdict in self.inner.verdicts
        )

    def best(self, count: int) -> Sequence[Verdict]:
        return self.verdicts[:count]

    @property
    def needs_facts(self) -> Sequence[str]:
        return self.inner.needs_facts


def _added(reason: str, told: str) -> str:
    """A reason without its first clauses where they were told: why what a site holds is out, before what follows."""
    why, _, follows = reason.rpartition("; ")
    return follows if why and why in told else reason


def _wanted(request: ExplainRequest) -> tuple[ImagePolicy, ...]:
    policies = request.objects.policies
    if request.policy is None:
        return policies
    found = tuple(policy for policy in policies if request.policy in {policy.key.name, str(policy.key)})
    if not found:
        names = ", ".join(sorted(str(policy.key) for policy in policies)) or "none"
        raise SpecError(f"there is no ImagePolicy {request.policy!r}", remedy=f"the objects have: {names}")
    return found


def _value(policy: ImagePolicy, current: Sequence[CurrentValue]) -> CurrentValue | None:
    """What the site of this policy holds: the last value for its image, else the last without an image."""
    image = parse_name(policy.image)
    own = [value for value in current if value.image == image]
    general = [value for value in current if value.image is None]
    found = own or general
    return found[-1] if found else None


def _notes(policy: ImagePolicy) -> tuple[str, ...]:
    return ("the policy is suspended: nothing is written for it",) if policy.suspend else ()


def _beside(policy: ImagePolicy, automations: Iterable[ImageUpdateAutomation], now: datetime) -> tuple[str, ...]:
    """What decides beside the policy: files of the branch, which nobody reads here, and automations that write nothing
    now (theirs is no gate of the policy, and no tag is held by it)."""
    takers = [
        each
        for each in automations
        if each.key.namespace == policy.key.namespace and each.policy_selector.matches(policy.meta.labels)
    ]
    found = []
    if policy.after is not None and policy.after.proven_file is not None:
        found.append(f"`explain` reads no branch: what {policy.after.proven_file} says of it, `update` knows")
    if policy.start is Start.PROVEN:
        files = sorted({each.proven_file for each in takers if each.proven_file is not None})
        found += [
            f"start: proven counts as well: `explain` reads no branch, `update` knows what {file} says"
            for file in files
        ]
        if not files:
            found.append(
                "start: proven has nothing to begin with: no ImageUpdateAutomation that takes it has a provenFile"
            )
    for each in takers:
        window = opening(each.windows, now)
        if each.suspend:
            found.append(f"ImageUpdateAutomation {each.key} is suspended: it writes nothing")
        elif not window.open:
            found.append(f"ImageUpdateAutomation {each.key} writes nothing now: {window.reason}")
    return tuple(found)
