"""What people asked of an ImagePolicy, told once: the Events `Approved`, `Denied` and `Resumed`, with who.

That it was told stands in status (`approvals`, `denied`, `resumed`), so a restart tells nothing again, and what was
asked while no process ran is told by the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_updater.api.policystatus import NAMED
from image_updater.api.status import status_fields
from image_updater.controller.status import Happening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from image_updater.api.model import ImagePolicy
    from image_updater.api.wishes import Wishes
    from image_updater.controller.cache import Entry
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector


def say(saying: Saying, selector: Selector | None, entry: Entry, outcome: Outcome, before: Mapping[str, Any]) -> None:
    """Tell what was asked since status had the fields `before`, once the policy has a status to stand in."""
    assert selector is not None
    if saying.last(entry) is None and not entry.status:
        return
    wishes = selector.situations.wishes(outcome.spec)
    happened, now = tuple(told(outcome.spec, wishes, before)), fields(outcome.spec, wishes)
    if happened or any(before.get(name) != value for name, value in now.items()):
        saying.amend(entry, now, *happened)


def fields(policy: ImagePolicy, wishes: Wishes) -> dict[str, Any]:
    """The fields of status, None where there is nothing to say: what is told stands there, so that it is told once."""
    approvals = wishes.approvals[-NAMED:] if policy.approvals else ()
    made = {
        "approvals": [
            {"tag": each.tag, "digest": each.digest, "by": each.by or None, "at": each.at} for each in approvals
        ]
        or None,
        "denied": [
            {"what": each.what, "by": each.by or None, "at": each.at, "reason": each.reason or None}
            for each in wishes.denied[-NAMED:]
        ]
        or None,
        "resumed": {"at": wishes.resumed, "by": wishes.resumed_by or None} if wishes.resumed is not None else None,
    }
    written = status_fields("ImagePolicy", {name: value for name, value in made.items() if value is not None})
    return {name: written.get(name) for name in made}


def told(policy: ImagePolicy, wishes: Wishes, before: Mapping[str, Any]) -> Iterator[Happening]:
    """What is new since `before`, the fields of status."""
    now = fields(policy, wishes)
    known = {_approval(each) for each in before.get("approvals") or ()}
    for each in now["approvals"] or ():
        if _approval(each) not in known:
            image = each["tag"] + (f"@{each['digest']}" if "digest" in each else "")
            yield Happening(reason="Approved", message=f"{image} is approved by {each.get('by', 'somebody')}")
    denied = {(each["what"], each.get("at")) for each in before.get("denied") or ()}
    for each in now["denied"] or ():
        if (each["what"], each.get("at")) not in denied:
            why = f": {each['reason']}" if "reason" in each else ""
            yield Happening(reason="Denied", message=f"{each['what']} is denied by {each.get('by', 'somebody')}{why}")
    resumed = now["resumed"]
    if resumed is not None and resumed != before.get("resumed"):
        who = resumed.get("by", "somebody")
        yield Happening(reason="Resumed", message=f"{who} says that it may go on: what held it until then is over")


def _approval(said: Mapping[str, Any]) -> tuple[Any, ...]:
    return said.get("tag"), said.get("digest"), said.get("by")
