"""Selectors and registry clients: opened for one run, or kept by the daemon."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.report import Progress, silent
from image_updater.pipeline.targets import is_url
from image_updater.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime

    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.pipeline.report import Secrets, UpdateRequest
    from image_updater.registry import RegistryClient
    from image_updater.settings import Settings


def open_client(settings: Settings, clock: Callable[[], datetime]) -> RegistryClient:
    """A registry client within the limits of the settings; an async context manager."""
    from image_updater.registry import Limits, RegistryClient

    limits = Limits(rate=settings.registry_rate, burst=max(1, int(settings.registry_rate * 2)))
    return RegistryClient(clock=clock, limits=limits, max_pages=settings.max_pages)


@asynccontextmanager
async def open_selector(
    settings: Settings,
    *,
    secrets: Secrets,
    environment: Mapping[str, str],
    clock: Callable[[], datetime],
    tags: TagsFile | None = None,
    store: Store | None = None,
    progress: Progress = silent,
) -> AsyncIterator[Selector]:
    """A selector with a registry client and a store of its own (or the caller's `store`); with `tags`, without a
    client.
    """
    own = Store.open(settings.state) if store is None else None
    opened = store if store is not None else own
    assert opened is not None

    def make(registry: RegistryClient | None) -> Selector:
        made = Selector(
            store=opened,
            secrets=secrets,
            environment=environment,
            clock=clock,
            registry=registry,
            tags=tags,
            durable=settings.state is not None,
            at_once=settings.concurrency,
            progress=progress,
        )
        if settings.state is not None:
            # What people have asked through the file binds a single run as it binds `run`.
            for policy, wishes in opened.all_wishes().items():
                made.situations.wished(policy, wishes)
        return made

    try:
        if tags is not None:
            yield make(None)
        else:
            async with open_client(settings, clock) as client:
                yield make(client)
    finally:
        if own is not None:
            own.close()


@asynccontextmanager
async def make_selector(request: UpdateRequest, store: Store) -> AsyncIterator[Selector]:
    """The request's own selector (the daemon's, where an invalid policy fails alone), or one for this run, which
    raises SpecErrors for invalid policies.
    """
    if request.selector is not None:
        yield request.selector
        return
    async with open_selector(
        request.settings,
        secrets=request.secrets,
        environment=request.environment,
        clock=lambda: request.now,
        tags=request.tags,
        store=store,
        progress=request.progress,
    ) as selector:
        selector.check(request.objects, git=request.target is None or is_url(request.target))
        selector.situations.adopt(request.objects)
        yield selector
