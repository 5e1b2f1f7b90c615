"""Sites × claims × selections → the changes that make Git hold what the policies chose. Pure.

Every use of every site gets a decision with a reason. A site is edited in place only when everything that renders
it is meant;
otherwise the base stays and an `images:` entry goes into the kustomization of each covered root, if that touches
nothing else.
Never-down is judged here, for each use, against what that use holds in Git.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.api.model import DigestPolicy, DigestReflection
from image_updater.images.names import split
from image_updater.kustomize.model import Part, RootKind, SiteKind
from image_updater.patch.claims import canonical
from image_updater.patch.model import Change, EditKind, Intended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from image_updater.api.model import ImagePolicy
    from image_updater.kustomize.model import Provenance, ScalarRef, Site, Use
    from image_updater.patch.claims import Claim, Claims, MarkerClaim, SiteClaims
    from image_updater.patch.scope import Scope
    from image_updater.policy.model import Movement, Selection


class State(StrEnum):
    """The state of one image site; all but the first two carry a reason."""

    CURRENT = "current"
    UPDATED = "updated"
    HELD = "held"
    MANUAL = "manual"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    REMOTE = "remote"
    REFUSED = "refused"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy says now: a selection, or why there is none. `move(tag, digest)` is never-down against a
    current value.
    """

    policy: ImagePolicy
    selection: Selection | None
    reason: str
    move: Callable[[str | None, str | None], Movement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state of a site in some of its roots."""

    site: Site
    state: State
    reason: str = ""
    policy: str | None = None
    roots: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Decisions in site order; `intended` says by root which rendered images are meant to change, `consent` which
    files a marker edits.
    """

    decisions: tuple[Decision, ...] = ()
    intended: Mapping[str, tuple[Intended, ...]] = field(default_factory=dict)

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(dict.fromkeys(change for decision in self.decisions for change in decision.changes))


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
) -> Plan:
    """The plan of one automation.

    `refused`: site ids (or `id@root` of one root's insert) that a proof refused, with the reason. `locked`: files
    that may not be
    written (uncommitted changes of a person), with the reason.
    """
    return _Planner(provenance, claims, choices, scope, patches, follow_refs, refused or {}, locked or {}).run()


