"""What an automation may touch: `update.paths` and `update.exclude` over files and roots."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from image_updater.kustomize.model import RootKind

if TYPE_CHECKING:
    from image_updater.api.model import Update
    from image_updater.kustomize.model import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """`paths` are folders or files, repository-relative; () is the whole repository. `exclude` are globs (`**`,
    `*`, `?`).
    """

    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    focus: str = "."
    """A folder that narrows it further; `.` = no."""
    _normal: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_normal", tuple(_normalise(path) for path in self.paths))

    @classmethod
    def of(cls, update: Update, *, focus: str = ".") -> Scope:
        return cls(paths=update.paths, exclude=update.exclude, focus=focus)

    def holds(self, path: str) -> bool:
        """May this file be edited (or: is this folder covered)?"""
        if self.focus not in (".", path) and not path.startswith(f"{self.focus}/"):
            return False
        if any(_glob(pattern).match(path) for pattern in self.exclude):
            return False
        if not self._normal:
            return True
        return any(base in (".", path) or path.startswith(f"{base}/") for base in self._normal)

    def covers(self, root: Root, file: str | None = None) -> bool:
        """May what `file` sets in this root move? Plain manifests are rendered each for itself: their own file says."""
        return self.holds(file if file is not None and root.kind is RootKind.PLAIN else root.path)

    def outside(self, path: str) -> str:
        """Why `path` is not held, for a sentence."""
        pattern = next((pattern for pattern in self.exclude if _glob(pattern).match(path)), None)
        if pattern is not None:
            return f"excluded by update.exclude ({pattern})"
        return f"outside update.paths ({', '.join(self.paths) or self.focus})"


def _normalise(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join(parts) or "."


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    """A glob as people write them: `**` crosses folders, `*` and `?` do not; a pattern for a folder holds what is
    below it.
    """
    text = ""
    i = 0
    pattern = pattern.removeprefix("./").rstrip("/")
    while i < len(pattern):
        if pattern.startswith("**/", i):
            text += "(?:.*/)?"
            i += 3
        elif pattern.startswith("**", i):
            text += ".*"
            i += 2
        elif pattern[i] == "*":
            text += "[^/]*"
            i += 1
        elif pattern[i] == "?":
            text += "[^/]"
            i += 1
        else:
            text += re.escape(pattern[i])
            i += 1
    return re.compile(rf"{text}(?:/.*)?\Z")
