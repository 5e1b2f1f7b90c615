"""What the kinds share: the shape of a kind, and checks of paths and branches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import Rule, Struct, Values
from image_updater.api.model import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind: `spec` reads its fields, `build` makes the object of metadata and these fields.

    `short` is its short name in the cluster (none of Flux's), `columns` are what `kubectl get` prints of it beside its
    age and readiness: (name, JSON path[, type]), `wide` what it prints with `-o wide` alone. `cluster`: it has no
    namespace. `check` looks at metadata and spec together once both are sound, `rules` are its part that a server can
    check too.
    """

    name: str
    doc: str
    spec: Struct
    build: Callable[[Meta, Values], Any]
    plural: str
    short: str
    columns: tuple[tuple[str, str] | tuple[str, str, str], ...] = ()
    wide: tuple[tuple[str, str], ...] = ()
    cluster: bool = False
    check: Callable[[Meta, Values, At], None] | None = None
    rules: tuple[Rule, ...] = ()


PATH_HELP: Final = "write a path below the top of the repository, such as apps/web"
BRANCH_HELP: Final = "write a name such as main or release-1.2"


def check_path(text: str) -> str | None:
    """A path inside the repository: relative, with `/`, never upwards, no pattern."""
    if text.startswith("/"):
        return f"{text!r} is absolute: paths count from the top of the repository"
    if ".." in text.split("/"):
        return f"{text!r} leaves the repository"
    if "\\" in text or "\0" in text:
        return f"{text!r} has a character that no path has"
    return None


def check_plain_path(text: str) -> str | None:
    if any(c in text for c in "*?"):
        return f"{text!r} is a pattern: name folders or files here, patterns go under `exclude`"
    return check_path(text)


def clean_path(text: str) -> str:
    """`./apps//web/` as `apps/web`; the top of the repository is `.`."""
    return "/".join(part for part in text.split("/") if part not in ("", ".")) or "."


_BRANCH_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|\A[-./]|[./]\Z")


def check_branch(text: str) -> str | None:
    """git-check-ref-format, for a branch or tag name."""
    if text.startswith("refs/"):
        return f"{text!r} is a full ref: name the branch alone"
    if text == "@" or _BRANCH_FORBIDDEN.search(text):
        return f"{text!r} is not a legal branch or tag name in Git"
    return None


def one_line(text: str) -> str | None:
    return "has a line break or another control character" if any(ord(c) < 32 or ord(c) == 127 for c in text) else None
