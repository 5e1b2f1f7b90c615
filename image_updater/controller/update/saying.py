"""What was decided last of each policy and automation: the same is not written twice, and a part of it can be said anew
without deciding the rest again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from image_updater.controller.status import Decision, Ready, standing
from image_updater.controller.update import policystatus
from image_updater.controller.update.inputs import POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.api.model import ObjectKey
    from image_updater.controller.cache import Entry
    from image_updater.controller.status import Happening, StatusWriter
    from image_updater.errors import ImageUpdaterError


class Saying:
    """See the module. Used from one event loop."""

    def __init__(self, status: StatusWriter) -> None:
        self._status = status
        self._said: dict[tuple[str, ObjectKey], tuple[str, int, Decision]] = {}
        """By object its uid, generation and the decision that was written last."""

    def last(self, entry: Entry) -> Decision | None:
        """What was said last of this object in this process."""
        said = self._said.get(entry.place)
        return said[2] if said is not None and said[0] == entry.uid else None

    def forget(self, kind: str, key: ObjectKey) -> str | None:
        """It is gone; the uid that it had."""
        said = self._said.pop((kind, key), None)
        return said[0] if said is not None else None

    def fields(self, entry: Entry) -> Mapping[str, Any]:
        """The fields as they are, or will be when what was decided last is written."""
        said = self.last(entry)
        return said.fields if said is not None else policystatus.own_fields(entry.status)

    def write(self, entry: Entry, decision: Decision, error: ImageUpdaterError | None) -> None:
        """Say it, unless it was said."""
        said = self._said.get(entry.place)
        status = self._status.current(entry)
        steady = policystatus.steady(decision.ready, error, status, entry.generation)
        decision = _whole(entry, replace(decision, ready=steady))
        again = replace(decision, handled=None, happened=())
        news = decision.happened or decision.handled not in (None, status.get("lastHandledReconcileAt"))
        if said == (entry.uid, entry.generation, again) and not news:
            return
        self._said[entry.place] = (entry.uid, entry.generation, again)
        self._status.write(entry, decision)

    def repeat(self, entry: Entry, requested: str | None = None) -> Decision:
        """What status says already, with the request handled."""
        said = standing(self._status.current(entry))
        waiting = Ready(state=None, reason="Waiting", message="not looked at yet", reconciling=True)
        return Decision(ready=said or waiting, fields=self.fields(entry), handled=requested)

    # ------------------------------------------------------------------------------------------- a part of it

    def amend(self, entry: Entry, fields: Mapping[str, Any], *happened: Happening) -> None:
        """Let status say these fields beside what it says already; None takes one away."""
        self.write(entry, self._amended(entry, fields, happened), None)

    async def save(self, entry: Entry, fields: Mapping[str, Any], *happened: Happening) -> None:
        """The same, and it is on the server when this returns. Raises what keeps it from being written."""
        decision = _whole(entry, self._amended(entry, fields, happened))
        self._said[entry.place] = (entry.uid, entry.generation, replace(decision, handled=None, happened=()))
        await self._status.save(entry, decision)

    def _amended(self, entry: Entry, fields: Mapping[str, Any], happened: tuple[Happening, ...]) -> Decision:
        known = self.last(entry) or self.repeat(entry)
        merged = {name: value for name, value in {**known.fields, **fields}.items() if value is not None}
        return replace(known, fields=merged, happened=happened)


def _whole(entry: Entry, decision: Decision) -> Decision:
    """A policy whose choice is held says so."""
    if entry.kind != POLICY:
        return decision
    return replace(decision, ready=policystatus.with_hold(decision.ready, decision.fields.get("hold")))
