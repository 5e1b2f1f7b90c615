"""The command group: finds a command's module when it is called, and turns every error into a line and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from image_updater import __version__
from image_updater.cli.failing import DEBUG, FAILED, INTERRUPTED, USAGE, crashed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "update": ("image_updater.cli.update", "Move images in Git to the tags that the policies choose."),
    "images": (
        "image_updater.cli.images",
        "List every image site, the roots that render it, the policy that claims it.",
    ),
    "set": ("image_updater.cli.set", "Set an image by hand, with the same care and the same proof."),
    "explain": ("image_updater.cli.explain", "Say for every tag of every policy why it won, waits or lost."),
    "render": ("image_updater.cli.render", "Print the manifests of the roots, as the proof renders them."),
    "diff": ("image_updater.cli.diff", "Compare what two revisions render: objects and images that differ."),
    "run": ("image_updater.cli.run", "Run as a daemon that reads its objects from files."),
    "hold": ("image_updater.cli.hold", "Write nothing for a policy until somebody resumes it."),
    "resume": ("image_updater.cli.resume", "End every hold of a policy from before now."),
    "approve": ("image_updater.cli.approve", "Agree to a tag of a policy that asks for approvals."),
    "deny": ("image_updater.cli.deny", "Never choose this tag, or these bytes, for a policy."),
    "rollback": ("image_updater.cli.rollback", "Take a policy's image back to an earlier tag, by one commit."),
    "history": ("image_updater.cli.history", "Show how far each tag of a policy came, and how long it took."),
    "replay": ("image_updater.cli.replay", "Show what policies would have committed over a past time."),
    "controller": ("image_updater.cli.controller", "Run in a cluster: policies to commits, commits to the cluster."),
    "crds": ("image_updater.cli.crds", "Print the custom resource definitions, for kubectl."),
    "install": ("image_updater.cli.install", "Print all that runs the controller in a cluster, for kubectl."),
    "demo": ("image_updater.cli.demo", "Watch the whole loop on embedded parts; leaves nothing behind."),
    "completion": ("image_updater.cli.completion", "Print the shell completion for bash, zsh or fish."),
}
"""Name → (module, one line of help). The module's `command` is the click command."""


class LazyGroup(click.Group):
    """Lists commands from the table above and imports one only when it runs (or is asked for its own help)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry[0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no such command {args[0]!r}: {hint}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or nothing to do, 1 failed, 2 usage or invalid input, 3 with --dry-run: changes.",
)
@click.version_option(__version__, prog_name="image-updater")
def cli() -> None:
    """Image automation that writes back to Git: byte-exact, proved, explained."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. Never raises, except what ends the interpreter itself."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An arrow on a terminal that only knows ASCII is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        result: Any = cli.main(
            args=None if arguments is None else list(arguments), prog_name="image-updater", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE if isinstance(error, click.UsageError | click.FileError) else FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        # A full disk or a folder that nobody may write to is nobody's bug.
        if os.environ.get(DEBUG):
            raise
        place = f": {error.filename}" if error.filename else ""
        click.echo(f"error: the system refuses: {error.strerror or error}{place}", err=True)
        return FAILED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return crashed(error)
