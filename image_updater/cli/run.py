"""`image-updater run`: the daemon, with its files, its endpoints, its logs and its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command

if TYPE_CHECKING:
    from image_updater.settings import Settings


@click.command(cls=Command)
@options.objects
@options.settings(
    "listen",
    "log_format",
    "log_level",
    "state",
    "cache",
    "secrets",
    *options.RENDERING,
    *options.REGISTRY,
    "stop_timeout",
)
def command(files: tuple[str, ...], **flags: Any) -> int:
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

    settings = options.load_settings(flags)
    setup(settings.log_format, settings.log_level)
    if settings.state is None:
        settings = replace(settings, state=cache_folder(settings, options.environment()) / "run.sqlite")
    return asyncio.run(serve(files, settings))


async def serve(files: tuple[str, ...], settings: Settings) -> int:
    """Until a signal. Raises SpecErrors when the objects are invalid from the start."""
    import logging
    import random
    import signal
    import time
    from contextlib import AsyncExitStack
    from datetime import UTC, datetime
    from pathlib import Path

    from image_updater.errors import SpecError
    from image_updater.pipeline.answers.opening import open_client
    from image_updater.pipeline.answers.secrets import CurrentSecrets
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon import endpoints
    from image_updater.pipeline.daemon.daemon import Daemon
    from image_updater.pipeline.daemon.metrics import Metrics
    from image_updater.pipeline.daemon.watching import ObjectFiles
    from image_updater.pipeline.people.listening import Listening
    from image_updater.pipeline.session import session

    log = logging.getLogger("image_updater.run")
    environment = options.environment()
    secrets = CurrentSecrets(settings.secrets)

    def clock() -> datetime:
        return datetime.now(UTC)

    if settings.state is not None:
        settings.state.parent.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def ask() -> None:
        """The first signal asks; the second finds the default handlers and does not wait."""
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, ask)
    with session(settings, environment) as opened:
        opened.store.forget_unused(clock())
        async with open_client(settings, clock) as client:
            selector = Selector(
                store=opened.store,
                secrets=secrets,
                environment=environment,
                clock=clock,
                registry=client,
                durable=True,
                at_once=settings.concurrency,
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
                source=watched,
                objects=first.objects,
                selector=selector,
                secrets=secrets,
                settings=settings,
                environment=environment,
                metrics=metrics,
                clock=clock,
                monotonic=time.monotonic,
                dice=random.random,
                session=opened,
            )
            metrics.watch(
                registry=client.metrics,
                tags_seen=lambda: selector.tags_seen,
                facts_fetched=lambda: selector.fetched,
                states=daemon.states,
                undeployed=daemon.undeployed,
                holds=daemon.holding.count,
            )

            def heard() -> None:
                for automation in daemon.objects.automations:
                    daemon.released(automation.key)

            listening = Listening(opened.store, selector.situations, heard=heard)
            listening.look()
            async with AsyncExitStack() as stack:
                if settings.listen:
                    address = await stack.enter_async_context(endpoints.serve(daemon, settings.listen))
                    log.info("listening on %s", address)
                log.info("people ask through --state %s (hold, resume, approve, deny, rollback)", settings.state)
                ear = asyncio.create_task(listening.run())
                try:
                    await daemon.run(stop)
                finally:
                    ear.cancel()
                    await asyncio.gather(ear, return_exceptions=True)
    log.info("stopped")
    return DONE
