"""Where a `…SecretRef` is looked up without a cluster: a `kind: Secret` of the objects file, then `--secrets DIR`.

`DIR/<name>/<key>` holds one value a file, as a mounted Secret does; `DIR/<namespace>/<name>/<key>` is looked at
first, so that two namespaces can differ. Links are followed (mounted Secrets are links), names that leave the folder
are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.api.model import Meta, ObjectKey, Secret
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SECRET_BYTES = 1 << 20
"""Kubernetes' own limit for a Secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStore:
    """Call it with a key: the Secret, or None. Files are read at each call, so a rotated one is seen."""

    objects: Mapping[ObjectKey, Secret]
    folder: Path | None = None

    def __call__(self, key: ObjectKey) -> Secret | None:
        known = self.objects.get(key)
        if known is not None or self.folder is None:
            return known
        for part in (key.namespace, key.name):
            if part in {"", ".", ".."} or "/" in part or "\\" in part:
                raise SpecError(f"{part!r} cannot be the name of a secret", remedy="use letters, digits, '-' and '.'")
        for folder in (self.folder / key.namespace / key.name, self.folder / key.name):
            data = _read(folder)
            if data:
                return Secret(meta=Meta(key=key), data=data)
        return None


class CurrentSecrets:
    """The secrets of the objects in use now: the daemon replaces `objects` when its files change."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.objects: Mapping[ObjectKey, Secret] = {}

    def of(self, objects: Mapping[ObjectKey, Secret]) -> SecretStore:
        """What the secrets would be with other objects."""
        return SecretStore(objects=objects, folder=self._folder)

    def __call__(self, key: ObjectKey) -> Secret | None:
        return self.of(self.objects)(key)


def _read(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    data: dict[str, bytes] = {}
    size = 0
    for path in sorted(folder.iterdir()):
        # `..data` and `..2024_…` are how the kubelet swaps a mounted Secret at once.
        if path.name.startswith("..") or not path.is_file():
            continue
        try:
            data[path.name] = path.read_bytes()
        except OSError as error:
            raise SpecError(
                f"cannot read the secret: {error.strerror}",
                where=Where(file=str(path)),
                remedy="make the file readable for this user",
            ) from error
        size += len(data[path.name])
        if size > MAX_SECRET_BYTES:
            raise SpecError("the secret is larger than 1 MiB", where=Where(file=str(folder)))
    return data
