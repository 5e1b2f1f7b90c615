"""Sites × claims × selections → the changes that make Git hold what the policies chose. Pure.

Every use of every site gets a decision with a reason. A site is edited in place only when everything that renders
it is meant; otherwise the base stays and an `images:` entry goes into the kustomization of each covered root
(`inserting.py`). Never-down is judged here, for each use, against what that use holds in Git.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from image_updater.images.names import split
from image_updater.kustomize.model import Part, SiteKind
from image_updater.patch.decisions import Choice, Decision, Plan, State, merge_rows
from image_updater.patch.following import follow
from image_updater.patch.inserting import Inserter
from image_updater.patch.model import Change, EditKind, Intended
from image_updater.patch.moves import Move
from image_updater.patch.parts import (
    assignment,
    composed,
    digest_beside,
    keeps,
    marked_site,
    marker_current,
    marker_value,
    rendered,
    set_parts,
    variable,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.kustomize.model import Provenance, ScalarRef, Site, Use
    from image_updater.patch.claims import Claim, Claims, MarkerClaim, Rank, SiteClaims
    from image_updater.patch.scope import Scope

Only = Callable[["Use", "str | None"], bool]
"""May this use, which that policy claims, move?"""

NOT_MEANT: Final = "this plan is not about it"


def plan(
    provenance: Provenance,
    claims: Claims,
    choices: Mapping[str, Choice],
    *,
    scope: Scope,
    patches: bool = False,
    follow_refs: bool = True,
    refused: Mapping[str, str] | None = None,
    locked: Mapping[str, str] | None = None,
    only: Only | None = None,
    held: Mapping[tuple[str, str], str] | None = None,
) -> Plan:
    """The plan of one automation.

    `refused`: site ids (or `id@root` of one root's insert) that a proof refused, with the reason. `locked`: files
    that may not be written (uncommitted changes of a person), with the reason. `only`: what may move at all (a
    rollback means some uses of a policy's sites); the rest stays as it is. `held`: what a person took back, by site id
    (or `id@root`) and policy, with the reason: it stays as it is, and nothing is inserted in its place.
    """
    return _Planner(
        provenance, claims, choices, scope, patches, follow_refs, refused or {}, locked or {}, only, held or {}
    ).run()


class _Planner:
    def __init__(
        self,
        provenance: Provenance,
        claims: Claims,
        choices: Mapping[str, Choice],
        scope: Scope,
        patches: bool,
        follow_refs: bool,
        refused: Mapping[str, str],
        locked: Mapping[str, str],
        only: Only | None,
        held: Mapping[tuple[str, str], str],
    ) -> None:
        self.provenance = provenance
        self.claims = claims
        self.choices = choices
        self.scope = scope
        self.patches = patches
        self.follow_refs = follow_refs
        self.refused = refused
        self.locked = locked
        self.only = only
        self.held = held
        self.decisions: list[Decision] = []
        self.intended: dict[str, list[Intended]] = defaultdict(list)
        self.moves: dict[str, dict[int, Move]] = {}
        self.sites = {site.id: site for site in provenance.sites}
        self.inserter = Inserter(provenance, scope, self.moves, refused=refused, locked=locked)
        self.sharers: dict[tuple[str, int], list[str]] = defaultdict(list)
        for site in provenance.sites:
            for scalar in written(site):
                self.sharers[scalar.file, scalar.start].append(site.id)

    def run(self) -> Plan:
        held: list[tuple[SiteClaims, dict[int, Decision]]] = []
        for claimed in self.claims.sites:
            if claimed.markers:
                self.moves[claimed.site.id] = {}
                held.append((claimed, {}))
            else:
                held.append((claimed, self.judge(claimed)))
        for claimed, settled in held:
            if claimed.site.kind is SiteKind.REF:
                continue
            if claimed.markers:
                self.decide_markers(claimed)
            elif not claimed.site.uses:
                self.decisions.append(
                    Decision(
                        site=claimed.site,
                        state=State.UNMANAGED,
                        roots=claimed.site.roots,
                        reason="no root renders an image from it",
                    )
                )
            else:
                self.decide(claimed, settled)
        refs = [claimed.site for claimed, _ in held if claimed.site.kind is SiteKind.REF]
        self.decisions += follow(refs, self.decisions, self.scope, enabled=self.follow_refs, held=self.held)
        return Plan(
            decisions=tuple(self.decisions), intended={root: tuple(items) for root, items in self.intended.items()}
        )

    # ------------------------------------------------------------------ which uses move

    def judge(self, claimed: SiteClaims) -> dict[int, Decision]:
        """Decides the uses that do not move; the others are left in `self.moves`."""
        site = claimed.site
        moves: dict[int, Move] = {}
        settled: dict[int, Decision] = {}
        self.moves[site.id] = moves
        manual = site.kind is SiteKind.PATCH and not self.patches
        contested = {} if manual else self.contested(claimed)
        for index, (use, claim) in enumerate(zip(site.uses, claimed.uses, strict=True)):
            if index in contested:
                decision: Decision | None = Decision(site=site, state=State.CONFLICT, reason=contested[index])
            else:
                decision = self.judge_use(site, index, use, claim, moves)
            if decision is not None:
                settled[index] = replace(decision, roots=(use.root,))
        return settled

    def contested(self, claimed: SiteClaims) -> dict[int, str]:
        """Uses of one root, claimed at one rank by policies that want this one site to hold different tags."""
        by_rank: dict[tuple[str, Rank], dict[str, list[int]]] = defaultdict(dict)
        for index, (use, claim) in enumerate(zip(claimed.site.uses, claimed.uses, strict=True)):
            if claim.policy is not None and self.covered(claimed.site, use):
                by_rank[use.root, claim.rank].setdefault(claim.policy, []).append(index)
        found: dict[int, str] = {}
        for claims in by_rank.values():
            wanted = {
                f"{policy} wants {chosen.tag}": (chosen.tag, chosen.digest)
                for policy in claims
                if (chosen := self.choices[policy].selection) is not None
            }
            if len(set(wanted.values())) > 1:
                reason = f"policies claim it alike: {', '.join(sorted(wanted))}"
                found |= {index: reason for indexes in claims.values() for index in indexes}
        return found

    def judge_use(self, site: Site, index: int, use: Use, claim: Claim, moves: dict[int, Move]) -> Decision | None:
        policy = claim.policy
        if self.only is not None and not self.only(use, policy):
            return Decision(site=site, state=State.UNMANAGED, reason=NOT_MEANT)
        if claim.ignored is not None:
            return Decision(site=site, state=State.IGNORED, reason=claim.ignored)
        if site.kind is SiteKind.PATCH and not self.patches:
            return Decision(
                site=site,
                state=State.MANUAL,
                policy=policy,
                reason="set by a patch, which is a person's decision (update.patches: true lets us edit it)",
            )
        if claim.conflict is not None:
            return Decision(site=site, state=State.CONFLICT, reason=claim.conflict)
        if claim.refusal is not None:
            return Decision(site=site, state=State.REFUSED, reason=claim.refusal)
        if policy is None:
            return Decision(site=site, state=State.UNMANAGED, reason="no policy claims it")
        if not self.covered(site, use):
            if not self.scope.holds(site.file):
                return Decision(
                    site=site,
                    state=State.UNMANAGED,
                    policy=None,
                    reason=self.scope.outside(site.file),
                )
            if not any(self.covered(site, other) for other in site.uses):
                outside = ", ".join(site.roots)
                return Decision(
                    site=site,
                    state=State.REFUSED,
                    policy=policy,
                    reason=f"every root that renders it is outside update.paths: {outside}",
                )
            return Decision(
                site=site,
                state=State.UNMANAGED,
                reason=f"the root {use.root} is outside update.paths and stays as it is",
            )
        _, tag, digest = split(use.value)
        filled = variable(tag)
        if filled is not None:
            return Decision(
                site=site,
                state=State.REFUSED,
                policy=policy,
                reason=f"its tag is the variable {filled}, filled in later: set the tag where that gets its value",
            )
        choice = self.choices[policy]
        best = choice.selection or choice.stopped
        if best is None:
            return Decision(site=site, state=State.HELD, policy=policy, reason=choice.reason)
        new = rendered(use.value, choice if choice.selection is not None else replace(choice, selection=best))
        if new == use.value or (tag == best.tag and keeps(choice, use.value)):
            return Decision(site=site, state=State.CURRENT, policy=policy)
        if choice.selection is None:
            return Decision(site=site, state=State.HELD, policy=policy, reason=choice.reason)
        movement = choice.move(tag, digest)
        if movement.kind == "refused":
            return Decision(site=site, state=State.HELD, policy=policy, reason=movement.reason)
        hold = self.held.get((site.id, policy)) or self.held.get((f"{site.id}@{use.root}", policy))
        if hold is not None:
            return Decision(site=site, state=State.HELD, policy=policy, reason=hold)
        locked = self.lock(site)
        if locked is not None:
            return Decision(site=site, state=State.REFUSED, policy=policy, reason=locked)
        moves[index] = Move(
            use=use,
            policy=policy,
            selection=choice.selection,
            reason=movement.reason or choice.reason,
            new=new,
        )
        return None

    def covered(self, site: Site, use: Use) -> bool:
        """May this use of the site move, by the scope of the automation?"""
        return self.scope.covers(self.provenance.roots[use.root], site.file)

    def lock(self, site: Site) -> str | None:
        """Why no file of this site may be written now (`locked`), or None."""
        return next((self.locked[s.file] for s in site.parts.values() if s.file in self.locked), None)

    # ------------------------------------------------------------------ how they move

    def decide(self, claimed: SiteClaims, settled: dict[int, Decision]) -> None:
        site = claimed.site
        moves = self.moves[site.id]
        rows: dict[int, Decision] = dict(settled)
        if moves:
            obstacle = self.refused.get(site.id) or self.obstacle(site, moves, settled)
            if obstacle is None:
                changes = self.edits(site, next(iter(moves.values())))
                if isinstance(changes, str):
                    obstacle = changes
                else:
                    for index, move in moves.items():
                        rows[index] = Decision(
                            site=site,
                            state=State.UPDATED,
                            policy=move.policy,
                            reason=move.reason,
                            roots=(move.use.root,),
                            changes=changes,
                        )
                        self.mean(move.use, move.new)
            if obstacle is not None:
                for index, move in moves.items():
                    rows[index] = self.inserter.insert(site, move, obstacle)
                    if rows[index].state is State.UPDATED:
                        self.mean(move.use, move.new)
        self.decisions.extend(merge_rows(rows[index] for index in sorted(rows)))

    def obstacle(self, site: Site, moves: Mapping[int, Move], settled: Mapping[int, Decision]) -> str | None:
        """Why the site itself cannot be edited for all its uses; None when it can."""
        if site.frozen is not None:
            return site.frozen
        if not self.scope.holds(site.file):
            return f"{site.file} is {self.scope.outside(site.file)}"
        others = [site.uses[index] for index in settled]
        outside = list(dict.fromkeys(use.root for use in others if not self.covered(site, use)))
        if outside:
            return f"it is shared with {', '.join(outside)}, outside update.paths"
        if others:
            names = ", ".join(dict.fromkeys(f"{use.object} in {use.root}" for use in others))
            return f"it is shared with what must stay as it is: {names}"
        targets = {(move.selection.tag, move.selection.digest) for move in moves.values()}
        if len(targets) > 1:
            return "policies of different roots want different tags here"
        for scalar in written(site):
            if scalar.frozen is not None:
                return scalar.frozen
            for other in self.sharers[scalar.file, scalar.start]:
                if other != site.id and not self.moves_alike(other, next(iter(targets))):
                    return "its scalar is shared through a YAML alias with a place that must stay as it is"
        return None

    def moves_alike(self, site_id: str, target: tuple[str, str | None]) -> bool:
        moves = self.moves.get(site_id, {})
        return len(moves) == len(self.sites[site_id].uses) and all(
            (m.selection.tag, m.selection.digest) == target for m in moves.values()
        )

    def edits(self, site: Site, move: Move) -> tuple[Change, ...] | str:
        """The changes on the site's own scalars, or why there are none."""
        return set_parts(site, move.selection, move.policy, self.choices[move.policy])

    def mean(self, use: Use, new: str) -> None:
        if new != use.value and use.path:
            item = Intended(object=use.object, path=use.path, old=use.value, new=new)
            if item not in self.intended[use.root]:
                self.intended[use.root].append(item)

    # ------------------------------------------------------------------ markers

    def decide_markers(self, claimed: SiteClaims) -> None:
        site = claimed.site
        rows: list[Decision] = []
        values: dict[Part, str] = {}
        touched: list[Change] = []
        for marker in claimed.markers:
            row, change, part = self.marker(site, marker)
            rows.append(row)
            if change is not None and part is not None and change.value is not None:
                touched.append(change)
                values[part] = assignment(change.value)[1]
                if part is Part.TAG and marker.policy is not None:
                    beside = digest_beside(site, claimed.markers, self.choices[marker.policy])
                    if beside is not None:
                        rows[-1] = replace(row, changes=(change, beside))
                        values[Part.DIGEST] = beside.value or ""
        if touched:
            for use in site.uses:
                self.mean(use, composed(site, use, values))
        self.decisions.extend(merge_rows(rows))

    def marker(self, site: Site, claim: MarkerClaim) -> tuple[Decision, Change | None, Part | None]:
        marker = claim.marker
        roots = site.roots

        def row(state: State, reason: str = "", changes: tuple[Change, ...] = ()) -> Decision:
            return Decision(
                site=marked_site(site, claim, self.claims.policies),
                state=state,
                reason=reason,
                policy=claim.policy,
                roots=roots,
                changes=changes,
            )

        if not self.scope.holds(site.file):
            return row(State.UNMANAGED, self.scope.outside(site.file)), None, None
        if self.only is not None and not any(self.only(use, claim.policy) for use in site.uses):
            return row(State.UNMANAGED, NOT_MEANT), None, None
        if claim.refusal is not None or claim.policy is None:
            return row(State.REFUSED, claim.refusal or "the marker names no policy"), None, None
        scalar = marker.scalar
        if scalar is None:
            return row(State.REFUSED, "the marker stands behind no value"), None, None
        known = self.refused.get(site.id)
        if known is not None:
            return row(State.REFUSED, known), None, None
        choice = self.choices[claim.policy]
        selection = choice.selection
        key, held = assignment(scalar.value)
        if selection is None:
            stopped = choice.stopped
            if stopped is None or (marker.part is Part.DIGEST and stopped.digest is None):
                return row(State.HELD, choice.reason), None, None
            best = key + marker_value(marker.part, held, replace(choice, selection=stopped))
            return row(State.CURRENT) if best == scalar.value else row(State.HELD, choice.reason), None, None
        problem = self.marker_problem(site, scalar, marker.part)
        current_tag, current_digest = marker_current(site, marker.part, replace(scalar, value=held) if key else scalar)
        movement = choice.move(current_tag, current_digest)
        kind = str(movement.kind)
        if marker.part is Part.DIGEST and selection.digest is None:
            return (
                row(State.REFUSED, "marker: ':digest', but the policy writes no digest (set digestReflectionPolicy)"),
                None,
                None,
            )
        value = key + marker_value(marker.part, held, choice)
        if value == scalar.value:
            return row(State.CURRENT), None, None
        if kind == "refused":
            return row(State.HELD, movement.reason), None, None
        if kind == "current" and marker.part is not Part.NAME and keeps(choice, scalar.value):
            return row(State.CURRENT), None, None
        hold = self.held.get((site.id, claim.policy))
        if hold is not None:
            return row(State.HELD, hold), None, None
        problem = problem or self.locked.get(scalar.file)
        if problem is not None:
            return row(State.REFUSED, problem), None, None
        change = Change(
            kind=EditKind.SCALAR,
            file=scalar.file,
            policy=claim.policy,
            site=site.id,
            scalar=scalar,
            value=value,
            document=scalar.document,
        )
        return row(State.UPDATED, movement.reason or choice.reason, (change,)), change, marker.part

    def marker_problem(self, site: Site, scalar: ScalarRef, part: Part) -> str | None:
        if scalar.frozen is not None:
            return scalar.frozen
        holds = next((p for p, ref in site.parts.items() if (ref.file, ref.start) == (scalar.file, scalar.start)), part)
        if part is Part.IMAGE and holds in (Part.NAME, Part.TAG, Part.DIGEST):
            return (
                f"the marker means a whole image, and this field holds only the {holds}: end the marker with :{holds}"
            )
        for other in self.sharers[scalar.file, scalar.start]:
            if other != site.id:
                return "its scalar is shared through a YAML alias with another place"
        return None
