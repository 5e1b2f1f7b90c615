"""What an entry of `images:` matches and what it makes of it (the image transformer), with the origin of every
character.

An entry's name is a regular expression, `^name(:tag)?(@sha256:digest)?$`; entries run in order, each on what the one
before left. A new tag drops a digest that stood there, a new digest drops a tag.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import re2

from image_updater.kustomize.model import SiteKind, dotted
from image_updater.kustomize.objects import Mark, spec_slots
from image_updater.kustomize.values import NULL, STRING, Leaf, Map, Scalarish, Text, Value, at, cut, join, text_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.kustomize.engine import Build

MAX_MATCHES = 2_000_000
"""Entries times images of one `images:` list: a second of work; real ones have hundreds."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._/:@-]*\Z")
_TAIL = r"(:[a-zA-Z0-9_.{}-]*)?(@sha256:[a-zA-Z0-9_.{}-]*)?"
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,}\Z")


class Entry:
    """An entry of `images:` (or an ImageTagTransformer's `imageTag`)."""

    __slots__ = ("digest", "frozen", "id", "kind", "map", "name", "new_name", "new_tag", "tag_suffix")

    def __init__(self, tree: Map, kind: SiteKind = SiteKind.ENTRY, *, name: str | None = None) -> None:
        self.map = tree
        self.kind = kind
        self.name = name if name is not None else text_at(tree, "name") or ""
        self.new_name = self._field("newName")
        self.new_tag = self._field("newTag")
        self.digest = self._field("digest")
        self.tag_suffix = self._field("tagSuffix")
        self.id = f"{tree.origin.file}#{tree.document}:{dotted(tree.path)}"
        self.frozen = self._why_frozen()

    def _field(self, key: str) -> Leaf | None:
        leaf = self.map.get(key)
        if not isinstance(leaf, Leaf) or leaf.bits & NULL or not leaf.value:
            return None
        leaf.owner = self
        return leaf

    def _why_frozen(self) -> str | None:
        if self.tag_suffix is not None:
            return "tagSuffix: what it yields differs between versions of Kustomize"
        tag = "" if self.new_tag is None else self.new_tag.value
        if _DIGEST.match(tag) or tag.startswith("sha256:"):
            return f"newTag holds a digest ({tag}): move it to `digest`"
        if self.digest is not None and ":" not in self.digest.value:
            return f"digest {self.digest.value} lacks its algorithm (`sha256:`)"
        return None

    def apply(self, value: Scalarish) -> Scalarish | None:
        """What the entry makes of a reference; None when it does not match."""
        matcher = pattern(self.name)
        if matcher is None or not matcher(value.value):
            return None
        name, tag, digest = split_image(value)
        if self.new_name is not None:
            name = self.new_name
        if self.new_tag is not None:
            tag, digest = self.new_tag, self.digest
        elif self.digest is not None:
            tag, digest = None, self.digest
        elif self.tag_suffix is not None:
            tag, digest = join([tag or "", self.tag_suffix]), None
        parts: list[Scalarish | str] = [name]
        if tag is not None and tag.value:
            parts += [":", tag]
        if digest is not None and digest.value:
            parts += ["@", digest]
        return join(parts)

    @property
    def unquoted(self) -> Leaf | None:
        """A field that YAML does not read as text: the build fails on it."""
        for leaf in (self.new_tag, self.new_name, self.digest):
            if leaf is not None and not leaf.bits & STRING:
                return leaf
        return None


@lru_cache(maxsize=8192)
def pattern(name: str) -> Callable[[str], object] | None:
    """The matcher of an entry's name; None when it is no legal expression (the build fails)."""
    if _PLAIN_NAME.match(name):
        return re.compile(f"{name}{_TAIL}\\Z").match
    try:
        return re2.compile(f"^{name}{_TAIL}$").search  # type: ignore[no-any-return]
    except re2.error:
        return None


def bounds(text: str) -> tuple[int, int, int]:
    """Ends of name and tag, start of the digest, as Kustomize splits: name = [:a], tag = [a+1:b], digest = [c:]."""
    slash = max(text.find("/"), 0)
    at = text.find("@", slash)
    colon = text.find(":", slash)
    if at < 0 and colon < 0:
        return len(text), len(text), len(text)
    if at >= 0 and (at < colon or colon < 0):
        return at, at, at + 1
    if at >= 0:
        return colon, at, at + 1
    return colon, len(text), len(text)


def split_image(value: Scalarish) -> tuple[Scalarish, Scalarish | None, Scalarish | None]:
    """Name, tag and digest with their origins."""
    text = value.value
    name_end, tag_end, digest_start = bounds(text)
    name = cut(value, 0, name_end)
    tag = cut(value, name_end + 1, tag_end) if tag_end > name_end + 1 else None
    digest = cut(value, digest_start, len(text)) if digest_start < len(text) else None
    return name, tag, digest


def entries_of(items: list[Value], kind: SiteKind = SiteKind.ENTRY) -> list[Entry]:
    """The entries of an `images:` list, in order."""
    return [Entry(item, kind) for item in items if isinstance(item, Map)]


def run(build: Build, entries: list[Entry], *, keep_marks: bool = False, legacy_only: bool = False) -> None:
    """The image transformer on all objects; every field remembers what it was before, and which entry matched last.

    `legacy_only`: without the default field specs (an ImageTagTransformer that names none).
    """
    if len(entries) * sum(len(obj.slots) for obj in build.objects) > MAX_MATCHES:
        build.broken = build.broken or f"more than {MAX_MATCHES:,} pairs of an image and an entry of `images:`"
        return
    for i, obj in enumerate(build.objects):
        slots = list(obj.slots)
        if build.specs and obj.kind != "CustomResourceDefinition":
            slots += spec_slots(obj, build.specs)
        if not slots:
            continue
        marks: dict[tuple[str | int, ...], Mark] = {}
        for slot in slots:
            value = at(obj.tree, *slot.path)
            assert isinstance(value, Leaf | Text)
            before, last = value, None
            if slot.runs and not (legacy_only and slot.path[-1] == "reference"):
                for entry in entries:
                    for _ in range(1 if legacy_only else slot.runs):
                        after = entry.apply(value)
                        if after is not None:
                            value, last = after, entry
            if value is not before:
                obj = obj.with_image(slot.path, value)
            marks[slot.path] = Mark(before, last, value)
        build.objects[i] = obj if keep_marks else obj.with_marks(marks)
