"""Generators: config maps and secrets (a replacement may read them), charts, plugins. Their files belong to the
closure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import DocumentError
from image_updater.kustomize import transformers
from image_updater.kustomize.objects import Obj
from image_updater.kustomize.paths import is_remote, join
from image_updater.kustomize.values import Leaf, Map, Value, empty_map, list_at, made, map_at, part_of, text_at, texts

if TYPE_CHECKING:
    from image_updater.kustomize.engine import Build, Engine


def generators(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> None:
    """configMapGenerator, secretGenerator, helmCharts, generators."""
    for key, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
        for item in list_at(tree, key):
            if isinstance(item, Map):
                _config(engine, build, folder, path, item, kind)
    for item in list_at(tree, "helmCharts"):
        if isinstance(item, Map):
            _chart(engine, build, folder, path, item, text_at(tree, "helmGlobals", "chartHome") or "charts")
    for item in list_at(tree, "helmChartInflationGenerator"):
        if isinstance(item, Map):
            build.unbuildable = build.unbuildable or f"{path}:{item.line}: helmChartInflationGenerator is a plugin"
    for leaf in texts(tree.get("generators")):
        for file, config, _ in transformers.configs(engine, build, folder, path, leaf):
            if not isinstance(config, Map):
                continue
            kind = text_at(config, "kind") or ""
            if text_at(config, "apiVersion") == "builtin" and kind in ("ConfigMapGenerator", "SecretGenerator"):
                name = text_at(config, "name") or text_at(config, "metadata", "name")
                _config(engine, build, folder, file, config, kind.removesuffix("Generator"), name)
            elif text_at(config, "apiVersion") == "builtin" and kind == "HelmChartInflationGenerator":
                _chart(engine, build, folder, file, config, text_at(config, "chartHome") or "charts")
            else:
                build.unbuildable = (
                    build.unbuildable
                    or f"{file}:{config.line}: generator {kind} is a plugin, plugins are never executed"
                )


def any_path(engine: Engine, build: Build, folder: str, path: str, leaf: Leaf) -> None:
    """A file or a folder that the build reads and that bears no image."""
    target = None if is_remote(leaf.value) else join(folder, leaf.value)
    resolved = None if target is None else engine.files.resolve(target)
    if resolved is not None and engine.files.is_folder(resolved):
        build.files.update(engine.files.below(resolved))
        build.folders.add(resolved)
    else:
        engine.file(build, folder, path, leaf)


def _config(
    engine: Engine, build: Build, folder: str, path: str, item: Map, kind: str, name: str | None = None
) -> None:
    """A config map: its keys keep their origin where they are literals of the kustomization."""
    data: dict[str, Value] = {}
    for leaf in [*texts(item.get("envs")), *texts(item.get("env"))]:
        file = engine.file(build, folder, path, leaf)
        if file is not None and build.all:
            for line in _lines(engine, file):
                key, equals, value = line.partition("=")
                if equals and not key.startswith("#"):
                    data[key.strip()] = _generated(value, item, file)
    for leaf in texts(item.get("files")):
        key, equals, text = leaf.value.partition("=")
        file = engine.file(build, folder, path, leaf, text if equals else leaf.value)
        if file is not None and build.all:
            data[key if equals else file.rpartition("/")[2]] = _generated("\n".join(_lines(engine, file)), item, file)
    for leaf in texts(item.get("literals")):
        key, equals, value = leaf.value.partition("=")
        if equals:
            data[key] = part_of(leaf, len(key) + 1, len(leaf.value))
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                data[key] = part_of(leaf, len(key) + 2, len(leaf.value) - 1)
    if not build.all:
        return
    name = name or text_at(item, "name") or ""
    namespace = text_at(item, "namespace") or ""
    if text_at(item, "behavior") in ("merge", "replace"):
        for i, obj in enumerate(build.objects):
            if obj.is_called("v1", kind, name, namespace):
                tree = obj.tree.clone()
                old = map_at(tree, "data") if text_at(item, "behavior") == "merge" else None
                members = old.clone() if old is not None else empty_map(item)
                members.update(data)
                tree["data"] = members
                changed = obj.with_tree(tree)
                changed.name, changed.namespace = obj.name, obj.namespace
                build.objects[i] = changed
        return
    if any(obj.is_called("v1", kind, name, namespace) for obj in build.objects):
        engine.fail(
            build, path, item.line, f"{kind} {name} exists already: its generator needs `behavior: merge` or `replace`"
        )
        return
    tree, metadata, members = empty_map(item), empty_map(item), empty_map(item)
    members.update(data)
    metadata["name"] = made(name, item)
    if namespace:
        metadata["namespace"] = made(namespace, item)
    tree.update({"apiVersion": made("v1", item), "kind": made(kind, item), "metadata": metadata, "data": members})
    build.objects.append(Obj(tree, path, item.document))


def _generated(value: str, item: Map, file: str) -> Leaf:
    leaf = made(value, item)
    leaf.origin.file = file
    leaf.origin.frozen = "the value stands in a file that is no YAML"
    return leaf


def _lines(engine: Engine, file: str) -> list[str]:
    try:
        return engine.files.text(file).splitlines()
    except DocumentError:
        return []


def _chart(engine: Engine, build: Build, folder: str, path: str, item: Map, home: str) -> None:
    """A chart is built only when it is vendored; its folder belongs to the closure."""
    build.helm = True
    build.charts[id(item)] = item
    for leaf in [*texts(item.get("valuesFile")), *texts(item.get("additionalValuesFiles"))]:
        engine.file(build, folder, path, leaf)
    name = text_at(item, "name") or text_at(item, "chartName") or ""
    target = join(folder, f"{home}/{name}")
    chart = None if target is None else engine.files.resolve(target)
    if target is not None:
        build.folders.add(target)
    if chart is None or not engine.files.is_folder(chart) or f"{chart}/Chart.yaml" not in engine.files.entries:
        version = text_at(item, "version")
        versioned = None if version is None else join(folder, f"{home}/{name}-{version}/{name}")
        if versioned is not None and f"{versioned}/Chart.yaml" in engine.files.entries:
            chart = versioned
        else:
            build.unbuildable = build.unbuildable or f"{path}:{item.line}: chart {name} is not vendored below {home}"
            return
    build.files.update(engine.files.below(chart))
