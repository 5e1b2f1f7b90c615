"""All roots' rows together: one site for each place, with the uses of every root, and the markers that stand at it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from image_updater.kustomize.model import Marker, Part, Site, SiteKind, Use
from image_updater.kustomize.sites import Rows, Writer, assemble


def sites_of(
    rows: Mapping[str, Rows], files: Mapping[str, AbstractSet[str]], markers: list[Marker]
) -> tuple[list[Site], list[Marker]]:
    """The sites by file and line, and the markers that belong to none. `rows` and `files` (what is read) by root."""
    writers: dict[str, Writer] = {}
    uses: dict[str, list[Use]] = {}
    roots: dict[str, list[str]] = {}
    for root, row in rows.items():
        for writer, use in row.uses:
            known = writers.setdefault(writer.id, writer)
            if known is not writer:
                writers[writer.id] = _joined(known, writer)
            uses.setdefault(writer.id, []).append(use)
        for writer in row.idle:
            writers.setdefault(writer.id, writer)
            roots.setdefault(writer.id, []).append(root)
    found = [assemble(writer, uses.get(key, []), roots.get(key, [])) for key, writer in writers.items()]
    found, loose = _marked(found, files, markers)
    found.sort(key=lambda site: (site.file, site.line, site.field))
    return found, loose


def _joined(one: Writer, other: Writer) -> Writer:
    """One scalar in two roles: an image of its own goes before the source of another, and what freezes one freezes
    both."""
    if other.kind is SiteKind.CONTAINER and one.kind is SiteKind.SOURCE:
        one, other = other, one
    return one if one.frozen or not other.frozen else replace(one, frozen=other.frozen)


def _marked(
    found: list[Site], files: Mapping[str, AbstractSet[str]], markers: list[Marker]
) -> tuple[list[Site], list[Marker]]:
    """Markers go to the sites whose scalars they stand at; the others are sites of their own."""
    loose: list[Marker] = []
    if not markers:
        return found, loose
    marked = {marker.file for marker in markers}
    index = {
        (ref.file, ref.start): i for i, site in enumerate(found) if site.file in marked for ref in site.parts.values()
    }
    lines = {
        (ref.file, ref.line): i for i, site in enumerate(found) if site.file in marked for ref in site.parts.values()
    }
    attached: dict[int, list[Marker]] = {}
    for marker in markers:
        at = None
        if marker.scalar is not None:
            at = index.get((marker.file, marker.scalar.start))
        elif marker.problem is not None:
            at = lines.get((marker.file, marker.line))
        if at is not None:
            attached.setdefault(at, []).append(marker)
        elif marker.problem is not None or marker.scalar is None:
            loose.append(marker)
        else:
            found.append(_marker_site(marker, files))
    for at, list_ in attached.items():
        good = [marker for marker in list_ if marker.problem is None]
        found[at] = replace(found[at], marker=good[0] if good else None, markers=tuple(list_))
    return found, loose


def _marker_site(marker: Marker, files: Mapping[str, AbstractSet[str]]) -> Site:
    ref = marker.scalar
    assert ref is not None
    return Site(
        id=f"{ref.file}#{ref.document}:{ref.field}",
        kind=SiteKind.MARKER,
        file=ref.file,
        line=ref.line,
        field=ref.field,
        image=ref.value if marker.part is Part.IMAGE else "",
        parts={marker.part: ref},
        files=tuple(root for root, read in files.items() if ref.file in read),
        marker=marker,
        markers=(marker,),
        frozen=ref.frozen,
    )
