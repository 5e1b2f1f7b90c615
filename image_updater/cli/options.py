"""The flags that several commands share, each written once."""

from __future__ import annotations

import dataclasses
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from image_updater.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from image_updater.api.model import Objects
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")

FILE = click.Path(path_type=Path)


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    from image_updater.api.moments import parse_rfc3339

    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _completes(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """`file` or `dir`: the shell itself completes the path."""
    return lambda _, __, incomplete: [CompletionItem(incomplete, type=kind)]


def objects(function: F) -> F:
    return click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        metavar="FILE",
        shell_complete=_completes("file"),
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


def roots(function: F) -> F:
    """Roots that are added to those found."""
    return _roots("A folder that is rendered as one, besides those that are found. Repeatable.")(function)


def only_roots(function: F) -> F:
    """Roots that stand in the place of those found."""
    return _roots("Only this folder, rendered as one, instead of all that are found. Repeatable.")(function)


def _roots(text: str) -> Callable[[F], F]:
    return click.option("--root", "roots", multiple=True, metavar="DIR", shell_complete=_completes("dir"), help=text)


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


def settings(*names: str) -> Callable[[F], F]:
    """The flags of these `Settings`, in this order; the command gets their values (None = not given) as keywords."""

    def decorate(function: F) -> F:
        from image_updater.settings import Settings

        fields = {each.name: each for each in dataclasses.fields(Settings)}
        for name in reversed(names):
            function = _setting(fields[name])(function)
        return function

    return decorate


def _setting(field: dataclasses.Field[Any]) -> Callable[[F], F]:
    flag, text, parse = (field.metadata[key] for key in ("flag", "help", "parse"))
    if field.default not in (None, ()) and not isinstance(field.default, bool | StrEnum):
        text = f"{text}  [default: {_shown(field.default)}]"
    if isinstance(field.default, bool):
        return click.option(flag, field.name, is_flag=True, default=None, help=text)
    if isinstance(field.default, StrEnum):
        kind = type(field.default)
        return click.option(
            flag, field.name, type=click.Choice([str(each) for each in kind]), callback=_parser(kind), help=text
        )
    shown = "NUMBER" if isinstance(field.default, int | float) or "render_workers" in field.name else "VALUE"
    metavar = {
        "state": "FILE",
        "cache": "DIR",
        "secrets": "DIR",
        "kustomize": "FILE",
        "helm": "FILE",
        "kubeconfig": "FILE",
        "lease_namespace": "NAME",
        "default_service_account": "NAME",
        "roles": "LIST",
        "watch_namespaces": "LIST",
        "take_over": "LIST",
    }
    shown = metavar.get(field.name, shown)
    completes = _completes(shown.lower()) if shown in {"FILE", "DIR"} else None
    return click.option(flag, field.name, metavar=shown, callback=_parser(parse), shell_complete=completes, help=text)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _parser(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def convert(_: click.Context, __: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} {error}") from error

    return convert


RENDERING = ("kustomize", "helm", "allow_remote_bases", "render_workers", "render_timeout")
REGISTRY = ("concurrency", "registry_rate", "max_pages")


# ------------------------------------------------------------------------------------------- from flags to values


def folder(target: str | None) -> None:
    """Refuse an address where only a folder makes sense. `scheme://` alone counts: `HEAD:x` may be a revision."""
    if target is not None and "://" in target:
        raise click.UsageError(f"{target!r} is an address: clone it and name the folder (only update takes a URL)")


def load_objects(files: Sequence[str]) -> Objects:
    """All objects of all `-f`; `-` is stdin. Raises SpecErrors with every fault of every file."""
    from image_updater import api

    paths = [Path(name) for name in files if name != "-"]
    loaded = api.load(paths) if paths or not files else None
    if "-" not in files:
        assert loaded is not None
        return loaded
    from image_updater import documents
    from image_updater.documents.parse import MAX_BYTES

    data = sys.stdin.buffer.read(MAX_BYTES + 1)

    standard = api.load_text(documents.decode(data, file="-"), "-")
    return api.merge(loaded, standard) if loaded is not None else standard


def load_tags(path: Path | None) -> TagsFile | None:
    if path is None:
        return None
    from image_updater.pipeline.answers.tagsfile import TagsFile

    return TagsFile.read(path)


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """The `Settings` of this call: flags, else variables, else defaults. Raises SpecError."""
    from image_updater.settings import Settings

    loaded = Settings.load(os.environ, **flags)
    if loaded.secrets is not None and not loaded.secrets.is_dir():
        raise SpecError(
            f"--secrets {loaded.secrets} is no folder", remedy="expected DIR/<name>/<key>, one file a value"
        )
    return loaded


def environment() -> dict[str, str]:
    return dict(os.environ)


def clock(given: datetime | None) -> datetime:
    return given or datetime.now(UTC)
