"""`image-updater set`: by hand, with the care and the proof of an automation.

The folder's own kustomization is edited, nothing else. What renders differently afterwards must be the image that was
named, as it was asked for, in every root that the folder reaches; anything else refuses.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.documents import decode
from image_updater.errors import Refused, SpecError, Where
from image_updater.git import Checkout, write_files, writing_folder
from image_updater.images import canonical, split
from image_updater.kustomize import NamedRoot, locate
from image_updater.kustomize.model import dotted
from image_updater.patch import splice, verify_parse, write
from image_updater.patch.aliases import check_aliases
from image_updater.patch.model import Intended
from image_updater.patch.overlay import OverlayTree
from image_updater.patch.set import Assignment, changes_for_set
from image_updater.pipeline.nearby import NAMES, NearbyTree
from image_updater.pipeline.prove import prove
from image_updater.pipeline.report import UpdateReport
from image_updater.pipeline.reporting import edit_rows
from image_updater.pipeline.session import session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from image_updater.kustomize.model import Provenance, Tree, Use
    from image_updater.pipeline.report import SetRequest


async def set_images(request: SetRequest) -> UpdateReport:
    """Raises Refused (no or two kustomizations, or what else would change), SpecError (no folder), FilesChanged."""
    with ExitStack() as stack:
        if not request.dry_run:
            await asyncio.to_thread(stack.enter_context, _writing(Path(request.folder)))
        return await _set(request)


async def _set(request: SetRequest) -> UpdateReport:
    tree, top, folder = await asyncio.to_thread(_open, Path(request.folder))
    file = _kustomization(tree, folder)
    text = decode(tree.read(file), file=file)
    named = (NamedRoot(path=folder),)
    with session(request.settings, request.environment) as opened:
        old = locate(tree, named=named)
        assignments = [
            Assignment(image=wanted.image, new_name=wanted.new_name, tag=wanted.tag, digest=wanted.digest)
            for wanted in request.images
        ]
        own = _own_root(old, folder)
        seen = [use for site in old.sites for use in site.uses if use.root == own]
        rendered = list(dict.fromkeys(split(use.before or use.value)[0] for use in seen))
        changes = changes_for_set(text, assignments, file=file, rendered=rendered)
        for change in changes:
            if change.append:
                _check_known(dict(change.items)["name"], rendered, old, own, file)
        check_aliases(text, changes)
        edits = write({file: text}, changes)
        new_text = splice(text, edits)
        if new_text == text:
            return UpdateReport()
        verify_parse(text, new_text, edits, file)
        after = OverlayTree(tree, {file: new_text.encode()})
        new = locate(after, named=named)
        request.progress("building before and after")
        proof = await prove(
            before=tree,
            after=after,
            old=_provable(old, own),
            new=_provable(new, own),
            edits=edits,
            intended=_intended(old, new, assignments),
            renderer=opened.renderer,
        )
    if proof.refused:
        raise Refused(next(iter(proof.refused.values())), where=Where(file=file))
    if not request.dry_run:
        await asyncio.to_thread(write_files, top, {file: new_text.encode()}, expected={file: tree.read(file)})
    return UpdateReport(
        changed=True,
        edits=edit_rows(edits),
        proof=tuple(str(each) for each in proof.roots),
        files={file: (text, new_text)},
    )


def _writing(path: Path) -> AbstractContextManager[None]:
    """Be the only image-updater that writes in the checkout, or where there is none in the folder."""
    _check_folder(path)
    checkout = Checkout.open(path)
    return checkout.writing() if checkout is not None else writing_folder(path)


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise SpecError(f"{path} is no folder", remedy="name the folder of a kustomization")


def _open(path: Path) -> tuple[Tree, Path, str]:
    """The tree, its top on disk, and the folder in it."""
    _check_folder(path)
    checkout = Checkout.open(path)
    if checkout is not None:
        top = Path(checkout.root).resolve()
        return checkout.tree(), top, path.resolve().relative_to(top).as_posix()
    nearby = NearbyTree(path)
    return nearby, nearby.top, nearby.folder


def _kustomization(tree: Tree, folder: str) -> str:
    prefix = "" if folder == "." else f"{folder}/"
    found = [prefix + name for name in NAMES if prefix + name in tree.files()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Refused(
            f"{folder} holds no kustomization ({', '.join(NAMES)})", remedy="name a folder that has one with --path"
        )
    raise Refused(f"{folder} holds {len(found)} kustomizations: {', '.join(found)}", remedy="remove all but one")


def _own_root(provenance: Provenance, folder: str) -> str | None:
    return next((root.id for root in provenance.roots.values() if root.path == folder and root.wrapper is None), None)


def _check_known(name: str, rendered: Sequence[str], old: Provenance, own: str | None, file: str) -> None:
    """A new entry that matches nothing would be a silent mistake; where not all images are known it may match."""
    root = old.roots.get(own) if own is not None else None
    if root is None or root.unbuildable is not None or name in rendered:
        return
    known = ", ".join(sorted(rendered)) or "none"
    raise Refused(
        f"no image {name} is rendered here, an entry for it would do nothing",
        where=Where(file=file),
        remedy=f"rendered are: {known}",
    )


def _provable(provenance: Provenance, own: str | None) -> Provenance:
    """Roots above the folder that cannot be built here are their own matter; the folder's own root never is."""
    roots = {
        id_: root for id_, root in provenance.roots.items() if id_ == own or (root.unbuildable is None and root.path)
    }
    sites = tuple(replace(site, uses=tuple(use for use in site.uses if use.root in roots)) for site in provenance.sites)
    return replace(provenance, roots=roots, sites=sites)


def _intended(old: Provenance, new: Provenance, assignments: Sequence[Assignment]) -> dict[str, list[Intended]]:
    """What changes by the static answer, each checked to be what was asked for. Raises Refused naming what is not."""
    before = {(use.root, str(use.object), use.path): use for site in old.sites for use in site.uses}
    intended: dict[str, list[Intended]] = {}
    for site in new.sites:
        for use in site.uses:
            previous = before.get((use.root, str(use.object), use.path))
            if previous is None or previous.value == use.value:
                continue
            if not _asked(previous, use, assignments):
                raise Refused(
                    f"{use.root}: {use.object} {dotted(use.path)} would become {use.value}, which was not asked for",
                    remedy="set it in a kustomization that renders only what is meant",
                )
            intended.setdefault(use.root, []).append(
                Intended(object=use.object, path=use.path, old=previous.value, new=use.value)
            )
    return intended


def _asked(old: Use, new: Use, assignments: Sequence[Assignment]) -> bool:
    names = {canonical(split(text)[0]) for text in (old.value, old.before or old.value)}
    _, tag, digest = split(new.value)
    for wanted in reversed(assignments):
        if canonical(wanted.image) not in names and wanted.image not in {
            split(old.value)[0],
            split(old.before or "")[0],
        }:
            continue
        if wanted.tag is not None and tag != wanted.tag:
            continue
        if wanted.digest is not None and digest != wanted.digest:
            continue
        if wanted.new_name is None or canonical(split(new.value)[0]) == canonical(wanted.new_name):
            return True
    return False
