"""The mirrors and writer queues of a process."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from image_updater.forge.tokens import Tokens
from image_updater.git import Mirror, WriterQueue, urls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from image_updater.git import GitAccess


class Mirrors:
    """The mirrors and writer queues of this process: one mirror a repository and identity, one queue a branch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            return mirror

    def queue(self, mirror: Mirror, branch: str, *, base: str) -> WriterQueue:
        """The one writer of that branch; where `base` is another one, the branch is rebuilt from it."""
        key = (str(mirror.folder), branch, base)
        queue = self._queues.get(key)
        if queue is None:
            place = f"{mirror.key}#{branch}"
            queue = self._queues[key] = WriterQueue(
                mirror, branch, base=base, may_push=lambda: self._may_push(), guard=lambda: self._guard(place)
            )
        return queue

    def close(self) -> None:
        self._queues.clear()
        while self._mirrors:
            _, mirror = self._mirrors.popitem()
            mirror.close()
