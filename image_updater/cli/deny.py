"""`image-updater deny`: a tag, or bytes, that a policy may not choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import Command

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.wishes import DenyWish, UndenyWish
    from image_updater.pipeline.people.standing import Standing


def _what(_: click.Context, __: click.Parameter, value: str) -> str:
    from image_updater.api.tags import check_denied

    problem = check_denied(value)
    if problem is not None:
        raise click.BadParameter(problem)
    return value


@click.command(cls=Command)
@asking.policy
@click.argument("what", metavar="TAG|DIGEST", callback=_what)
@click.option("--undo", is_flag=True, help="It may be chosen again.")
@click.option("--reason", metavar="TEXT", default="", help="Why.")
@asking.by
@options.output("text", "json")
def command(place: asking.Place, policy: str, what: str, undo: bool, reason: str, by: str | None, output: str) -> int:
    """Never choose this tag, or these bytes, for POLICY.

    A tag that Git holds already stays there: `image-updater rollback` takes it back.
    """
    from image_updater.api.wishes import DenyWish, UndenyWish

    def make(standing: Standing, who: str, now: datetime) -> DenyWish | UndenyWish:
        if undo:
            return UndenyWish(what=what)
        return DenyWish(what=what, by=who, at=now, reason=" ".join(reason.split()))

    asked = asking.ask(place, policy, by, make)
    return asking.report(asked, output, _undone(asked, what) if undo else _lines(asked, what))


def _lines(asked: asking.Asked, what: str) -> list[str]:
    after = asked.after
    lines = [f"{what} is denied for {after.policy}: it is not chosen any more."]
    if what == asked.before.tag:
        lines.append(
            f"It is what the policy has chosen: {asked.who} chooses the next best, and where Git holds {what} already "
            f"it stays, unless that is newer. `image-updater rollback {after.policy}` takes it back."
        )
    lines.append(f"`image-updater deny {after.policy} {what} --undo` ends it.")
    return lines


def _undone(asked: asking.Asked, what: str) -> list[str]:
    after = asked.after
    if all(each.what != what for each in asked.before.wishes.denied):
        lines = [f"{what} was not denied for {after.policy} by a command: nothing to undo."]
    else:
        lines = [f"{what} may be chosen for {after.policy} again."]
    if what in after.denied:
        lines.append("It stands in spec.deny of the policy, which counts all the same: take it out there.")
    return lines
