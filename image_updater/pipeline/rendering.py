"""`render` and `diff`: what roots give, and how that differs between two trees."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.api.model import Objects
from image_updater.errors import ImageUpdaterError, RenderError, SpecError
from image_updater.kustomize import locate
from image_updater.kustomize.model import dotted
from image_updater.patch.compare import diff_objects, images_of
from image_updater.pipeline.progress import inside
from image_updater.pipeline.report import (
    ChangedObject,
    DiffReport,
    FailureReport,
    ProblemReport,
    RenderReport,
)
from image_updater.pipeline.reporting import problem_rows
from image_updater.pipeline.session import named_roots, session
from image_updater.pipeline.trees import open_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.kustomize.model import Provenance, Root, Tree
    from image_updater.pipeline.report import DiffRequest, RenderRequest
    from image_updater.pipeline.session import Session


async def render(request: RenderRequest) -> RenderReport:
    """The manifests of the roots asked for (default: all), as a proof would build them."""
    place = await asyncio.to_thread(open_path, Path(request.target or "."))
    with session(request.settings, request.environment) as opened:
        provenance, roots = _roots(place.tree, request.roots, opened, focus=place.focus)
        manifests: dict[str, bytes] = {}
        failures: list[FailureReport] = []
        request.progress(f"building {len(roots)} roots")
        for root, answer in (await opened.renderer.build_many(place.tree, roots.values())).items():
            if isinstance(answer, RenderError):
                failures.append(FailureReport.of(root, answer))
            else:
                manifests[root] = answer
    return RenderReport(manifests=manifests, problems=problem_rows(provenance), failures=tuple(failures))


async def diff(request: DiffRequest) -> DiffReport:
    """Objects and images whose render differs between two trees; roots whose closure is equal are not built."""
    path = Path(request.target or ".")
    place = await asyncio.to_thread(open_path, path)
    checkout = place.checkout
    if checkout is None:
        raise SpecError(f"{path} is no Git repository", remedy="diff compares revisions: run it inside a checkout")
    old_tree = checkout.revision_tree(request.old or "HEAD")
    new_tree = checkout.tree() if request.new is None else checkout.revision_tree(request.new)
    with session(request.settings, request.environment) as opened:
        _, old_roots = _roots(old_tree, request.roots, opened, strict=False, focus=place.focus)
        _, new_roots = _roots(new_tree, request.roots, opened, strict=False, focus=place.focus)
        if request.roots and not old_roots and not new_roots:
            _roots(new_tree, request.roots, opened)
        ids = list(dict.fromkeys((*old_roots, *new_roots)))
        differing = [
            root
            for root in ids
            if root not in old_roots
            or root not in new_roots
            or opened.renderer.key(old_tree, old_roots[root]) != opened.renderer.key(new_tree, new_roots[root])
        ]
        request.progress(f"building {len(differing)} roots before and after")
        before = await opened.renderer.build_many(old_tree, [old_roots[r] for r in differing if r in old_roots])
        after = await opened.renderer.build_many(new_tree, [new_roots[r] for r in differing if r in new_roots])
    objects: list[ChangedObject] = []
    images: list[tuple[str, str | None, str | None]] = []
    failures: list[FailureReport] = []
    problems: list[ProblemReport] = []
    for root in differing:
        sides: list[bytes] = []
        broken = False
        for side in (before, after):
            answer = side.get(root, b"")
            if isinstance(answer, ImageUpdaterError):
                broken = True
                failures.append(FailureReport.of(root, answer))
            else:
                sides.append(answer)
        if not broken:
            objects += _objects(root, sides[0], sides[1])
            images += _images(root, sides[0], sides[1])
    return DiffReport(
        objects=tuple(objects),
        images=tuple(images),
        problems=tuple(problems),
        failures=tuple(dict.fromkeys(failures)),
    )


def _roots(
    tree: Tree, wanted: tuple[str, ...], opened: Session, *, strict: bool = True, focus: str = "."
) -> tuple[Provenance, Mapping[str, Root]]:
    provenance = locate(tree, named=named_roots(Objects(), wanted), cache=opened.facts)
    if not wanted:
        return provenance, {id_: root for id_, root in provenance.roots.items() if inside(root.path, focus)}
    chosen = {id_: root for id_, root in provenance.roots.items() if _asked(root, wanted)}
    for path in wanted:
        if strict and not any(_asked(root, (path,)) for root in chosen.values()):
            raise SpecError(
                f"--root {path}: there is nothing to render there", remedy="name a folder of the repository"
            )
    return provenance, chosen


def _asked(root: Root, wanted: tuple[str, ...]) -> bool:
    return any(root.path == ("/".join(p for p in path.split("/") if p not in ("", ".")) or ".") for path in wanted)


def _objects(root: str, old: bytes, new: bytes) -> list[ChangedObject]:
    return [
        ChangedObject(
            root=root,
            object=str(change.object),
            change=str(change.kind),
            fields=tuple((dotted(field.path), field.old, field.new) for field in change.fields),
        )
        for change in diff_objects(old, new)
    ]


def _images(root: str, old: bytes, new: bytes) -> list[tuple[str, str | None, str | None]]:
    before = {(str(object_), path): value for object_, path, value in images_of(old)}
    after = {(str(object_), path): value for object_, path, value in images_of(new)}
    rows = [
        (root, before.get(place), after.get(place))
        for place in dict.fromkeys((*before, *after))
        if before.get(place) != after.get(place)
    ]
    return list(dict.fromkeys(rows))
