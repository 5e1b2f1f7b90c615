"""`image-updater rollback`: one planned commit that takes a policy's image back, and a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import Command

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.wishes import RollbackWish
    from image_updater.pipeline.people.standing import Standing


def _tag(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from image_updater.api.tags import check_tag

    problem = check_tag(value) if value is not None else None
    if problem is not None:
        raise click.BadParameter(problem)
    return value


@click.command(cls=Command)
@asking.policy
@click.option(
    "--to", metavar="TAG", callback=_tag, help="Where to (default: the last proven tag, else the one before)."
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the commit and the hold.")
@asking.by
@options.output("text", "json")
def command(place: asking.Place, policy: str, to: str | None, reason: str, by: str | None, output: str) -> int:
    """Take the image of POLICY back to an earlier tag, by one commit.

    It is planned, proved and pushed as any other; everything else in Git stays as it is. Then no tag up to the one that
    was taken back is written, until a newer one comes or somebody resumes.

    --to a tag that is quarantined, denied or known to fail is done as well, and says so, here and in the commit.
    """
    from image_updater.api.wishes import RollbackWish

    def make(standing: Standing, who: str, now: datetime) -> RollbackWish:
        return RollbackWish(at=now, to=to, by=who, reason=" ".join(reason.split()))

    asked = asking.ask(place, policy, by, make, about=to)
    return asking.report(asked, output, _lines(asked, to))


def _lines(asked: asking.Asked, to: str | None) -> list[str]:
    after = asked.after
    good, serving = after.good, after.serving
    if to is not None:
        target = to
    elif good is not None:
        target = f"{good.tag}, which was healthy at {asking.shown(good.at)}"
    elif after.proven:
        target = "what served before, if that was healthy, else to the last tag that was"
    else:
        target = "the tag before: nothing is proven yet"
    frm = f" from {serving}" if serving not in (None, to) else ""
    lines = [f"{after.policy} goes back{frm} to {target}."]
    if asked.against:
        lines.append(f"Careful: {to} is {'; it is '.join(asked.against)}. You asked for it, so it is done.")
    if to is not None and to == after.tag:
        lines.append("That is what the policy has chosen: where Git holds it already, nothing changes.")
    lines.append(
        f"{asked.who[:1].upper()}{asked.who[1:]} makes one commit of it now. Then no tag up to the one that is taken "
        f"back is written, until a newer one comes or somebody says `image-updater resume {after.policy}`."
    )
    if not asked.state:
        namespace, _, name = after.policy.partition("/")
        lines.append(
            f"What became of it: kubectl get imagepolicy {name} -n {namespace} -o jsonpath={{.status.rollback}}"
        )
    return lines
