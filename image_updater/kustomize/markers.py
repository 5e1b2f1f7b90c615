"""Setter markers: the comments behind a value that name the policy which writes it.

Two spellings are read. Flux's, exactly as Flux reads it (fluxcd image-automation-controller, `internal/update`):

    image: ghcr.io/acme/web:1.2.0 # {"$imagepolicy": "apps:web[:tag|name|digest]"}

and ours, where the namespace may be left out:

    tag: 1.2.0 # image-policy: [namespace:]web[:tag|name|digest]

What looks like a marker and is none (text behind it, no value before it, inside a block scalar, …) has `problem` set:
Flux ignores it without a word, we report it, and neither edits. A `#` inside a quoted scalar is text, not a comment.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.documents import Alias, Document, Node, Scalar, Sequence
from image_updater.kustomize.model import Marker, Part, Path
from image_updater.kustomize.refs import scalar_ref

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLUX = "$imagepolicy"
_OURS = "image-policy:"
_HINT = re.compile(r"\$imagepolicy|#[# \t]*image-policy:")
_OUR_COMMENT = re.compile(r"image-policy:(.*)\Z", re.DOTALL)
_BREAK = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\Z")
_PARTS = {"tag": Part.TAG, "name": Part.NAME, "digest": Part.DIGEST}


@dataclass(slots=True)
class _Spot:
    """A scalar or an alias of the file, as far as markers care."""

    start: int
    end: int
    document: int
    path: Path
    node: Scalar | Alias
    key: bool
    shared: bool

    def opaque(self, text: str) -> int:
        """Where the text begins that cannot hold a comment: behind the header line for a block scalar."""
        if isinstance(self.node, Scalar) and self.node.style in ("|", ">"):
            match = _BREAK.search(text, self.start, self.end)
            return match.end() if match else self.end
        return self.start


def mentions(text: str) -> bool:
    """May this text hold a marker? A substring test, for choosing which files to parse."""
    return _FLUX in text or _OURS in text


def find(text: str, documents: list[Document], file: str) -> list[Marker]:
    """Every marker and near miss of a file, in the file's order. `documents` is `parse(text)`."""
    if not mentions(text):
        return []
    hits = [match.start() for match in _HINT.finditer(text)]
    if not hits:
        return []
    spots = sorted(_spots(documents), key=lambda spot: (spot.start, spot.end))
    starts = [spot.start for spot in spots]
    found: list[Marker] = []
    done = -1  # end of the line that was judged last: one marker a comment
    counted, line = 0, 1
    for hit in hits:
        if hit < done:
            continue
        inside = _inside(text, spots, starts, hit)
        begin, end = _line(text, hit)
        line += len(_BREAK.findall(text, counted, begin))
        counted = begin
        if inside is not None:
            if isinstance(inside.node, Scalar) and inside.node.style in ("|", ">"):
                shown = text[begin:end].strip()
                # Prose and scripts may mention the word; only what would be a marker elsewhere is a near miss.
                if "#" in shown:
                    found.append(
                        Marker(
                            file=file,
                            line=line,
                            text=shown,
                            problem="it stands inside a block scalar, where it is text and no comment",
                        )
                    )
            continue
        comment = _comment_start(text, spots, starts, begin, end)
        if comment is None or comment > hit:
            continue
        marker = _read(text, spots, starts, comment, begin, end, file, line)
        if marker is not None:
            found.append(marker)
        done = end
    return found


def _spots(documents: list[Document]) -> Iterator[_Spot]:
    for document in documents:
        if document.root is not None:
            yield from _below(document.root, document.index, (), False)


def _below(node: Node, document: int, path: Path, shared: bool) -> Iterator[_Spot]:
    if isinstance(node, Scalar | Alias):
        yield _Spot(node.start, node.end, document, path, node, False, shared)
        return
    shared = shared or node.anchor is not None
    if isinstance(node, Sequence):
        for i, item in enumerate(node.items):
            yield from _below(item, document, (*path, i), shared)
        return
    for key, value in node.items:
        if isinstance(key, Scalar | Alias):
            yield _Spot(key.start, key.end, document, path, key, True, shared)
            name = key.value if isinstance(key, Scalar) else f"*{key.name}"
        else:
            yield from _below(key, document, (*path, "?"), shared)
            name = "?"
        yield from _below(value, document, (*path, name), shared)


def _inside(text: str, spots: list[_Spot], starts: list[int], at: int) -> _Spot | None:
    """The scalar whose text covers `at`, if any."""
    i = bisect_right(starts, at) - 1
    while i >= 0 and spots[i].start == spots[i].end:
        i -= 1  # empty values cover nothing
    if i >= 0 and spots[i].opaque(text) <= at < spots[i].end:
        return spots[i]
    return None


def _line(text: str, at: int) -> tuple[int, int]:
    """Start and end of the line that holds `at`, without its line break."""
    begin = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    match = _BREAK.search(text, at)
    return begin, match.start() if match else len(text)


