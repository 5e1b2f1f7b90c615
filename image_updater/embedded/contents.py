"""What the embedded registry holds, and how small valid images are made (OCI image spec 1.1: config, manifest,
index).
"""

from __future__ import annotations

import bisect
import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.images import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The exact bytes that were pushed, and the media type they were pushed with."""

    media_type: str
    data: bytes


@dataclass(slots=True)
class Repository:
    """Tags and manifests of one name. Lists are sorted as the distribution spec asks and their bodies are kept until a
    tag changes.
    """

    tags: dict[str, Digest] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    bodies: dict[object, object] = field(default_factory=dict)
    _order: list[str] | None = None

    def order(self) -> list[str]:
        if self._order is None:
            self._order = sorted(self.tags)
        return self._order

    def tag(self, name: str, digest: Digest) -> None:
        if name not in self.tags and self._order is not None:
            bisect.insort(self._order, name)
        self.tags[name] = digest
        self.bodies.clear()

    def tag_many(self, names: Iterable[str], digest: Digest) -> None:
        self.tags.update(dict.fromkeys(names, digest))
        self._order = None
        self.bodies.clear()

    def untag(self, name: str) -> bool:
        if self.tags.pop(name, None) is None:
            return False
        self._order = None
        self.bodies.clear()
        return True

    def resolve(self, reference: str) -> tuple[Digest, Manifest] | None:
        digest = Digest(reference) if ":" in reference else self.tags.get(reference)
        manifest = self.manifests.get(digest) if digest else None
        return (digest, manifest) if digest and manifest else None

    def add(self, manifest: Manifest) -> Digest:
        digest = digest_of(manifest.data)
        self.manifests[digest] = manifest
        return digest


class Contents:
    """All repositories, and one pool of blobs (a real registry checks cross-repository reads; nothing here is
    secret).
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[Digest, bytes] = {}

    def repository(self, name: str) -> Repository:
        found = self.repositories.get(name)
        if found is None:
            found = self.repositories[name] = Repository()
        return found

    def add_blob(self, data: bytes) -> Digest:
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def add_image(
        self,
        repository: str,
        *,
        text: str,
        created: datetime | str | None,
        platforms: tuple[str, ...],
        labels: Mapping[str, str],
        attestations: bool = False,
    ) -> Digest:
        """Store an image (an index when it has several platforms or attestations) whose only file holds `text`.
        Untagged.
        """
        repo = self.repository(repository)
        entries: list[dict[str, object]] = []
        for platform in platforms:
            digest, size = self._add_platform(repo, text, platform, created, labels)
            entries.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": _platform(platform)})
        if len(entries) == 1 and not attestations:
            return Digest(str(entries[0]["digest"]))
        if attestations:
            digest, size = self._add_platform(repo, f"attestation of {text}", "unknown/unknown", None, {})
            entries.append(
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": digest,
                    "size": size,
                    "platform": _platform("unknown/unknown"),
                    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
                }
            )
        return repo.add(Manifest(OCI_INDEX, dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})))

    def _add_platform(
        self, repo: Repository, text: str, platform: str, created: datetime | str | None, labels: Mapping[str, str]
    ) -> tuple[Digest, int]:
        tar = _tar(f"{text} for {platform}\n")
        layer = gzip.compress(tar, mtime=0)
        config: dict[str, object] = {
            **_platform(platform),
            "config": {"Labels": dict(labels)} if labels else {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
        }
        if created is not None:
            config["created"] = created if isinstance(created, str) else created.isoformat().replace("+00:00", "Z")
        data = dumps(config)
        manifest = dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": self.add_blob(data), "size": len(data)},
                "layers": [{"mediaType": OCI_LAYER, "digest": self.add_blob(layer), "size": len(layer)}],
            }
        )
        return repo.add(Manifest(OCI_MANIFEST, manifest)), len(manifest)


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _platform(text: str) -> dict[str, object]:
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return {"architecture": architecture, "os": system, **({"variant": variant} if variant else {})}


def _tar(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("image.txt")
        entry.size = len(text.encode())
        archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
