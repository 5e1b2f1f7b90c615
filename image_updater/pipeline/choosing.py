"""Between the claims of an automation and its plan: which policies it needs, and what each of them says for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.api.model import NewestPolicy, Start
from image_updater.errors import DocumentError
from image_updater.images.names import split
from image_updater.patch.decisions import Choice
from image_updater.pipeline import provenfile
from image_updater.pipeline.answers.grouping import others
from image_updater.pipeline.answers.lowering import movement
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.policy import TagFacts, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation
    from image_updater.kustomize.model import Provenance, Tree
    from image_updater.patch.claims import Claims
    from image_updater.patch.scope import Scope
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.policy.model import Movement, Selection
    from image_updater.policy.situation import Proven

Written = Callable[[str, str], "datetime | None"]
"""File and tag → since when the file holds it, by Git's history."""


def read_proven(
    situations: Situations, automation: ImageUpdateAutomation, tree: Tree, policies: Iterable[ImagePolicy]
) -> None:
    """What files of the planned tree say was proven: for `after` by others, for `start: proven` by ourselves before.

    There, a file that is not there yet says that nothing was.
    """
    branch = str(automation.key)
    files: dict[str, Mapping[str, tuple[Proven, ...]] | str] = {}

    def proven(file: str, policy: str) -> tuple[tuple[Proven, ...] | None, str]:
        """What one policy has proven by a file, and where that stands; None: why it cannot be known."""
        known = files.get(file)
        if known is None:
            known = files[file] = _read(tree, file)
        return (None, known) if isinstance(known, str) else (known.get(policy, ()), f"{policy} in {file}")

    for policy in policies:
        name = policy_name(policy)
        if policy.after is not None and policy.after.proven_file is not None:
            found, source = proven(policy.after.proven_file, f"{policy.key.namespace}/{policy.after.name}")
            situations.proven_file(branch, name, found, source)
        if policy.start is Start.PROVEN and automation.proven_file is not None:
            there = automation.proven_file in tree.files()
            found, source = proven(automation.proven_file, name) if there else ((), "")
            situations.started(name, found or (), "" if found is not None else source)


def _read(tree: Tree, file: str) -> Mapping[str, tuple[Proven, ...]] | str:
    """What a file says is proven, by policy; or why that cannot be known."""
    if file not in tree.files():
        return f"{file} is not in the branch"
    try:
        return provenfile.read(tree.read(file), file)
    except DocumentError as error:
        return str(error)


def current_tags(claims: Claims) -> dict[str, frozenset[str]]:
    """By policy the tags that Git holds now: a list that lacks one of them is asked again once."""
    tags: dict[str, set[str]] = {}
    for claimed in claims.sites:
        for use, claim in zip(claimed.site.uses, claimed.uses, strict=False):
            if claim.policy is not None:
                tag = split(use.value)[1]
                if tag is not None:
                    tags.setdefault(claim.policy, set()).add(tag)
    return {key: frozenset(found) for key, found in tags.items()}


def needed_policies(claims: Claims, scope: Scope, provenance: Provenance) -> set[str]:
    """The policies that could change something in scope; nobody needs to ask the registry for the others."""
    needed: set[str] = set()
    for claimed in claims.sites:
        needed.update(marker.policy for marker in claimed.markers if marker.policy is not None)
        for use, claim in zip(claimed.site.uses, claimed.uses, strict=False):
            file = claimed.site.file
            if claim.policy is not None and (scope.covers(provenance.roots[use.root], file) or scope.holds(file)):
                needed.add(claim.policy)
    return needed


def dated(outcome: Outcome | None, key: str, claims: Claims, written: Written | None) -> Mapping[str, TagFacts]:
    """For `newest`: the tags that Git holds and the registry does not list, dated by the commits that wrote them."""
    if outcome is None or written is None or outcome.selection is None or outcome.judgement is None:
        return {}
    if not isinstance(outcome.spec.strategy, NewestPolicy):
        return {}
    found: dict[str, TagFacts] = {}
    listed: set[str] | None = None
    for claimed in claims.sites:
        for use, claim in zip(claimed.site.uses, claimed.uses, strict=False):
            tag = split(use.value)[1]
            if claim.policy != key or tag is None or tag in found or tag in outcome.facts:
                continue
            if listed is None:
                listed = {verdict.tag for verdict in outcome.judgement.verdicts}
            date = None if tag in listed else written(claimed.site.file, tag)
            if date is not None:
                found[tag] = TagFacts(created=date, pushed=date, first_seen=date, created_known=True)
    return found


def choice_of(
    policy: ImagePolicy, outcomes: Mapping[str, Outcome], dates: Mapping[str, TagFacts], *, once: bool = False
) -> Choice:
    """What a policy says now, for a plan. `dates`: of tags that only Git knows. `once`: nobody comes after this run who
    would take back what a person has put into quarantine."""
    outcome = outcomes.get(policy_name(policy))
    if outcome is None:
        return Choice(policy=policy, selection=None, reason="nothing in scope needs it", move=_never)
    facts = {**outcome.facts, **dates} if dates else outcome.facts
    if outcome.selection is None or outcome.compiled is None:
        return Choice(policy=policy, selection=None, reason=outcome.reason, move=_never, stopped=_stopped(outcome))
    selection, now = outcome.selection, outcome.judged_at if once else None
    members = others(policy, outcomes)

    def move(tag: str | None, digest: str | None) -> Movement:
        return movement(outcome, tag, digest, facts, now, members)

    return Choice(policy=policy, selection=selection, reason=outcome.reason, move=move)


def _stopped(outcome: Outcome) -> Selection | None:
    """What would be written, were the policy itself not stopped."""
    gated = outcome.gated
    if gated is None or gated.stopped is None or outcome.compiled is None or outcome.error is not None:
        return None
    return select(outcome.compiled, replace(gated, chosen=gated.stopped), outcome.facts)


def _never(tag: str | None, digest: str | None) -> Movement:
    raise AssertionError(f"no selection to judge {tag}@{digest} against")
