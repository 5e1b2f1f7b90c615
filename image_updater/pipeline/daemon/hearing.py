"""What the daemon has heard of each policy: what is new of an answer goes to the log and to the observer, once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.daemon.observing import Observer

log = logging.getLogger("image_updater.run")


class Heard:
    """The last answer of each policy, whoever asked for it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._last: dict[str, Outcome] = {}
        self._failed: dict[str, str | None] = {}
        """Why each policy's last check failed: said once, not at every poll."""

    def tell(self, outcomes: Mapping[str, Outcome], *, restored: bool = False) -> set[str]:
        """To the log (what was only remembered is no news there) and the observer; who chooses something else."""
        changed: set[str] = set()
        told: dict[str, Outcome] = {}
        for name, outcome in outcomes.items():
            old = self._last.get(name)
            self._last[name] = outcome
            failed = outcome.error.reason if outcome.error is not None else None
            newly = failed is not None and failed != self._failed.get(name)
            self._failed[name] = failed
            moved = _answer(outcome) != _answer(old)
            if moved:
                changed.add(name)
            if newly or (moved and not restored):
                level = logging.WARNING if outcome.error is not None else logging.INFO
                chosen = outcome.selection.tag if outcome.selection is not None else "nothing"
                log.log(level, "%s: %s: %s", name, chosen, outcome.reason, extra={"policy": name, "chosen": chosen})
            if moved or newly or old is None or _said(outcome) != _said(old):
                told[name] = outcome
        if told:
            self._observer.answered(told)
        return changed

    def forget(self, names: Iterable[str]) -> None:
        """These policies are no more."""
        for name in names:
            self._last.pop(name, None)
            self._failed.pop(name, None)


def _answer(outcome: Outcome | None) -> tuple[object, ...]:
    """What a change of the answer is measured by."""
    if outcome is None:
        return (None,)
    if outcome.selection is None:
        return (outcome.error is None, None)
    return (True, outcome.selection.tag, outcome.selection.digest)


def _said(outcome: Outcome) -> tuple[object, ...]:
    """What a reader may see of an answer; equal ones are no news."""
    return (id(outcome.spec), id(outcome.judgement), outcome.reason, outcome.notes)