@dataclass(slots=True)
class _Move:
    """A use that is to change: to which selection, and what it will render."""

    index: int
    use: Use
    policy: str
    selection: Selection
    reason: str
    new: str


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
    ) -> None:
        self.provenance = provenance
        self.claims = claims
        self.choices = choices
        self.scope = scope
        self.patches = patches
        self.follow_refs = follow_refs
        self.refused = refused
        self.locked = locked
        self.covered = {root.id for root in provenance.roots.values() if scope.covers(root)}
        self.decisions: list[Decision] = []
        self.intended: dict[str, list[Intended]] = defaultdict(list)
        self.uses_of_root: dict[str, list[tuple[Site, int]]] | None = None
        self.moves: dict[str, dict[int, _Move]] = {}
        self.sites = {site.id: site for site in provenance.sites}
        self.sharers: dict[tuple[str, int], list[str]] = defaultdict(list)
        for site in provenance.sites:
            for scalar in _written(site):
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
        self.follow([claimed for claimed, _ in held if claimed.site.kind is SiteKind.REF])
        return Plan(
            decisions=tuple(self.decisions), intended={root: tuple(items) for root, items in self.intended.items()}
        )

    # ------------------------------------------------------------------ which uses move

    def judge(self, claimed: SiteClaims) -> dict[int, Decision]:
        """Decides the uses that do not move; the others are left in `self.moves`."""
        site = claimed.site
        moves: dict[int, _Move] = {}
        settled: dict[int, Decision] = {}
        self.moves[site.id] = moves
        for index, (use, claim) in enumerate(zip(site.uses, claimed.uses, strict=True)):
            decision = self.judge_use(site, index, use, claim, moves)
            if decision is not None:
                settled[index] = replace(decision, roots=(use.root,))
        return settled

    def judge_use(self, site: Site, index: int, use: Use, claim: Claim, moves: dict[int, _Move]) -> Decision | None:
        policy = claim.policy
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
        if use.root not in self.covered:
            if not self.scope.holds(site.file):
                return Decision(
                    site=site,
                    state=State.UNMANAGED,
                    policy=None,
                    reason=f"outside update.paths ({self.scope.describe()})",
                )
            if not any(other.root in self.covered for other in site.uses):
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
        choice = self.choices[policy]
        if choice.selection is None:
            return Decision(site=site, state=State.HELD, policy=policy, reason=choice.reason)
        _, tag, digest = split(use.value)
        new = self.rendered(use.value, choice)
        if new == use.value or (tag == choice.selection.tag and _keeps(choice, use.value)):
            return Decision(site=site, state=State.CURRENT, policy=policy)
        movement = choice.move(tag, digest)
        if movement.kind == "refused":
            return Decision(site=site, state=State.HELD, policy=policy, reason=movement.reason)
        locked = self.lock(site)
        if locked is not None:
            return Decision(site=site, state=State.REFUSED, policy=policy, reason=locked)
        moves[index] = _Move(index, use, policy, choice.selection, movement.reason or choice.reason, new)
        return None

    def lock(self, site: Site) -> str | None:
        """Why no file of this site may be written now (`locked`), or None."""
        return next((self.locked[s.file] for s in site.parts.values() if s.file in self.locked), None)

    @staticmethod
    def rendered(value: str, choice: Choice) -> str:
        """What a reference becomes: its own name, the chosen tag, and the digest if digests are written."""
        selection = choice.selection
        assert selection is not None
        name, tag, _ = split(value)
        text = name
        if tag is not None or not isinstance(choice.policy.strategy, DigestPolicy):
            text += f":{selection.tag}"
        if selection.digest is not None:
            text += f"@{selection.digest}"
        return text

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
                    rows[index] = self.insert(site, move, obstacle)
        self.emit(rows)

    def obstacle(self, site: Site, moves: Mapping[int, _Move], settled: Mapping[int, Decision]) -> str | None:
        """Why the site itself cannot be edited for all its uses; None when it can."""
        if site.frozen is not None:
            return site.frozen
        if not self.scope.holds(site.file):
            return f"{site.file} is outside update.paths"
        others = [site.uses[index] for index in settled]
        outside = list(dict.fromkeys(use.root for use in others if use.root not in self.covered))
        if outside:
            return f"it is shared with {', '.join(outside)}, outside update.paths"
        if others:
            names = ", ".join(dict.fromkeys(f"{use.object} in {use.root}" for use in others))
            return f"it is shared with what must stay as it is: {names}"
        targets = {(move.selection.tag, move.selection.digest) for move in moves.values()}
        if len(targets) > 1:
            return "policies of different roots want different tags here"
        for scalar in _written(site):
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

    def edits(self, site: Site, move: _Move) -> tuple[Change, ...] | str:
        """The changes on the site's own scalars, or why there are none."""
        return set_parts(site, move.selection, move.policy, self.choices[move.policy])

    def insert(self, site: Site, move: _Move, obstacle: str) -> Decision:
        """An `images:` entry in the root's own kustomization, or a newTag in its entry that already matches."""

        def refuse(reason: str) -> Decision:
            return Decision(site=site, state=State.REFUSED, policy=move.policy, reason=reason, roots=(move.use.root,))

        use = move.use
        root = self.provenance.roots[use.root]
        known = self.refused.get(f"{site.id}@{use.root}")
        if known is not None:
            return refuse(known)
        if site.id in self.refused:
            return refuse(self.refused[site.id])
        if site.frozen is not None and site.kind is not SiteKind.PATCH:
            return refuse(site.frozen)
        if root.kind is RootKind.PLAIN or root.kustomization is None:
            return refuse(f"{obstacle}, and {use.root} has no kustomization of its own for an images: entry")
        if root.kustomization in self.locked:
            return refuse(self.locked[root.kustomization])
        if not self.scope.holds(root.kustomization):
            return refuse(f"{obstacle}, and {root.kustomization} is outside update.paths")
        if not use.seen_by_images:
            return refuse(f"{obstacle}, and an images: entry does not reach {use.object}")
        if use.overwritten:
            return refuse(f"{obstacle}, and what runs after images: in {use.root} writes the image again")
        own_entry = use.entry is not None and use.entry != site.id
        before = use.before if use.before is not None else use.value
        pattern_name = split(before)[0]
        if use.entry is not None:
            mates = [(s, i) for s, i in self.in_root(use.root) if s.uses[i].entry == use.entry]
        else:
            mates = [(s, i) for s, i in self.in_root(use.root) if _matches(pattern_name, s.uses[i])]
        for other, index in mates:
            if other.id == site.id and other.uses[index] == use:
                continue
            if not self.goes_along(other, index, move):
                theirs = other.uses[index]
                return refuse(
                    f"{obstacle}, and an images: entry in {root.kustomization} would also touch {theirs.object}"
                    + (f" container {theirs.container}" if theirs.container else "")
                    + f" ({theirs.value}, set in {other.file}:{other.line})"
                )
        value: list[tuple[str, str]] = []
        _, tag, digest = split(move.new)
        if tag is not None:
            value.append(("newTag", tag))
        if digest is not None:
            value.append(("digest", digest))
        if use.entry is not None and not own_entry:
            return refuse(f"{obstacle}, and it is this root's own entry")
        if own_entry and use.entry is not None:
            file, document, path = _entry_place(use.entry)
            change = Change(
                kind=EditKind.INSERT,
                file=file,
                policy=move.policy,
                site=f"{site.id}@{use.root}",
                document=document,
                parent=path,
                items=tuple(value),
            )
        else:
            change = Change(
                kind=EditKind.INSERT,
                file=root.kustomization,
                policy=move.policy,
                site=f"{site.id}@{use.root}",
                document=0,
                parent=("images",),
                items=(("name", pattern_name), *value),
                append=True,
            )
        self.mean(use, move.new)
        return Decision(
            site=site,
            state=State.UPDATED,
            policy=move.policy,
            reason=f"set in {root.kustomization}: {obstacle}",
            roots=(use.root,),
            changes=(change,),
        )

    def goes_along(self, site: Site, index: int, move: _Move) -> bool:
        """May this other use of the root be touched by the same entry: it wants the same, or already renders it
        and stays so?
        """
        theirs = self.moves.get(site.id, {}).get(index)
        if theirs is not None:
            return theirs.selection.tag == move.selection.tag and theirs.selection.digest == move.selection.digest
        name, _, _ = split(site.uses[index].value)
        return site.uses[index].overwritten or site.uses[index].value == move.new.replace(split(move.new)[0], name, 1)

    def in_root(self, root: str) -> list[tuple[Site, int]]:
        if self.uses_of_root is None:
            self.uses_of_root = defaultdict(list)
            for site in self.provenance.sites:
                for index, use in enumerate(site.uses):
                    self.uses_of_root[use.root].append((site, index))
        return self.uses_of_root[root]

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
                values[part] = change.value
        if touched:
            for use in site.uses:
                self.mean(use, _compose(site, use, values))
        self.decisions.extend(_merge_rows(rows))

    def marker(self, site: Site, claim: MarkerClaim) -> tuple[Decision, Change | None, Part | None]:
        marker = claim.marker
        roots = site.roots

        def row(state: State, reason: str = "", changes: tuple[Change, ...] = ()) -> Decision:
            return Decision(
                site=replace(site, line=marker.line, field=marker.scalar.field if marker.scalar else site.field),
                state=state,
                reason=reason,
                policy=claim.policy,
                roots=roots,
                changes=changes,
            )

        if not self.scope.holds(site.file):
            return row(State.UNMANAGED, f"outside update.paths ({self.scope.describe()})"), None, None
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
        if selection is None:
            return row(State.HELD, choice.reason), None, None
        problem = self.marker_problem(site, scalar)
        current_tag, current_digest = _marker_current(site, marker.part, scalar)
        movement = choice.move(current_tag, current_digest)
        kind = str(movement.kind)
        if marker.part is Part.DIGEST and selection.digest is None:
            return (
                row(State.REFUSED, "marker: ':digest', but the policy writes no digest (set digestReflectionPolicy)"),
                None,
                None,
            )
        value = _marker_value(marker.part, scalar.value, choice)
        if value == scalar.value:
            return row(State.CURRENT), None, None
        if kind == "refused":
            return row(State.HELD, movement.reason), None, None
        if kind == "current" and marker.part is not Part.NAME and _keeps(choice, scalar.value):
            return row(State.CURRENT), None, None
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

    def marker_problem(self, site: Site, scalar: ScalarRef) -> str | None:
        if scalar.frozen is not None:
            return scalar.frozen
        for other in self.sharers[scalar.file, scalar.start]:
            if other != site.id:
                return "its scalar is shared through a YAML alias with another place"
        return None

    # ------------------------------------------------------------------ remote bases

    def follow(self, refs: Sequence[SiteClaims]) -> None:
        """Moves `?ref=` of remote bases with the entry whose old tag they equal."""
        moved: list[tuple[Decision, Change, str, str]] = []
        for decision in self.decisions:
            if decision.site.kind is not SiteKind.ENTRY or decision.state is not State.UPDATED:
                continue
            for change in decision.changes:
                scalar = change.scalar
                if change.kind is EditKind.SCALAR and scalar is not None and change.value is not None:
                    old, new = scalar.value.partition("@")[0], change.value.partition("@")[0]
                    if old != new and scalar == decision.site.parts.get(Part.TAG):
                        moved.append((decision, change, old, new))
        for claimed in refs:
            site = claimed.site
            scalar = site.parts.get(Part.TAG)
            followed = self.followed(site, scalar, moved)
            if followed is not None and scalar is not None:
                lead, value, refusal = followed
                if refusal is None:
                    change = Change(
                        kind=EditKind.SCALAR,
                        file=site.file,
                        policy=lead.policy or "",
                        site=lead.site.id,
                        scalar=scalar,
                        value=value,
                        document=scalar.document,
                    )
                    self.decisions.append(
                        Decision(
                            site=site,
                            state=State.UPDATED,
                            policy=lead.policy,
                            roots=site.roots,
                            reason=f"moves with {lead.site.field} of {lead.site.file}",
                            changes=(change,),
                        )
                    )
                    continue
                self.decisions.append(
                    Decision(site=site, state=State.REFUSED, policy=lead.policy, roots=site.roots, reason=refusal)
                )
                continue
            self.decisions.append(
                Decision(
                    site=site,
                    state=State.REMOTE,
                    roots=site.roots,
                    reason="a remote base: what it renders is not known here",
                )
            )

    def followed(
        self, site: Site, scalar: ScalarRef | None, moved: Sequence[tuple[Decision, Change, str, str]]
    ) -> tuple[Decision, str, str | None] | None:
        if not self.follow_refs or scalar is None or not scalar.value:
            return None
        near = [
            item
            for item in moved
            if item[2] == scalar.value
            and (item[1].file == site.file or (site.roots and set(site.roots) <= set(item[0].site.roots)))
        ]
        if not near:
            return None
        lead = near[0][0]
        values = {item[3] for item in near}
        if len(values) > 1:
            return lead, "", f"entries that hold {scalar.value} move to different tags: {', '.join(sorted(values))}"
        if not self.scope.holds(site.file):
            return lead, "", f"{site.file} is outside update.paths"
        if scalar.frozen is not None:
            return lead, "", scalar.frozen
        return lead, next(iter(values)), None

    # ------------------------------------------------------------------ rows

    def emit(self, rows: Mapping[int, Decision]) -> None:
        self.decisions.extend(_merge_rows([rows[index] for index in sorted(rows)]))


