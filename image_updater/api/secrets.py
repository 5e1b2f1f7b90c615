"""Secrets from a folder (`--secrets DIR`), for use without a cluster: `DIR/<name>/<key>`, one file a key.

`DIR/<namespace>/<name>/<key>` is looked at first, so that two namespaces can differ. Nothing outside the folder is ever
read: names cannot climb, and a link is followed only while it stays inside. Kubernetes mounts keep their files behind
such links (`key -> ..data/key`, `..data -> ..2026_…`), which therefore work.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Meta, ObjectKey, Secret, Source
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    import pathlib

MAX_VALUE: Final = 1_048_576
"""Bytes of one value; the server's own limit for a whole Secret."""

MAX_KEYS: Final = 1_000


class SecretsFolder:
    """Looks Secrets up by key. Files are read at each call, so that a rotated one is seen."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        if not path.is_dir():
            raise SpecError(
                "is not a folder",
                where=Where(file=str(path), field="--secrets"),
                remedy="--secrets DIR has DIR/<name>/<key>",
            )
        self._root = os.path.realpath(path)

    def __call__(self, key: ObjectKey) -> Secret | None:
        """The Secret of that name, or None. Raises SpecError when something there leaves the folder or is too large."""
        if any(
            not part or part.startswith(".") or "\0" in part or "\\" in part or "/" in part
            for part in (key.namespace, key.name)
        ):
            return None
        for folder in (os.path.join(self._root, key.namespace, key.name), os.path.join(self._root, key.name)):
            data = self._read_folder(folder) if os.path.isdir(folder) else {}
            if data:
                kind = "kubernetes.io/dockerconfigjson" if ".dockerconfigjson" in data else "Opaque"
                return Secret(meta=Meta(key=key, source=Source(file=folder)), type=kind, data=data)
        return None

    def _read_folder(self, folder: str) -> dict[str, bytes]:
        self._inside(folder)
        data: dict[str, bytes] = {}
        for entry in sorted(os.listdir(folder)):
            if entry.startswith(".."):
                continue  # the mount's own links and folders
            if len(data) >= MAX_KEYS:
                raise SpecError(f"has more than {MAX_KEYS} keys", where=Where(file=folder))
            value = self._read(os.path.join(folder, entry))
            if value is not None:
                data[entry] = value
        return data

    def _read(self, path: str) -> bytes | None:
        self._inside(path)
        try:
            # Opening a FIFO would wait for a writer for ever.
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as exc:
            raise SpecError(
                f"cannot be read: {exc.strerror}", where=Where(file=path), remedy="make it readable"
            ) from exc
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_VALUE + 1)
        if len(data) > MAX_VALUE:
            raise SpecError(f"has more than {MAX_VALUE:,} bytes", where=Where(file=path))
        return data

    def _inside(self, path: str) -> None:
        target = os.path.realpath(path)
        if os.path.commonpath([target, self._root]) != self._root:
            raise SpecError(
                "links to a place outside the secrets folder",
                where=Where(file=path),
                remedy="copy the file into the folder",
            )
