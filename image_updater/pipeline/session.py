"""What a run opens once and closes at its end: the store, the renderer, the mirrors, and the caches between them
and the rooms.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from image_updater.git import urls
from image_updater.kustomize import NamedRoot
from image_updater.pipeline.people.memory import Memory
from image_updater.settings import cache_folder
from image_updater.store import StateError, StateFailed, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from image_updater.api.model import GitRepository, ImageUpdateAutomation, Kustomization, ObjectKey, Objects
    from image_updater.pipeline.mirrors import Mirrors
    from image_updater.render import Renderer
    from image_updater.settings import Settings
    from image_updater.store import BlobCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`facts` is None without a state file: the rooms' own memory is enough then."""

    store: Store
    renderer: Renderer
    mirrors: Mirrors
    facts: BlobCache | None
    templates: dict[ObjectKey, ImageUpdateAutomation] = field(default_factory=dict)
    """The automations whose message template was tried."""
    looked_back: set[tuple[str, ObjectKey]] = field(default_factory=set)
    """Branches and automations whose last commit was looked for in Git."""
    memory: Memory = field(default_factory=Memory)
    """What was read of the branches' history."""


@contextmanager
def kept_facts(path: Path | None, *, asked: bool = True) -> Iterator[BlobCache | None]:
    """Facts of files alone, for commands that neither build nor fetch: nothing else is opened, or even imported.

    Where nobody `asked` for that place, one that cannot be used (a read-only home) is done without.
    """
    with ExitStack() as stack:
        try:
            store = Store.open(path)
        except (StateError, StateFailed):
            if asked:
                raise
            yield None
            return
        stack.callback(store.close)
        if path is None:
            yield None
            return
        cache = store.cache("facts")
        stack.callback(cache.flush)
        yield cache


@contextmanager
def session(settings: Settings, environment: Mapping[str, str], *, state: Path | None = None) -> Iterator[Session]:
    """Open what a run needs; `state` is used where `settings.state` is not given."""
    from image_updater.pipeline.mirrors import Mirrors
    from image_updater.render import Limits, Renderer
    from image_updater.render.cache import LayeredCache, MemoryCache

    path = settings.state or state
    with ExitStack() as stack:
        store = Store.open(path)
        stack.callback(store.close)
        facts = renders = None
        if path is not None:
            # Gathered and written together: a killed run loses some of what can be made again.
            facts, renders = store.cache("facts"), store.cache("renders")
            stack.callback(facts.flush)
            stack.callback(renders.flush)
        memory = MemoryCache()
        renderer = stack.enter_context(
            Renderer.open(
                environment,
                explicit=settings.kustomize,
                helm=settings.helm,
                cache=LayeredCache(memory, renders) if renders is not None else memory,
                allow_remote=settings.allow_remote_bases,
                limits=Limits(
                    seconds=settings.render_timeout,
                    cpu_seconds=max(Limits().cpu_seconds, ceil(settings.render_timeout)),
                ),
                workers=settings.render_workers,
            )
        )
        mirrors = Mirrors(cache_folder(settings, environment) / "mirrors")
        stack.callback(mirrors.close)
        yield Session(store=store, renderer=renderer, mirrors=mirrors, facts=facts)


def named_roots(
    objects: Objects, roots: Sequence[str], repository: GitRepository | None = None
) -> tuple[NamedRoot, ...]:
    """The roots that objects and `--root` name. With `repository`: without the Kustomizations that are known to read
    another one.
    """
    named = [NamedRoot(path=root) for root in roots]
    for kustomization in objects.kustomizations:
        if repository is not None and not _reads(kustomization, repository, objects):
            continue
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


def _reads(kustomization: Kustomization, repository: GitRepository, objects: Objects) -> bool:
    source = next((each for each in objects.repositories if each.key == kustomization.source_ref), None)
    return source is None or source is repository or urls.normalise(source.url) == urls.normalise(repository.url)
