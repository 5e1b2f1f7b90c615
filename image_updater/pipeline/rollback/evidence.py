"""What Git says of a workload's images before one of them is taken back: who wrote them, what stood there before, what
else has changed since it was last good. Read on the very tip that would be written on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.moments import exact_rfc3339
from image_updater.errors import DocumentError, GitError, RenderError
from image_updater.images.names import split
from image_updater.kustomize import locate
from image_updater.kustomize.model import dotted
from image_updater.patch.claims import resolve, with_unseen_uses
from image_updater.patch.compare import compare, diff_objects
from image_updater.patch.model import Intended
from image_updater.pipeline.people.past import is_from_us, rollback_of
from image_updater.pipeline.people.places import Versions, places_of
from image_updater.pipeline.rollback.decision import ROLLBACK_ASKED, Author, Written
from image_updater.pipeline.rollback.placements import Placement, Value, images_at, placed
from image_updater.sync.rollout.templates import is_in_template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, Objects
    from image_updater.git import CommitInfo
    from image_updater.git.lineage import Changed
    from image_updater.kustomize.model import ObjectId, Path, Provenance, Tree
    from image_updater.pipeline.line import Line
    from image_updater.pipeline.people.past import Past
    from image_updater.pipeline.rollback.decision import RollbackPlan

Key = tuple[str, "ObjectId", "Path"]
"""Root, object and field of a rendered image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The tip that would be written on, and what is needed to look behind it."""

    automation: ImageUpdateAutomation
    """Whose work it is."""
    automations: tuple[ImageUpdateAutomation, ...]
    """All that write to this branch."""
    objects: Objects
    line: Line
    commit: str
    tree: Tree
    past: Past
    tree_of: Callable[[str], Tree]

    def provenance(self, tree: Tree | None = None) -> Provenance:
        return locate(tree or self.tree, named=self.line.named, cache=self.line.cache, reuse=False)

    async def found(self) -> tuple[Placement, ...]:
        """Every image that a policy of this branch claims, as the tip has it."""
        return await asyncio.to_thread(self._found)

    def _found(self) -> tuple[Placement, ...]:
        provenance = self.provenance()
        visible = with_unseen_uses(provenance)
        found: list[Placement] = []
        for automation in self.automations:
            claims = resolve(
                visible,
                namespace=automation.key.namespace,
                policies=self.policies(automation),
                known=[str(policy.key) for policy in self.objects.policies],
                strategy=automation.update.strategy,
                anywhere=self.line.anywhere,
            )
            found += placed(automation, visible, claims)
        return tuple(found)

    def policies(self, automation: ImageUpdateAutomation) -> tuple[ImagePolicy, ...]:
        from image_updater.pipeline.line import selected

        return selected(automation, self.objects, anywhere=self.line.anywhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A small commit of an automation that moves no image: what it keeps in the branch for others."""

    files: Mapping[str, bytes]
    subject: str


Noting = Callable[[Ground], "Awaitable[Note | None]"]
"""What is to be noted on a tip; None = it says so already."""

Taking = Callable[[Ground], "Awaitable[RollbackPlan | None]"]
"""Decides on a tip what is taken back there; None = nothing. Asked anew for each tip that the plan is made on."""


async def written(ground: Ground, wanted: Iterable[Placement]) -> dict[Key, Written]:
    """Who gave these images their values. Raises what Git raises."""
    wanted = tuple(wanted)
    await ground.past.ready()
    sites = {site.id: site for site in ground.provenance().sites}
    versions = Versions(ground.tree)
    asked = {each.site: list(places_of(sites[each.site], versions)) for each in wanted if each.site in sites}
    chains = await ground.past.chains(place for found in asked.values() for place in found)
    newest: dict[str, Changed] = {}
    displaced: dict[str, tuple[tuple[Value, Value], ...]] = {}
    for site, found in asked.items():
        changes = [chains[place].changes[0] for place in found if chains[place].changes]
        displaced[site] = tuple(pair for place in found for pair in _displaced(chains[place].changes))
        if changes:
            newest[site] = max(changes, key=lambda change: change.commit.when)
    before = {
        commit: await images(ground, commit)
        for commit in {change.commit.parents[0] for change in newest.values() if change.commit.parents}
    }
    made: dict[Key, Written] = {}
    for each in wanted:
        change = newest.get(each.site)
        if change is None:
            made[each.key] = Written(author=Author.UNKNOWN)
            continue
        parents = change.commit.parents
        old = before.get(parents[0], {}).get(each.key) if parents else None
        made[each.key] = Written(
            author=_author(change),
            commit=change.commit.id,
            at=change.commit.when,
            old=_value(old) if old is not None and split(old)[0] == each.image else None,
            parent=parents[0] if parents else None,
            displaced=displaced[each.site],
        )
    return made


