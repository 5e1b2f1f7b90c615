"""`transformers:`: the builtin ones that can move an image are applied, what runs as a program is never executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.kustomize import imagetags, patches, replacements
from image_updater.kustomize.imagetags import Entry
from image_updater.kustomize.model import SiteKind
from image_updater.kustomize.objects import field_spec
from image_updater.kustomize.paths import is_remote, join
from image_updater.kustomize.values import Leaf, Map, Value, list_at, map_at, text_at, texts

if TYPE_CHECKING:
    from image_updater.kustomize.engine import Build, Engine


def run(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> str | None:
    """Applies them in order. Returns `transformers` when there is any: it may reach an image that is not seen here."""
    after = None
    for leaf in texts(tree.get("transformers")):
        after = "transformers"
        for file, document, place in configs(engine, build, folder, path, leaf):
            _apply(engine, build, place, file, document)
    return after


def configs(engine: Engine, build: Build, folder: str, path: str, leaf: Leaf) -> list[tuple[str, Value, str]]:
    """The plugin configurations that an entry of `transformers` or `generators` names: inline, a file, or what a
    folder builds."""
    if "\n" in leaf.value:
        return [(path, doc, folder) for doc in engine.documents(build, path, leaf, None, "transformer")]
    target = None if is_remote(leaf.value) else join(folder, leaf.value)
    resolved = None if target is None else engine.files.resolve(target)
    if resolved is not None and engine.files.is_folder(resolved):
        child = engine.build(resolved, everything=True)
        build.files |= child.files
        build.folders |= child.folders
        build.broken = build.broken or child.broken
        build.unbuildable = build.unbuildable or child.unbuildable
        return [(obj.file, obj.tree, resolved) for obj in child.objects]
    file = engine.file(build, folder, path, leaf)
    if file is None:
        return []
    return [(file, doc, folder) for doc in engine.documents(build, path, leaf, file, "transformer")]


def _apply(engine: Engine, build: Build, folder: str, file: str, config: Value) -> None:
    """One builtin transformer, as far as it can touch images or names; the others (labels, replicas, …) cannot."""
    if not isinstance(config, Map):
        return
    kind = text_at(config, "kind") or ""
    if text_at(config, "apiVersion") != "builtin" or _is_program(config):
        build.unbuildable = (
            build.unbuildable or f"{file}:{config.line}: transformer {kind} is a plugin, plugins are never executed"
        )
    elif kind == "ImageTagTransformer":
        tag = map_at(config, "imageTag")
        if tag is not None:
            entry = Entry(tag, SiteKind.TRANSFORMER)
            build.entries[entry] = None
            specs = build.specs
            given = [field_spec(item) for item in list_at(config, "fieldSpecs")]
            build.specs = tuple(spec for spec in given if spec is not None)
            imagetags.run(build, [entry], keep_marks=True, legacy_only=not build.specs)
            build.specs = specs
    elif kind == "PatchStrategicMergeTransformer":
        for leaf in texts(config.get("paths")):
            found = engine.file(build, folder, file, leaf)
            if found is not None:
                for document in engine.documents(build, file, leaf, found, patches.ROLE):
                    patches.by_id(engine, build, file, leaf.line, document)
        text = config.get("patches")
        if isinstance(text, Leaf):
            for document in engine.documents(build, file, text, None, patches.ROLE):
                patches.by_id(engine, build, file, text.line, document)
    elif kind in ("PatchTransformer", "PatchJson6902Transformer"):
        patches.apply_patch(engine, build, folder, file, config)
    elif kind == "ReplacementTransformer":
        replacements.run(engine, build, folder, file, config)
    elif kind in ("PrefixTransformer", "SuffixTransformer", "PrefixSuffixTransformer"):
        prefix, suffix = text_at(config, "prefix") or "", text_at(config, "suffix") or ""
        build.objects = [obj.prefixed(prefix, suffix) for obj in build.objects]
    elif kind == "NamespaceTransformer":
        namespace = text_at(config, "namespace") or text_at(config, "metadata", "namespace")
        if namespace:
            build.objects = [obj.moved(namespace) for obj in build.objects]


def _is_program(config: Map) -> bool:
    annotations = map_at(config, "metadata", "annotations")
    return annotations is not None and any(
        key in annotations for key in ("config.kubernetes.io/function", "config.k8s.io/function")
    )
