"""Moves that are planned, and not made now: closed windows, a canary under way, a group of which one cannot move, an
image that cannot be pulled yet. Each keeps a site as it is (`held`), with the reason, until its own end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from image_updater.errors import ImageUpdaterError
from image_updater.patch.decisions import State
from image_updater.policy.gates.windows import opening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImageUpdateAutomation
    from image_updater.patch.decisions import Choice, Decision
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.rollback.placements import Placement

AGAIN: Final = timedelta(minutes=1)
"""When an image that cannot be pulled is looked for again, at the latest."""

_STUCK: Final = (State.HELD, State.REFUSED, State.CONFLICT)


class Busy(Protocol):
    """Who knows what is being rolled out."""

    def __call__(self, placed: Sequence[Placement]) -> Mapping[str, str]:
        """By site, why it should not be moved right now (`the canary of apps/web is at work: it is being analysed`).
        `placed`: what the sites that are to be moved render now, as this run found it, whatever earlier ones knew.
        """


@dataclass(slots=True, kw_only=True)
class Kept:
    """`sites`: (site id, policy) → why it is not moved now. `until`: when that may be over by itself."""

    selector: Selector
    automation: ImageUpdateAutomation
    busy: Busy | None = None
    placed: Callable[[], Iterable[Placement]] = tuple
    """All that the run's policies claim, with what the tree holds."""
    sites: dict[tuple[str, str], str] = field(default_factory=dict)
    until: datetime | None = None
    failures: dict[str, ImageUpdaterError] = field(default_factory=dict)
    """By policy: the registry could not say whether an image is there."""
    missing: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By policy the tag whose image, or a part of it, the registry does not have, and what is not there."""

    def learn(self, decisions: Iterable[Decision], choices: Mapping[str, Choice]) -> bool:
        """What is known without asking anybody; True when some planned move is kept back that was not."""
        moving = [(each, each.policy) for each in decisions if each.changes and each.policy is not None]
        found = self._closed(moving) or self._under_way(moving) or self._grouped(decisions, choices)
        self.sites |= found
        return bool(found)

    async def pulled(self, decisions: Iterable[Decision], choices: Mapping[str, Choice]) -> bool:
        """Ask for what is to be written (of the policies in `choices`); True when some of it is not there."""
        moving = [
            (each, each.policy)
            for each in decisions
            if each.changes and each.policy is not None and each.policy in choices
        ]
        names = list(dict.fromkeys(policy for _, policy in moving))
        answers = await asyncio.gather(*(self._missing(choices[name]) for name in names))
        reasons = dict(zip(names, answers, strict=True))
        found: dict[tuple[str, str], str] = {}
        for decision, policy in moving:
            reason = reasons[policy]
            if isinstance(reason, ImageUpdaterError):
                self.failures[policy] = reason
                found[decision.site.id, policy] = f"not decided now, whether it can be pulled: {reason}"
            elif reason is not None:
                selection = choices[policy].selection
                self.missing[policy] = (selection.tag if selection is not None else "", reason)
                found[decision.site.id, policy] = f"{reason}; it is asked again at the next look"
        if found:
            self._later(self.selector.now() + AGAIN)
            self.sites |= found
        return bool(found)

    async def _missing(self, choice: Choice) -> str | ImageUpdaterError | None:
        assert choice.selection is not None
        try:
            return await self.selector.missing(choice.policy, choice.selection)
        except ImageUpdaterError as error:
            return error

    def _closed(self, moving: Iterable[tuple[Decision, str]]) -> dict[tuple[str, str], str]:
        found = opening(self.automation.windows, self.selector.now())
        if found.open:
            return {}
        held = {(each.site.id, policy): f"{found.reason} ({self.automation.key})" for each, policy in moving}
        if held:
            self._later(found.until)
        return held

    def _under_way(self, moving: Iterable[tuple[Decision, str]]) -> dict[tuple[str, str], str]:
        places = [(each.site.id, policy) for each, policy in moving]
        if self.busy is None or not places:
            return {}
        sites = {site for site, _ in places}
        reasons = self.busy([each for each in self.placed() if each.site in sites])
        return {place: reasons[place[0]] for place in places if place[0] in reasons}

    def _grouped(self, decisions: Iterable[Decision], choices: Mapping[str, Choice]) -> dict[tuple[str, str], str]:
        """All of a group, or none: where one member's site is stuck, or members have chosen apart, the others stay."""
        groups: dict[tuple[str, str], list[Decision]] = {}
        for decision in decisions:
            choice = choices.get(decision.policy) if decision.policy is not None else None
            if choice is not None and choice.policy.group is not None:
                key = (choice.policy.key.namespace, choice.policy.group)
                groups.setdefault(key, []).append(decision)
        found: dict[tuple[str, str], str] = {}
        for (_, group), rows in groups.items():
            stuck = next((each for each in rows if each.state in _STUCK), None)
            why = _apart(rows, choices)
            if stuck is not None:
                why = f"{stuck.policy} cannot move in {stuck.site.file}:{stuck.site.line}: {stuck.reason}"
            if why:
                found |= {
                    (each.site.id, each.policy): f"group {group} moves together, and {why}"
                    for each in rows
                    if each.changes and each.policy is not None
                }
        return found

    def _later(self, moment: datetime | None) -> None:
        if moment is not None:
            self.until = moment if self.until is None else min(self.until, moment)


def _apart(rows: Iterable[Decision], choices: Mapping[str, Choice]) -> str:
    """Which members would take which tags, where that is not one tag: each was judged at another moment."""
    chosen = {
        each.policy: selection.tag
        for each in rows
        if each.policy is not None and (selection := choices[each.policy].selection) is not None
    }
    if len(set(chosen.values())) < 2:
        return ""
    return "its members have chosen apart: " + ", ".join(f"{name} {tag}" for name, tag in sorted(chosen.items()))