def _displaced(changes: Iterable[Changed]) -> Iterator[tuple[Value, Value]]:
    for each in changes:
        if each.before is not None and _author(each) is not Author.OURS:
            after = each.after
            yield (
                Value(each.before.tag, each.before.digest),
                Value(after.tag, after.digest) if after is not None else Value(),
            )


def _author(change: Changed) -> Author:
    if not is_from_us(change):
        return Author.PERSON
    return Author.ROLLBACK if rollback_of(change) is not None else Author.OURS


def _value(reference: str) -> Value:
    _, tag, digest = split(reference)
    return Value(tag, digest)


async def images(ground: Ground, commit: str) -> Mapping[Key, str]:
    """By root, object and path what a commit renders; empty where its files were not fetched."""

    def read() -> dict[Key, str]:
        try:
            provenance = ground.provenance(ground.tree_of(commit))
        except GitError:
            return {}
        return {
            (root, object_, path): value
            for root in provenance.roots
            for (object_, path), value in images_at(provenance, root).items()
        }

    return await asyncio.to_thread(read)


async def moved_on(ground: Ground, suspects: Sequence[Placement], failed: str) -> str:
    """What the tip holds of the suspects' pod template that `failed` did not: its own rollout is still to come. "" =
    nothing, or it cannot be told.
    """
    object_ = suspects[0].object
    try:
        renders = await _renders(ground, suspects[0].root, failed, ground.commit)
        found = await asyncio.to_thread(diff_objects, *renders) if renders is not None else []
    except (GitError, RenderError, DocumentError):
        return ""
    other = next(
        (
            each
            for change in found
            if change.object == object_
            for each in change.fields
            if is_in_template(object_.group, object_.kind, each.path)
        ),
        None,
    )
    return f"{other}, compared with {failed[:12]}" if other is not None else ""


async def mixed(
    ground: Ground, suspects: Sequence[Placement], before: Mapping[Key, str], good: str, failed: str | None
) -> str:
    """What of the suspects' workload differs between its last good commit and the one that failed, beside their
    images; "" = nothing. `failed`: None = not known, and what the tip holds stands for it.

    `before`: the images of the good one. Where it cannot be told, that is what is said.
    """
    root_id, object_ = suspects[0].root, suspects[0].object
    after = await images(ground, failed) if failed is not None else {}
    intended = [
        Intended(object=object_, path=each.path, old=before[each.key], new=after.get(each.key, reference(each)))
        for each in suspects
        if each.key in before
    ]
    try:
        renders = await _renders(ground, root_id, good, failed or ground.commit)
        if renders is None:
            return f"{root_id} is new"
        found = await asyncio.to_thread(compare, *renders, intended)
    except (GitError, RenderError, DocumentError) as error:
        return f"it cannot be compared with {good[:12]}: {error.message}"
    strange = [str(each) for each in found.unexpected if each.object == object_]
    strange += [
        str(each.difference)
        for each in found.derived
        if each.difference.object == object_ and each.reason.startswith("refers to")
    ]
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        return f"{strange[0]}{more}, compared with {good[:12]}"
    lost = next((each for each in suspects if each.key not in before), None)
    return f"{dotted(lost.path)} of {object_} is new" if lost is not None else ""


async def _renders(ground: Ground, root: str, old: str, new: str) -> tuple[bytes, bytes] | None:
    """One root in two commits; None = it is not in both. Raises what Git and the build raise."""
    trees = [ground.tree if each == ground.commit else ground.tree_of(each) for each in (old, new)]
    roots = [ground.provenance(tree).roots.get(root) for tree in trees]
    if roots[0] is None or roots[1] is None:
        return None
    build = ground.line.renderer.build
    before, after = await asyncio.gather(build(trees[0], roots[0]), build(trees[1], roots[1]))
    return before, after


def reference(placement: Placement) -> str:
    """As it is rendered."""
    value = placement.value
    return placement.image + (f":{value.tag}" if value.tag else "") + (f"@{value.digest}" if value.digest else "")


def answered(past: Past, asked: datetime) -> CommitInfo | None:
    """The commit that has granted the wish of that moment, among those that are here."""
    wanted = (ROLLBACK_ASKED, exact_rfc3339(asked))
    return next((each for each in past.history.commits() if wanted in each.trailers), None)
