"""`image-updater demo`: from a pushed tag to a proven commit, as it happens, on parts that are embedded."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, FAILED, INTERRUPTED, Command

if TYPE_CHECKING:
    from rich.console import Console

    from image_updater.pipeline.report import UpdateReport
    from image_updater.pipeline.stage import Stage
    from image_updater.settings import Settings

PATIENCE = 30.0
"""Seconds that one step may take before the demo gives up and says so."""


@click.command(cls=Command)
@click.option(
    "--pace",
    type=click.FloatRange(0, 10),
    metavar="SECONDS",
    help="Pause between steps (default: 1.5 on a terminal, else 0).",
)
@options.settings("color", "kustomize")
def command(pace: float | None, **flags: Any) -> int:
    """Watch the whole loop on embedded parts; leaves nothing behind.

    A small registry and a bare Git repository are started on loopback, in a temporary folder. The daemon between them
    is the real one.
    """
    settings = options.load_settings(flags)
    if pace is None:
        pace = 1.5 if sys.stdout.isatty() else 0.0
    return asyncio.run(show(settings, pace))


async def show(settings: Settings, pace: float) -> int:
    import logging
    import signal

    from image_updater.cli.output import console
    from image_updater.errors import Transient
    from image_updater.pipeline.stage import stage

    logging.getLogger("image_updater").setLevel(logging.ERROR)
    this = asyncio.current_task()
    assert this is not None
    # SIGTERM ends it as Ctrl-C does: through the blocks that clean up.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    out = console(settings.color)
    started = time.monotonic()
    try:
        async with stage(settings, options.environment()) as scene:
            async with asyncio.timeout(PATIENCE * 4):
                good = await play(out, scene, pace)
    except asyncio.CancelledError:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except TimeoutError as error:
        raise Transient(f"a step of the demo took longer than {PATIENCE:.0f} s") from error
    seconds = time.monotonic() - started
    out.print()
    out.print(f"That was {seconds:.1f} s. The registry, the repository and their folder are gone.", style="dim")
    return DONE if good else FAILED


async def play(out: Console, scene: Stage, pace: float) -> bool:
    from image_updater.pipeline.stage import FIRST_TAGS, POLICY

    title(out, "1", "A registry, and a Git repository with three overlays")
    out.print(f"  registry    {scene.image}  (tags {', '.join(FIRST_TAGS)})")
    out.print("  repository  overlays: dev and staging at 1.4.1, prod at 1.4.0")
    out.print("  policy      semver ^1.4, no release candidates; claims all sites of the image")
    out.print("  The daemon looks for the first time:")
    report = await next_report(scene)
    if not said(out, report):
        return False
    await asyncio.sleep(pace)

    title(out, "2", "CI pushes acme/web:1.5.0, and the daemon is told")
    pushed = time.monotonic()
    scene.push("1.5.0")
    report = await next_report(scene)
    took = time.monotonic() - pushed
    if not said(out, report):
        return False
    out.print(f"  {took * 1000:.0f} ms from the push of the tag to the commit on the server.", style="bold")
    await asyncio.sleep(pace)

    title(out, "3", "The verdicts it acted on")
    explain(out, scene, POLICY)
    await asyncio.sleep(pace)

    title(out, "4", "The commit: three lines, and not one byte beside them")
    commit(out, scene)
    await asyncio.sleep(pace)

    title(out, "5", "CI pushes acme/web:1.6.0-rc.1, which the filter does not want")
    scene.push("1.6.0-rc.1")
    async with asyncio.timeout(PATIENCE):
        while not knows(scene, POLICY, "1.6.0-rc.1"):  # noqa: ASYNC110 - a hint that changes nothing is silent
            await asyncio.sleep(0.01)
    out.print("  No commit. `image-updater explain` says why:")
    explain(out, scene, POLICY)
    await asyncio.sleep(pace)
    return True


def title(out: Console, number: str, text: str) -> None:
    out.print()
    out.print(f"{number}  {text}", style="bold cyan")


async def next_report(scene: Stage) -> UpdateReport:
    """The next run of the line over the branch that ends with a commit or a failure."""
    async with asyncio.timeout(PATIENCE):
        while True:
            report = await scene.reports.get()
            if report.changed or report.failures:
                return report


def said(out: Console, report: UpdateReport) -> bool:
    """The edits and their proof; False when something failed."""
    from image_updater.cli.output import printable, table

    for failure in report.failures:
        out.print(f"  {printable(failure.subject)}: {printable(failure.message)}", style="red")
    rows = [(f"{edit.file}:{edit.line}", edit.field, f"{edit.old} → {edit.new}") for edit in report.edits]
    table(out, rows, styles=("", "dim", "bold green"))
    for line in report.proof:
        out.print(f"  proof  {printable(line)}", style="green")
    for each in report.commits:
        out.print(f"  pushed {each.commit[:12]} to {printable(each.branch)}: {printable(each.subject)}")
    return not report.failures


def explain(out: Console, scene: Stage, policy: str) -> None:
    from image_updater.cli.verdicts import show_policy
    from image_updater.pipeline.answers.explain import report

    show_policy(out, report(scene.answers[policy]))


def commit(out: Console, scene: Stage) -> None:
    from image_updater.cli.output import printable

    message, diff = scene.newest_commit()
    for line in message.rstrip().split("\n"):
        out.print(f"  {printable(line)}")
    out.print()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.rstrip("\n").split("\n"):
        style = None if line.startswith(("+++", "---")) else styles.get(line[:1])
        out.print(f"  {printable(line.rstrip(chr(13)))}", style=style)


def knows(scene: Stage, policy: str, tag: str) -> bool:
    judgement = scene.answers[policy].judgement
    return judgement is not None and any(verdict.tag == tag for verdict in judgement.verdicts)
