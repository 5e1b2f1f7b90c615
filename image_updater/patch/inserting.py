"""An `images:` entry in a root's own kustomization, where the site itself may not change.

The entry's `name` is the image as rendered just before that root's `images:` run; an entry that is there and only
renames gets the tag instead. If the entry would touch anything that does not want the same, nothing is inserted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from image_updater.images.names import split
from image_updater.kustomize.model import RootKind, SiteKind
from image_updater.patch.decisions import Decision, State
from image_updater.patch.model import Change, EditKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.kustomize.model import Provenance, Site, Use
    from image_updater.patch.moves import Move
    from image_updater.patch.scope import Scope


class Inserter:
    """Decides inserts for one plan. `moves`: by site id and use index what is to change."""

    def __init__(
        self,
        provenance: Provenance,
        scope: Scope,
        moves: Mapping[str, Mapping[int, Move]],
        *,
        refused: Mapping[str, str],
        locked: Mapping[str, str],
    ) -> None:
        self.provenance = provenance
        self.scope = scope
        self.moves = moves
        self.refused = refused
        self.locked = locked
        self.uses_of_root: dict[str, list[tuple[Site, int]]] | None = None

    def insert(self, site: Site, move: Move, obstacle: str) -> Decision:
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
            return refuse(f"{obstacle}, and {root.kustomization} is {self.scope.outside(root.kustomization)}")
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
        return Decision(
            site=site,
            state=State.UPDATED,
            policy=move.policy,
            reason=f"set in {root.kustomization}: {obstacle}",
            roots=(use.root,),
            changes=(change,),
        )

    def goes_along(self, site: Site, index: int, move: Move) -> bool:
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
