"""Strategic merge and JSON 6902, as the binary does them, on values that remember their origin."""

from __future__ import annotations

from image_updater.kustomize.values import NULL, Leaf, Map, Value, made, text_at

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "ports": "containerPort",
}
"""Lists of pod specs that Kubernetes' schema merges by key."""

_SCHEMA_KINDS = {
    ("v1", "Pod"),
    ("v1", "PodTemplate"),
    ("v1", "ReplicationController"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("batch/v1beta1", "CronJob"),
}


class NeedAll(Exception):
    """Something needs an object that bears no image: the folder is built again with all objects."""


class PatchError(Exception):
    """A patch cannot be applied; the build fails there too."""


def has_schema(api_version: str, kind: str) -> bool:
    """Does the binary's built-in schema know this kind, so that its lists merge? Lists of other kinds are replaced."""
    return (api_version, kind) in _SCHEMA_KINDS


def strategic(base: Value | None, patch: Value, *, schema: bool) -> Value | None:
    """`base` with the patch merged in; None when nothing is left."""
    return _merge(base, patch, "", schema)


def _is_null(value: Value | None) -> bool:
    return isinstance(value, Leaf) and bool(value.bits & NULL)


def _directive(value: Value) -> str | None:
    return text_at(value, "$patch") if isinstance(value, Map) else None


def _merge(base: Value | None, patch: Value, name: str, schema: bool) -> Value | None:
    if _is_null(patch):
        return None
    if isinstance(patch, Map):
        directive = _directive(patch)
        if directive == "delete":
            return None
        if not isinstance(base, Map) or directive == "replace":
            return _added(patch, schema)
        result = base.clone()
        for key, value in patch.items():
            if key.startswith("$"):
                continue
            merged = _merge(base.get(key), value, key, schema)
            if merged is None:
                result.pop(key, None)
            else:
                result[key] = merged
        return result
    if isinstance(patch, list):
        merge_key = MERGE_KEYS.get(name) if schema else None
        if merge_key is None or not any(isinstance(item, Map) for item in patch):
            return patch
        return _merge_list(base if isinstance(base, list) else [], patch, merge_key, schema)
    return patch


def _merge_list(base: list[Value], patch: list[Value], key: str, schema: bool) -> list[Value]:
    """Items of the patch come first, in its order, merged into those of the same key; then the others.

    `$patch: replace` as an item of its own drops the base. So does, in the binary, an item that lacks the key; an
    item with a key and `$patch: replace` leaves that of the base as it is.
    """
    if any(_directive(item) == "replace" and text_at(item, key) is None for item in patch):
        base = []
    by_key = {text_at(item, key): item for item in base}
    result: list[Value] = []
    done: set[str | None] = set()
    for item in patch:
        label = text_at(item, key)
        if label is None:
            base = []
            continue
        done.add(label)
        old = by_key.get(label)
        merged = old if old is not None and _directive(item) == "replace" else _merge(old, item, "", schema)
        if merged is not None:
            result.append(merged)
    result.extend(item for item in base if text_at(item, key) not in done)
    return result


def _added(patch: Map, schema: bool) -> Map:
    """A mapping that the base lacks: without directives and nulls."""
    result = patch.clone()
    for key, value in patch.items():
        if key.startswith("$"):
            del result[key]
            continue
        merged = _merge(None, value, key, schema)
        if merged is None:
            del result[key]
        else:
            result[key] = merged
    return result


# --- JSON 6902 ------------------------------------------------------------------------------------------------------


def json6902(tree: Value, operations: list[Value]) -> Value:
    """The operations in order. Raises PatchError where the binary would fail."""
    for operation in operations:
        op = text_at(operation, "op") or ""
        path = _pointer(text_at(operation, "path"))
        value = operation.get("value") if isinstance(operation, Map) else None
        if op in ("add", "replace"):
            if value is None:
                raise PatchError(f"operation {op} has no value")
            tree = _set(tree, path, value, insert=op == "add")
        elif op == "remove":
            tree = _remove(tree, path)
        elif op in ("move", "copy"):
            source = _pointer(text_at(operation, "from"))
            moved = _copied(tree, source) if op == "copy" else _get(tree, source)
            if op == "move":
                tree = _remove(tree, source)
            tree = _set(tree, path, moved, insert=True)
        elif op == "test":
            found = _get(tree, path)
            if isinstance(value, Leaf) and not (hasattr(found, "value") and found.value == value.value):
                raise PatchError(f"testing value {text_at(operation, 'path')} failed")
        else:
            raise PatchError(f"unknown operation {op!r}")
    return tree


def _pointer(text: str | None) -> list[str]:
    if text is None:
        raise PatchError("an operation has no path")
    if text == "":
        return []
    return [step.replace("~1", "/").replace("~0", "~") for step in text.lstrip("/").split("/")]


def _index(step: str, length: int, *, insert: bool) -> int:
    if step == "-" and insert:
        return length
    try:
        index = int(step)
    except ValueError:
        raise PatchError(f"{step!r} is no index") from None
    if index < 0:
        index += length + (1 if insert else 0)
    if not 0 <= index < length + (1 if insert else 0):
        raise PatchError(f"index {step} is out of bounds")
    return index


def _get(value: Value, path: list[str]) -> Value:
    for step in path:
        if isinstance(value, Map) and step in value:
            value = value[step]
        elif isinstance(value, list):
            value = value[_index(step, len(value), insert=False)]
        else:
            raise PatchError(f"path /{'/'.join(path)} does not exist")
    return value


def _copied(tree: Value, path: list[str]) -> Value:
    """The binary copies a missing member as null."""
    holder = _get(tree, path[:-1])
    if isinstance(holder, Map) and path[-1] not in holder:
        null = made("null", holder)
        null.bits = NULL
        return null
    return _get(tree, path)


def _set(tree: Value, path: list[str], value: Value, *, insert: bool) -> Value:
    if not path:
        return value
    step = path[0]
    if isinstance(tree, Map):
        if len(path) > 1 and step not in tree:
            raise PatchError(f"path {step} does not exist")
        copy = tree.clone()
        copy[step] = value if len(path) == 1 else _set(tree[step], path[1:], value, insert=insert)
        return copy
    if isinstance(tree, list):
        last = len(path) == 1
        index = _index(step, len(tree), insert=insert and last)
        items = list(tree)
        if last and insert:
            items.insert(index, value)
        else:
            items[index] = value if last else _set(tree[index], path[1:], value, insert=insert)
        return items
    raise PatchError(f"path {step} does not exist")


def _remove(tree: Value, path: list[str]) -> Value:
    if not path:
        raise PatchError("the whole object cannot be removed")
    step = path[0]
    if isinstance(tree, Map) and step in tree:
        copy = tree.clone()
        if len(path) == 1:
            del copy[step]
        else:
            copy[step] = _remove(tree[step], path[1:])
        return copy
    if isinstance(tree, list):
        index = _index(step, len(tree), insert=False)
        items = list(tree)
        if len(path) == 1:
            del items[index]
        else:
            items[index] = _remove(tree[index], path[1:])
        return items
    raise PatchError(f"path {step} does not exist")
