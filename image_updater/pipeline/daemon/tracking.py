"""How far each tag came, and where policies have their hands: heard from the daemon before it goes on to its observer.

`seen`, `eligible` and `committed` are noted here, for `run` as for the controller; what becomes of a tag in a cluster
is noted by who sees the cluster.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from image_updater.images import parse_name
from image_updater.patch.decisions import State
from image_updater.pipeline.rollback.reverting import Reverting
from image_updater.store.model import EVERYWHERE, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.daemon.observing import Observer
    from image_updater.pipeline.report import AutomationReport, CommitReport, UpdateReport
    from image_updater.pipeline.rollback.evidence import Taking
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.pipeline.rollback.reverting import Answer


class Tracking:
    """The daemon's `Observer`, which tells another one."""

    def __init__(
        self,
        observer: Observer,
        *,
        selector: Selector,
        clock: Callable[[], datetime],
        take_back: Callable[[ObjectKey, Taking], Awaitable[AutomationReport]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._observer = observer
        self._selector = selector
        self._store = selector.store
        self._clock = clock
        situations = selector.situations
        self.reverting = Reverting(
            situations=situations,
            answers=lambda: selector.answers,
            proven=lambda name: situations.proven_by(name) or self._store.proven(name),
            take_back=take_back,
            clock=clock,
            sleep=sleep,
            digests=self._digests,
            told=self.reverted,
            handled=self.handled,
            forbids=self.forbids,
        )

    async def close(self) -> None:
        await self.reverting.close()

    async def _digests(self, policy: ImagePolicy, tags: Iterable[str]) -> Mapping[str, str]:
        """The bytes that these tags have now; without those that the registry does not tell."""
        asked, image = sorted(tags), parse_name(policy.image)
        for tag in asked:
            await self._selector.hint(image, tag, [policy])
        source = self._selector.source(policy)
        return self._store.tag_digests(source.repository, source.identity, asked)

    # ------------------------------------------------------------------------------------------------- the observer

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        for name, outcome in outcomes.items():
            self._eligible(name, outcome)
        self._observer.answered(outcomes)
        self.reverting.consider(outcomes)

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        if report is not None:
            for part in report.automations.values():
                self._committed(part)
            self.reverting.ran(report, [each.key for each in branch.automations])
        self._observer.updated(branch, report, error)

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        self._observer.refused(automations)

    def pushed(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        self._observer.pushed(branch, automation, commit)

    def reverted(self, answer: Answer) -> None:
        self._observer.reverted(answer)

    def handled(self, policy: str) -> datetime | None:
        return self._observer.handled(policy)

    def forbids(self, placed: Sequence[Placement]) -> str | None:
        return self._observer.forbids(placed)

    # ------------------------------------------------------------------------------------------------- milestones

    def _eligible(self, name: str, outcome: Outcome) -> None:
        """What was chosen could be written from now on; when it was pushed and first seen is known by now."""
        chosen = outcome.selection
        if chosen is None or outcome.error is not None or outcome.listing is None:
            return
        facts = outcome.facts.get(chosen.tag)
        digest = chosen.digest or (facts.digest if facts is not None else None)
        first = self._selector.first_seen(outcome).get(chosen.tag)
        moments = {Stage.PUSHED: facts.pushed if facts is not None else None, Stage.SEEN: first}
        for stage, at in moments.items():
            if at is not None:
                self._store.note_milestone(name, EVERYWHERE, chosen.tag, digest, stage, at)
        self._store.note_milestone(name, EVERYWHERE, chosen.tag, digest, Stage.ELIGIBLE, self._clock())

    def _committed(self, part: AutomationReport) -> None:
        commit = part.commit
        if commit is None or commit.stood:
            return
        moved = {site.policy for site in part.sites if site.state is State.UPDATED}
        values = {(each.name, each.value) for each in part.placements if each.policy in moved and each.value.tag}
        now = self._clock()
        for name, value in values:
            assert value.tag is not None
            self._store.note_milestone(
                name, EVERYWHERE, value.tag, value.digest, Stage.COMMITTED, now, commit=commit.commit
            )
