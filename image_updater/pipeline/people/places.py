"""The places whose past decides over a planned move: which scalars say, or would say, what an image is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from image_updater.git import Place, Role, Version, Wanted, entry_field, field_at
from image_updater.kustomize.model import Part, SiteKind
from image_updater.patch.decisions import Decision, State
from image_updater.patch.model import EditKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.git import Field
    from image_updater.kustomize.model import Path, ScalarRef, Site, Tree
    from image_updater.patch.model import Change

_ROLES: Final = {
    Part.IMAGE: Role.IMAGE,
    Part.TAG: Role.TAG,
    Part.DIGEST: Role.DIGEST,
    Part.NAME: Role.NAME,
}


class Versions:
    """Files of the tree, parsed once. `known`: those by blob id."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files: dict[str, Version] = {}
        self.known: dict[str, Version] = {}

    def __contains__(self, file: str) -> bool:
        return file in self._tree.files()

    def __getitem__(self, file: str) -> Version:
        found = self._files.get(file)
        if found is None:
            entry = self._tree.files().get(file)
            found = self._files[file] = Version(self._tree.read(file) if entry is not None else b"")
            if entry is not None:
                self.known[entry.oid] = found
        return found


def places(decision: Decision, versions: Versions) -> Iterable[tuple[str, Wanted]]:
    """The places whose past decides over a planned move: the site itself, and the entries that it would get in
    kustomizations instead. With the names that a plan knows them by.
    """
    site = decision.site
    fields: dict[str, dict[Field, None]] = {}
    for scalar, role in _scalars(site, decision.changes):
        found = field_at(versions[scalar.file], role, scalar.document, scalar.path, offset=scalar.start)
        fields.setdefault(scalar.file, {})[found] = None
    for change in decision.changes:
        if change.kind is not EditKind.INSERT:
            continue
        beside = site.holder.start if site.holder is not None and change.parent == site.holder.path else None
        made = _inserted(change, versions[change.file], beside)
        if change.site == site.id:
            fields.setdefault(change.file, {}).update(dict.fromkeys(made))
        elif made:
            yield change.site, Wanted(file=change.file, place=Place(tuple(made)))
    for file, each in fields.items():
        yield site.id, Wanted(file=file, place=Place(tuple(each)))


def places_of(site: Site, versions: Versions) -> Iterable[Wanted]:
    """Where a site stands, whatever is planned."""
    return (wanted for _, wanted in places(Decision(site=site, state=State.CURRENT), versions))


def _scalars(site: Site, changes: Iterable[Change]) -> Iterable[tuple[ScalarRef, Role]]:
    if site.kind is SiteKind.REF:
        yield from ((scalar, Role.REF) for scalar in site.parts.values())
        return
    known: set[tuple[str, int]] = set()
    for part in (Part.IMAGE, Part.TAG, Part.DIGEST):
        scalar = site.parts.get(part)
        if scalar is not None:
            known.add((scalar.file, scalar.start))
            yield scalar, _ROLES[part]
    marked = {
        (marker.scalar.file, marker.scalar.start): marker.part
        for marker in (*site.markers, *((site.marker,) if site.marker is not None else ()))
        if marker.scalar is not None
    }
    for change in changes:
        scalar = change.scalar
        if scalar is None or (scalar.file, scalar.start) in known:
            continue
        part = marked.get((scalar.file, scalar.start), Part.TAG)
        if part is Part.NAME and known:
            continue
        yield scalar, _ROLES.get(part, Role.TAG)


def _inserted(change: Change, version: Version, beside: int | None) -> list[Field]:
    """What an insert would make; it may have been there before. `beside`: where the mapping for it begins."""
    keys = {"newTag": Role.TAG, "tag": Role.TAG, "digest": Role.DIGEST}
    if not change.append:
        return [
            field_at(version, keys[key], change.document, (*change.parent, key), offset=beside)
            for key, _ in change.items
            if key in keys
        ]
    name = next((value for key, value in change.items if key == "name"), None)
    return [] if name is None else entry(version, name, change.document, change.parent)


def entry(version: Version, name: str, document: int = 0, path: Path = ("images",)) -> list[Field]:
    """What says which tag an entry of `images:` sets; it need not be there."""
    return [
        entry_field(version, role, document, path, name, key)
        for key, role in (("newTag", Role.TAG), ("digest", Role.DIGEST))
    ]
