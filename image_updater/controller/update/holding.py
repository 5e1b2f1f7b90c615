"""`status.hold` of ImagePolicies, and the Events of its begin and end.

What people say, and what Git says, is known again after the first runs of a process. What a failed rollout leaves (its
`by` names the Kustomization) the closed loop writes, ends, and reads back from here: that is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_updater.api.status import status_fields
from image_updater.controller.loop.status import KUSTOMIZATION
from image_updater.controller.status import Happening
from image_updater.controller.update.inputs import POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.api.model import ObjectKey
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.daemon.holding import Holding
    from image_updater.pipeline.report import AutomationReport
    from image_updater.policy.situation import Hold


class Holds:
    """Says of each policy what holds it, once `known` is there. `writers`: the automations that write its images."""

    def __init__(self, context: Context, saying: Saying, writers: Callable[[ObjectKey], Iterable[ObjectKey]]) -> None:
        self._context = context
        self._saying = saying
        self._writers = writers
        self.known: Holding | None = None

    def say_all(self) -> None:
        """After a run: what it found may begin or end any hold."""
        for entry in self._context.cache.entries(POLICY).values():
            if not entry.deleting and entry.value is not None and self._context.owns(entry):
                self.say(entry)

    def say(self, entry: Entry) -> None:
        """That nothing holds it is only said when all who write its images have looked."""
        if self.known is None:
            return
        before, now = self._saying.fields(entry).get("hold"), field_of(self.known.of(str(entry.key)))
        if before == now or any(str((each or {}).get("by", "")).startswith(KUSTOMIZATION) for each in (before, now)):
            return
        if now is None and not all(map(self.known.has_run, self._writers(entry.key))):
            return
        self._saying.amend(entry, {"hold": now}, *told(before, now))


def field_of(hold: Hold | None) -> Mapping[str, Any] | None:
    """The hold as status has it; None = there is none."""
    if hold is None:
        return None
    made = {
        "reason": hold.reason,
        "tag": None if hold.until_resume else hold.tag,
        "digest": None if hold.until_resume else hold.digest,
        "by": hold.by or None,
        "since": hold.since,
        "until": hold.until,
    }
    found: Mapping[str, Any] = status_fields("ImagePolicy", {"hold": made})["hold"]
    return found


def told(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterable[Happening]:
    """What an Event says when `status.hold` becomes another one."""
    if now is not None and (before is None or before.get("reason") != now["reason"]):
        yield Happening(reason="HoldBegun", message=_said(now), warning=True)
    elif now is None and before is not None:
        yield Happening(reason="HoldEnded", message=f"no longer {_said(before)}")


def _said(hold: Mapping[str, Any]) -> str:
    """What Git holds says so itself; of a person's word there is the bare reason."""
    reason = str(hold.get("reason") or "no reason given")
    if reason.startswith("held"):
        return reason
    by, until = hold.get("by"), hold.get("until")
    return "held" + (f" by {by}" if by else "") + (f" until {until}" if until else "") + f": {reason}"


def of_automation(report: AutomationReport, before: Mapping[str, Any]) -> Iterable[Happening]:
    """Holds that Git has, and images that cannot be pulled, that the automation's status did not tell of."""
    known = {each.get("reason") for each in before.get("sites") or ()}
    for policy, (tag, missing) in report.missing.items():
        if not any(missing in str(each) for each in known):
            message = f"{policy}: {tag} is not written, as it cannot be pulled: {missing}"
            yield Happening(reason="PreflightFailed", message=message, warning=True)
    for policy, holds in report.holds.items():
        for hold in holds:
            if hold.reason not in known:
                yield Happening(reason="HoldBegun", message=f"{policy}: {hold.reason}", warning=True)
