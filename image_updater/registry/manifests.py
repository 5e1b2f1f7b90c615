"""Manifests, indexes and configs, as far as a policy needs them (OCI image spec 1.1; Docker's v2 schema 2 is the same
shape).

Pure: bytes in, values out. What cannot be read is an error of that tag only (UnsupportedManifest), never of the
repository.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from image_updater.images import Digest
from image_updater.images.names import is_digest
from image_updater.registry.errors import InvalidAnswer, UnsupportedManifest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
ACCEPT = f"{OCI_INDEX}, {DOCKER_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}, */*;q=0.1"

_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_ELSEWHERE = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
_CREATED = "org.opencontainers.image.created"
_LABELS = "org.opencontainers.image."
_MAX_WORD = 64
"""Characters of an operating system, an architecture or a variant."""
_EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d:\d\d))\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A pointer to content. `platform` is `os/arch[/variant]`, None where none is said."""

    media_type: str
    digest: Digest
    size: int = 0
    platform: str | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    """Where else the content is to be had, mostly that of layers that a registry may not hand out."""

    @property
    def is_foreign(self) -> bool:
        """A layer that stands elsewhere by design: the registry need not have it."""
        return bool(self.urls) or self.media_type.startswith(_ELSEWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An index (`entries`) or an image (`config`, `layers`)."""

    digest: Digest
    media_type: str
    entries: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEXES

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The entries that are images: attestations and other artifacts have the platform `unknown/unknown`."""
        return tuple(
            entry for entry in self.entries if entry.platform is None or not entry.platform.startswith("unknown")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is true of a digest for ever.

    `digest` is that of the index where there is one; `platforms` are its images'. `created` is the config's date (of
    the linux/amd64 image of an index, else of its first), None where there is none. `labels` are the
    `org.opencontainers.image.*` ones.
    """

    digest: Digest
    media_type: str
    platforms: tuple[str, ...] = ()
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def media_type(content_type: str | None) -> str:
    """A Content-Type without its parameters."""
    return (content_type or "").partition(";")[0].strip().lower()


def digest_of(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def check_digest(data: bytes, expected: str) -> Digest:
    """Raises InvalidAnswer if these bytes are not what the digest names."""
    algorithm, _, value = expected.partition(":")
    if algorithm not in {"sha256", "sha512"}:
        raise InvalidAnswer(f"the digest algorithm {algorithm!r} is not known")
    if hashlib.new(algorithm, data).hexdigest() != value:
        raise InvalidAnswer(
            f"the registry's answer does not have the digest {expected}",
            remedy="the answer was changed or cut on its way; look for a proxy in between",
        )
    return Digest(expected)


def parse(data: bytes, *, content_type: str | None, digest: Digest) -> Manifest:
    """Read a manifest or an index. Raises UnsupportedManifest."""
    value = _object(data, "the manifest")
    if value.get("schemaVersion") == 1:
        raise UnsupportedManifest(
            "the manifest has schemaVersion 1, which is not supported",
            remedy="push the image again with a current tool",
        )
    kind = value.get("mediaType")
    kind = media_type(kind) if isinstance(kind, str) and kind else media_type(content_type)
    if kind not in _INDEXES and "manifests" in value and "config" not in value:
        kind = OCI_INDEX
    annotations = _strings(value.get("annotations"))
    if kind in _INDEXES:
        entries = tuple(_descriptor(entry) for entry in _list(value.get("manifests")))
        if not entries:
            raise UnsupportedManifest("the image index lists no manifests", remedy="push the tag again")
        return Manifest(digest=digest, media_type=kind, entries=entries, annotations=annotations)
    if "config" not in value:
        raise UnsupportedManifest(f"this is no image manifest (media type {(kind or 'unknown')[:100]!r})")
    if not kind or kind == "application/json":
        kind = OCI_MANIFEST
    return Manifest(
        digest=digest,
        media_type=kind,
        config=_descriptor(value["config"]),
        layers=tuple(_descriptor(entry) for entry in _list(value.get("layers"))),
        annotations=annotations,
    )


def has_config(manifest: Manifest) -> bool:
    """Is the config an image's (with a date and a platform)? Charts and other artifacts have others, or none."""
    return manifest.config is not None and manifest.config.media_type in _CONFIGS


def representative(index: Manifest) -> Descriptor:
    """The image whose date stands for an index: linux/amd64 if it is there, else the first. Raises
    UnsupportedManifest.
    """
    images = index.images
    if not images:
        raise UnsupportedManifest("the image index has no entry that is an image")
    return next((entry for entry in images if entry.platform == "linux/amd64"), images[0])


def facts(outer: Manifest, inner: Manifest, config: bytes | None) -> ImageFacts:
    """`outer` is what the tag names, `inner` the image whose `config` was read (the same one unless `outer` is an
    index).
    """
    value = _object(config, "the image config") if config is not None else {}
    inside = value.get("config")
    labels = {
        **_strings(outer.annotations),
        **_strings(inner.annotations),
        **_strings(inside.get("Labels") if isinstance(inside, Mapping) else None),
    }
    warnings: list[str] = []
    created = _created(value, labels, warnings)
    if outer.is_index:
        platforms = tuple(dict.fromkeys(entry.platform for entry in outer.images if entry.platform))
    else:
        own = _platform(value)
        platforms = (own,) if own else ()
    return ImageFacts(
        digest=outer.digest,
        media_type=outer.media_type,
        platforms=platforms,
        created=created,
        labels={key: text[:1000] for key, text in labels.items() if key.startswith(_LABELS)},
        warnings=tuple(warnings),
    )


def _created(value: Mapping[str, object], labels: Mapping[str, str], warnings: list[str]) -> datetime | None:
    """The config's date; the label only where that one is absent or a reproducible build's constant (before
    1990).
    """
    raw = value.get("created")
    own = rfc3339(raw) if isinstance(raw, str) else None
    if raw and own is None:
        warnings.append(f"the config's date {str(raw)[:40]!r} is not RFC 3339: ignored")
    if own is not None and own >= _EPOCH:
        return own
    label = labels.get(_CREATED)
    if label is None:
        return own
    said = rfc3339(label)
    if said is None:
        warnings.append(f"label {_CREATED} is {label[:40]!r}, which is not RFC 3339: ignored")
        return own
    return said


def rfc3339(text: str) -> datetime | None:
    """A date with its time and zone; None for anything else. Fractions are cut to microseconds."""
    match = _RFC3339.match(text.strip())
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{(match[3] or '')[:7]}{match[5] or '+00:00'}")
    except ValueError:
        return None


def _object(data: bytes, what: str) -> Mapping[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise UnsupportedManifest(f"{what} is not JSON", remedy="push the tag again") from None
    if not isinstance(value, dict):
        raise UnsupportedManifest(f"{what} is not a JSON object", remedy="push the tag again")
    return value


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, Mapping) or not isinstance(value.get("digest"), str) or not is_digest(value["digest"]):
        raise UnsupportedManifest("the manifest has an entry without a valid digest", remedy="push the tag again")
    size = value.get("size")
    kind = value.get("artifactType")
    return Descriptor(
        media_type=media_type(value["mediaType"] if isinstance(value.get("mediaType"), str) else None),
        digest=Digest(value["digest"]),
        size=size if isinstance(size, int) else 0,
        platform=_platform(value.get("platform")),
        artifact_type=kind if isinstance(kind, str) and kind else None,
        annotations=_strings(value.get("annotations")),
        urls=tuple(url for url in _list(value.get("urls")) if isinstance(url, str) and url),
    )


def _platform(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(_word(part) for part in parts if isinstance(part, str) and part) or None


def _word(part: str) -> str:
    """Part of a platform's name, which goes into reasons: what no platform is called has no name."""
    return part if len(part) <= _MAX_WORD and part.isascii() and part.isprintable() else "?"


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}
