"""`image-updater update`: one run of the line over a checkout, a folder or a repository's URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import options
from image_updater.cli.failing import CHANGES, DONE, FAILED, Command

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from image_updater.pipeline.report import Mode, UpdateReport

MODES = ("dry_run", "write", "commit", "push", "pull_request")


EXAMPLES = """\b
Examples:
  image-updater update . -f objects.yaml           what would change
  image-updater update . -f objects.yaml -o diff   the same as a diff
  image-updater update . -f objects.yaml --commit  committed on this branch
  image-updater update URL -f objects.yaml --push  pushed, without a checkout
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("target", required=False, metavar="[PATH|URL]")
@options.objects
@click.option(
    "--branch",
    metavar="B",
    help="The branch to update (URL: default the GitRepository's; PATH: must be the one checked out).",
)
@options.tags
@click.option(
    "--dry-run",
    "dry_run",
    is_flag=True,
    help="Prove and print, change nothing (the default); exit 3 = there are changes.",
)
@click.option("--write", is_flag=True, help="Write the files of PATH.")
@click.option("--commit", is_flag=True, help="Commit to the branch of PATH; files that are dirty are left alone.")
@click.option("--push", is_flag=True, help="Commit and push: PATH's upstream, or the URL's branch.")
@click.option("--pull-request", "pull_request", is_flag=True, hidden=True)
@options.roots
@options.output("text", "json", "diff")
@options.settings("color", "state", "cache", "secrets", *options.RENDERING, *options.REGISTRY)
@options.now
def command(
    target: str | None,
    files: tuple[str, ...],
    branch: str | None,
    tags_file: Path | None,
    roots: tuple[str, ...],
    output: str,
    now: datetime | None,
    **flags: Any,
) -> int:
    """Move images in Git to the tags that the policies choose.

    Without a mode flag nothing is changed. Without -f, annotations on workloads in Git are the policies. Without PATH
    or URL every automation of -f runs on its own GitRepository, or on the current folder when there is none.
    """
    from image_updater.cli.output import progress
    from image_updater.errors import SpecError
    from image_updater.pipeline.answers.secrets import secrets_of
    from image_updater.pipeline.report import Mode, UpdateRequest
    from image_updater.pipeline.targets import is_url

    modes = [name for name in MODES if flags.pop(name)]
    if len(modes) > 1:
        raise click.UsageError(f"{' and '.join(_flag(name) for name in modes)} exclude each other: give one")
    if modes == ["pull_request"]:
        raise SpecError(
            "--pull-request is not built yet",
            remedy="push to a branch (git.push.branch of the automation) and open the pull request there",
        )
    mode = Mode(modes[0].replace("_", "-")) if modes else Mode.DRY_RUN
    if target is not None and is_url(target) and mode in {Mode.WRITE, Mode.COMMIT}:
        raise click.UsageError(f"{_flag(modes[0])} needs a folder, not a URL: use --dry-run or --push")

    objects = options.load_objects(files)
    if target is None and not objects.automations:
        target = "."
    tags = options.load_tags(tags_file)
    settings = options.load_settings(flags)

    from image_updater.pipeline.update import update

    with progress("reading") as say:
        report = asyncio.run(
            update(
                UpdateRequest(
                    target=target,
                    objects=objects,
                    branch=branch,
                    tags=tags,
                    mode=mode,
                    now=options.clock(now),
                    settings=settings,
                    secrets=secrets_of(objects, settings.secrets),
                    roots=roots,
                    environment=options.environment(),
                    progress=say,
                )
            )
        )
    return answer(report, mode, output, settings.color)


def answer(report: UpdateReport, mode: Mode, output: str, color: str, *, by_hand: bool = False) -> int:
    """Print what an update or a `set` did, as asked; the exit code."""
    from image_updater.cli.output import print_diff, print_json

    match output:
        case "json":
            print_json(report.as_json())
        case "diff":
            from image_updater.cli.difference import unified

            print_diff(unified(report.files))
        case _:
            from image_updater.cli.views import show_update

            show_update(report, mode, color, by_hand=by_hand)
    return finish(report, mode, quiet=output == "text")


def finish(report: UpdateReport, mode: object, *, quiet: bool = False) -> int:
    """The exit code; failures and problems also stand on stderr, whatever the output is."""
    from image_updater.cli.output import printable
    from image_updater.pipeline.report import Mode

    for failure in report.failures:
        click.echo(f"error: {printable(failure.subject)}: {printable(failure.message)}", err=True)
    if not quiet:
        for problem in report.problems:
            place = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
            click.echo(f"warning: {printable(f'{place}: ' if place else '')}{printable(problem.reason)}", err=True)
    if report.failures:
        return FAILED
    return CHANGES if mode is Mode.DRY_RUN and report.changed else DONE


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
