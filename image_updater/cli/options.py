"""The flags that several commands share, each written once."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from image_updater.api.model import Objects
    from image_updater.pipeline.tagsfile import TagsFile
    from image_updater.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    from image_updater.pipeline.moments import parse_rfc3339

    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def objects(function: F) -> F:
    return click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        metavar="FILE",
        help="Objects: a YAML file, a folder of them, or - for stdin. Repeatable.",
    )(function)


def output(*formats: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        return click.option(
            "-o",
            "--output",
            "output",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="How to print the answer.",
        )(function)

    return decorate


def color(function: F) -> F:
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour; auto = on a terminal, unless NO_COLOR is set.",
    )(function)


def roots(function: F) -> F:
    return click.option(
        "--root",
        "roots",
        multiple=True,
        metavar="DIR",
        help="A folder that is rendered as one, besides those that are found. Repeatable.",
    )(function)


def tags(function: F) -> F:
    return click.option(
        "--tags",
        "tags_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The tags, instead of the registry: one a line, or JSON. No request is made then.",
    )(function)


def now(function: F) -> F:
    return click.option(
        "--now", metavar="RFC3339", callback=_moment, help="Judge as of this time (default: the clock)."
    )(function)


def state(default: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        return click.option(
            "--state",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="IMAGE_UPDATER_STATE",
            metavar="FILE",
            help=f"SQLite file with what was seen before (default: {default}).",
        )(function)

    return decorate


def secrets(function: F) -> F:
    return click.option(
        "--secrets",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        envvar="IMAGE_UPDATER_SECRETS",
        metavar="DIR",
        help="Secrets that are not in the objects: DIR/<name>/<key>.",
    )(function)


def cache(function: F) -> F:
    return click.option(
        "--cache",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="IMAGE_UPDATER_CACHE",
        metavar="DIR",
        help="Folder for bare mirrors and renders (default: the user's cache folder).",
    )(function)


def rendering(function: F) -> F:
    """`--kustomize`, `--helm`, `--allow-remote-bases`."""
    for option in (
        click.option(
            "--allow-remote-bases",
            is_flag=True,
            envvar="IMAGE_UPDATER_ALLOW_REMOTE_BASES",
            help="Let kustomize fetch remote bases; without it such roots are not built.",
        ),
        click.option(
            "--helm",
            envvar="IMAGE_UPDATER_HELM",
            metavar="FILE",
            help="The helm binary for helmCharts (default: helm on PATH).",
        ),
        click.option(
            "--kustomize",
            envvar="IMAGE_UPDATER_KUSTOMIZE",
            metavar="FILE",
            help="The kustomize or kubectl binary (default: kustomize, then kubectl, on PATH).",
        ),
    ):
        function = option(function)
    return function


# ------------------------------------------------------------------------------------------- from flags to values


def load_objects(files: Sequence[str]) -> Objects:
    """All objects of all `-f`; `-` is stdin. Raises SpecErrors with every fault of every file."""
    from image_updater import api

    paths = [Path(name) for name in files if name != "-"]
    loaded = api.load(paths) if paths or not files else None
    if "-" not in files:
        assert loaded is not None
        return loaded
    data = sys.stdin.buffer.read()
    from image_updater import documents

    standard = api.load_text(documents.decode(data, file="-"), "-")
    return api.merge(loaded, standard) if loaded is not None else standard


def load_tags(path: Path | None) -> TagsFile | None:
    if path is None:
        return None
    from image_updater.pipeline.tagsfile import TagsFile

    return TagsFile.read(path)


def settings(**flags: Any) -> Settings:
    """The `Settings` of this call; flags that a command does not have keep their defaults."""
    from image_updater.settings import Settings

    return Settings(**{name: value for name, value in flags.items() if value is not None})


def environment() -> dict[str, str]:
    return dict(os.environ)


def clock(given: datetime | None) -> datetime:
    return given or datetime.now(UTC)
