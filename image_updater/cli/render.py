"""`image-updater render`: the manifests of the roots, as the proof renders them."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, FAILED, Command


@click.command(cls=Command)
@click.argument("target", required=False, metavar="[PATH]")
@options.only_roots
@options.output("text", "json")
@options.settings("state", "cache", *options.RENDERING)
def command(
    target: str | None,
    roots: tuple[str, ...],
    output: str,
    **flags: Any,
) -> int:
    """Print the manifests of the roots, as the proof renders them.

    With --root only those; without, every root that is found. Text is YAML, one document after the other.
    """
    from image_updater.cli.output import print_json, progress, write_bytes
    from image_updater.cli.views import complain
    from image_updater.pipeline.rendering import render
    from image_updater.pipeline.report import RenderRequest

    options.folder(target)
    settings = options.load_settings(flags)
    with progress("rendering") as say:
        report = asyncio.run(
            render(
                RenderRequest(
                    settings=settings,
                    target=target,
                    roots=roots,
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    if output == "json":
        print_json(report.as_json())
    else:
        several = len(report.manifests) > 1
        for root, manifests in report.manifests.items():
            head = f"# root: {root}\n".encode() if several else b""
            body = manifests if manifests.endswith(b"\n") or not manifests else manifests + b"\n"
            start = b"" if body.startswith(b"---") or not several else b"---\n"
            write_bytes(head + start + body)
    complain(report.problems, report.failures)
    return FAILED if report.failures else DONE
