"""`image-updater hold`: nothing is written for a policy until somebody resumes it, or until a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import Command

if TYPE_CHECKING:
    from image_updater.api.wishes import HoldWish
    from image_updater.pipeline.people.standing import Standing


def _end(_: click.Context, __: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A time, or how long from now."""
    if value is None:
        return None
    from image_updater.api.durations import parse_duration
    from image_updater.api.moments import parse_rfc3339

    try:
        moment = parse_rfc3339(value)
    except ValueError:
        try:
            duration = parse_duration(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is neither a time such as 2024-05-01T12:00:00Z nor a duration such as 8h"
            ) from None
        if not timedelta(0) < duration <= timedelta(days=36500):
            raise click.BadParameter(f"{value!r} is no time that is to come") from None
        return duration
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{value} is over")
    return moment


@click.command(cls=Command)
@asking.policy
@click.option("--reason", metavar="TEXT", default="", help="Why, for everybody who asks why nothing moves.")
@click.option("--until", "end", metavar="TIME|DURATION", callback=_end, help="When it ends by itself (default: never).")
@asking.by
@options.output("text", "json")
def command(
    place: asking.Place,
    policy: str,
    reason: str,
    end: datetime | timedelta | None,
    by: str | None,
    output: str,
) -> int:
    """Write nothing for POLICY until somebody resumes it.

    It goes on to be looked at: `explain` and its status say what it would choose. What is in Git stays as it is.
    """
    from image_updater.api.wishes import NO_REASON, HoldWish

    def make(standing: Standing, who: str, now: datetime) -> HoldWish:
        until = now + end if isinstance(end, timedelta) else end
        return HoldWish(reason=" ".join(reason.split()) or NO_REASON, by=who, at=now, until=until)

    asked = asking.ask(place, policy, by, make)
    return asking.report(asked, output, _lines(asked))


def _lines(asked: asking.Asked) -> list[str]:
    after, hold, before = asked.after, asked.after.wishes.hold, asked.before.wishes.hold
    assert hold is not None
    until = f" until {asking.shown(hold.until)}" if hold.until is not None else ""
    lines = [f"{after.policy} is held{until}: {hold.reason}"]
    if before is not None:
        lines.append(f"It was held before{_by(before)}: {before.reason}.")
    chosen = f" {after.tag} stays chosen and is not written." if after.tag else ""
    lines.append(f"From now on {asked.who} writes nothing for it.{chosen}")
    ends = "It ends then, or with" if hold.until is not None else "It ends with"
    lines.append(f"{ends} `image-updater resume {after.policy}`.")
    return lines


def _by(hold: Any) -> str:
    return f" by {hold.by}" if hold.by else ""
