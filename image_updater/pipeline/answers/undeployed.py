"""Chosen tags that Git does not hold: since when, for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.pipeline.report import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.pipeline.answers.outcome import Outcome

_WAITING = frozenset({State.HELD, State.REFUSED, State.CONFLICT})


class Undeployed:
    """By branch and policy: the tag, and when it was first seen to be missing."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._since: dict[str, dict[str, tuple[str, datetime]]] = {}
        self._settled: dict[str, dict[str, str]] = {}
        """By branch what Git was last known to hold for a policy."""

    def ran(self, branch: str, sites: Iterable[tuple[str, State]], answers: Mapping[str, Outcome]) -> None:
        """A run went through; its sites (policies and states) say what was written."""
        missing: dict[str, str] = {}
        settled: dict[str, str] = {}
        for name, state in sites:
            answer = answers.get(name)
            if answer is None or answer.selection is None:
                continue
            side = missing if state in _WAITING else settled
            side[name] = answer.selection.tag
        self._settled[branch] = {name: tag for name, tag in settled.items() if name not in missing}
        self._keep(branch, missing)

    def failed(self, branch: str, names: Iterable[str], answers: Mapping[str, Outcome]) -> None:
        """A run did not reach Git: what changed since the last one that did is missing there."""
        settled = self._settled.get(branch, {})
        missing = {name: tag for name, (tag, _) in self._since.get(branch, {}).items()}
        for name in names:
            answer = answers.get(name)
            if (
                answer is not None
                and answer.selection is not None
                and settled.get(name, answer.selection.tag) != (answer.selection.tag)
            ):
                missing[name] = answer.selection.tag
        self._keep(branch, missing)

    def _keep(self, branch: str, missing: Mapping[str, str]) -> None:
        now, before = self._clock(), self._since.get(branch, {})
        self._since[branch] = {
            name: before[name] if name in before and before[name][0] == tag else (tag, now)
            for name, tag in missing.items()
        }

    def drop(self, branch: str) -> None:
        self._since.pop(branch, None)
        self._settled.pop(branch, None)

    def count(self) -> int:
        return sum(len(each) for each in list(self._since.values()))

    def oldest(self) -> float:
        """Seconds since the first of them was chosen; 0 when there is none."""
        times = [since for each in list(self._since.values()) for _, since in list(each.values())]
        return max((self._clock() - min(times)).total_seconds(), 0.0) if times else 0.0