def _merge_rows(rows: Iterable[Decision]) -> list[Decision]:
    """One row for each (state, reason, policy) of a site, with all the roots it holds for."""
    merged: dict[tuple[str, int, str, State, str, str | None], Decision] = {}
    for row in rows:
        key = (row.site.id, row.site.line, row.site.field, row.state, row.reason, row.policy)
        found = merged.get(key)
        if found is None:
            merged[key] = row
        else:
            merged[key] = replace(
                found,
                roots=tuple(dict.fromkeys((*found.roots, *row.roots))),
                changes=tuple(dict.fromkeys((*found.changes, *row.changes))),
            )
    return list(merged.values())


def set_parts(site: Site, selection: Selection, policy: str, choice: Choice) -> tuple[Change, ...] | str:
    """The changes on a site's scalars that make it hold `selection`, or why it cannot be done."""
    parts = site.parts
    digest_only = isinstance(choice.policy.strategy, DigestPolicy)
    changes: list[Change] = []

    def put(scalar: ScalarRef, value: str) -> None:
        if scalar.value != value or not scalar.string:
            changes.append(
                Change(
                    kind=EditKind.SCALAR,
                    file=scalar.file,
                    policy=policy,
                    site=site.id,
                    scalar=scalar,
                    value=value,
                    document=scalar.document,
                )
            )

    def add(*items: tuple[str, str]) -> None:
        assert site.holder is not None
        changes.append(
            Change(
                kind=EditKind.INSERT,
                file=site.holder.file,
                policy=policy,
                site=site.id,
                document=site.holder.document,
                parent=site.holder.path,
                items=items,
            )
        )

    image, tag, digest = parts.get(Part.IMAGE), parts.get(Part.TAG), parts.get(Part.DIGEST)
    if image is not None and tag is None and digest is None:
        name, old_tag, _ = split(image.value)
        if not name:
            return f"{image.value!r} is not an image reference"
        text = name if old_tag is None and digest_only else f"{name}:{selection.tag}"
        put(image, text + (f"@{selection.digest}" if selection.digest else ""))
        return tuple(changes)
    keeps_one_field = tag is not None and "@" in tag.value
    if tag is not None:
        both = keeps_one_field or (digest is None and site.kind is not SiteKind.ENTRY)
        put(tag, f"{selection.tag}@{selection.digest}" if selection.digest and both else selection.tag)
    if digest is not None:
        if tag is None and not digest_only:
            if site.holder is None:
                return "it holds only a digest, and there is no place for a tag"
            add(("newTag" if site.kind is SiteKind.ENTRY else "tag", selection.tag))
        if selection.digest and not keeps_one_field:
            put(digest, selection.digest)
        else:
            changes.append(
                Change(
                    kind=EditKind.REMOVE,
                    file=digest.file,
                    policy=policy,
                    site=site.id,
                    scalar=digest,
                    document=digest.document,
                )
            )
    elif selection.digest and tag is not None and not keeps_one_field and site.kind is SiteKind.ENTRY:
        add(("digest", selection.digest))
    if tag is None and digest is None:
        if site.holder is None:
            return "there is no scalar that holds its tag"
        if site.kind is SiteKind.ENTRY:
            items = [("newTag", selection.tag)]
            if selection.digest:
                items.append(("digest", selection.digest))
            add(*items)
        else:
            add(("tag", selection.tag + (f"@{selection.digest}" if selection.digest else "")))
    return tuple(changes)


