"""`image-updater explain`: why each tag won, waits or lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, FAILED, Command

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from image_updater.pipeline.report import CurrentValue


@click.command(cls=Command)
@options.objects
@click.option("--policy", metavar="NAME", help="Only this policy: NAME or NAMESPACE/NAME.")
@options.tags
@click.option(
    "--current",
    multiple=True,
    metavar="[IMAGE=]TAG[@DIGEST]",
    help="What Git holds now: an older choice is refused against it. Repeatable.",
)
@options.now
@click.option("--all", "everything", is_flag=True, help="Text: every tag, not only the first 20 of each reason.")
@options.output("text", "json")
@options.settings("color", "state", "secrets", *options.REGISTRY)
def command(
    files: tuple[str, ...],
    policy: str | None,
    tags_file: Path | None,
    current: tuple[str, ...],
    now: datetime | None,
    everything: bool,
    output: str,
    **flags: Any,
) -> int:
    """Say for every tag of every policy why it won, waits or lost.

    The registry is asked, unless --tags FILE is the answer. Nothing is written.
    """
    if not files:
        raise click.UsageError("give the policies with -f FILE")
    values = tuple(parse_current(text) for text in current)
    objects = options.load_objects(files)
    tags = options.load_tags(tags_file)
    settings = options.load_settings(flags)

    from image_updater.cli.output import print_json, printable, progress
    from image_updater.images import parse_name
    from image_updater.pipeline.answers.explain import explain
    from image_updater.pipeline.answers.secrets import secrets_of
    from image_updater.pipeline.report import ExplainRequest

    with progress("judging") as say:
        reports = asyncio.run(
            explain(
                ExplainRequest(
                    objects=objects,
                    settings=settings,
                    secrets=secrets_of(objects, settings.secrets),
                    now=options.clock(now),
                    policy=policy,
                    tags=tags,
                    current=values,
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    if output == "json":
        print_json([report.as_json() for report in reports])
    else:
        from image_updater.cli.verdicts import show_policies

        show_policies(reports, settings.color, limit=None if everything else 20)
    if not reports:
        click.echo(f"warning: there is no ImagePolicy in {', '.join(files)}", err=True)
    known = {parse_name(each.image) for each in objects.policies}
    for value in values:
        if value.image is not None and value.image not in known:
            click.echo(f"warning: --current {value.image}={value.tag}: no policy has this image", err=True)
    if reports and tags is not None and tags.images and known.isdisjoint(tags.images):
        click.echo(f"warning: {printable(tags.file)}: no policy has any of its images", err=True)
    for report in reports:
        if report.error is not None:
            click.echo(f"error: {printable(report.policy)}: {printable(str(report.error))}", err=True)
    return FAILED if any(report.error is not None for report in reports) else DONE


def parse_current(text: str) -> CurrentValue:
    """`TAG[@DIGEST]` or `IMAGE=TAG[@DIGEST]`. Raises UsageError."""
    from image_updater.errors import SpecError
    from image_updater.images import Digest, is_tag, parse_name
    from image_updater.images.names import is_digest
    from image_updater.pipeline.report import CurrentValue

    image, equals, value = text.rpartition("=")
    tag, at, digest = value.partition("@")
    if not is_tag(tag):
        raise click.UsageError(f"--current {text!r}: {tag!r} is not a tag: expected [IMAGE=]TAG[@DIGEST]")
    if at and not is_digest(digest):
        raise click.UsageError(f"--current {text!r}: {digest!r} is not a digest: expected sha256:<64 hex digits>")
    try:
        name = parse_name(image) if equals else None
    except SpecError as error:
        raise click.UsageError(f"--current {text!r}: {error}") from error
    return CurrentValue(image=name, tag=tag, digest=Digest(digest) if at else None)
