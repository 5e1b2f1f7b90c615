"""Edits: what changes in which file, to the character; and what a proof says of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from image_updater.kustomize.model import ObjectId, Path, ScalarRef


class EditKind(StrEnum):
    SCALAR = "scalar"
    INSERT = "insert"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A wanted change of meaning, before it has become text: set `scalar` to `value`, or insert, or remove."""

    kind: EditKind
    file: str
    policy: str
    site: str
    scalar: ScalarRef | None = None
    """SCALAR: what is set. REMOVE: the value whose whole `key: value` goes."""
    value: str | None = None
    document: int = 0
    parent: Path = ()
    """INSERT: the mapping or sequence that gets `items`. A missing sequence is created, `images:` at the file's end."""
    items: tuple[tuple[str, str], ...] = ()
    """INSERT: `key, value` pairs in order."""
    append: bool = False
    """INSERT: `items` become a new mapping at the end of the sequence at `parent`; else they go into a mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change as text: `start:end` of the decoded old text becomes `text`. `line` is of the old file (inserts: of the
    insertion point).

    `old`/`new` are the scalar's values as YAML reads them; None for the side that does not exist.
    """

    kind: EditKind
    file: str
    line: int
    field: str
    old: str | None
    new: str | None
    policy: str
    start: int
    end: int
    text: str
    site: str = ""
    document: int = 0
    items: tuple[tuple[Path, str], ...] = ()
    """INSERT: every scalar that appears, with its place; `field` and `new` name the one that matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """An image of a root that is meant to change."""

    object: ObjectId
    path: Path
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field of a rendered object that differs; `old`/`new` are short texts, None where the side lacks it."""

    object: ObjectId
    path: Path
    old: str | None
    new: str | None

    def __str__(self) -> str:
        from image_updater.kustomize.model import dotted

        return f"{self.object}: {dotted(self.path)}: {self.old!r} → {self.new!r}"
