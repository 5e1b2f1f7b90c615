"""The grammar of image references (distribution/reference: `[domain[:port]/]path[:tag][@digest]`), and their equality.

Two readers live here. `parse_name`/`parse_ref` are for what people write into objects and flags: they refuse what is
no legal reference and say why. `split`, `same_image` and `canonical` are for what stands in files and renders: they
never raise, and cut a string where Kustomize cuts it, so that both agree on what is the name.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NewType, NoReturn

from image_updater.errors import SpecError

Digest = NewType("Digest", str)
"""`sha256:<64 hex>` or another registered algorithm, lower case."""

DOCKER_HUB = "docker.io"
MAX_NAME = 255
"""Characters of a repository (distribution's `RepositoryNameTotalLengthMax`)."""

_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([0-9a-f]{32,})", re.ASCII)
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[(?P<v6>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?")
_HEX_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """Where an image lives, without tag and digest.

    `registry` and `repository` are canonical and decide equality; `text` is as written.
    """

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
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Is this a digest (image-spec descriptor: `algorithm:encoded`), of full length where the algorithm has one?"""
    match = _DIGEST.fullmatch(text)
    return match is not None and len(match[2]) == _DIGEST_LENGTHS.get(match[1], len(match[2]))


def parse_name(text: str) -> ImageName:
    """Parse a name without tag or digest. Raises SpecError.

    As the Docker client does, the part before the first `/` is a registry when it holds a `.` or `:`, is `localhost`,
    or has an upper case letter (no repository has one); else the name is Docker Hub's.
    """
    domain, slash, rest = text.partition("/")
    if slash and (domain == "localhost" or "." in domain or ":" in domain or domain != domain.lower()):
        registry, repository = _registry(domain, text), rest
    else:
        registry, repository = DOCKER_HUB, text
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _PATH.fullmatch(repository):
        _refuse_name(text)
    if len(repository) > MAX_NAME:
        _refuse_name(text, f"the repository is longer than {MAX_NAME} characters")
    if not slash and _HEX_ID.fullmatch(text):
        _refuse_name(text, "64 hexadecimal digits are an image id, not a name")
    return ImageName(registry=registry, repository=repository, text=text)


def parse_ref(text: str) -> ImageRef:
    """Parse `name[:tag][@digest]`. Raises SpecError."""
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        _refuse_ref(text, f"{digest!r} is not a digest", "expected sha256:<64 hex digits>")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return ImageRef(name=parse_name(rest), digest=Digest(digest) if at else None)
    if not tag:
        _refuse_ref(text, "the tag is empty", "name a tag or leave the colon out")
    if not is_tag(tag):
        _refuse_ref(text, f"{tag!r} is not a tag", "a tag has at most 128 letters, digits, '_', '.' and '-'")
    return ImageRef(name=parse_name(head), tag=tag, digest=Digest(digest) if at else None)


@lru_cache(maxsize=65_536)
def split(text: str) -> tuple[str, str | None, str | None]:
    """Cut whatever stands in a file into name, tag and digest; never raises.

    Kustomize's own cut (its `api/image`): what is before the first `/` may be `host:port` and is never looked at;
    behind it the first `@` begins a digest and the first `:` before that a tag. A part that is there but empty is ''.
    """
    start = max(text.find("/"), 0)
    at = text.find("@", start)
    end = len(text) if at < 0 else at
    colon = text.find(":", start, end)
    digest = None if at < 0 else text[at + 1 :]
    if colon < 0:
        return text[:end], None, digest
    return text[:colon], text[colon + 1 : end], digest


def same_image(text: str, name: ImageName) -> bool:
    """Does a rendered string (with or without tag and digest) name this image? What cannot be parsed names none."""
    return canonical(split(text)[0]) == name.canonical


@lru_cache(maxsize=65_536)
def canonical(name: str) -> str | None:
    """The canonical form of an image name; None when it is none."""
    try:
        return parse_name(name).canonical
    except SpecError:
        return None


def _registry(domain: str, text: str) -> str:
    """The canonical host[:port]: lower case, Docker Hub's aliases as one, IPv6 compressed."""
    lowered = domain.lower()
    match = _DOMAIN.fullmatch(lowered) if domain.isascii() else None
    if match is None:
        _refuse_name(text)
    port = match["port"]
    if port is not None and not 0 < int(port) < 65_536:
        _refuse_name(text, f"{port} is not a port")
    if match["v6"] is not None:
        try:
            host = f"[{ipaddress.IPv6Address(match['v6'])}]"
        except ValueError as error:
            raise _bad_name(text, f"{match['v6']!r} is not an IPv6 address") from error
    else:
        host = match["host"]
    if port is None:
        if "." not in host and host != "localhost" and match["v6"] is None:
            return domain  # A registry only by its upper case letter: lower case would make it a folder of Docker Hub.
        return DOCKER_HUB if host in _HUB_ALIASES else host
    return f"{host}:{int(port)}"


def _bad_name(text: str, why: str = "") -> SpecError:
    remedy = "expected [registry[:port]/]repository in lower case, without scheme, tag and digest"
    if "://" in text:
        remedy = "leave the scheme out: an image is registry/repository"
    elif not why and "@" in text:
        remedy = "leave the digest out: a policy chooses it"
    elif not why and ":" in text.rpartition("/")[2]:
        remedy = "leave the tag out: a policy chooses it"
    return SpecError(f"{text!r} is not an image name{': ' if why else ''}{why}", remedy=remedy)


def _refuse_name(text: str, why: str = "") -> NoReturn:
    raise _bad_name(text, why)


def _refuse_ref(text: str, why: str, remedy: str) -> NoReturn:
    raise SpecError(f"{text!r} is not an image reference: {why}", remedy=remedy)
