"""What a run opens once and closes at its end: the store, the renderer, the mirrors, and the caches between them
and the rooms.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.git import Mirror, WriterQueue, urls
from image_updater.kustomize import NamedRoot
from image_updater.render import Renderer
from image_updater.render.cache import LayeredCache, MemoryCache
from image_updater.settings import cache_folder
from image_updater.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from image_updater.api.model import Objects
    from image_updater.git import GitAccess
    from image_updater.settings import Settings


@dataclass(frozen=True, slots=True)
class BlobSpace:
    """One space of the store's content cache, as the `FactCache` and the `RenderCache` of the rooms."""

    store: Store
    space: str

    def get(self, key: str) -> bytes | None:
        return self.store.get_blob(self.space, key)

    def put(self, key: str, data: bytes) -> None:
        self.store.put_blob(self.space, key, data)


class Mirrors:
    """The mirrors and writer queues of this process: one mirror a repository and identity, one queue a branch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mirrors: dict[str, Mirror] = {}
        self._queues: dict[tuple[str, str, str], WriterQueue] = {}
        self._lock = asyncio.Lock()

    async def open(self, url: str, access: GitAccess) -> Mirror:
        """The mirror of this URL for this identity, with the credentials given last (tokens are renewed)."""
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
            queue = self._queues[key] = WriterQueue(mirror, branch, base=base)
        return queue

    def close(self) -> None:
        self._queues.clear()
        while self._mirrors:
            _, mirror = self._mirrors.popitem()
            mirror.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`facts` is None without a state file: the rooms' own memory is enough then."""

    store: Store
    renderer: Renderer
    mirrors: Mirrors
    facts: BlobSpace | None


@contextmanager
def session(settings: Settings, environment: Mapping[str, str], *, state: Path | None = None) -> Iterator[Session]:
    """Open what a run needs; `state` is used where `settings.state` is not given."""
    path = settings.state or state
    with ExitStack() as stack:
        store = Store.open(path)
        stack.callback(store.close)
        kept = path is not None
        memory = MemoryCache()
        renderer = stack.enter_context(
            Renderer.open(
                environment,
                explicit=settings.kustomize,
                helm=settings.helm,
                cache=LayeredCache(memory, BlobSpace(store, "renders")) if kept else memory,
                allow_remote=settings.allow_remote_bases,
            )
        )
        mirrors = Mirrors(cache_folder(settings, environment) / "mirrors")
        stack.callback(mirrors.close)
        yield Session(
            store=store, renderer=renderer, mirrors=mirrors, facts=BlobSpace(store, "facts") if kept else None
        )


def named_roots(objects: Objects, roots: Sequence[str]) -> tuple[NamedRoot, ...]:
    """The roots that objects and `--root` name."""
    named = [NamedRoot(path=root) for root in roots]
    for kustomization in objects.kustomizations:
        overlay = {
            "namespace": kustomization.target_namespace,
            "namePrefix": kustomization.name_prefix,
            "nameSuffix": kustomization.name_suffix,
            "images": [dict(image) for image in kustomization.images],
            "patches": [dict(patch) for patch in kustomization.patches],
            "components": list(kustomization.components),
        }
        named.append(
            NamedRoot(
                path=kustomization.path,
                source=f"Kustomization {kustomization.meta.key}",
                overlay={key: value for key, value in overlay.items() if value},
            )
        )
    return tuple(named)
