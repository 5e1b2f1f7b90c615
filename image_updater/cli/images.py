"""`image-updater images`: every image site of a repository, who renders it and who claims it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command


@click.command(cls=Command)
@click.argument("target", required=False, metavar="[PATH]")
@options.objects
@options.roots
@options.output("text", "json")
@options.settings("color", "state", "cache")
def command(target: str | None, files: tuple[str, ...], roots: tuple[str, ...], output: str, **flags: Any) -> int:
    """List every image site, the roots that render it, the policy that claims it.

    Without -f only annotations claim. No registry is asked.
    """
    from image_updater.cli.output import print_json, progress
    from image_updater.pipeline.images import images
    from image_updater.pipeline.report import ImagesRequest

    options.folder(target)
    settings = options.load_settings(flags)
    with progress("reading") as say:
        report = asyncio.run(
            images(
                ImagesRequest(
                    objects=options.load_objects(files),
                    settings=settings,
                    target=target,
                    roots=roots,
                    claims=bool(files),
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    if output == "json":
        print_json(report.as_json())
    else:
        from image_updater.cli.views import show_images

        show_images(report, settings.color)
    return DONE
