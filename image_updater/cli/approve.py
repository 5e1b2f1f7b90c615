"""`image-updater approve`: one person's yes to a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import Command
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.wishes import ApprovalWish
    from image_updater.pipeline.people.standing import Standing


def _image(_: click.Context, __: click.Parameter, value: str) -> tuple[str, str | None]:
    from image_updater.api.tags import check_digest, check_tag

    tag, at, digest = value.partition("@")
    problem = check_tag(tag) or (check_digest(digest) if at else None)
    if problem is not None:
        raise click.BadParameter(f"{problem}; expected TAG[@DIGEST]")
    return tag, digest or None


@click.command(cls=Command)
@asking.policy
@click.argument("image", metavar="TAG[@DIGEST]", callback=_image)
@asking.by
@options.output("text", "json")
def command(place: asking.Place, policy: str, image: tuple[str, str | None], by: str | None, output: str) -> int:
    """Agree to a tag of POLICY, which asks for people with `spec.approvals`.

    With a digest to these bytes only. Who agreed and when is kept; one person counts once.
    """
    from image_updater.api.wishes import ApprovalWish

    tag, digest = image

    def make(standing: Standing, who: str, now: datetime) -> ApprovalWish:
        for each in standing.wishes.denied:
            if each.what in (tag, digest):
                said = f" by {each.by}" if each.by else ""
                raise SpecError(
                    f"{each.what} was denied{said}",
                    where=Where(object=f"ImagePolicy {standing.policy}"),
                    remedy=f"image-updater deny {standing.policy} {each.what} --undo",
                )
        return ApprovalWish(tag=tag, digest=digest, by=who, at=now)

    asked = asking.ask(place, policy, by, make)
    return asking.report(asked, output, _lines(asked, tag, digest))


def _lines(asked: asking.Asked, tag: str, digest: str | None) -> list[str]:
    after = asked.after
    agreed = {each.by for each in after.wishes.approvals if each.tag == tag and each.digest in (None, digest)}
    what = f"{tag}@{digest}" if digest is not None else tag
    who = getattr(asked.new, "by", "")
    lines = [f"{what} of {after.policy} is approved by {who}."]
    wanted = after.approvals
    if wanted is None:
        lines.append(f"{_people(len(agreed))} agreed so far; `run` writes it when that is enough for spec.approvals.")
    elif wanted == 0:
        lines.append("The policy asks for no approvals (spec.approvals): nothing follows from it.")
    elif len(agreed) < wanted:
        lines.append(f"{len(agreed)} of {wanted}: {_people(wanted - len(agreed))} more must agree.")
    else:
        lines.append(f"{len(agreed)} of {wanted}: if it is what the policy wants, the controller writes it now.")
    if after.candidates and tag not in after.candidates:
        lines.append(f"It is not among the best tags that the policy saw last: {', '.join(after.candidates[:5])}.")
    return lines


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"
