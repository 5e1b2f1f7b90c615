"""Where a `…SecretRef` is looked up without a cluster: a `kind: Secret` of the objects, then `--secrets DIR`.

How a folder is read, and what it may not do, is `api/secrets.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api import SecretsFolder, find_secret
from image_updater.api.model import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from image_updater.api.model import ObjectKey, Secret
    from image_updater.pipeline.report import Secrets


def secrets_of(objects: Objects, folder: Path | None) -> Secrets:
    """The lookup of one run. Raises SpecError when `folder` is none."""
    return find_secret(objects, SecretsFolder(folder) if folder is not None else None)


class CurrentSecrets:
    """The secrets of the objects in use now: the daemon replaces `objects` when its files change."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = SecretsFolder(folder) if folder is not None else None
        self.objects: Mapping[ObjectKey, Secret] = {}

    def of(self, objects: Mapping[ObjectKey, Secret]) -> Secrets:
        """What the secrets would be with other objects."""
        return find_secret(Objects(secrets=objects), self._folder)

    def __call__(self, key: ObjectKey) -> Secret | None:
        return self.of(self.objects)(key)
