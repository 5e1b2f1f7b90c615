"""The three patch lists of a kustomization: patchesStrategicMerge, patches, patchesJson6902."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from image_updater.kustomize.merge import NeedAll, PatchError, has_schema, json6902, strategic
from image_updater.kustomize.objects import Obj
from image_updater.kustomize.paths import is_remote, join
from image_updater.kustomize.values import Leaf, Map, Value, list_at, map_at, text_at, texts

if TYPE_CHECKING:
    from image_updater.kustomize.engine import Build, Engine

ROLE = "patch"


def strategic_list(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> None:
    """`patchesStrategicMerge`: paths or inline documents."""
    for leaf in texts(tree.get("patchesStrategicMerge")):
        inline = _is_inline(engine, folder, leaf.value)
        file = None if inline else engine.file(build, folder, path, leaf)
        if file is None and not inline:
            continue
        for patch in engine.documents(build, path, leaf, file, ROLE):
            by_id(engine, build, path, leaf.line, patch)


def _is_inline(engine: Engine, folder: str, text: str) -> bool:
    if "\n" in text:
        return True
    target = None if is_remote(text) else join(folder, text)
    if target is not None and engine.files.resolve(target) in engine.files.entries:
        return False
    return ": " in text


def patch_list(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> None:
    """`patches`: a file or inline text, a strategic merge or JSON 6902, with or without a target."""
    for item in list_at(tree, "patches"):
        if isinstance(item, Map):
            apply_patch(engine, build, folder, path, item)


def apply_patch(engine: Engine, build: Build, folder: str, path: str, item: Map) -> None:
    """One entry of `patches` (or a PatchTransformer)."""
    name, text = item.get("path"), item.get("patch")
    if isinstance(text, Leaf) and text.value.strip():
        leaf, file = text, None
    elif isinstance(name, Leaf) and name.value:
        leaf, file = name, engine.file(build, folder, path, name)
        if file is None:
            return
    else:
        engine.fail(build, path, item.line, "a patch needs `path` or `patch`")
        return
    target = map_at(item, "target")
    options = map_at(item, "options")
    for document in engine.documents(build, path, leaf, file, ROLE):
        if isinstance(document, list):
            if not _is_json(engine, leaf, file):
                engine.fail(build, path, item.line, "a patch that begins with [ must be JSON")
                return
            if target is None:
                engine.fail(build, path, item.line, "a JSON 6902 patch needs a target")
                return
            _json(engine, build, path, item.line, document, lambda obj: obj.is_selected(target))
        elif target is not None:
            _by_target(engine, build, document, target, options)
        else:
            by_id(engine, build, path, item.line, document, options)


def json6902_list(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> None:
    """`patchesJson6902`: the target is a selector like that of `patches`, but must have a name."""
    for item in list_at(tree, "patchesJson6902"):
        if not isinstance(item, Map):
            continue
        if not text_at(item, "target", "name"):
            engine.fail(build, path, item.line, "patchesJson6902 needs the name of its target")
            continue
        apply_patch(engine, build, folder, path, item)


def _is_json(engine: Engine, leaf: Leaf, file: str | None) -> bool:
    """A list of operations may be block YAML; once it begins with a bracket the binary reads it as JSON."""
    text = leaf.value if file is None else engine.files.text(file)
    if not text.startswith("["):
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _json(engine: Engine, build: Build, path: str, line: int, operations: list[Value], chosen: object) -> None:
    hit = False
    assert callable(chosen)
    for i, obj in enumerate(build.objects):
        if not chosen(obj):
            continue
        hit = True
        try:
            tree = json6902(obj.tree, operations)
        except PatchError as exc:
            engine.fail(build, path, line, f"the patch does not apply to {obj.kind} {obj.name}: {exc}")
            continue
        if isinstance(tree, Map):
            build.objects[i] = _patched(obj, tree, None, remember=True)
    if not hit and not build.all and _bears(operations):
        raise NeedAll


def _by_target(engine: Engine, build: Build, patch: Value, target: Map, options: Map | None) -> None:
    if not isinstance(patch, Map):
        return
    hit = False
    kept: list[Obj] = []
    for obj in build.objects:
        if obj.is_selected(target):
            hit = True
            changed = _merged(obj, patch, options)
            if changed is not None:
                kept.append(changed)
        else:
            kept.append(obj)
    build.objects = kept
    if not hit and not build.all and _bears(patch):
        raise NeedAll


def by_id(engine: Engine, build: Build, path: str, line: int, patch: Value, options: Map | None = None) -> None:
    """A strategic merge into the one object that has, or had, the patch's own identity."""
    if not isinstance(patch, Map):
        return
    kind = text_at(patch, "kind") or ""
    if kind.endswith("List") and isinstance(patch.get("items"), list):
        for item in list_at(patch, "items"):
            by_id(engine, build, path, line, item, options)
        return
    name = text_at(patch, "metadata", "name") or ""
    namespace = text_at(patch, "metadata", "namespace") or ""
    api_version = text_at(patch, "apiVersion") or ""
    found = [i for i, obj in enumerate(build.objects) if obj.is_called(api_version, kind, name, namespace)]
    if len(found) == 1:
        changed = _merged(build.objects[found[0]], patch, options)
        if changed is None:
            del build.objects[found[0]]
        else:
            build.objects[found[0]] = changed
    elif len(found) > 1:
        engine.fail(build, path, line, f"the patch for {kind} {name} has {len(found)} targets")
    elif build.all:
        engine.fail(build, path, line, f"the patch for {kind} {name} has no target")
    elif _bears(patch):
        raise NeedAll


def _bears(value: Value) -> bool:
    """May this patch set an image (so that its target matters even when nothing there bears one yet)?"""
    if isinstance(value, Map):
        return any("image" in key or "ontainers" in key or _bears(item) for key, item in value.items())
    if isinstance(value, list):
        return any(_bears(item) for item in value)
    return "image" in value.value or "ontainers" in value.value


def _merged(obj: Obj, patch: Map, options: Map | None) -> Obj | None:
    tree = strategic(obj.tree, patch, schema=has_schema(obj.api_version, obj.kind))
    return _patched(obj, tree, options) if isinstance(tree, Map) and tree else None


def _patched(obj: Obj, tree: Map, options: Map | None, *, remember: bool = False) -> Obj:
    """The object with its new tree. Kind, name and namespace stay unless the options let a patch change them (JSON
    6902 always may)."""
    allow_kind = remember or text_at(options, "allowKindChange") == "true"
    allow_name = remember or text_at(options, "allowNameChange") == "true"
    changed = obj.with_tree(tree, remember=remember or allow_kind or allow_name)
    tracked = text_at(obj.tree, "metadata", "name"), text_at(obj.tree, "metadata", "namespace")
    if not allow_name or text_at(tree, "metadata", "name") == tracked[0]:
        changed.name = obj.name
    if not remember or text_at(tree, "metadata", "namespace") == tracked[1]:
        changed.namespace = obj.namespace
    if not allow_kind:
        changed.kind = obj.kind
    return changed
