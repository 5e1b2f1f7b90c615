"""`image-updater install`: everything that runs the controller in a cluster, for kubectl. Nothing is contacted."""

from __future__ import annotations

import re
from typing import Any

import click

from image_updater.cli import options
from image_updater.cli.failing import DONE, Command

_IMAGE = re.compile(r"[^\s@]+(?::[\w.-]+|@sha256:[0-9a-f]{64})\Z")


def _namespace(_: click.Context, __: click.Parameter, value: str) -> str:
    from image_updater.api.fields import check_namespace

    problem = check_namespace(value)
    if problem is not None:
        raise click.BadParameter(problem)
    return value


def _image(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _IMAGE.match(value):
        raise click.BadParameter(f"{value!r} is no image with a tag or a digest")
    return value


@click.command(cls=Command)
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    default="image-updater",
    show_default=True,
    callback=_namespace,
    help="Where the controller runs.",
)
@click.option(
    "--image",
    metavar="IMAGE",
    callback=_image,
    help="The controller's image, with tag or digest (default: image-updater with the tag of this version).",
)
@options.settings("roles", "watch_namespaces")
@click.option(
    "--replicas",
    type=click.IntRange(1, 100),
    metavar="NUMBER",
    default=1,
    show_default=True,
    help="Pods; one works, the others wait for its Lease.",
)
@click.option(
    "--persistent", is_flag=True, help="Keep the cache on a volume claim for each pod (default: an emptyDir)."
)
@click.option("--no-crds", "definitions", is_flag=True, flag_value=False, default=True, help="Without the definitions.")
@options.output("yaml", "json")
def command(
    namespace: str,
    image: str | None,
    replicas: int,
    persistent: bool,
    definitions: bool,
    output: str,
    **flags: Any,
) -> int:
    """Print what runs the controller in a cluster: definitions, rights, workload.

    \b
    image-updater install --image registry.example.com/image-updater:1.0 | kubectl apply -f -

    It is what the Helm chart makes of its default values; the chart has more to choose.
    """
    from image_updater.api.manifests import Installation, dump, manifests
    from image_updater.cli.output import print_json, write_bytes

    chosen = {name: value for name, value in {"image": image, **flags}.items() if value is not None}
    made = manifests(
        Installation(namespace=namespace, replicas=replicas, persistent=persistent, definitions=definitions, **chosen)
    )
    if output == "json":
        print_json({"apiVersion": "v1", "kind": "List", "items": made})
    else:
        write_bytes(dump(made).encode())
    return DONE
