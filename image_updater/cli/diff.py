"""`image-updater diff`: what differs between the renders of two revisions, object by object, images first."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, FAILED, Command


@click.command(cls=Command)
@click.argument("target", required=False, metavar="[PATH]")
@click.argument("revisions", nargs=-1, metavar="[REV [REV]]")
@options.only_roots
@options.output("text", "json")
@options.settings("color", "state", "cache", *options.RENDERING)
def command(
    target: str | None,
    revisions: tuple[str, ...],
    roots: tuple[str, ...],
    output: str,
    **flags: Any,
) -> int:
    """Compare what two revisions of PATH render: objects and images that differ.

    No REV: HEAD and the files as they stand. One: that revision and the files. Two: those two. A first argument that
    is no folder is a REV of the repository around the current one.
    """
    options.folder(target)
    if target is not None and len(revisions) < 2 and not os.path.exists(target) and os.sep not in target[:1]:
        revisions, target = (target, *revisions), None
    if len(revisions) > 2:
        raise click.UsageError("at most two revisions can be compared")

    from image_updater.cli.output import print_json, progress
    from image_updater.cli.views import complain, show_diff
    from image_updater.pipeline.rendering import diff
    from image_updater.pipeline.report import DiffRequest

    settings = options.load_settings(flags)
    with progress("rendering") as say:
        report = asyncio.run(
            diff(
                DiffRequest(
                    settings=settings,
                    target=target,
                    old=revisions[0] if revisions else None,
                    new=revisions[1] if len(revisions) > 1 else None,
                    roots=roots,
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    if output == "json":
        print_json(report.as_json())
    else:
        show_diff(report, settings.color)
    complain(report.problems, report.failures)
    return FAILED if report.failures else DONE
