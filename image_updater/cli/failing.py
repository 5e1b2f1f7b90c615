"""How commands fail: what is printed where, and which exit code it is. Never a traceback, unless one is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.errors import ImageUpdaterError

DONE = 0
FAILED = 1
USAGE = 2
CHANGES = 3
INTERRUPTED = 130

DEBUG = "IMAGE_UPDATER_DEBUG"


class Command(click.Command):
    """A command whose errors become text on stderr and, with `-o json`, a JSON document on stdout as well."""

    def invoke(self, ctx: click.Context) -> Any:
        from image_updater.errors import ImageUpdaterError

        json_wanted = ctx.params.get("output") == "json"
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if json_wanted:
                _print_errors([{"reason": "Usage", "message": error.format_message(), "remedy": "see --help"}])
            raise
        except ImageUpdaterError as error:
            if os.environ.get(DEBUG):
                raise
            return failed(unfold(error), json_wanted=json_wanted)


def unfold(error: ImageUpdaterError) -> tuple[ImageUpdaterError, ...]:
    """The errors that one error carries (`SpecErrors.errors`), or itself."""
    inner = getattr(error, "errors", None)
    return tuple(inner) if isinstance(inner, tuple | list) and inner else (error,)


def failed(errors: Iterable[ImageUpdaterError], *, json_wanted: bool) -> int:
    """Say what went wrong, once a line; returns 2 when the input is to blame, else 1."""
    from image_updater.errors import DocumentError, SpecError

    listed = list(errors)
    for error in listed:
        click.echo(f"error: {_text(error)}", err=True)
    if json_wanted:
        _print_errors([_json(error) for error in listed])
    return USAGE if any(isinstance(error, SpecError | DocumentError) for error in listed) else FAILED


def crashed(error: BaseException) -> int:
    """An exception that nobody expected: one line, and how to get the rest."""
    text = " ".join(str(error).split()) or "no message"
    click.echo(
        f"error: unexpected {type(error).__name__}: {text} (this is a fault of image-updater: "
        f"run again with {DEBUG}=1 for the details, and report them)",
        err=True,
    )
    return FAILED


def _text(error: ImageUpdaterError) -> str:
    """`file:line: field: message`, and what to do on a line of its own."""
    from image_updater.cli.output import printable

    place = str(error.where)
    text = printable(f"{place}: {error.message}" if place else error.message)
    return f"{text}\n  → {printable(error.remedy)}" if error.remedy else text


def _print_errors(errors: list[dict[str, object]]) -> None:
    from image_updater.cli.output import print_json

    print_json({"errors": errors})


def _json(error: ImageUpdaterError) -> dict[str, object]:
    return {
        "file": error.where.file,
        "line": error.where.line,
        "object": error.where.object,
        "field": error.where.field,
        "reason": error.reason,
        "message": error.message,
        "remedy": error.remedy,
    }
