"""The line, for one automation on one tree: locate → claim → choose → plan → edit → prove. It writes nothing.

What comes back says everything that a caller needs to write, commit, report, or do it again on another tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from image_updater.api.model import LabelSelector, Meta, ObjectKey, ProofLevel
from image_updater.api.moments import format_rfc3339
from image_updater.api.wishes import wishes_of
from image_updater.documents import decode
from image_updater.errors import DocumentError, ImageUpdaterError, Refused
from image_updater.kustomize import locate
from image_updater.patch import splice, verify_parse, write
from image_updater.patch.aliases import check_aliases
from image_updater.patch.claims import Claims, resolve, with_unseen_uses
from image_updater.patch.decisions import Choice, Decision, Plan, State
from image_updater.patch.overlay import OverlayTree
from image_updater.patch.plan import plan
from image_updater.patch.scope import Scope
from image_updater.pipeline.answers.outcome import ANNOTATION, policy_name
from image_updater.pipeline.choosing import Written as Written
from image_updater.pipeline.choosing import choice_of, current_tags, dated, needed_policies, read_proven
from image_updater.pipeline.keeping import Kept
from image_updater.pipeline.people.contested import contested
from image_updater.pipeline.people.holds import Held
from image_updater.pipeline.people.holds import find as find_holds
from image_updater.pipeline.people.memory import Memory
from image_updater.pipeline.people.pins import Rendering
from image_updater.pipeline.prove import Proof, prove
from image_updater.pipeline.rollback.decision import all_or_nothing
from image_updater.pipeline.rollback.evidence import answered
from image_updater.pipeline.rollback.placements import placed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, Objects
    from image_updater.api.wishes import Wishes
    from image_updater.kustomize import FactCache, NamedRoot
    from image_updater.kustomize.model import Problem, Provenance, Tree
    from image_updater.patch.model import Edit
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.keeping import Busy
    from image_updater.pipeline.people.past import Past
    from image_updater.pipeline.report import PullResolver
    from image_updater.pipeline.rollback.decision import RollbackPlan
    from image_updater.policy.situation import Hold
    from image_updater.render import Renderer

MAX_ROUNDS = 50
"""Plans of one automation on one tree: each refusal takes one round, so a run always ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What all automations of a run share."""

    selector: Selector
    renderer: Renderer
    cache: FactCache | None = None
    once: bool = False
    """The process ends after this run: a kept answer is taken as it is, and the one made now is kept for the next."""
    named: Sequence[NamedRoot] = ()
    pulls: PullResolver | None = None
    busy: Busy | None = None
    """Why a site should not be moved right now: something is being rolled out there."""
    situations: Situations | None = None
    """Told what each branch records, before anything is selected for it; knows when somebody said resume."""
    memory: Memory = field(default_factory=Memory)
    """What was read of the branches' history."""
    anywhere: bool = False
    """There is no automation: one over the whole repository stands in, and policies of every namespace count."""
    focus: str = "."
    """Only what stands in this folder is edited, only roots in it are covered (a path inside a checkout was named)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One automation on one tree. `files` is what changes, path → new bytes; empty = up to date."""

    automation: ImageUpdateAutomation
    tree: Tree
    provenance: Provenance
    claims: Claims
    choices: Mapping[str, Choice]
    plan: Plan
    edits: tuple[Edit, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    proof: Proof = field(default_factory=Proof)
    problems: tuple[Problem, ...] = ()
    failures: tuple[tuple[str, ImageUpdaterError], ...] = ()
    holds: Mapping[str, tuple[Hold, ...]] = field(default_factory=dict)
    """By policy, as claims name it: why sites of it are held although it has something newer for them."""
    missing: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By policy: a tag that is not written as it cannot be pulled, and what is missing."""
    recorded: tuple[Problem, ...] = ()
    """Trailers of the branch's commits that cannot be read."""
    notes: tuple[str, ...] = ()
    """What nobody can know here, for the report."""
    until: datetime | None = None
    """From when on something that is held here may move without any news."""


def selected(automation: ImageUpdateAutomation, objects: Objects, *, anywhere: bool) -> tuple[ImagePolicy, ...]:
    """The policies of an automation: those of its namespace that its selector matches."""
    return tuple(
        policy
        for policy in objects.policies
        if (anywhere or policy.key.namespace == automation.key.namespace)
        and automation.policy_selector.matches(policy.meta.labels)
    )


def default_automation(objects: Objects) -> ImageUpdateAutomation:
    """The one that stands in where none is given: the whole repository, default settings."""
    from image_updater.api.model import ImageUpdateAutomation

    namespaces = {policy.key.namespace for policy in objects.policies}
    namespace = namespaces.pop() if len(namespaces) == 1 else "default"
    return ImageUpdateAutomation(
        meta=Meta(key=ObjectKey(namespace, "image-updater")), source_ref=None, policy_selector=LabelSelector()
    )


async def run(
    line: Line,
    automation: ImageUpdateAutomation,
    objects: Objects,
    tree: Tree,
    *,
    locked: Mapping[str, str] | None = None,
    settled: Mapping[str, str] | None = None,
    written: Written | None = None,
    past: Past | None = None,
    rollback: RollbackPlan | None = None,
) -> Run:
    """The line for `automation` on `tree`.

    With `rollback` nobody is asked: what it names goes back, and nothing else moves.

    `written` dates a tag that no registry lists any more by the commit that wrote it. `past` is what came before the
    tree: what its branch records, what people took back, and what another policy has just displaced.
    `settled`: sites that another automation of this run moves, with the reason why they are not moved again. Raises
    only what makes the whole automation impossible; everything else is in the answer.
    """
    policies = selected(automation, objects, anywhere=line.anywhere)
    provenance = locate(tree, named=line.named, cache=line.cache, reuse=line.once)
    visible = with_unseen_uses(provenance)
    claims = resolve(
        visible,
        namespace=automation.key.namespace,
        policies=policies,
        known=[str(policy.key) for policy in objects.policies],
        strategy=automation.update.strategy,
        anywhere=line.anywhere,
    )
    if line.pulls is not None:
        implicit = {key: policy for key, policy in claims.policies.items() if key.startswith(ANNOTATION)}
        if implicit:
            claims = replace(claims, policies={**claims.policies, **await line.pulls(automation, implicit)})
    scope = Scope.of(automation.update, focus=line.focus)
    needed = needed_policies(claims, scope, provenance)
    wanted = [policy for key, policy in claims.policies.items() if key in needed]
    held = current_tags(claims)
    asked = {policy_name(claims.policies[key]): tags for key, tags in held.items() if key in needed}

    async def choose() -> tuple[Mapping[str, Choice], tuple[tuple[str, ImageUpdaterError], ...]]:
        if rollback is not None:
            return rollback.choices(claims.policies), ()
        if past is not None:
            await tell(line, automation, past)
            _tell_resumes(line, claims, past)
        read_proven(line.selector.situations, automation, tree, wanted)
        outcomes = await line.selector.select(wanted, current=asked)
        choices = {
            key: choice_of(
                policy, outcomes, dated(outcomes.get(policy_name(policy)), key, claims, written), once=line.once
            )
            for key, policy in claims.policies.items()
        }
        return choices, tuple((key, outcome.error) for key, outcome in outcomes.items() if outcome.error is not None)

    def ended(
        decided: Plan,
        *,
        edits: tuple[Edit, ...] = (),
        files: Mapping[str, bytes] | None = None,
        proof: Proof | None = None,
    ) -> Run:
        return Run(
            automation=automation,
            tree=tree,
            provenance=provenance,
            claims=claims,
            choices=choices,
            plan=decided,
            edits=edits,
            files=files or {},
            proof=proof or Proof(),
            problems=provenance.problems,
            recorded=past.record().problems if past is not None else (),
            failures=(*failures, *kept.failures.items()),
            holds=people.by_policy(),
            notes=(*people.notes, *asked_in_vain),
            missing=kept.missing,
            until=kept.until,
        )

    choices, failures = await choose()
    asked_in_vain = await asyncio.to_thread(_asked_in_vain, line, wanted, past) if line.once else ()
    people = Held()
    rendering = Rendering(
        roots=provenance.roots,
        locate=lambda old: with_unseen_uses(locate(old, named=line.named, cache=line.cache, reuse=line.once)),
    )
    kept = Kept(
        selector=line.selector,
        automation=automation,
        busy=line.busy,
        placed=lambda: placed(automation, provenance, claims),
    )
    refusals: dict[str, str] = dict(settled or {})
    wide = False
    for _ in range(MAX_ROUNDS):
        planned = plan(
            visible,
            claims,
            choices,
            scope=scope,
            patches=automation.update.patches,
            follow_refs=automation.update.follow_refs,
            refused=refusals,
            locked=locked,
            only=rollback.only(wide=wide) if rollback is not None else None,
            held={**people.sites, **kept.sites},
        )
        if rollback is not None and any(each.state is State.REFUSED for each in planned.decisions):
            if not wide:
                wide, refusals = True, dict(settled or {})
                continue
            planned = all_or_nothing(planned)
        if not planned.changes:
            return ended(planned)
        if rollback is None and kept.learn(planned.decisions, choices):
            continue
        if past is not None and rollback is None:
            if await past.ready():
                # More of the branch was read for the first move, and it records something that was not known.
                choices, failures = await choose()
                continue
            if people.learn(await find_holds(planned.decisions, choices, tree, past, _resumed(line), rendering)):
                continue
            found = contested(planned.decisions, choices, past)
            if found.keys() - refusals.keys():
                refusals |= found
                continue
        edits, files, found = edit(tree, planned)
        if found:
            refusals |= found
            continue
        pulled = asyncio.create_task(kept.pulled(planned.decisions, choices if rollback is None else {}))
        try:
            await asyncio.sleep(0)  # its requests are on their way while the proof is made
            after = OverlayTree(tree, files)
            proof = await prove(
                before=tree,
                after=after,
                old=provenance,
                new=locate(after, named=line.named, cache=line.cache, reuse=False),
                edits=edits,
                intended=planned.intended,
                renderer=line.renderer,
                rendered_only=automation.update.proof is ProofLevel.RENDERED,
            )
            missing = await pulled
        finally:
            pulled.cancel()
        if not proof.refused and not missing:
            decided = replace(planned, decisions=with_proof(planned.decisions, proof))
            return ended(decided, edits=edits, files=files, proof=proof)
        refusals |= proof.refused
    raise Refused(
        f"{automation.key}: no plan could be proved in {MAX_ROUNDS} rounds",
        remedy="look at the refused sites' reasons with `image-updater update --dry-run`",
    )


async def tell(line: Line, automation: ImageUpdateAutomation, past: Past) -> None:
    """What the branch records binds whoever writes there."""
    record = await asyncio.to_thread(past.record)
    if line.situations is not None:
        line.situations.recorded(
            str(automation.key),
            record.quarantined,
            namespace=automation.key.namespace,
            released=record.released,
        )


def _asked_in_vain(line: Line, policies: Sequence[ImagePolicy], past: Past | None) -> tuple[str, ...]:
    """A single run takes nothing back that somebody asks for: it says so."""
    said = []
    for policy in policies:
        wish = _wishes(line, policy).rollback
        if wish is None or (past is not None and answered(past, wish.at) is not None):
            continue
        to = f" to {wish.to}" if wish.to is not None else ""
        said.append(
            f"{policy_name(policy)}: {wish.by or 'somebody'} asked for a rollback{to} at {format_rfc3339(wish.at)}:"
            " `run`, or the controller, does it; a single `update` takes nothing back"
        )
    return tuple(said)


def _tell_resumes(line: Line, claims: Claims, past: Past) -> None:
    """A policy of an annotation has no object: what commits say is all that can be said to it."""
    files: dict[str, set[str]] = {}
    for each in claims.sites:
        for claim in each.uses:
            if claim.policy is not None and claim.policy.startswith(ANNOTATION):
                files.setdefault(claim.policy, set()).add(each.site.file)
    if line.situations is None or not files:
        return
    resumes = [each for each in past.record().directives if not each.holds]
    for key, mine in files.items():
        last = next((each for each in resumes if any(map(each.covers, mine))), None)
        name = policy_name(claims.policies[key])
        line.situations.resumed(name, last.when if last is not None else None, last.author if last is not None else "")


def _resumed(line: Line) -> Callable[[ImagePolicy], datetime | None]:
    """When somebody last said that a policy may go on."""
    return lambda policy: _wishes(line, policy).resumed


def _wishes(line: Line, policy: ImagePolicy) -> Wishes:
    return line.situations.wishes(policy) if line.situations is not None else wishes_of(policy.meta)


def edit(tree: Tree, planned: Plan) -> tuple[tuple[Edit, ...], dict[str, bytes], dict[str, str]]:
    """The plan as edits and new files, each verified by a parse; or the sites that cannot be written, with the
    reason.
    """
    by_file: dict[str, list[int]] = {}
    changes = planned.changes
    for index, change in enumerate(changes):
        by_file.setdefault(change.file, []).append(index)
    edits: list[Edit] = []
    files: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for file, indexes in by_file.items():
        wanted = [changes[index] for index in indexes]
        try:
            text = decode(tree.read(file), file=file)
            check_aliases(text, wanted)
            written = write({file: text}, wanted)
            new = splice(text, written)
            verify_parse(text, new, written, file)
        except (Refused, DocumentError) as exc:
            if len(wanted) > 1:
                refused |= _guilty(tree, file, wanted) or {change.site: str(exc.message) for change in wanted}
            else:
                refused[wanted[0].site] = exc.message
            continue
        if new != text:
            edits += written
            files[file] = new.encode()
    return tuple(edits), files, refused


def _guilty(tree: Tree, file: str, changes: Sequence[object]) -> dict[str, str]:
    """Which of several changes to a file cannot be written by themselves."""
    from image_updater.patch.model import Change

    refused: dict[str, str] = {}
    by_site: dict[str, list[Change]] = {}
    for change in changes:
        assert isinstance(change, Change)
        by_site.setdefault(change.site, []).append(change)
    for site, own in by_site.items():
        try:
            text = decode(tree.read(file), file=file)
            check_aliases(text, own)
            written = write({file: text}, own)
            verify_parse(text, splice(text, written), written, file)
        except (Refused, DocumentError) as exc:
            refused[site] = exc.message
    return refused


def moved_sites(result: Run) -> dict[str, str]:
    """The sites that this run moves, for `settled` of the next automation."""
    reason = f"automation {result.automation.key} moves it already; let only one of them claim it"
    return dict.fromkeys((edit.site for edit in result.edits), reason)


def with_proof(decisions: Sequence[Decision], proof: Proof) -> tuple[Decision, ...]:
    """Decisions that move something also say how far their roots were proved."""
    levels = {each.root: each for each in proof.roots}

    def said(decision: Decision) -> Decision:
        if decision.state is not State.UPDATED:
            return decision
        found = dict.fromkeys(levels[root].brief for root in decision.roots if root in levels)
        text = "; ".join(found) or "parsed (no root renders it)"
        return replace(decision, reason=f"{decision.reason}; proof: {text}" if decision.reason else f"proof: {text}")

    return tuple(said(decision) for decision in decisions)


def relabel(decisions: Sequence[Decision], state: State, reason: str) -> tuple[Decision, ...]:
    """Decisions that were to be `updated`, in another state: what happened after the proof (a push that was
    refused).
    """
    return tuple(
        replace(decision, state=state, reason=reason) if decision.state is State.UPDATED else decision
        for decision in decisions
    )
