"""The dear half of the proof: two renders, compared object by object and field by field.

What is meant to change must change, exactly; what follows from that is *derived* and listed with its reason; anything
else is unexpected and refuses. An image that nobody meant to change is never derived, even when it moves to the same
tag: that is the collateral damage a proof is for. (Charts are the exception: one value may feed several images of one
chart.)
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.images.names import split
from image_updater.patch.fields import ABSENT, Field, fields
from image_updater.patch.manifests import Object, differing, helm_images, images_of, is_image
from image_updater.patch.model import Difference, Intended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.kustomize.model import ObjectId, Path

CHART = "HelmChart"
"""The kind under which provenance names `helmCharts[].valuesInline`: no object of a render has this identity."""

_HASHED = re.compile(r"(?P<stem>.+)-[2456789bcdfghkmt]{10}\Z")
"""A name with the suffix of Kustomize's generators (api/hasher: ten letters of an encoded hash)."""
_GENERATED = ("ConfigMap", "Secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A difference that follows from an intended one, and how."""

    difference: Difference
    reason: str

    def __str__(self) -> str:
        return f"{self.difference} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs between two renders. Nothing `unexpected` and nothing `missing` = proved."""

    changed: tuple[Difference, ...] = ()
    derived: tuple[Derived, ...] = ()
    unexpected: tuple[Difference, ...] = ()
    missing: tuple[Intended, ...] = ()

    @property
    def proved(self) -> bool:
        return not self.unexpected and not self.missing


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectChange:
    """An object that differs between two renders; `fields` is empty for whole objects that come or go."""

    object: ObjectId
    kind: ChangeKind
    fields: tuple[Difference, ...] = ()


@dataclass(slots=True)
class _Pair:
    """An object on both sides, or on one."""

    old: Object | None
    new: Object | None
    renamed: bool = False
    found: list[Field] = field(default_factory=list)

    @property
    def id(self) -> ObjectId:
        if self.new is not None:
            return self.new.id
        assert self.old is not None
        return self.old.id


def compare(
    before: bytes,
    after: bytes,
    intended: Sequence[Intended],
    *,
    helm: bool = False,
    edited: Sequence[tuple[str | None, str | None]] = (),
) -> Comparison:
    """Compare the renders of one root.

    `helm`: charts are inflated in this root, so fields of a chart's objects may follow a value. `edited`: old and new
    text of scalars that edits set in rendered objects' own files and that are no images (a marker on a label, an
    `images:` list of a Flux Kustomization): the field itself may change so.

    Raises DocumentError when a render is no YAML.
    """
    old, new = differing(before, after)
    pairs = _pairs(old, new)
    return _Comparer(intended, helm, edited, pairs).run()


def diff_objects(before: bytes, after: bytes) -> list[ObjectChange]:
    """The objects that differ, in the new render's order, then those that are gone. Raises DocumentError."""
    changes: list[ObjectChange] = []
    for pair in _pairs(*differing(before, after)):
        if pair.old is None:
            changes.append(ObjectChange(object=pair.id, kind=ChangeKind.ADDED))
        elif pair.new is None:
            changes.append(ObjectChange(object=pair.id, kind=ChangeKind.REMOVED))
        elif pair.found:
            found = tuple(each.difference(pair.id) for each in pair.found)
            changes.append(ObjectChange(object=pair.id, kind=ChangeKind.CHANGED, fields=found))
    return changes


def _pairs(old: Sequence[Object], new: Sequence[Object]) -> list[_Pair]:
    """Objects matched by identity (twins by order), then generated ones by their name without hash."""
    waiting: dict[ObjectId, list[Object]] = defaultdict(list)
    for each in old:
        waiting[each.id].append(each)
    pairs: list[_Pair] = []
    for each in new:
        twins = waiting.get(each.id)
        pairs.append(_Pair(twins.pop(0) if twins else None, each))
    left = [each for each in old if any(each is other for other in waiting[each.id])]
    stems: dict[tuple[str, str, str, str], list[Object]] = defaultdict(list)
    for each in left:
        stem = _stem(each.id)
        if stem is not None:
            stems[stem].append(each)
    for pair in pairs:
        stem = _stem(pair.id) if pair.old is None else None
        if stem is not None and stems.get(stem):
            pair.old = stems[stem].pop(0)
            pair.renamed = True
            left = [each for each in left if each is not pair.old]
    pairs += [_Pair(each, None) for each in left]
    for pair in pairs:
        if pair.old is not None and pair.new is not None:
            pair.found = fields(pair.old.content, pair.new.content)
    return pairs


def _stem(object_: ObjectId) -> tuple[str, str, str, str] | None:
    match = _HASHED.match(object_.name)
    if match is None or object_.kind not in _GENERATED:
        return None
    return object_.group, object_.kind, object_.namespace, match["stem"]


class _Comparer:
    def __init__(
        self,
        intended: Sequence[Intended],
        helm: bool,
        edited: Sequence[tuple[str | None, str | None]],
        pairs: list[_Pair],
    ) -> None:
        self.intended = list(dict.fromkeys(item for item in intended if item.old != item.new))
        self.wanted: dict[tuple[ObjectId, Path], Intended] = {(i.object, i.path): i for i in self.intended}
        self.charts = [item for item in self.intended if item.object.kind == CHART and not item.object.group]
        self.helm = helm and bool(self.charts)
        self.edited = [(old, new) for old, new in edited if old != new]
        self.pairs = pairs
        self.done: set[tuple[ObjectId, Path]] = set()
        self.moves = list(dict.fromkeys(move for item in self.intended for move in _moves(item.old, item.new)))
        self.chart_moves = list(dict.fromkeys(move for item in self.charts for move in _moves(item.old, item.new)))
        self.renames = [(p.old.id.name, p.new.id.name) for p in pairs if p.renamed and p.old and p.new]
        self.changed: list[Difference] = []
        self.derived: list[Derived] = []
        self.unexpected: list[Difference] = []

    def run(self) -> Comparison:
        for pair in self.pairs:
            self.judge(pair)
        missing = [i for i in self.intended if (i.object, i.path) not in self.done]
        return Comparison(
            changed=tuple(self.changed),
            derived=tuple(self.derived),
            unexpected=tuple(self.unexpected),
            missing=tuple(missing),
        )

    def judge(self, pair: _Pair) -> None:
        if pair.old is None or pair.new is None:
            whole = Field((), ABSENT if pair.old is None else "present", ABSENT if pair.new is None else "present")
            of_chart = self.helm and _of_chart(pair.new or pair.old)
            self.settle(pair, whole, "an object of the chart" if of_chart else None)
            return
        held = self.helm_fields(pair)
        content = [each for each in pair.found if each.path != ("metadata", "name")]
        for each in pair.found:
            if pair.renamed and each.path == ("metadata", "name"):
                self.settle(pair, each, "the hash in a generated name" if content else None)
                continue
            item = self.wanted.get((pair.id, each.path))
            if item is not None and (each.old, each.new) == (item.old, item.new):
                self.done.add((pair.id, each.path))
                self.changed.append(each.difference(pair.id))
            elif each.path in held:
                self.changed.append(each.difference(pair.id))
            else:
                self.settle(pair, each, self.why(pair, each))

    def helm_fields(self, pair: _Pair) -> set[Path]:
        """The parts of those Helm values that became exactly what was intended."""
        assert pair.old is not None
        assert pair.new is not None
        held: set[Path] = set()
        if not any(object_ == pair.id for object_, _ in self.wanted):
            return held
        old = {image.path: image for image in helm_images(pair.old)}
        for image in helm_images(pair.new):
            item = self.wanted.get((pair.id, image.path))
            known = old.get(image.path)
            if item is None or known is None or image.value != item.new or not _reads_as(item.old, known.value):
                continue
            self.done.add((pair.id, image.path))
            held |= {ref.path for ref in (*image.parts.values(), *known.parts.values())}
        return held

    def settle(self, pair: _Pair, found: Field, reason: str | None) -> None:
        difference = found.difference(pair.id)
        if reason is None:
            self.unexpected.append(difference)
        else:
            self.derived.append(Derived(difference=difference, reason=reason))

    def why(self, pair: _Pair, found: Field) -> str | None:
        """How a field that nobody meant follows from what was meant; None when it does not."""
        if self.helm:
            reason = self.of_chart(pair, found)
            if reason is not None:
                return reason
        if is_image(found.path):
            return None
        for old, new in self.edited:
            if (found.old if found.old is not ABSENT else None, found.new if found.new is not ABSENT else None) == (
                old,
                new,
            ):
                return "the edited field itself"
        if not isinstance(found.old, str) or not isinstance(found.new, str):
            return None
        for old, new in self.renames:
            if _follows(found.old, found.new, old, new):
                return f"refers to the generated name {new}"
        for old, new in self.moves:
            if _follows(found.old, found.new, old, new):
                return f"follows {old} → {new}"
        return None

    def of_chart(self, pair: _Pair, found: Field) -> str | None:
        assert pair.new is not None
        for old, new in self.chart_moves:
            if isinstance(found.old, str) and isinstance(found.new, str) and _follows(found.old, found.new, old, new):
                # The chart's value is no object of the render: its effect is what shows that it was heard.
                self.done |= {(i.object, i.path) for i in self.charts if (old, new) in _moves(i.old, i.new)}
                return f"the chart writes {old} → {new}"
        for item in self.charts:
            if found.new == item.new and isinstance(found.old, str) and split(item.old)[1] is None:
                self.done.add((item.object, item.path))
                return "the chart's own default gave way"
        if _of_chart(pair.new) and not is_image(found.path):
            return "a field of the chart's object"
        return None


def _reads_as(written: str, rendered: str) -> bool:
    """Kustomize writes a number its own way: an unquoted tag 1.10 of a chart's values is rendered as 1.1."""
    if written == rendered:
        return True
    name, tag, digest = split(written)
    other_name, other, other_digest = split(rendered)
    try:
        return (name, digest) == (other_name, other_digest) and float(tag or "") == float(other or "")
    except ValueError:
        return False


def _of_chart(object_: Object | None) -> bool:
    if object_ is None:
        return False
    labels = object_.labels
    return "helm.sh/chart" in labels or labels.get("app.kubernetes.io/managed-by") == "Helm" or "chart" in labels


def _moves(old: str, new: str) -> list[tuple[str, str]]:
    """The pieces of an image that a field may copy: the whole, tag and digest together, tag, digest; longest first."""
    name, tag, digest = split(old)
    new_name, new_tag, new_digest = split(new)
    found = [(old, new)]
    if tag and digest and new_tag and new_digest:
        found.append((f"{tag}@{digest}", f"{new_tag}@{new_digest}"))
    if digest and new_digest:
        found.append((digest, new_digest))
    if tag and new_tag:
        found.append((tag, new_tag))
    if name and new_name:
        found.append((name, new_name))
    return [(a, b) for a, b in found if a != b]


def _follows(old: str, new: str, piece: str, by: str) -> bool:
    """Is `new` what `old` becomes when `piece` is replaced, everywhere or at one place?"""
    if piece not in old:
        return False
    if old.replace(piece, by) == new:
        return True
    at = old.find(piece)
    while at >= 0:
        if old[:at] + by + old[at + len(piece) :] == new:
            return True
        at = old.find(piece, at + 1)
    return False


__all__ = ["ChangeKind", "Comparison", "Derived", "ObjectChange", "compare", "diff_objects", "images_of"]
