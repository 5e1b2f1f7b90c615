"""`image-updater set`: what a person wants of an image, as changes to a kustomization's `images:`.

What is not named stays, but a digest alone removes `newTag` and a tag alone removes `digest`. Pure; the command line
parses `IMAGE=[NEWNAME][:TAG][@DIGEST]`, `write` makes text of the changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.documents import Mapping, Node, Scalar, Sequence, get, parse, resolve, string
from image_updater.errors import Refused, Where
from image_updater.images import canonical
from image_updater.kustomize.model import Path
from image_updater.kustomize.refs import scalar_ref
from image_updater.patch.model import Change, EditKind

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

BY_HAND = "set"
"""Stands where an automation names its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One `IMAGE=[NEWNAME][:TAG][@DIGEST]`: what is None is not named."""

    image: str
    new_name: str | None = None
    tag: str | None = None
    digest: str | None = None


def changes_for_set(
    text: str, assignments: Seq[Assignment], *, file: str = "kustomization.yaml", rendered: Seq[str] = ()
) -> list[Change]:
    """The changes that make the kustomization `text` hold `assignments`; of several for one image the last counts.

    IMAGE is an entry's `name`, else its `newName`; first letter by letter, then as images are equal
    (`docker.io/library/nginx` is `nginx`). Without an entry a new one comes, whose `name` is how that image is spelled
    in `rendered`, the names that reach this kustomization. Raises DocumentError; Refused for a `tagSuffix`.
    """
    documents = parse(text, file=file)
    root = documents[0].root if documents else None
    held = get(root, "images")
    entries = _entries(held, file) if held is not None else []
    chosen: dict[int | str, Assignment] = {}
    for assignment in assignments:
        entry = _find(entries, assignment.image)
        key = entry.index if entry is not None else _spelled(assignment.image, rendered)
        chosen.pop(key, None)
        chosen[key] = assignment
    changes: list[Change] = []
    by_index = {entry.index: entry for entry in entries}
    for key, assignment in chosen.items():
        if isinstance(key, int):
            changes += by_index[key].changes(assignment)
        else:
            items = _fresh(key, assignment)
            if items:
                changes.append(
                    Change(
                        kind=EditKind.INSERT,
                        file=file,
                        policy=BY_HAND,
                        site=f"{file}#0:images",
                        parent=("images",),
                        items=items,
                        append=True,
                    )
                )
    return changes


def _fresh(name: str, wanted: Assignment) -> tuple[tuple[str, str], ...]:
    items: list[tuple[str, str]] = []
    if wanted.new_name is not None and wanted.new_name != name:
        items.append(("newName", wanted.new_name))
    if wanted.tag is not None:
        items.append(("newTag", wanted.tag))
    if wanted.digest is not None:
        items.append(("digest", wanted.digest))
    return (("name", name), *items) if items else ()


class _Entry:
    """An entry of `images:`."""

    def __init__(self, node: Mapping, index: int, file: str, *, shared: bool) -> None:
        self.node = node
        self.index = index
        self.file = file
        self.shared = shared
        self.path: Path = ("images", index)
        self.name = string(get(node, "name")) or ""
        self.new_name = string(get(node, "newName")) or None

    def changes(self, wanted: Assignment) -> list[Change]:
        if get(self.node, "tagSuffix") is not None:
            raise Refused(
                "the entry has a tagSuffix, which Kustomize applies twice",
                where=Where(file=self.file, line=self.node.line, field=f"images[{self.index}].tagSuffix"),
                remedy="write the whole tag as newTag",
            )
        found: list[Change] = []
        missing: list[tuple[str, str]] = []

        def put(key: str, value: str) -> None:
            node = self.scalar(key)
            if node is None:
                missing.append((key, value))
                return
            change = self.change(EditKind.SCALAR, key, node, value)
            if node.value != value or change.scalar is None or not change.scalar.string:
                found.append(change)

        def drop(key: str) -> None:
            node = self.scalar(key)
            if node is not None:
                found.append(self.change(EditKind.REMOVE, key, node, None))

        if wanted.new_name is not None:
            if wanted.new_name == self.name:
                drop("newName")
            else:
                put("newName", wanted.new_name)
        tag = self.scalar("newTag")
        if wanted.tag is not None and wanted.digest is not None and tag is not None and "@" in tag.value:
            put("newTag", f"{wanted.tag}@{wanted.digest}")  # one field stays one field
            drop("digest")
        elif wanted.tag is not None or wanted.digest is not None:
            if wanted.tag is not None:
                put("newTag", wanted.tag)
            else:
                drop("newTag")
            if wanted.digest is not None:
                put("digest", wanted.digest)
            else:
                drop("digest")
        if missing:
            found.append(
                Change(
                    kind=EditKind.INSERT,
                    file=self.file,
                    policy=BY_HAND,
                    site=f"{self.file}#0:images[{self.index}]",
                    parent=self.path,
                    items=tuple(missing),
                )
            )
        return found

    def scalar(self, key: str) -> Scalar | None:
        node = get(self.node, key)
        node = resolve(node) if node is not None else None
        return node if isinstance(node, Scalar) else None

    def change(self, kind: EditKind, key: str, node: Scalar, value: str | None) -> Change:
        scalar = scalar_ref(node, file=self.file, document=0, path=(*self.path, key), shared=self.shared)
        site = f"{self.file}#0:images[{self.index}]"
        return Change(kind=kind, file=self.file, policy=BY_HAND, site=site, scalar=scalar, value=value)


def _entries(held: Node, file: str) -> list[_Entry]:
    listed = resolve(held)
    if not isinstance(listed, Sequence):
        return []
    found: list[_Entry] = []
    for i, item in enumerate(listed.items):
        node = resolve(item)
        if isinstance(node, Mapping):
            shared = listed is not held or node is not item or node.anchor is not None
            found.append(_Entry(node, i, file, shared=shared))
    return found


def _find(entries: list[_Entry], image: str) -> _Entry | None:
    """The entry meant. Of equals the last: it has the last word in a render."""
    same = canonical(image)
    for fits in (
        lambda entry: entry.name == image,
        lambda entry: entry.new_name == image,
        lambda entry: same is not None and canonical(entry.name) == same,
        lambda entry: same is not None and entry.new_name is not None and canonical(entry.new_name) == same,
    ):
        found = [entry for entry in entries if fits(entry)]
        if found:
            return found[-1]
    return None


def _spelled(image: str, rendered: Seq[str]) -> str:
    """How the resources spell this image: Kustomize compares letters."""
    if image in rendered:
        return image
    same = canonical(image)
    return next((name for name in rendered if same is not None and canonical(name) == same), image)
