"""What an object that names a folder makes of it: the root, with what is laid over it and what Flux would generate.

Pure, and proportional to the folder's closure: nothing here looks at the rest of the tree beyond the list of its files.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from image_updater.errors import DocumentError
from image_updater.kustomize import roots as roots_
from image_updater.kustomize.engine import Build
from image_updater.kustomize.model import EntryKind, Root, RootKind
from image_updater.kustomize.paths import KUSTOMIZATION_NAMES, folder_of, inside, join
from image_updater.kustomize.values import Map, list_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.kustomize.engine import Engine
    from image_updater.kustomize.files import Files
    from image_updater.kustomize.roots import Naming


@dataclass(frozen=True, slots=True)
class Laid:
    """A folder as somebody names it. `plain`: it has no kustomization and needs none, its documents are its render."""

    build: Build
    wrapper: str | None = None
    generated: str | None = None
    plain: bool = False


def laid(engine: Engine, naming: Naming, manifests: Iterable[str]) -> Laid:
    """`manifests` are the files that hold objects, at least those below the folder. The folder must be there."""
    folder = naming.path
    text = None
    if folder in engine.files.kustomizations:
        base = engine.build(folder)
    else:
        base, text = generated(engine, naming, manifests, everything=False)
    if naming.overlay is None:
        return Laid(base, generated=text, plain=text is None and folder not in engine.files.kustomizations)
    own = [entry for entry in base.entries if entry.map.origin.file == base.kustomization]
    overlay = roots_.follow_renames(naming.overlay, own)
    wrapper = roots_.wrapper_text(overlay, _patch_texts(engine.files, overlay, folder))
    start = Build(folder, files=set(base.files), folders=set(base.folders))
    if naming.file is not None:
        start.files.add(naming.file)

    def below(everything: bool) -> Build:
        if text is None:
            return engine.build(folder, everything=everything)
        return generated(engine, naming, manifests, everything=everything)[0]

    build = engine.overlay(start, overlay, naming.file or "", below)
    if not build.after and overlay.keys() & {"images", "patches", "components"}:
        build.after = f"what {naming.source or 'the naming object'} lays over it"
    return Laid(build, wrapper, text)


def generated(
    engine: Engine, naming: Naming, manifests: Iterable[str], *, everything: bool
) -> tuple[Build, str | None]:
    """What Flux generates for a folder without a kustomization: its manifests, and sub-folders that have one."""
    folder = naming.path
    build = Build(folder, folders={folder}, all=everything)
    resources: list[str] = []
    nested = nested_folders(engine.files, folder) if naming.recurse or not naming.argo else []
    prefix = "" if folder == "." else folder + "/"
    for path in manifests:
        if not inside(folder, path) or any(inside(f, path) for f in nested):
            continue
        if naming.argo and not naming.recurse and folder_of(path) != folder:
            continue
        resources.append(path.removeprefix(prefix))
        build.files.add(path)
        engine.load(build, path)
    for child in nested:
        resources.append(child.removeprefix(prefix))
        build.absorb(engine.build(child, everything=everything))
    text = yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(resources)}
    )
    return build, text if nested or naming.overlay is not None else None


def nested_folders(files: Files, folder: str) -> list[str]:
    """The topmost folders with a kustomization below this one."""
    nested = sorted(f for f in files.kustomizations if f != folder and inside(folder, f))
    return [f for f in nested if not any(f != g and inside(g, f) for g in nested)]


def root_of(
    identity: str, build: Build, files: Files, *, wrapper: str | None = None, generated: str | None = None
) -> Root:
    """The root that this build renders."""
    return Root(
        id=identity,
        path=build.folder,
        kind=RootKind.KUSTOMIZE,
        wrapper=wrapper,
        generated=generated,
        kustomization=build.kustomization,
        closure=frozenset(path for path in build.files if path in files.entries),
        folders=frozenset(build.folders),
        unbuildable=build.unbuildable or build.broken,
        complete=build.after or ("vars" if build.variables else None),
        remotes=tuple(dict.fromkeys(leaf.value for leaf in build.remotes)),
        helm=build.helm,
    )


def plain_root(folder: str, paths: Iterable[str]) -> Root:
    """Documents outside any kustomization."""
    closure = frozenset(paths)
    folders = frozenset({folder, *(folder_of(path) for path in closure)})
    return Root(id=folder, path=folder, kind=RootKind.PLAIN, closure=closure, folders=folders)


def chart_folders(files: Iterable[str]) -> frozenset[str]:
    """Folders of Helm charts."""
    return frozenset(folder_of(path) for path in files if path.endswith("Chart.yaml") and path[-11:-10] in ("", "/"))


def is_template(path: str, charts: frozenset[str]) -> bool:
    """Does it lie in the templates of a chart?"""
    parts = path.split("/")
    return any(step == "templates" and ("/".join(parts[:i]) or ".") in charts for i, step in enumerate(parts[:-1]))


def could_hold_objects(files: Files, path: str, charts: frozenset[str]) -> bool:
    """A YAML or JSON file that is read for objects: no kustomization, no template of a chart."""
    return (
        files.entries[path].kind is EntryKind.FILE
        and files.is_yaml(path)
        and path.rpartition("/")[2] not in KUSTOMIZATION_NAMES
        and not (charts and is_template(path, charts))
    )


def _patch_texts(files: Files, overlay: Map, folder: str) -> dict[str, str]:
    found = {}
    for item in list_at(overlay, "patches"):
        name = text_at(item, "path")
        path = None if name is None else join(folder, name)
        if name is not None and path is not None and path in files.entries:
            with contextlib.suppress(DocumentError):  # the build says what is wrong with it
                found[name] = files.text(path)
    return found
