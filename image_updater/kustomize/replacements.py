"""`replacements`: a field of one object copied into fields of others, after `images:` ran. The value keeps its
origin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from image_updater.kustomize.objects import Obj, matches, selects
from image_updater.kustomize.values import (
    Leaf,
    Map,
    Text,
    Value,
    assign,
    at,
    cut,
    empty_map,
    join,
    list_at,
    made,
    map_at,
    split,
    text_at,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.kustomize.engine import Build, Engine
    from image_updater.kustomize.model import Path

_CANNOT_REACH = ("metadata", "data", "stringData", "binaryData", "rules", "subjects", "roleRef", "type", "status")


class ReplacementError(Exception):
    """The binary fails here."""


def run(engine: Engine, build: Build, folder: str, path: str, tree: Map) -> str | None:
    """Applies them in order. Returns `replacements` when one of them can reach an image."""
    reach = None
    for item in list_at(tree, "replacements"):
        found: list[tuple[str, Value]] = [(path, item)]
        name = at(item, "path")
        if isinstance(name, Leaf):
            file = engine.file(build, folder, path, name)
            found = []
            if file is not None:
                for document in engine.documents(build, path, name, file, ""):
                    entries = (
                        document if isinstance(document, list) else list_at(document, "replacements") or [document]
                    )
                    found.extend((file, entry) for entry in entries)
        for file, entry in found:
            if not isinstance(entry, Map):
                continue
            if _reaches(entry):
                reach = "replacements"
            try:
                apply(build, entry)
            except ReplacementError as exc:
                engine.fail(build, file, entry.line, f"replacement: {exc}")
    return reach


def _reaches(entry: Map) -> bool:
    for target in list_at(entry, "targets"):
        for field in texts(at(target, "fieldPaths")):
            steps = split_path(field.value)
            if steps and steps[0] not in _CANNOT_REACH and steps[-1] != "replicas":
                return True
    return False


def apply(build: Build, entry: Map) -> None:
    """One replacement on the objects of a build."""
    source = map_at(entry, "source")
    static = at(entry, "sourceValue")
    if isinstance(static, Leaf) and source is None:
        value: Value = static
    elif source is None:
        raise ReplacementError("no source")
    else:
        value = _value(build, source)
    for target in list_at(entry, "targets"):
        select = map_at(target, "select")
        if select is None:
            raise ReplacementError("a target needs `select`")
        rejects = [item for item in list_at(target, "reject") if isinstance(item, Map)]
        fields = [leaf.value for leaf in texts(at(target, "fieldPaths"))] or ["metadata.name"]
        options = map_at(target, "options")
        for i, obj in enumerate(build.objects):
            if not _selected(obj, select) or any(_rejected(obj, reject) for reject in rejects):
                continue
            for field in fields:
                obj = _put(obj, field, value, options)
            build.objects[i] = obj


def _value(build: Build, source: Map) -> Value:
    found = [obj for obj in build.objects if _selected(obj, source, exact=True)]
    if len(found) != 1:
        count = "no match" if not found else "more than one match"
        wanted = f"{text_at(source, 'kind') or ''} {text_at(source, 'name') or ''}".strip()
        raise ReplacementError(f"{count} for the source {wanted}")
    obj = found[0]
    field = text_at(source, "fieldPath") or "metadata.name"
    if field == "metadata.name":
        value: Value | None = made(obj.name, obj.tree)
    elif field == "metadata.namespace":
        value = made(obj.namespace, obj.tree)
    else:
        hits = list(find(obj.tree, split_path(field), ()))
        value = at(obj.tree, *hits[0]) if hits else None
    if value is None:
        raise ReplacementError(f"fieldPath {field} is missing in {obj.kind} {obj.name}")
    options = map_at(source, "options")
    delimiter = text_at(options, "delimiter")
    if delimiter:
        if not isinstance(value, Leaf | Text):
            raise ReplacementError("a delimiter needs a scalar")
        parts = split(value, delimiter)
        index = _index(options)
        if not 0 <= index < len(parts):
            raise ReplacementError(f"options.index {index} is out of bounds for {value.value}")
        return parts[index]
    return value


def _index(options: Map | None) -> int:
    text = text_at(options, "index")
    try:
        return int(text) if text else 0
    except ValueError:
        return 0


def _selected(obj: Obj, select: Map, *, exact: bool = False) -> bool:
    """A source is selected by plain equality, a target by anchored expressions in newer versions; an empty field
    matches all."""
    test = (lambda a, b: a == b) if exact else matches
    for key, value in (("group", obj.group), ("version", obj.version)):
        wanted = text_at(select, key)
        if wanted and not test(wanted, value):
            return False
    kind, name, namespace = (text_at(select, key) for key in ("kind", "name", "namespace"))
    if not any(
        (not kind or test(kind, k))
        and (not name or test(name, n))
        and (not namespace or test(namespace, ns or "default"))
        for ns, n, k in obj.ids()
    ):
        return False
    selector = text_at(select, "labelSelector")
    if selector and not selects(selector, obj.labels):
        return False
    selector = text_at(select, "annotationSelector")
    return not selector or selects(selector, obj.annotations)


def _rejected(obj: Obj, reject: Map) -> bool:
    return bool(reject) and _selected(obj, reject)


def _put(obj: Obj, field: str, value: Value, options: Map | None) -> Obj:
    steps = split_path(field)
    if field in ("metadata.name", "metadata.namespace") and isinstance(value, Leaf | Text):
        return obj.renamed(**{steps[-1]: value.value})
    create = text_at(options, "create") == "true"
    tree: Value = obj.tree
    hits = list(find(tree, steps, ()))
    if not hits and create:
        created = _create(obj.tree, steps, value)
        return obj.with_tree(created)
    if not hits:
        raise ReplacementError(f"unable to find field {field} in {obj.kind} {obj.name}")
    delimiter = text_at(options, "delimiter")
    for hit in hits:
        new = value
        old = at(tree, *hit)
        if delimiter:
            if not isinstance(old, Leaf | Text) or not isinstance(value, Leaf | Text):
                raise ReplacementError("a delimiter needs scalars")
            new = _replaced(old, delimiter, _index(options), value)
        tree = assign(tree, hit, new)
    assert isinstance(tree, Map)
    changed = obj.with_tree(tree)
    changed.name, changed.namespace = obj.name, obj.namespace
    return changed


def _replaced(old: Leaf | Text, delimiter: str, index: int, value: Leaf | Text) -> Leaf | Text:
    """`old` with the part at `index` replaced; before the first or behind the last one it becomes a part of its own."""
    if index < 0:
        return join([value, delimiter, old])
    parts = old.value.split(delimiter)
    if index >= len(parts):
        return join([old, delimiter, value])
    start = sum(len(part) + len(delimiter) for part in parts[:index])
    end = start + len(parts[index])
    return join([cut(old, 0, start), value, cut(old, end, len(old.value))])


def _create(tree: Map, steps: list[str], value: Value) -> Map:
    copy = tree.clone()
    if len(steps) == 1:
        copy[steps[0]] = value
        return copy
    child = copy.get(steps[0])
    copy[steps[0]] = _create(child if isinstance(child, Map) else empty_map(tree), steps[1:], value)
    return copy


_STEP = re.compile(r"\[(.+)=(.*)\]\Z")


def split_path(text: str) -> list[str]:
    """`spec.containers.[name=a.b].image`, `data.my\\.key`, `[data.key]`: dots inside brackets and behind a backslash
    do not split."""
    steps: list[str] = []
    current, depth, i = "", 0, 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text) and text[i + 1] == "." and depth == 0:
            current += "."
            i += 2
            continue
        if c == "[":
            depth += 1
        elif c == "]":
            depth = max(depth - 1, 0)
        if c == "." and depth == 0:
            steps.append(current)
            current = ""
        else:
            current += c
        i += 1
    steps.append(current)
    return [step[1:-1] if step.startswith("[") and step.endswith("]") and "=" not in step else step for step in steps]


def find(value: Value | None, steps: list[str], path: Path) -> Iterator[Path]:
    """The fields that a path matches: keys, indexes, `*`, `[key=value]`."""
    if value is None:
        return
    if not steps:
        yield path
        return
    step, rest = steps[0], steps[1:]
    if isinstance(value, Map):
        if step == "*":
            for key, item in value.items():
                yield from find(item, rest, (*path, key))
        elif step in value:
            yield from find(value[step], rest, (*path, step))
    elif isinstance(value, list):
        match = _STEP.match(step)
        for i, item in enumerate(value):
            if match is not None:
                if text_at(item, match.group(1)) != match.group(2) and not (
                    match.group(1) == "" and isinstance(item, Leaf)
                ):
                    continue
            elif step not in ("*", str(i)) and not (step == "-" and i == len(value) - 1):
                continue
            yield from find(item, rest, (*path, i))
