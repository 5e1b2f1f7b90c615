"""Remote bases: their `?ref=` moves with the `images:` entry whose old tag it equals, or stays and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.kustomize.model import Part, SiteKind
from image_updater.patch.decisions import Decision, State
from image_updater.patch.model import Change, EditKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from image_updater.kustomize.model import ScalarRef, Site
    from image_updater.patch.scope import Scope


def follow(
    refs: Sequence[Site],
    decided: Sequence[Decision],
    scope: Scope,
    *,
    enabled: bool,
    held: Mapping[tuple[str, str], str],
) -> list[Decision]:
    """Decisions on the `?ref=` sites, after all others are `decided`. `held` as in `plan`."""
    decisions: list[Decision] = []
    moved: list[tuple[Decision, Change, str, str]] = []
    for decision in decided:
        if decision.site.kind is not SiteKind.ENTRY or decision.state is not State.UPDATED:
            continue
        for change in decision.changes:
            scalar = change.scalar
            if change.kind is EditKind.SCALAR and scalar is not None and change.value is not None:
                old, new = scalar.value.partition("@")[0], change.value.partition("@")[0]
                if old != new and scalar == decision.site.parts.get(Part.TAG):
                    moved.append((decision, change, old, new))
    for site in refs:
        scalar = site.parts.get(Part.TAG)
        followed = _followed(site, scalar, moved if enabled else (), scope)
        if followed is not None and scalar is not None:
            lead, value, refusal = followed
            hold = held.get((site.id, lead.policy or ""))
            if hold is not None:
                decisions.append(
                    Decision(site=site, state=State.HELD, policy=lead.policy, roots=site.roots, reason=hold)
                )
                continue
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
                decisions.append(
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
            decisions.append(
                Decision(site=site, state=State.REFUSED, policy=lead.policy, roots=site.roots, reason=refusal)
            )
            continue
        decisions.append(
            Decision(
                site=site,
                state=State.REMOTE,
                roots=site.roots,
                reason="a remote base: what it renders is not known here",
            )
        )
    return decisions


def _followed(
    site: Site, scalar: ScalarRef | None, moved: Sequence[tuple[Decision, Change, str, str]], scope: Scope
) -> tuple[Decision, str, str | None] | None:
    if scalar is None or not scalar.value:
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
    if not scope.holds(site.file):
        return lead, "", f"{site.file} is {scope.outside(site.file)}"
    if scalar.frozen is not None:
        return lead, "", scalar.frozen
    return lead, next(iter(values)), None
