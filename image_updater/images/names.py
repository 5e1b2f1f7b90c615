"""The grammar of image references (distribution/reference: `[domain[:port]/]path[:tag][@digest]`), and their equality."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NewType

from image_updater.errors import SpecError

Digest = NewType("Digest", str)
"""`sha256:<64 hex>` or another registered algorithm, lower case."""

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,}\Z")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """Where an image lives, without tag and digest. `registry` and `repository` are canonical and decide equality; `text` is as written."""

    registry: str
    repository: str
    text: str = field(compare=False, default="")

    def __str__(self) -> str:
        return self.text or self.canonical

    @property
    def canonical(self) -> str:
        return f"{self.registry}/{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A name with a tag, a digest, both or neither."""

    name: ImageName
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        text = str(self.name)
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


def is_tag(text: str) -> bool:
    """Is this a legal tag (distribution spec, `<reference>`: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`)?"""
    return _TAG.match(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.match(text) is not None


def parse_name(text: str) -> ImageName:
    """Parse a name without tag or digest. Raises SpecError."""
    domain, slash, rest = text.partition("/")
    if slash and (domain == "localhost" or any(c in domain for c in ".:[") or domain != domain.lower()):
        registry, repository = domain, rest
    else:
        registry, repository = DOCKER_HUB, text
    lowered = registry.lower()
    if lowered in _HUB_ALIASES:
        lowered = DOCKER_HUB
        if "/" not in repository:
            repository = f"library/{repository}"
    if not _DOMAIN.match(registry) or not _PATH.match(repository) or len(repository) > 255:
        raise SpecError(f"{text!r} is not an image name", remedy="expected [registry[:port]/]repository in lower case, without scheme, tag and digest")
    return ImageName(registry=lowered, repository=repository, text=text)


def parse_ref(text: str) -> ImageRef:
    """Parse `name[:tag][@digest]`. Raises SpecError."""
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise SpecError(f"{text!r} is not an image reference: {digest!r} is not a digest")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    if tag and not is_tag(tag):
        raise SpecError(f"{text!r} is not an image reference: {tag!r} is not a tag")
    if colon and not tag and head != rest:
        raise SpecError(f"{text!r} is not an image reference: the tag is empty")
    return ImageRef(name=parse_name(head), tag=tag or None, digest=Digest(digest) if at else None)
