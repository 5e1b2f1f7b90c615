"""Where the past of an image goes on when a person puts something in front of it, or takes out what we had put there.

An `images:` entry that an overlay gets, a copy of the resource, a component: such a place has no past of its own, but
the root that renders it had the image before. So where a place came into being its past goes on with that of the site
that had set the image until then, and is judged as one: a pin below what we wrote is a hold, as a revert is. A root
that was not there, or did not render that image of that object, lost nothing.

An entry of ours that a person took out of a root's kustomization counts for whatever sets the image there now.

Only images that we have moved are asked for; what an insert took the place of is found once a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from image_updater.git import Place, Wanted
from image_updater.git.address import read
from image_updater.images import same_image
from image_updater.images.names import split
from image_updater.kustomize.model import Tree
from image_updater.kustomize.paths import KUSTOMIZATION_NAMES
from image_updater.pipeline.people.past import is_from_us, rollback_of
from image_updater.pipeline.people.places import Versions, entry, places_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from image_updater.git import Chain
    from image_updater.images import ImageName
    from image_updater.kustomize.model import ObjectId, Path, Provenance, Root, Use
    from image_updater.patch.decisions import Decision
    from image_updater.pipeline.people.past import Past

Pin = tuple[str, str, Wanted, str]
"""Repository, commit and place of an insert, and the image that it is about."""


Locate = Callable[[Tree], "Provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """`roots` of the tree that is planned on; `locate` tells of another tree what its roots render."""

    roots: Mapping[str, Root]
    locate: Locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A place whose past decides over a move. `name`: as a plan knows it; `folders`: of the roots that move there."""

    name: str
    policy: str
    image: ImageName
    wanted: Wanted
    folders: tuple[str, ...]


async def before(chain: Chain, asked: Asked, past: Past, rendering: Rendering) -> list[Chain]:
    """The chain of a place that has a value, gone on with where this value took the place of another site's: once for
    each such site.
    """
    number, made = next(((n, each) for n, each in enumerate(chain.changes) if each.before is None), (0, None))
    if made is None or made.at is None or made.after is None or chain.now is None or not made.commit.parents:
        return []
    if is_from_us(made) and rollback_of(made) is None:
        return []
    then = past.at(made.commit.parents[0])
    if _new(made.at, asked, then):
        return []
    pin: Pin = past.history.repository.path, made.commit.id, made.at, asked.image.canonical
    known = past.memory.pins.get(pin)
    if known is None:
        now = past.at(made.commit.id)
        covered = await asyncio.to_thread(_covered, made.at, asked.image, now, then, rendering.locate)
        chains = await then.chains(covered)
        known = past.memory.pins[pin] = tuple(chains[each] for each in covered)
    return [_joined(chain, number, each) for each in known if each.now is not None]


def _new(made: Wanted, asked: Asked, then: Past) -> bool:
    """Is it in folders of roots that were not there before? Nothing is rendered to know that."""
    file = asked.wanted.file
    if made.file != file or not all(folder == "." or file.startswith(f"{folder}/") for folder in asked.folders):
        return False
    return not any(then.history.holds(folder) for folder in asked.folders)


def _joined(chain: Chain, number: int, older: Chain) -> Chain:
    """`number`: of the change that took the place of what `older` is about."""
    made = replace(chain.changes[number], before=older.now)
    same = made.before == made.after
    changes = (*chain.changes[:number], *(() if same else (made,)), *older.changes)
    return replace(older, now=chain.now, changes=changes)


def _covered(made: Wanted, image: ImageName, now: Past, then: Past, locate: Locate) -> tuple[Wanted, ...]:
    """What had set the image until this insert, in the roots that render it since, as the parent has it."""
    uses = _uses(made, image, now.history.tree, locate)
    if not uses:
        return ()
    tree = then.history.tree
    provenance, versions = locate(tree), Versions(tree)
    return tuple(
        dict.fromkeys(
            wanted
            for site in provenance.sites
            if any(same_image(use.value, image) and _what(provenance, use) in uses for use in site.uses)
            for wanted in places_of(site, versions)
        )
    )


def _uses(made: Wanted, image: ImageName, tree: Tree, locate: Locate) -> set[_What]:
    """What is rendered from a place, of this image."""
    provenance, versions = locate(tree), Versions(tree)
    reading = read(versions[made.file], made.place)
    fields = set(reading.place.fields) if reading is not None else set()
    return {
        _what(provenance, use)
        for site in provenance.sites
        if made.file in {site.file, *(scalar.file for scalar in site.parts.values())}
        if any(each.file == made.file and fields & set(each.place.fields) for each in places_of(site, versions))
        for use in site.uses
        if same_image(use.value, image)
    }


_What = tuple[str, "ObjectId", "str | Path"]
"""Folder of a root, object in it, and container, which may change its place; else the field."""


def _what(provenance: Provenance, use: Use) -> _What:
    return provenance.roots[use.root].path, use.object, use.container or use.path


# ------------------------------------------------------------------------------------------------- entries taken out


def entries(
    decision: Decision, versions: Versions, wrote: Collection[str], roots: Mapping[str, Root]
) -> Iterator[tuple[str, Wanted]]:
    """Where entries of ours may have stood before for what this decision moves without one: as `id@root`, and the
    place. `wrote`: the files that we ever wrote for the image.
    """
    site = decision.site
    if site.marker is not None or site.markers or all(change.site != site.id for change in decision.changes):
        return
    moved = any(path.rpartition("/")[2] in KUSTOMIZATION_NAMES and path not in versions for path in wrote)
    for use in site.uses:
        file = roots[use.root].kustomization if use.root in decision.roots else None
        if file is not None and file != site.file and (moved or file in wrote):
            fields = entry(versions[file], split(use.before or use.value)[0])
            yield f"{site.id}@{use.root}", Wanted(file=file, place=Place(tuple(fields)))
