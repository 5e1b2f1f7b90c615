"""Where Events of a policy go: to its object; of an annotation's policy, which has none, to the automation that found
it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.controller.update.inputs import AUTOMATION
from image_updater.pipeline.answers.outcome import ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.status import Happening
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.selection import Selector


class Telling:
    """See the module. `entry`: the object of a policy that is ours to write."""

    def __init__(
        self, context: Context, *, saying: Saying, selector: Selector, entry: Callable[[str], Entry | None]
    ) -> None:
        self._context = context
        self._saying = saying
        self._selector = selector
        self._entry = entry

    def say(self, policy: str, happened: Happening) -> None:
        entry = self._entry(policy)
        if entry is None and policy.startswith(ANNOTATION):
            entry, happened = self._automation(policy), replace(happened, message=f"{policy}: {happened.message}")
        if entry is not None:
            self._saying.amend(entry, {}, happened)

    def _automation(self, policy: str) -> Entry | None:
        outcome = self._selector.answers.get(policy)
        key = outcome.spec.found_by if outcome is not None else None
        entry = self._context.cache.get(AUTOMATION, key) if key is not None else None
        return entry if entry is not None and not entry.deleting and self._context.owns(entry) else None
