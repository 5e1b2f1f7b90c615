"""`image-updater controller`: the process in the cluster, with its logs and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web import RouteDef

    from image_updater.settings import Settings
    from image_updater.web.flagger import FlaggerGate


@click.command(cls=Command)
@options.settings(
    "kubeconfig",
    "roles",
    "watch_namespaces",
    "selector",
    "leader_election",
    "lease_namespace",
    "default_service_account",
    "allow_cross_namespace_refs",
    "take_over",
    "sync_concurrency",
    "listen",
    "flagger_token_file",
    "log_format",
    "log_level",
    "state",
    "cache",
    *options.RENDERING,
    *options.REGISTRY,
    "stop_timeout",
)
def command(**flags: Any) -> int:
    """Run in a cluster: policies to commits, commits to the cluster.

    The objects are the custom resources of `image-updater crds`. Replicas elect a leader; SIGTERM and SIGINT let a push
    under way finish and give the Lease back.
    """
    from image_updater.cli.logs import setup

    settings = options.load_settings(flags)
    setup(settings.log_format, settings.log_level)
    return asyncio.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Until a signal. Raises what cannot be mended: a configuration that is none, a Lease that was lost."""
    import logging
    import signal

    from image_updater.controller.app import Controller

    def routes(gate: FlaggerGate) -> Iterable[RouteDef]:
        if settings.flagger_token_file is None:
            return []
        from image_updater.web.flagger import Flagger, Tokens

        return Flagger(gate, Tokens(settings.flagger_token_file)).routes()

    controller = Controller(settings, options.environment(), routes=routes)
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
    await controller.run(stop)
    logging.getLogger("image_updater.controller").info("stopped")
    return DONE
