"""`image-updater images`: every image site, the roots that render it, and the policy that claims it. No registry
is asked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.errors import SpecError
from image_updater.kustomize import locate
from image_updater.kustomize.model import SiteKind
from image_updater.patch.claims import resolve, with_unseen_uses
from image_updater.patch.decisions import Decision, State
from image_updater.patch.parts import marked_site
from image_updater.patch.scope import Scope
from image_updater.pipeline.line import default_automation, selected
from image_updater.pipeline.progress import focused, inside
from image_updater.pipeline.report import ImagesReport
from image_updater.pipeline.reporting import problem_rows, site_rows
from image_updater.pipeline.session import kept_facts, named_roots
from image_updater.pipeline.trees import open_path
from image_updater.settings import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.api.model import ImagePolicy
    from image_updater.kustomize.model import Provenance, Root, Site, Use
    from image_updater.patch.claims import Claim, MarkerClaim
    from image_updater.pipeline.report import ImagesRequest


async def images(request: ImagesRequest) -> ImagesReport:
    """Raises ImageUpdaterError when the path cannot be read at all; unreadable files are problems of the report."""
    return await asyncio.to_thread(_images, request)


def _cached_state(request: ImagesRequest) -> Path | None:
    """The user's own cache folder; None for a user without a home."""
    try:
        return cache_folder(request.settings, request.environment) / "state.sqlite"
    except SpecError:
        return None


def _images(request: ImagesRequest) -> ImagesReport:
    state = request.settings.state or _cached_state(request)
    place = open_path(Path(request.target or "."))
    with kept_facts(state, asked=request.settings.state is not None) as facts:
        request.progress("reading the files")
        provenance = with_unseen_uses(
            locate(place.tree, named=named_roots(request.objects, request.roots), cache=facts)
        )
    automations = request.objects.automations
    anywhere = not automations
    decisions: list[Decision] = []
    for automation in automations or (default_automation(request.objects),):
        scope = Scope.of(automation.update)
        claims = resolve(
            provenance,
            namespace=automation.key.namespace,
            policies=selected(automation, request.objects, anywhere=anywhere),
            known=[str(policy.key) for policy in request.objects.policies],
            strategy=automation.update.strategy,
            anywhere=anywhere,
        )
        for claimed in claims.sites:
            site = claimed.site
            if claimed.markers:
                decisions += [
                    _of_marker(site, marker, scope, claims.policies, known=request.claims) for marker in claimed.markers
                ]
                continue
            decisions += [
                _of_use(provenance, site, use, claim, scope, patches=automation.update.patches)
                for use, claim in zip(site.uses, claimed.uses, strict=True)
            ]
            if not site.uses:
                decisions.append(_without_uses(site))
    return ImagesReport(
        sites=focused(site_rows(_merged(decisions)), place.focus),
        problems=tuple(row for row in problem_rows(provenance) if row.file is None or inside(row.file, place.focus)),
    )


def _of_marker(
    site: Site, claim: MarkerClaim, scope: Scope, policies: Mapping[str, ImagePolicy], *, known: bool
) -> Decision:
    """`known`: the objects were given; without them a marker's policy cannot be looked up."""
    marker = claim.marker
    site = marked_site(site, claim, policies)
    if not known and marker.problem is None:
        named = f"{marker.namespace}:{marker.name}" if marker.namespace else marker.name
        reason = f"its marker names {named}; without -f there are no policies"
        return Decision(site=site, state=State.UNMANAGED, reason=reason, roots=site.roots)
    if not scope.holds(site.file):
        return Decision(site=site, state=State.UNMANAGED, reason=scope.outside(site.file), roots=site.roots)
    if claim.refusal is not None:
        return Decision(site=site, state=State.REFUSED, reason=claim.refusal, roots=site.roots)
    return Decision(site=site, state=State.CURRENT, policy=claim.policy, roots=site.roots)


def _of_use(provenance: Provenance, site: Site, use: Use, claim: Claim, scope: Scope, *, patches: bool) -> Decision:
    def row(state: State, reason: str = "", policy: str | None = claim.policy) -> Decision:
        return Decision(site=site, state=state, reason=reason, policy=policy, roots=(use.root,))

    if claim.ignored is not None:
        return row(State.IGNORED, claim.ignored)
    if site.kind is SiteKind.PATCH and not patches:
        return row(State.MANUAL, "set by a patch")
    if claim.conflict is not None:
        return row(State.CONFLICT, claim.conflict)
    if claim.refusal is not None:
        return row(State.REFUSED, claim.refusal)
    if claim.policy is None:
        return row(State.UNMANAGED, "no policy claims it")
    root: Root | None = provenance.roots.get(use.root)
    if root is not None and not scope.covers(root, site.file):
        return row(State.UNMANAGED, f"the root {use.root} is outside update.paths", policy=None)
    if site.frozen is not None:
        return row(State.REFUSED, site.frozen)
    return row(State.CURRENT)


def _without_uses(site: Site) -> Decision:
    if site.kind is SiteKind.REF:
        return Decision(
            site=site, state=State.REMOTE, reason="a remote base: what it renders is not known here", roots=site.roots
        )
    return Decision(site=site, state=State.UNMANAGED, reason="no policy claims it", roots=site.roots)


def _merged(decisions: list[Decision]) -> list[Decision]:
    merged: dict[tuple[str, int, State, str, str | None], Decision] = {}
    for each in decisions:
        key = (each.site.id, each.site.line, each.state, each.reason, each.policy)
        found = merged.get(key)
        roots = each.roots if found is None else tuple(dict.fromkeys((*found.roots, *each.roots)))
        merged[key] = Decision(site=each.site, state=each.state, reason=each.reason, policy=each.policy, roots=roots)
    return list(merged.values())
