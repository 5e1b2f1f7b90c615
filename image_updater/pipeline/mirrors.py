"""The mirrors and writer queues of a process; and that those which nobody uses any more take no room.

A repository that is gone (a preview, a login that changed) leaves open files and a copy on disk. A mirror that nobody
has asked for in a day, and of which nobody has a tree, is emptied: the next who asks has it made anew. So is one that
no process has opened in a month.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import shutil
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.forge.tokens import Tokens
from image_updater.git import Mirror, WriterQueue, urls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from image_updater.git import Attempt, GitAccess


log = logging.getLogger("image_updater.run")

SWEEP: Final = 3600.0
"""Seconds between two looks for what nobody uses."""
IDLE: Final = 24 * 3600.0
FORGOTTEN: Final = 30 * 24 * 3600.0


class Mirrors:
    """The mirrors and writer queues of this process: one mirror a repository and identity, one queue a branch."""

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._swept = monotonic()
        self._used: dict[str, float] = {}
        self._may_push: Callable[[], bool] = lambda: True
        self._guard: Callable[[str], AbstractAsyncContextManager[bool]] = lambda _: nullcontext(True)
        self._mirrors: dict[str, Mirror] = {}
        self._queues: dict[tuple[str, str, str], WriterQueue] = {}
        self._lock = asyncio.Lock()
        self._tokens = Tokens()

    def fence(
        self,
        *,
        may_push: Callable[[], bool] | None = None,
        guard: Callable[[str], AbstractAsyncContextManager[bool]] | None = None,
    ) -> None:
        """From now on ask this before each push, and hold that (by repository and branch) around it."""
        self._may_push = may_push or self._may_push
        self._guard = guard or self._guard

    async def open(self, url: str, access: GitAccess) -> Mirror:
        """The mirror of this URL for this identity, with the credentials given last (tokens are renewed)."""
        app = access.app
        if app is not None:
            access = access.with_token(
                await self._tokens.token(
                    app_id=app.app_id,
                    installation_id=app.installation_id,
                    private_key=app.private_key,
                    base_url=app.base_url,
                    ca=access.ca,
                    proxy=access.proxy,
                )
            )
        name = hashlib.sha256(f"{urls.normalise(url)}\0{access.identity}".encode()).hexdigest()[:32]
        async with self._lock:
            mirror = self._mirrors.get(name)
            if mirror is None:
                mirror = await asyncio.to_thread(Mirror.open, self._folder / name, url, access)
                self._mirrors[name] = mirror
            mirror.access = access
            self._used[name] = self._monotonic()
            await self._sweep()
            return mirror

    async def _sweep(self) -> None:
        now = self._monotonic()
        if now - self._swept < SWEEP:
            return
        self._swept = now
        remembered = {each.mirror for each in self._queues.values() if each.remembers}
        for name, mirror in list(self._mirrors.items()):
            if now - self._used[name] >= IDLE and not mirror.held and mirror not in remembered:
                del self._mirrors[name], self._used[name]
                self._queues = {key: each for key, each in self._queues.items() if each.mirror is not mirror}
                await asyncio.to_thread(_discard, mirror)
        await asyncio.to_thread(_tidy, self._folder)

    def queue(self, mirror: Mirror, branch: str, *, base: str) -> WriterQueue:
        """The one writer of that branch; where `base` is another one, the branch is rebuilt from it."""
        key = (str(mirror.folder), branch, base)
        queue = self._queues.get(key)
        if queue is None:
            place = f"{mirror.key}#{branch}"
            queue = self._queues[key] = WriterQueue(
                mirror,
                branch,
                base=base,
                may_push=lambda: self._may_push(),
                guard=lambda: self._guard(place),
                on_attempt=partial(_tell, place),
            )
        return queue

    def close(self) -> None:
        self._queues.clear()
        while self._mirrors:
            _, mirror = self._mirrors.popitem()
            mirror.close()


def _tell(place: str, attempt: Attempt) -> None:
    """Why a push takes so long: the run itself only says what became of it in the end."""
    works = ", ".join(attempt.works)
    log.info("%s: push %d of %s: %s: %s", place, attempt.number, works, attempt.reason, attempt.message)


def _discard(mirror: Mirror) -> None:
    _empty(mirror.folder)
    mirror.close()


def _tidy(folder: Path) -> None:
    """What earlier processes have left there, and no living one uses."""
    before = time.time() - FORGOTTEN
    for lock in folder.glob("*/lock"):
        try:
            if lock.stat().st_mtime > before or not (lock.parent / "current").exists():
                continue
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another one tidies, too
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use
        else:
            _empty(lock.parent)
        finally:
            os.close(descriptor)


def _empty(folder: Path) -> None:
    """Whoever empties it holds its lock, and leaves that: another process may be waiting for it. The last repository's
    name is left, too, so that the next one has another: what is remembered of histories goes by it.
    """
    try:
        (folder / "current").unlink(missing_ok=True)
        for repository in folder.glob("repository-*"):
            shutil.rmtree(repository)
            repository.mkdir()
    except OSError as error:
        log.warning("%s cannot be emptied: %s", folder, error.strerror)
