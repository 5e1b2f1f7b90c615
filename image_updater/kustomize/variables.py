"""`vars`: resolved last of all, for the whole root, in the fields that `varReference` names (by default no image is
among them)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from image_updater.kustomize.objects import Obj, spec_matches
from image_updater.kustomize.replacements import find, split_path
from image_updater.kustomize.values import Leaf, Map, Scalarish, Text, at, cut, join, made, text_at

if TYPE_CHECKING:
    from image_updater.kustomize.engine import Build

_NAME = re.compile(r"\$\(([-._A-Za-z0-9]+)\)")


def resolve(build: Build) -> None:
    """Puts the variables into the image fields that a `varReference` names."""
    if not build.variables or not build.references:
        return
    known: dict[str, Scalarish] = {}
    for variable in build.variables.values():
        name = text_at(variable, "name")
        value = _value(build, variable) if isinstance(variable, Map) else None
        if name and value is not None:
            known[name] = value
    for i, obj in enumerate(build.objects):
        for slot in obj.slots:
            image = at(obj.tree, *slot.path)
            if not isinstance(image, Leaf | Text) or "$(" not in image.value:
                continue
            if any(spec_matches(obj, spec, slot.path) for spec in build.references):
                obj = obj.with_image(slot.path, _expanded(image, known))
        build.objects[i] = obj


def _value(build: Build, variable: Map) -> Scalarish | None:
    kind, name = text_at(variable, "objref", "kind"), text_at(variable, "objref", "name")
    api_version = text_at(variable, "objref", "apiVersion")
    for obj in build.objects:
        if api_version and obj.api_version != api_version:
            continue
        if any((k, n) == (kind, name) for _, n, k in obj.ids()):
            field = (
                text_at(variable, "fieldref", "fieldpath")
                or text_at(variable, "fieldref", "fieldPath")
                or "metadata.name"
            )
            return _field(obj, field)
    return None


def _field(obj: Obj, field: str) -> Scalarish | None:
    if field == "metadata.name":
        return made(obj.name, obj.tree)
    steps = split_path(re.sub(r"\[(\d+)\]", r".\1", field))
    value = next((at(obj.tree, *path) for path in find(obj.tree, steps, ())), None)
    return value if isinstance(value, Leaf | Text) else None


def _expanded(value: Scalarish, known: dict[str, Scalarish]) -> Scalarish:
    parts: list[Scalarish | str] = []
    done = 0
    for match in _NAME.finditer(value.value):
        found = known.get(match.group(1))
        if found is not None:
            parts += [cut(value, done, match.start()), found]
            done = match.end()
    parts.append(cut(value, done, len(value.value)))
    return join(parts)
