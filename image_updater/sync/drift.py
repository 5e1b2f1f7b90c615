"""What differs between the object that is there and the one an apply would leave, in words that may be shown.

The wanted object is the answer of a dry-run apply, so that defaults, other managers' fields and the server's own
rewriting are on both sides and only real differences are left. What is secret never comes out: data of Secrets, values
whose names say so, and texts that carry credentials are `***`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.cluster.model import Body

LIMIT: Final = 20
"""Paths that are told for one object; one more line says how many there are besides."""

MASK: Final = "***"
ABSENT: Final = "(absent)"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_LENGTH: Final = 60

_SERVERS: Final = frozenset(
    {"creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
_KEYS: Final = ("name", "mountPath", "devicePath", "containerPort", "port", "key", "type", "ip", "host", "path")
"""Fields that tell the items of a list apart: the first of these that all items have, with different values."""

_SECRET_NAME: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|(api|private|access|encryption|signing)[-_.]?key|[-_.]key$"
    r"|auth(orization)?$|bearer|dsn$|connection[-_.]?string|[-_.](pwd|pw|pass)$",
    re.IGNORECASE,
)
_HARMLESS_NAME: Final = re.compile(
    r"(name|ref|path|file|dir|mount|count|length|seconds|namespace|namespaces)s?$", re.IGNORECASE
)
"""`secretName`, `tokenExpirationSeconds`: they name a secret or measure it."""
_SECRET_TEXT: Final = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@"  # a URL with a password
    r"|(pass(word|wd)?|secret|token|credential|(api|private|access)[-_]?key)[\w.-]*[\"']?\s*[=:]\s*\S"
    r"|(bearer|basic)\s+\S{8}|-----BEGIN|\beyJ[\w-]{8}",
    re.IGNORECASE,
)
_SECRET_FLAG: Final = re.compile(r"--?[\w.-]*(pass(word|wd)?|secret|token|credential|key)[\w.-]*\Z", re.IGNORECASE)
_VALUES: Final = frozenset({"value", "default", "content", "data", "stringValue"})
"""Fields whose meaning is in the name of the list item (an environment variable, a parameter) that holds them."""

Step: TypeAlias = "str | int | tuple[str, Any]"
"""A field, a position, or the item of a list whose field has this value."""


class _Absent:
    __slots__ = ()


_ABSENT: Final = _Absent()


def difference(live: Body, wanted: Body, applied: Body | None = None) -> tuple[str, ...]:
    """Paths whose live value is not the wanted one: `spec.template.spec.containers[name=web].image: a:1 → a:2`.

    Status and what the server keeps in metadata are left out. With `applied`, the manifest, so is what a controller
    may have written between the two reads: values that are on both sides and not in Git. At most LIMIT paths, then one
    line with the number of the others.
    """
    secret = "Secret" in (live.get("kind"), wanted.get("kind"))
    lines: list[str] = []
    count = 0
    for path, here, there, flagged in _compare(_reduced(live), _reduced(wanted), (), False):
        both = not isinstance(here, _Absent) and not isinstance(there, _Absent)
        if applied is not None and both and not _has(applied, path):
            continue
        count += 1
        if count <= LIMIT:
            hide = flagged or (secret and path[:1] != ("metadata",)) or _is_secret(path)
            lines.append(f"{_join(path)}: {_show(here, hide=hide)} → {_show(there, hide=hide)}")
    return (*lines, f"and {count - LIMIT} more") if count > LIMIT else tuple(lines)


def _reduced(body: Body) -> Body:
    metadata = {name: value for name, value in (body.get("metadata") or {}).items() if name not in _SERVERS}
    rest = {name: value for name, value in body.items() if name not in ("metadata", "status")}
    return {"metadata": metadata, **rest}


def _compare(
    here: Any, there: Any, path: tuple[Step, ...], flagged: bool
) -> Iterator[tuple[tuple[Step, ...], Any, Any, bool]]:
    """Leaves that differ; `flagged` = the value belongs to a flag before it in a list of arguments."""
    if isinstance(here, dict) and isinstance(there, dict):
        for name in [*here, *(name for name in there if name not in here)]:
            yield from _compare(here.get(name, _ABSENT), there.get(name, _ABSENT), (*path, name), False)
    elif isinstance(here, list) and isinstance(there, list):
        yield from _compare_lists(here, there, path)
    elif here != there or isinstance(here, bool) != isinstance(there, bool):
        yield path, here, there, flagged


def _compare_lists(
    here: list[Any], there: list[Any], path: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], Any, Any, bool]]:
    key = _key(here, there)
    if key is None:
        for index in range(max(len(here), len(there))):
            flagged = any(_follows_flag(items, index) for items in (here, there))
            left = here[index] if index < len(here) else _ABSENT
            right = there[index] if index < len(there) else _ABSENT
            yield from _compare(left, right, (*path, index), flagged)
        return
    left_by, right_by = ({item[key]: item for item in items} for items in (here, there))
    for value in [*left_by, *(value for value in right_by if value not in left_by)]:
        yield from _compare(left_by.get(value, _ABSENT), right_by.get(value, _ABSENT), (*path, (key, value)), False)


def _has(value: Any, path: tuple[Step, ...]) -> bool:
    for step in path:
        if isinstance(step, tuple):
            key, wanted = step
            items = value if isinstance(value, list) else []
            value = next((item for item in items if isinstance(item, dict) and item.get(key) == wanted), _ABSENT)
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else _ABSENT
        else:
            value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
    return not isinstance(value, _Absent)


def _key(here: list[Any], there: list[Any]) -> str | None:
    """The field that tells the items of both lists apart."""
    items = [*here, *there]
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for key in _KEYS:
        if all(isinstance(item.get(key), str | int) for item in items) and all(
            len({item[key] for item in side}) == len(side) for side in (here, there)
        ):
            return key
    return None


def _follows_flag(items: list[Any], index: int) -> bool:
    before = items[index - 1] if 0 < index <= len(items) else None
    return isinstance(before, str) and bool(_SECRET_FLAG.match(before))


def _is_secret(path: tuple[Step, ...]) -> bool:
    """Does the name of the field, or of the list item whose value it is, say that it is secret?"""
    last = path[-1] if path else ""
    names = [last] if isinstance(last, str) else []
    if last in _VALUES and len(path) > 1 and isinstance(path[-2], tuple):
        names.append(str(path[-2][1]))
    if LAST_APPLIED in names:
        return True
    return any(_SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name) for name in names)


def _show(value: Any, *, hide: bool) -> str:
    """A value in few characters. Mappings and lists say only how large they are: what is in them may be secret."""
    if isinstance(value, _Absent):
        return ABSENT
    if isinstance(value, dict):
        return f"{{{len(value)} fields}}" if len(value) != 1 else "{1 field}"
    if isinstance(value, list):
        return f"[{len(value)} items]" if len(value) != 1 else "[1 item]"
    if hide or (isinstance(value, str) and _SECRET_TEXT.search(value)):
        return MASK
    plain = isinstance(value, str) and value.isprintable() and value.strip() == value != ""
    text = value if plain else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def _join(path: tuple[Step, ...]) -> str:
    """`metadata.annotations["a/b"]`, `spec.containers[name=web].args[0]`."""
    text = ""
    for step in path:
        if isinstance(step, tuple):
            text += f"[{step[0]}={step[1]}]"
        elif isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text
