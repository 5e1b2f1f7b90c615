"""Images in Helm values: the shapes that charts use, recognised at any depth.

    image: ghcr.io/acme/web:1.2                      the whole reference
    image: acme/web        tag: 1.2                  with or without `registry`, `digest`
    image: {repository: acme/web, tag: 1.2}          with or without `registry`, `digest`
    sidecarImage: {repository: …, tag: …}            any mapping with both keys that is called an image,
                                                     or stands below `images`; also with `name` for `repository`
    image: acme/web        imageTag: 1.2             the older spelling; also `imageRepository`, `imageName`
    sidecarImage: acme/proxy:1.2                     a reference with a tag under a key that ends so
    images: {web: acme/web:1.2}                      … or below `images` (and its `tags`)

Values are free text, so what looks wrong is left alone: a boolean, a URL, a template, a picture's path with spaces.
What is an image and cannot be edited safely is returned with `frozen`, so that it is reported and not passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from image_updater.documents import Alias, Mapping, Node, Scalar, Sequence
from image_updater.documents.values import MAX_NODES, is_string
from image_updater.errors import DocumentError, SpecError, Where
from image_updater.images import is_tag, parse_name, parse_ref
from image_updater.images.names import is_digest
from image_updater.kustomize.model import MappingRef, Part, Path, ScalarRef
from image_updater.kustomize.refs import mapping_ref, scalar_ref

if TYPE_CHECKING:
    from collections.abc import Mapping as Map

_HASHES = ("sha", "sha256")
_PIECES = ("image", "name", "registry", "repository", "tag", "digest")
_OLDER = ("imageRepository", "imageName")
"""Keys of a name whose tag stands in `imageTag`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelmImage:
    """One image of a chart's values.

    `path` is the scalar that holds the whole reference, else the mapping that holds the parts. A missing or empty tag
    leaves `value` without one: where `parts` has no TAG, `holder` is the mapping that can get a `tag` key.
    """

    path: Path
    value: str
    parts: Map[Part, ScalarRef]
    holder: MappingRef
    frozen: str | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    node: Scalar | Mapping | Sequence
    shared: bool


_Members: TypeAlias = "dict[str, _Member]"


@dataclass(slots=True)
class _Search:
    file: str
    document: int
    found: list[HelmImage] = field(default_factory=list)
    budget: int = MAX_NODES

    def visit(self, node: Node, path: Path, *, shared: bool, named: bool) -> None:
        """`named`: the key before says that this mapping is an image."""
        self.budget -= 1
        if self.budget < 0:
            raise DocumentError(f"aliases expand to more than {MAX_NODES:,} nodes", where=Where(file=self.file))
        while isinstance(node, Alias):
            node, shared = node.target, True
        if isinstance(node, Scalar):
            return
        shared = shared or node.anchor is not None
        if isinstance(node, Sequence):
            for i, item in enumerate(node.items):
                self.visit(item, (*path, i), shared=shared, named=named)
            return
        members: _Members = {}
        _members(node, shared, members)
        image = self.image(node, members, path, named)
        if image is not None:
            self.found.append(image)
        below = _below_images(path)
        self.found.extend(self.references(node, members, path, below))
        for key, member in members.items():
            self.visit(member.node, (*path, key), shared=member.shared, named=below or "image" in key.lower())

    def image(self, node: Mapping, members: _Members, path: Path, named: bool) -> HelmImage | None:
        whole = _text(members.get("image"))
        if whole is not None:
            return self.flat(node, members, path, whole)
        if named and "repository" in members and ("tag" in members or _last_key(path) == "image"):
            return self.nested(node, members, path, "repository")
        if named and "name" in members and "tag" in members:
            return self.nested(node, members, path, "name")
        older = next((key for key in _OLDER if key in members), None)
        if older is not None and "imageTag" in members:
            return self.parted(node, members, path, {Part.NAME: older, Part.TAG: "imageTag"})
        return None

    def references(self, node: Mapping, members: _Members, path: Path, below: bool) -> list[HelmImage]:
        """Whole references under other keys than `image`: only what has a tag or a digest is surely one."""
        found: list[HelmImage] = []
        for key, member in members.items():
            if key in _PIECES or not (below or key.endswith("Image")):
                continue
            text = _text(member)
            if text is not None and _is_pinned(text.value):
                image = self.whole(node, members, path, key, text)
                if image is not None:
                    found.append(image)
        return found

    def flat(self, node: Mapping, members: _Members, path: Path, image: Scalar) -> HelmImage | None:
        """`image` is a scalar; `tag`, `registry`, `digest` may stand beside it."""
        if not ({"tag", "imageTag", "digest"} & members.keys() or _value(members.get("registry"))):
            return self.whole(node, members, path, "image", image)
        if not _is_name(image.value):
            # A reference that carries its own tag: what `tag` beside it means is the chart's secret.
            found = self.whole(node, members, path, "image", image)
            if found is None or not any(_value(members.get(key)) for key in ("tag", "imageTag", "digest")):
                return found
            return HelmImage(
                path=found.path,
                value=found.value,
                parts=found.parts,
                holder=found.holder,
                frozen="`image` has a tag of its own and another one stands beside it",
            )
        keys = {Part.TAG: "tag" if "tag" in members else "imageTag", Part.DIGEST: "digest"}
        if _value(members.get("registry")):
            keys |= {Part.REGISTRY: "registry", Part.REPOSITORY: "image"}
        elif _value(members.get("repository")) and "/" not in image.value:
            keys |= {Part.REGISTRY: "repository", Part.REPOSITORY: "image"}
        else:
            keys |= {Part.NAME: "image"}
        return self.parted(node, members, path, keys)

    def nested(self, node: Mapping, members: _Members, path: Path, key: str) -> HelmImage | None:
        """`repository` (or `name`) with `tag`, `registry`, `digest` beside it."""
        repository = _text(members.get(key))
        if repository is None:
            return None
        keys = {Part.TAG: "tag", Part.DIGEST: "digest"}
        if _value(members.get("registry")):
            keys |= {Part.REGISTRY: "registry", Part.REPOSITORY: key}
        else:
            if not _is_name(repository.value) and "tag" not in members:
                return self.whole(node, members, path, key, repository)
            keys |= {Part.NAME: key}
        return self.parted(node, members, path, keys)

    def whole(self, node: Mapping, members: _Members, path: Path, key: str, image: Scalar) -> HelmImage | None:
        try:
            ref = parse_ref(image.value)
        except SpecError:
            return None
        frozen = None
        if _value(members.get("registry")) and ref.name.registry == "docker.io":
            frozen = "`registry` stands beside a reference that is not split into parts"
        ref_path = (*path, key)
        parts = {Part.IMAGE: self.ref(image, ref_path, members[key].shared)}
        return HelmImage(path=ref_path, value=image.value, parts=parts, holder=self.holder(node, path), frozen=frozen)

    def parted(self, node: Mapping, members: _Members, path: Path, keys: dict[Part, str]) -> HelmImage | None:
        parts: dict[Part, ScalarRef] = {}
        for part, key in keys.items():
            member = members.get(key)
            if member is None:
                continue
            if not isinstance(member.node, Scalar):
                return None  # not a shape that a chart's image has
            parts[part] = self.ref(member.node, (*path, key), member.shared)
        name = (
            parts[Part.NAME].value
            if Part.NAME in parts
            else f"{parts[Part.REGISTRY].value}/{parts[Part.REPOSITORY].value}"
        )
        if not _is_name(name):
            return None
        tag = _value(members.get(keys[Part.TAG]))
        digest = _value(members.get(keys.get(Part.DIGEST, "")))
        frozen = None
        combined = tag.partition("@") if "@" in tag else None
        if combined is not None:
            if not is_tag(combined[0]) or not is_digest(combined[2]):
                frozen = f"{tag!r} is not a tag"
            elif digest:
                frozen = "`tag` holds a digest, and `digest` stands beside it"
        elif tag and not is_tag(tag):
            frozen = f"{tag!r} is not a tag"
        if digest and not is_digest(digest):
            frozen = f"{digest!r} is not a digest"
        for key in _HASHES:
            if _value(members.get(key)):
                frozen = f"`{key}` beside it pins the image in the chart's own way"
        value = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        return HelmImage(path=path, value=value, parts=parts, holder=self.holder(node, path), frozen=frozen)

    def ref(self, node: Scalar, path: Path, shared: bool) -> ScalarRef:
        return scalar_ref(node, file=self.file, document=self.document, path=path, shared=shared)

    def holder(self, node: Mapping, path: Path) -> MappingRef:
        return mapping_ref(node, file=self.file, document=self.document, path=path)


