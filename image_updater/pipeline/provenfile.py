"""The file of a branch that says what an automation's policies have proven: how `after` reads across clusters. Pure.

    # Kept by image-updater …
    proven:
      apps/web:
        - tag: "1.4.2"
          digest: "sha256:…"
          environment: "apps/shop"
          since: "2024-05-01T12:00:00Z"
          withdrawn: "2024-05-02T12:00:00Z"      # it failed there later

Policies stand in order of their names, tags newest first. No `apiVersion`, no `kind`: it is nobody's manifest. Several
controllers may keep one file: each writes the lines of its own environments, and leaves the others as they are.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.moments import format_rfc3339, parse_rfc3339
from image_updater.documents import Mapping as Node
from image_updater.documents import Sequence, decode, get, parse, plain, resolve
from image_updater.errors import DocumentError, Where
from image_updater.policy.situation import Proven

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.documents import Node as Any_

KEPT: Final = 20
"""Tags of one policy and environment."""

_HEAD: Final = (
    "# Kept by image-updater (spec.git.provenFile of an ImageUpdateAutomation): tags whose rollout was healthy.\n"
    "# Policies elsewhere read it through spec.after.provenFile.\n"
)
_FIELDS: Final = ("tag", "digest", "environment", "since", "revision", "withdrawn")


def read(data: bytes, file: str) -> dict[str, tuple[Proven, ...]]:
    """By policy what it has proven. Raises DocumentError with file and line: half of it is no answer."""
    documents = parse(decode(data, file=file), file=file)
    root = documents[0].root if documents else None
    if root is None:
        return {}
    listed = get(root, "proven")
    if len(documents) > 1 or not isinstance(listed, Node):
        raise _wrong(file, root.line, "is not a provenFile: `proven` is a mapping of policies")
    found: dict[str, tuple[Proven, ...]] = {}
    for key, value in listed.items:
        name, entries = str(plain(key)), resolve(value)
        if not isinstance(entries, Sequence):
            raise _wrong(file, value.line, f"proven of {name} is not a list")
        found[name] = tuple(_entry(each, file) for each in entries.items)
    return found


def _entry(node: Any_, file: str) -> Proven:
    value: Any = plain(node, file=file)
    if not isinstance(value, dict) or not isinstance(value.get("tag"), str):
        raise _wrong(file, node.line, "an entry has a tag, in quotes where YAML would read a number")
    unknown = [name for name in value if name not in _FIELDS]
    if unknown:
        raise _wrong(file, node.line, f"unknown field {unknown[0]!r}")
    try:
        since = parse_rfc3339(str(value.get("since") or ""))
        withdrawn = parse_rfc3339(str(value["withdrawn"])) if value.get("withdrawn") else None
    except ValueError as error:
        raise _wrong(file, node.line, str(error)) from error
    return Proven(
        tag=value["tag"],
        at=since,
        digest=_text(value, "digest"),
        environment=_text(value, "environment") or "",
        revision=_text(value, "revision"),
        withdrawn=withdrawn,
    )


def _text(value: dict[str, Any], name: str) -> str | None:
    found = value.get(name)
    return str(found) if found else None


def _wrong(file: str, line: int | None, reason: str) -> DocumentError:
    return DocumentError(reason, where=Where(file=file, line=line), remedy="let image-updater write it, or correct it")


def write(
    before: Mapping[str, Iterable[Proven]], mine: Mapping[str, Iterable[Proven]], *, environments: Iterable[str]
) -> bytes:
    """The file with what these policies have proven in `environments`, which are ours to speak for."""
    ours = frozenset(environments)
    merged: dict[str, list[Proven]] = {}
    for name in sorted({*before, *mine}):
        others = [each for each in before.get(name, ()) if each.environment not in ours or name not in mine]
        own = [replace(each, revision=None) for each in mine.get(name, ()) if each.environment in ours]
        entries = [*others, *_last(own)]
        if entries:
            merged[name] = sorted(entries, key=lambda each: (each.at, each.environment, each.tag), reverse=True)
    if not merged:
        return f"{_HEAD}proven: {{}}\n".encode()
    lines = [_HEAD + "proven:"]
    for name, entries in merged.items():
        lines.append(f"  {json.dumps(name)}:")
        for each in entries:
            said = {
                "tag": each.tag,
                "digest": each.digest,
                "environment": each.environment or None,
                "since": format_rfc3339(each.at),
                "revision": each.revision,
                "withdrawn": format_rfc3339(each.withdrawn) if each.withdrawn is not None else None,
            }
            fields = [f"{key}: {json.dumps(value)}" for key, value in said.items() if value is not None]
            lines.append("    - " + "\n      ".join(fields))
    return ("\n".join(lines) + "\n").encode()


def _last(entries: Iterable[Proven]) -> list[Proven]:
    by_environment: dict[str, list[Proven]] = {}
    for each in sorted(entries, key=lambda each: each.at, reverse=True):
        by_environment.setdefault(each.environment, []).append(each)
    return [each for found in by_environment.values() for each in found[:KEPT]]
