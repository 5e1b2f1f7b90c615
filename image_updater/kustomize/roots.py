"""Which folders are rendered as one: unreferenced kustomizations, paths that objects name, plain manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from image_updater.documents import parse
from image_updater.kustomize.imagetags import Entry, bounds
from image_updater.kustomize.paths import folder_of, inside, is_remote, join
from image_updater.kustomize.values import (
    STRING,
    Leaf,
    Map,
    Origin,
    Text,
    Value,
    at,
    list_at,
    made,
    map_at,
    pack,
    part_of,
    text_at,
    texts,
    unpack,
)

if TYPE_CHECKING:
    from image_updater.kustomize.files import Files

FLUX_GROUPS = ("kustomize.toolkit.fluxcd.io", "image-updater.dev")
_OVERLAY_KEYS = (
    "namespace",
    "namePrefix",
    "nameSuffix",
    "images",
    "patches",
    "components",
    "labels",
    "commonLabels",
    "commonAnnotations",
)
_REFERRING = ("resources", "bases", "components", "generators", "transformers", "validators")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRoot:
    """A folder that something outside the tree names as a root (`--root`, an object of the objects file).

    `overlay` is what is laid over it, in a kustomization's own fields (`images`, `patches`, `components`,
    `namePrefix`, …). `source` says who names it; it becomes part of the root's id when there is an overlay.
    """

    path: str
    source: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Naming:
    """Somebody names a folder: `overlay` has the fields laid over it, with their origins when they stand in the
    tree."""

    path: str
    source: str
    overlay: Map | None
    file: str | None = None
    line: int | None = None
    recurse: bool = True
    argo: bool = False


def referenced(files: Files) -> set[str]:
    """Folders that some kustomization refers to."""
    found: set[str] = set()
    for folder, names in files.kustomizations.items():
        for name in names:
            for target in files.remember("refers", name, partial(_refers, files, name, folder)):
                resolved = target if target in files.children or target in files.entries else files.resolve(target)
                if resolved is not None and resolved != folder:
                    found.add(resolved)
    return found


def _refers(files: Files, name: str, folder: str) -> tuple[str, ...]:
    """The paths in a kustomization that may be folders."""
    found: list[str] = []
    for tree in files.documents(name, full=True):
        if not isinstance(tree, Map):
            continue
        for key in _REFERRING:
            for leaf in texts(tree.get(key)):
                if "\n" not in leaf.value and not is_remote(leaf.value):
                    target = join(folder, leaf.value)
                    if target is not None:
                        found.append(target)
    return tuple(found)


def namings(files: Files, manifests: list[str]) -> list[Naming]:
    """What Flux's and our Kustomizations and Argo CD's Applications in the tree name."""
    return [naming for path in manifests for naming in files.remember("names", path, partial(_names, files, path))]


def _names(files: Files, path: str) -> tuple[Naming, ...]:
    found: list[Naming] = []
    for document in files.documents(path):
        if not isinstance(document, Map):
            continue
        is_list = (text_at(document, "kind") or "").endswith("List")
        for item in list_at(document, "items") if is_list else [document]:
            if isinstance(item, Map):
                found.extend(_naming(item, path))
    return tuple(found)


def _naming(obj: Map, file: str) -> list[Naming]:
    group = (text_at(obj, "apiVersion") or "").rpartition("/")[0]
    kind = text_at(obj, "kind")
    if kind == "Kustomization" and group in FLUX_GROUPS:
        path = _folder(text_at(obj, "spec", "path") or ".")
        spec = map_at(obj, "spec")
        return [] if path is None or spec is None else [Naming(path, _called(obj), _flux_overlay(spec), file, obj.line)]
    if kind == "Application" and group == "argoproj.io":
        sources = [
            source
            for source in (at(obj, "spec", "source"), *list_at(obj, "spec", "sources"))
            if isinstance(source, Map)
        ]
        found = []
        for source in sources:
            path = _folder(text_at(source, "path") or "")
            if path is None or text_at(source, "path") is None or "chart" in source:
                continue
            recurse = text_at(source, "directory", "recurse") == "true"
            found.append(Naming(path, _called(obj), _argo_overlay(source), file, obj.line, recurse, argo=True))
        return found
    return []


def _called(obj: Map) -> str:
    namespace, name = text_at(obj, "metadata", "namespace"), text_at(obj, "metadata", "name") or ""
    return f"{text_at(obj, 'kind')} {namespace + '/' if namespace else ''}{name}"


def _folder(text: str) -> str | None:
    return join(".", text.lstrip("/") or ".")


def _flux_overlay(spec: Map) -> Map | None:
    overlay = spec.clone()
    overlay.clear()
    for key in ("namePrefix", "nameSuffix", "images", "patches", "components"):
        if spec.get(key):
            overlay[key] = spec[key]
    if "patchesStrategicMerge" in spec or "patchesJson6902" in spec:
        overlay.update({key: spec[key] for key in ("patchesStrategicMerge", "patchesJson6902") if key in spec})
    if "targetNamespace" in spec:
        overlay["namespace"] = spec["targetNamespace"]
    annotations = map_at(spec, "commonMetadata", "annotations")
    if annotations is not None:
        overlay["commonAnnotations"] = annotations
    return overlay or None


def _argo_overlay(source: Map) -> Map | None:
    spec = map_at(source, "kustomize")
    if spec is None:
        return None
    overlay = spec.clone()
    overlay.clear()
    for key in ("namePrefix", "nameSuffix", "namespace", "patches", "components", "commonLabels", "commonAnnotations"):
        if spec.get(key):
            overlay[key] = spec[key]
    images = [entry for leaf in texts(spec.get("images")) if (entry := argo_image(leaf, spec)) is not None]
    if images:
        overlay["images"] = list(images)
    return overlay or None


def argo_image(leaf: Leaf, spec: Map) -> Map | None:
    """`[name=]newname[:tag][@digest]`, as `kustomize edit set image` reads it."""
    name, equals, rest = leaf.value.partition("=")
    start = len(name) + 1 if equals else 0
    name_end, tag_end, digest_start = (start + bound for bound in bounds(rest if equals else leaf.value))
    entry = spec.clone()
    entry.clear()
    entry.start, entry.end, entry.line, entry.path = leaf.start, leaf.end, leaf.line, leaf.path
    entry["name"] = part_of(leaf, 0, len(name)) if equals else part_of(leaf, 0, name_end)
    if equals:
        entry["newName"] = part_of(leaf, start, name_end)
    if tag_end > name_end + 1:
        entry["newTag"] = part_of(leaf, name_end + 1, tag_end)
    if digest_start < len(leaf.value):
        entry["digest"] = part_of(leaf, digest_start, len(leaf.value))
    return entry


def outside(named: NamedRoot) -> Naming:
    """A NamedRoot; its overlay has no place in the tree, so nothing of it can be edited."""
    overlay = None
    if named.overlay:
        node = next(
            iter(
                _parse(yaml.safe_dump({k: v for k, v in named.overlay.items() if k in _OVERLAY_KEYS}, sort_keys=False))
            )
        )
        overlay = node if isinstance(node, Map) else None
    return Naming(_folder(named.path) or ".", named.source, overlay)


def _parse(text: str) -> list[Value]:
    origin = Origin("", "", "it is set outside the repository")
    return [unpack(pack(document.root), origin, 0) for document in parse(text)]


def plain_folders(files: Files, manifests: list[str], covered: set[str]) -> dict[str, list[str]]:
    """Topmost folders of manifests outside any kustomization, each with its files. `covered`: files that builds
    read."""
    kustomized = set(files.kustomizations)
    inner: dict[str, bool] = {}

    def below_kustomization(folder: str) -> bool:
        known = inner.get(folder)
        if known is None:
            known = folder in kustomized or (
                folder != "." and folder_of(folder) != "." and below_kustomization(folder_of(folder))
            )
            inner[folder] = known
        return known

    loose: dict[str, list[str]] = {}
    for path in manifests:
        folder = folder_of(path)
        if path not in covered and not below_kustomization(folder):
            loose.setdefault(folder, []).append(path)
    tops: dict[str, list[str]] = {}
    for folder in sorted(loose, key=lambda f: (f.count("/") if f != "." else -1, f)):
        top = next((t for t in tops if inside(t, folder)), folder)
        tops.setdefault(top, []).extend(loose[folder])
    return tops


def to_plain(value: Value) -> Any:
    """Values as YAML would read them, for the text of a wrapper."""
    if isinstance(value, Map):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, Text) or value.bits & STRING:
        return value.value
    return yaml.safe_load(value.value) if value.value in ("true", "false", "null", "~", "") else value.value


def wrapper_text(overlay: Map, patches: Mapping[str, str]) -> str:
    """The kustomization that lays a naming object's fields over its folder, `../ROOT` for the renderer.

    `patches` has the texts of patch files by the path written: a kustomization reads no files outside its own folder.
    """
    tree: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../ROOT"],
    }
    for key, value in to_plain(overlay).items():
        if key == "components" and isinstance(value, list):
            value = [item if is_remote(str(item)) else f"../ROOT/{item}" for item in value]
        elif key == "patches" and isinstance(value, list):
            value = [_inlined(item, patches) for item in value]
        tree[key] = value
    return str(yaml.safe_dump(tree, sort_keys=False))


def _inlined(item: Any, patches: Mapping[str, str]) -> Any:
    if not isinstance(item, dict) or item.get("path") not in patches:
        return item
    return {**{key: value for key, value in item.items() if key != "path"}, "patch": patches[item["path"]]}


def follow_renames(overlay: Map, entries: Iterable[Entry]) -> Map:
    """Flux and Argo CD merge an image into the entry of the same name that the folder's kustomization has, so its
    rename stays.

    Laid over the folder instead, the entry has to match what that one left.
    """
    renames = {entry.name: entry.new_name.value for entry in entries if entry.new_name is not None}
    items = list_at(overlay, "images")
    if not any(text_at(item, "name") in renames for item in items):
        return overlay
    images: list[Value] = []
    for item in items:
        name = text_at(item, "name")
        if isinstance(item, Map) and name in renames:
            item = item.clone()
            item["name"] = made(renames[name], item)
        images.append(item)
    result = overlay.clone()
    result["images"] = images
    return result
