"""`image-updater run`: the daemon, with its files, its endpoints, its logs and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.settings import Settings


@click.command(cls=Command)
@options.objects
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    envvar="IMAGE_UPDATER_LISTEN",
    metavar="HOST:PORT",
    help="Where /healthz, /readyz and /metrics answer.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@options.state("run.sqlite in the cache folder")
@options.cache
@options.secrets
@options.rendering
def command(
    files: tuple[str, ...],
    listen: str,
    log_format: str,
    log_level: str,
    state: Path | None,
    cache: Path | None,
    secrets: Path | None,
    kustomize: str | None,
    helm: str | None,
    allow_remote_bases: bool,
) -> int:
    """Run as a daemon that reads its objects from files.

    The files are watched: a good edit is taken over at once, a bad one is reported and the last good one stays in use.
    SIGTERM and SIGINT let a push under way finish.
    """
    if not files:
        raise click.UsageError("give the objects with -f FILE")
    if "-" in files:
        raise click.UsageError("-f - cannot be watched: give files or folders")
    from image_updater.cli.logs import setup
    from image_updater.settings import cache_folder

    setup(log_format, log_level)
    settings = options.settings(
        state=state, cache=cache, secrets=secrets, kustomize=kustomize, helm=helm, allow_remote_bases=allow_remote_bases
    )
    if state is None:
        from dataclasses import replace

        settings = replace(settings, state=cache_folder(settings, options.environment()) / "run.sqlite")
    return asyncio.run(serve(files, listen, settings))


async def serve(files: tuple[str, ...], listen: str, settings: Settings) -> int:
    """Until a signal. Raises SpecErrors when the objects are invalid from the start."""
    import logging
    import random
    import signal
    import time
    from datetime import UTC, datetime
    from pathlib import Path

    from image_updater.errors import SpecError
    from image_updater.pipeline import endpoints
    from image_updater.pipeline.daemon import Daemon
    from image_updater.pipeline.metrics import Metrics
    from image_updater.pipeline.secrets import CurrentSecrets
    from image_updater.pipeline.selection import Selector
    from image_updater.pipeline.watching import ObjectFiles
    from image_updater.registry import RegistryClient
    from image_updater.store import Store

    log = logging.getLogger("image_updater.run")
    environment = options.environment()
    secrets = CurrentSecrets(settings.secrets)

    def clock() -> datetime:
        return datetime.now(UTC)

    if settings.state is not None:
        settings.state.parent.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with Store.open(settings.state, warn=log.warning) as store:
        async with RegistryClient(clock=clock) as client:
            selector = Selector(
                store=store, secrets=secrets, environment=environment, clock=clock, registry=client, durable=True
            )
            watched = ObjectFiles([Path(name) for name in files], selector.check)
            first = await asyncio.to_thread(watched.look)
            assert first is not None, "the first look always reads"
            if first.error is not None:
                raise first.error
            assert first.objects is not None
            if not first.objects.automations:
                raise SpecError(
                    "there is no ImageUpdateAutomation in the objects: nothing would ever be written",
                    remedy="add one, with a GitRepository in spec.sourceRef",
                )
            metrics = Metrics()
            daemon = Daemon(
                files=watched,
                objects=first.objects,
                selector=selector,
                secrets=secrets,
                settings=settings,
                environment=environment,
                metrics=metrics,
                clock=clock,
                monotonic=time.monotonic,
                dice=random.random,
            )
            metrics.watch(
                registry=client.metrics,
                tags_seen=lambda: selector.tags_seen,
                facts_fetched=lambda: selector.fetched,
                states=daemon.states,
            )
            async with endpoints.serve(daemon, listen) as address:
                log.info("listening on %s", address)
                await daemon.run(stop)
    log.info("stopped")
    return DONE
