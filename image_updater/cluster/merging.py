"""A person's kubeconfig: one file, or the files of $KUBECONFIG laid over each other as kubectl does it.

The Kubernetes package reads them too, but importing its configuration takes 0.3 s and 20 MB, most of it for logins that
a kubeconfig of today does not have. What fails here says which key or which name is missing, never what stands there:
the files hold credentials.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LISTS = ("clusters", "contexts", "users")


class Incomplete(Exception):
    """Something that is needed is not there. The text may be shown."""


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping of a kubeconfig, and the file that it is from: paths in it are relative to that file."""

    value: dict[str, Any]
    file: Path

    def get(self, key: str) -> Any:
        """None where it is missing or null."""
        return self.value.get(key)

    def __getitem__(self, key: str) -> Any:
        """Raises Incomplete."""
        found = self.get(key)
        if found is None:
            raise Incomplete(f"expected key {key}")
        return found

    def node(self, key: str) -> Node:
        """A mapping inside. Raises Incomplete, and TypeError when it is none."""
        return Node(_mapping(self[key]), self.file)

    @property
    def base(self) -> Path:
        return self.file.absolute().parent


@dataclass(frozen=True, slots=True)
class Merged:
    """All files together."""

    current: str | None
    entries: dict[str, dict[str, Node]]
    """By list and name."""

    def named(self, section: str, name: str, key: str) -> Node:
        """What the entry of that name holds. Raises Incomplete."""
        entry = self.entries[section].get(name)
        if entry is None:
            raise Incomplete(f"expected object with name {name} in {section}")
        return entry.node(key)


def read(paths: str) -> Merged | None:
    """The files that there are, separated as in $PATH; None when there is none. What stands first counts.

    Raises OSError, yaml.YAMLError, UnicodeDecodeError, Incomplete, and TypeError for what is no kubeconfig at all.
    """
    files = [path for each in paths.split(os.pathsep) if each and (path := Path(each).expanduser()).exists()]
    if not files:
        return None
    current: str | None = None
    entries: dict[str, dict[str, Node]] = {section: {} for section in LISTS}
    for file in files:
        document = _mapping(yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both are safe
        current = current or document.get("current-context") or None
        for section, known in entries.items():
            here: set[str] = set()
            for each in document.get(section) or ():
                entry = Node(_mapping(each), file)
                name = str(entry["name"])
                if name in here:
                    raise Incomplete(f"expected only one object with name {name} in {section}")
                here.add(name)
                known.setdefault(name, entry)
    return Merged(current, entries)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("is no mapping")
    return value
