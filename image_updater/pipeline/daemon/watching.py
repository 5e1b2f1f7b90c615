"""Where the daemon's objects come from: a source that tells each change, here files that are looked at every second.

A source of files is whole or it is not: a bad edit keeps the last good reading. A cluster's is judged object by object.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from image_updater import api
from image_updater.api.model import Objects
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from image_updater.api.model import ImagePolicy, ObjectKey

LOOK_EVERY = 1.0
"""Seconds between looks at the objects files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Objects as they are now, or what is wrong with all of them.

    `policies`: the policies that may differ from the reading before, None for those that went; a source that knows them
    spares the daemon the comparison of all.
    """

    objects: Objects | None = None
    error: ImageUpdaterError | None = None
    policies: Mapping[ObjectKey, ImagePolicy | None] | None = None


class ObjectSource(Protocol):
    """What the daemon's objects come from."""

    async def next(self) -> Reading:
        """The next change; waits for it as long as it takes."""


class ObjectFiles:
    """Files and folders. `check(objects)` may refuse what parses (a bad version range)."""

    def __init__(self, paths: Sequence[Path], check: Callable[[Objects], None] = lambda _: None) -> None:
        self._paths = tuple(paths)
        self._check = check
        self._stamp: object = None
        self._hash: bytes | None = None

    async def next(self) -> Reading:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            reading = await asyncio.to_thread(self.look)
            if reading is not None:
                return reading

    def look(self) -> Reading | None:
        """None when nothing changed. Blocking: a few stats, and a read when a time or a size moved."""
        stamp = self._stat()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        content = self._digest()
        if content == self._hash:
            return None
        self._hash = content
        try:
            objects = api.load(self._paths)
            self._check(objects)
        except ImageUpdaterError as error:
            return Reading(error=error)
        return Reading(objects=objects)

    def _files(self) -> list[Path]:
        files: list[Path] = []
        for path in self._paths:
            if path.is_dir():
                for folder, folders, names in os.walk(path):
                    folders[:] = sorted(name for name in folders if not name.startswith("."))
                    files += [Path(folder, name) for name in sorted(names) if name.endswith((".yaml", ".yml"))]
            else:
                files.append(path)
        return files

    def _stat(self) -> object:
        seen = []
        for file in self._files():
            try:
                status = file.stat()
            except OSError as error:
                seen.append((str(file), error.errno, 0, 0))
            else:
                seen.append((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(seen)

    def _digest(self) -> bytes:
        total = hashlib.sha256()
        for file in self._files():
            total.update(str(file).encode("utf-8", "surrogateescape") + b"\0")
            try:
                data = file.read_bytes()
            except OSError as error:
                data = str(error.errno).encode()
            total.update(len(data).to_bytes(8, "big") + data)
        return total.digest()