def _comment_start(text: str, spots: list[_Spot], starts: list[int], begin: int, end: int) -> int | None:
    at = text.find("#", begin, end)
    while at >= 0:
        inside = _inside(text, spots, starts, at)
        if inside is None:
            return at
        at = text.find("#", inside.end, end)
    return None


def _read(
    text: str, spots: list[_Spot], starts: list[int], comment: int, begin: int, end: int, file: str, line: int
) -> Marker | None:
    raw = text[comment:end].rstrip()
    body = raw.lstrip("#").strip()
    if _FLUX in body:
        named = _flux(body)
    elif (match := _OUR_COMMENT.match(body)) is not None:
        named = _ours(match.group(1).strip())
    else:
        return None
    spot, problem = _target(text, spots, starts, comment, begin)
    if isinstance(named, str):
        return Marker(file=file, line=line, text=raw, problem=named)
    namespace, name, part = named
    if spot is None or problem is not None:
        return Marker(file=file, line=line, text=raw, namespace=namespace, name=name, part=part, problem=problem)
    assert isinstance(spot.node, Scalar)
    ref = scalar_ref(spot.node, file=file, document=spot.document, path=spot.path, shared=spot.shared)
    return Marker(file=file, line=line, text=raw, namespace=namespace, name=name, part=part, scalar=ref)


def _target(
    text: str, spots: list[_Spot], starts: list[int], comment: int, begin: int
) -> tuple[_Spot | None, str | None]:
    """The one value that ends on the comment's line before it, or why there is none."""
    last = bisect_right(starts, comment) - 1
    values: list[_Spot] = []
    keys = 0
    for i in range(last, -1, -1):
        spot = spots[i]
        if spot.end < begin or (spot.end == begin and spot.start != spot.end):
            break
        if spot.key:
            keys += 1
        elif spot.opaque(text) > comment or (
            isinstance(spot.node, Scalar) and spot.node.style in ("|", ">") and spot.end > comment
        ):
            return None, "it stands behind the header of a block scalar, which is never edited"
        elif spot.start >= begin or spot.end > begin:
            values.append(spot)
    if not text[begin:comment].strip():
        return None, "it stands on a line of its own: a marker belongs behind the value, on the same line"
    solid = [spot for spot in values if spot.start != spot.end]
    if not solid:
        if values or keys:
            return None, "the key before it has no value on this line that could be set"
        return None, "no value stands before it on this line"
    if len(values) > 1:
        return None, f"{len(values)} values stand before it on this line: it is not clear which one is meant"
    if isinstance(solid[0].node, Alias):
        return None, "the value before it is an alias: the marker belongs to the value that carries the anchor"
    return solid[0], None


def _flux(body: str) -> tuple[str | None, str, Part] | str:
    """`{"$imagepolicy": "ns:name[:part]"}`, or what is wrong with it."""
    try:
        data = json.loads(body)
    except ValueError:
        if body.startswith("{") and body.endswith("}") and "'" in body and '"' not in body:
            return "the marker must use double quotes"
        if body.startswith("{"):
            try:
                json.JSONDecoder().raw_decode(body)
            except ValueError:
                return "the marker is not valid JSON"
            return "text stands behind the marker"
        return "text stands before the marker: the comment must hold the marker and nothing else"
    if not isinstance(data, dict) or _FLUX not in data:
        return f'the marker has no key "{_FLUX}"'
    if not all(isinstance(value, str) for value in data.values()):
        return "the marker must be one JSON object whose values are strings"
    pieces = data[_FLUX].split(":")
    if len(pieces) not in (2, 3):
        return f"{data[_FLUX]!r} is not NAMESPACE:NAME[:tag|name|digest]"
    return _named(pieces[0], pieces[1], pieces[2] if len(pieces) == 3 else None)


def _ours(text: str) -> tuple[str | None, str, Part] | str:
    """`[ns:]name[:part]`, or what is wrong with it. Of two pieces the last is a part if it is one of those words."""
    words = text.split()
    if not words:
        return "the marker names no policy"
    if len(words) > 1:
        return "text stands behind the marker"
    pieces = words[0].split(":")
    if len(pieces) > 3:
        return f"{words[0]!r} is not [NAMESPACE:]NAME[:tag|name|digest]"
    if len(pieces) == 3:
        return _named(*pieces)
    if len(pieces) == 2 and pieces[1] in _PARTS:
        return _named(None, *pieces)
    return _named(pieces[0] if len(pieces) == 2 else None, pieces[-1], None)


def _named(namespace: str | None, name: str, part: str | None) -> tuple[str | None, str, Part] | str:
    for label in (namespace, name):
        if label is not None and not _NAME.match(label):
            return f"{label!r} is not a name of an object"
    if part is None:
        return namespace, name, Part.IMAGE
    if part not in _PARTS:
        return f"the suffix {part!r} is unknown: it must be tag, name or digest"
    return namespace, name, _PARTS[part]