def images(node: Node | None, *, file: str, document: int, path: Path) -> list[HelmImage]:
    """Every image below `node`, the values of a chart that stand at `path` of that document; in the file's order.

    Raises DocumentError when aliases expand without measure.
    """
    if node is None:
        return []
    search = _Search(file, document)
    search.visit(node, path, shared=False, named=False)
    return search.found


def _members(node: Mapping, shared: bool, into: _Members) -> None:
    """The effective members: the last of duplicates, own ones before merged ones (`<<`)."""
    merged: list[Node] = []
    for key, value in node.items:
        if not isinstance(key, Scalar):
            continue
        if key.value == "<<" and key.style == "":
            merged.append(value)
            continue
        into[key.value] = _member(value, shared)
    for source in merged:
        target = _member(source, shared).node
        for each in target.items if isinstance(target, Sequence) else [target]:
            inner = _member(each, True).node
            if isinstance(inner, Mapping):
                below: _Members = {}
                _members(inner, True, below)
                for name, member in below.items():
                    into.setdefault(name, member)


def _member(node: Node, shared: bool) -> _Member:
    while isinstance(node, Alias):
        node, shared = node.target, True
    return _Member(node, shared or node.anchor is not None)


def _last_key(path: Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _below_images(path: Path) -> bool:
    """Is the mapping at `path` called `images`, or the `tags` of one (OpenStack's charts)?"""
    keys = [step.lower() for step in path if isinstance(step, str)]
    return keys[-1:] == ["images"] or keys[-2:] == ["images", "tags"]


def _text(member: _Member | None) -> Scalar | None:
    """The member if it is a scalar that YAML reads as a non-empty string."""
    if member is None or not isinstance(member.node, Scalar) or not member.node.value or not is_string(member.node):
        return None
    return member.node


def _value(member: _Member | None) -> str:
    """The text of a scalar of any type; empty for null and for anything else."""
    if member is None or not isinstance(member.node, Scalar):
        return ""
    node = member.node
    return "" if not node.style and node.value in ("~", "null", "Null", "NULL") else node.value


def _is_pinned(text: str) -> bool:
    """Is it a whole reference with a tag or a digest?"""
    try:
        ref = parse_ref(text)
    except SpecError:
        return False
    return ref.tag is not None or ref.digest is not None


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except SpecError:
        return False
    return True
