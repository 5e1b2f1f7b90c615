"""`image-updater completion SHELL`: prints the script that a shell sources to complete commands, flags and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from image_updater.cli.failing import DONE, FAILED, Command


@click.command(
    cls=Command,
    epilog=(
        "\b\n"
        "bash: source <(image-updater completion bash)\n"
        "zsh:  source <(image-updater completion zsh)\n"
        "fish: image-updater completion fish | source"
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the shell completion for bash, zsh or fish."""
    from image_updater.cli.app import cli

    kind = get_completion_class(shell)
    if kind is None:
        click.echo(f"error: this version of click knows no completion for {shell}", err=True)
        return FAILED
    # source() asks bash for its version; source_template alone is the script, which needs nobody installed.
    script = kind(cli, {}, "image-updater", "_IMAGE_UPDATER_COMPLETE")
    click.echo(script.source_template % script.source_vars())
    return DONE
