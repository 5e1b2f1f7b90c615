"""`image-updater resume`: every hold of a policy from before now is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import Command

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.wishes import ResumeWish
    from image_updater.pipeline.people.standing import Standing


@click.command(cls=Command)
@asking.policy
@asking.by
@options.output("text", "json")
def command(place: asking.Place, policy: str, by: str | None, output: str) -> int:
    """End every hold of POLICY from before now.

    Those of people, those that a revert in Git made, those that a failed rollout or a rollback left, and an open
    breaker. A Freeze, a Quarantine and what is denied stay.
    """
    from image_updater.api.wishes import ResumeWish

    def make(standing: Standing, who: str, now: datetime) -> ResumeWish:
        return ResumeWish(at=standing.resumes(now), by=who)

    asked = asking.ask(place, policy, by, make)
    return asking.report(asked, output, _lines(asked))


def _lines(asked: asking.Asked) -> list[str]:
    after, hold = asked.after, asked.before.wishes.hold
    if hold is not None:
        by = f" by {hold.by}" if hold.by else ""
        lines = [f"{after.policy} is not held any more; it was held{by}: {hold.reason}"]
    else:
        lines = [f"{after.policy} was not held by a command or an annotation."]
    lines.append("Holds that Git, a failed rollout or a rollback made before now are over, too.")
    if after.suspend:
        lines.append("It is suspended (spec.suspend): nothing is written until that is taken away.")
    else:
        # Which tag that is nobody has said yet: status names what was chosen before the hold.
        lines.append(f"If no other gate stops it, {asked.who} writes what it chooses.")
    return lines