def _written(site: Site) -> list[ScalarRef]:
    """The scalars that an update of the site sets; a name stays, and may be another site's too."""
    return [site.parts[part] for part in (Part.IMAGE, Part.TAG, Part.DIGEST) if part in site.parts]


def _entry_place(entry: str) -> tuple[str, int, tuple[str | int, ...]]:
    """`file#document:images[2]` → the place of that mapping."""
    file, _, rest = entry.rpartition("#")
    document, _, dotted = rest.partition(":")
    path: list[str | int] = []
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", dotted):
        path.append(int(index) if index else key)
    return file, int(document), tuple(path)


def _matches(name: str, use: Use) -> bool:
    """Would kustomize match an `images:` entry of this name (a regular expression to it) with the use?"""
    if not use.seen_by_images:
        return False
    theirs = split(use.before if use.before is not None else use.value)[0]
    if theirs == name:
        return True
    try:
        return re.fullmatch(name, theirs) is not None
    except re.error:
        return False


def _keeps(choice: Choice, value: str) -> bool:
    """With IfNotPresent a digest that is there stays as it is."""
    return choice.policy.reflection is DigestReflection.IF_NOT_PRESENT and "@" in value


def _marker_current(site: Site, part: Part, scalar: ScalarRef) -> tuple[str | None, str | None]:
    """Tag and digest that a marked scalar holds now; a name or a digest alone borrows the tag beside it."""
    if part is Part.TAG:
        tag, _, digest = scalar.value.partition("@")
        beside = site.parts.get(Part.DIGEST)
        return tag or None, digest or (beside.value if beside is not None else None)
    if part is Part.IMAGE:
        _, tag_, digest_ = split(scalar.value)
        return tag_, digest_
    tag_ref = site.parts.get(Part.TAG) or site.parts.get(Part.IMAGE)
    if tag_ref is not None and tag_ref is not scalar and tag_ref.start != scalar.start:
        text = tag_ref.value
        tag_ = split(text)[1] if tag_ref is site.parts.get(Part.IMAGE) else text.partition("@")[0]
        return tag_, scalar.value if part is Part.DIGEST else None
    return None, scalar.value if part is Part.DIGEST else None


def _marker_value(part: Part, current: str, choice: Choice) -> str:
    """What the marker's scalar becomes. A name that means the same image keeps its own spelling."""
    selection = choice.selection
    assert selection is not None
    name = selection.name
    if part is Part.TAG:
        keeps = "@" in current and selection.digest is not None
        return f"{selection.tag}@{selection.digest}" if keeps else selection.tag
    if part is Part.DIGEST:
        return selection.digest or current
    written = split(current)[0] if part is Part.IMAGE else current
    if canonical(written) is not None and canonical(written) == canonical(name):
        name = written
    if part is Part.NAME:
        return name
    return f"{name}:{selection.tag}" + (f"@{selection.digest}" if selection.digest else "")


def _compose(site: Site, use: Use, values: Mapping[Part, str]) -> str:
    """What a use renders after its marked scalars got `values`."""
    name, tag, digest = split(use.value)
    if Part.IMAGE in values:
        return values[Part.IMAGE]
    if Part.NAME in values:
        name = values[Part.NAME]
    if Part.TAG in values:
        tag, _, beside = values[Part.TAG].partition("@")
        digest = beside or (digest if site.parts.get(Part.DIGEST) is not None else None)
    if Part.DIGEST in values:
        digest = values[Part.DIGEST]
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
