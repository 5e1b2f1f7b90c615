"""`image-updater set IMAGE=…`: by hand, with the same care and the same proof."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from image_updater.cli import options
from image_updater.cli.failing import Command
from image_updater.images.names import is_digest, is_tag, parse_name
from image_updater.pipeline.report import SetImage

EXAMPLES = """\b
Examples:
  image-updater set acme/web=:1.5.0                  another tag
  image-updater set acme/web=mirror.example.com/web  another name, the tag stays
  image-updater set acme/web=@sha256:…               pinned: the tag goes
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("assignments", nargs=-1, required=True, metavar="IMAGE=[NEWNAME][:TAG][@DIGEST]...")
@click.option("--path", default=".", metavar="DIR", show_default=True, help="The folder of the kustomization.")
@click.option("--dry-run", "dry_run", is_flag=True, help="Prove and print, change nothing; exit 3 = there are changes.")
@options.output("text", "json", "diff")
@options.settings("color", "state", "cache", *options.RENDERING)
def command(
    assignments: tuple[str, ...],
    path: str,
    dry_run: bool,
    output: str,
    **flags: Any,
) -> int:
    """Set an image in DIR's kustomization by hand, with the same care and the same proof.

    What is not named stays, but a digest alone removes the tag and a tag alone removes the digest. Kustomize's own
    forms IMAGE:TAG, IMAGE@DIGEST and IMAGE=NEW:TAG are accepted.
    """
    wanted = tuple(parse_assignment(text) for text in assignments)

    from image_updater.cli.output import progress
    from image_updater.cli.update import answer
    from image_updater.pipeline.report import Mode, SetRequest
    from image_updater.pipeline.setting import set_images

    mode = Mode.DRY_RUN if dry_run else Mode.WRITE
    settings = options.load_settings(flags)
    with progress("reading") as say:
        report = asyncio.run(
            set_images(
                SetRequest(
                    images=wanted,
                    settings=settings,
                    folder=path,
                    dry_run=dry_run,
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    return answer(report, mode, output, settings.color, by_hand=True)


def parse_assignment(text: str) -> SetImage:
    """`IMAGE=[NEWNAME][:TAG][@DIGEST]` or `IMAGE:TAG`; `*` keeps what stands in its place. Raises UsageError."""
    image, equals, rest = text.partition("=")
    if not equals:
        image, tag, digest = _split(text)
        if tag is None and digest is None:
            raise click.UsageError(f"{text!r} says nothing to set: use IMAGE=[NEWNAME][:TAG][@DIGEST]")
        return _checked(text, image, None, tag, digest)
    if not rest:
        raise click.UsageError(f"{text!r} says nothing to set: use IMAGE=[NEWNAME][:TAG][@DIGEST]")
    name, tag, digest = _split(rest)
    found = _checked(text, image, name or None, tag, digest)
    if found.new_name is None and found.tag is None and found.digest is None:
        raise click.UsageError(f"{text!r} says nothing to set: every part is '*'")
    return found


def _split(text: str) -> tuple[str, str | None, str | None]:
    rest, at, digest = text.partition("@")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, None, digest if at else None
    return head, tag, digest if at else None


def _checked(text: str, image: str, name: str | None, tag: str | None, digest: str | None) -> SetImage:
    from image_updater.errors import SpecError

    plain, extra, pinned = _split(image)
    if not image or extra is not None or pinned is not None or any(c.isspace() for c in plain):
        raise click.UsageError(f"{text!r}: {image!r} is not an image name: it must not carry a tag or a digest")
    name, tag, digest = (None if part == "*" else part for part in (name, tag, digest))
    if name is not None:
        try:
            parse_name(name)
        except SpecError as error:
            raise click.UsageError(f"{text!r}: {error}") from error
    if tag is not None and not is_tag(tag):
        raise click.UsageError(f"{text!r}: {tag!r} is not a tag")
    if digest is not None and not is_digest(digest):
        raise click.UsageError(f"{text!r}: {digest!r} is not a digest: expected sha256:<64 hex digits>")
    return SetImage(image=image, new_name=name, tag=tag, digest=digest)
