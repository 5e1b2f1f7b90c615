"""`image-updater crds`: the custom resource definitions, for kubectl."""

from __future__ import annotations

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command


@click.command(cls=Command)
@options.output("yaml", "json")
def command(output: str) -> int:
    """Print the custom resource definitions.

    \b
    image-updater crds | kubectl apply -f -
    """
    from image_updater.api.manifests import dump
    from image_updater.api.schema import crds
    from image_updater.cli.output import print_json, write_bytes

    if output == "json":
        print_json({"apiVersion": "v1", "kind": "List", "items": crds()})
    else:
        write_bytes(dump(crds()).encode())
    return DONE
