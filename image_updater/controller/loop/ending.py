"""Rollbacks come to their end: the workload is healthy with what it went back to, or Git has gone on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from image_updater.controller.loop import status as loopstatus
from image_updater.pipeline.rollback.decision import IntentState, is_applied
from image_updater.sync.rollout.model import Rollout, RolloutState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.loop.placing import Placing
    from image_updater.controller.loop.retreat import Retreat
    from image_updater.controller.loop.status import Rollback
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.rollback.placements import Placement, Value

_GOOD: Final = (RolloutState.HEALTHY, RolloutState.ROLLED_BACK)


class Ending:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        *,
        placing: Placing,
        retreat: Retreat,
        saying: Saying,
        metrics: LoopMetrics,
        entry: Callable[[str], Entry | None],
    ) -> None:
        self._context = context
        self._placing = placing
        self._together = retreat.together
        self._saying = saying
        self._metrics = metrics
        self._entry = entry

    def look(self, kustomization: ObjectKey, rollout: Rollout, mine: Sequence[Placement]) -> None:
        """A rollback is done when its workload is healthy with what it went back to; it has ended when Git went on."""
        serves = rollout.state in _GOOD and any(is_applied(each, dict(rollout.images)) for each in mine)
        for policy in self._together({each.name for each in mine}):
            entry = self._entry(policy)
            if entry is None:
                continue
            own, every = [each for each in mine if each.name == policy], self._placing.of_policy(policy)
            status = self._context.status.current(entry)
            for place, held in (((str(kustomization), str(rollout.ref)), own or every), (("", ""), every)):
                known = loopstatus.rollback_of(status, place)
                # Somebody asked for what has no place: a member of its group is none of that.
                if known is not None and known.open and (own or place != ("", "")):
                    self._conclude(entry, known, rollout, mine, held, serves=serves)

    def _conclude(
        self,
        entry: Entry,
        known: Rollback,
        rollout: Rollout,
        mine: Sequence[Placement],
        held: Sequence[Placement],
        *,
        serves: bool,
    ) -> None:
        """`held`: the places of its policy that it is about."""
        pushed = known.state is IntentState.PUSHED
        gone = bool(held) and not _holds(held, known.bad)
        back = _holds(held, known.to) if known.to is not None else gone and pushed
        if not pushed and serves and _holds(mine, known.bad):
            state, text = IntentState.ENDED, f"{rollout.ref} is healthy with {known.bad}"
        elif back and serves:
            now = known.to or ", ".join(str(each.value) for each in mine)
            state, text = IntentState.DONE, f"{rollout.ref} is healthy with {now}"
        elif gone and not back and (pushed or serves):
            state, text = IntentState.ENDED, f"Git holds {', '.join(str(each.value) for each in held)} by now"
        else:
            return
        ended = replace(known, state=state, message=text)
        self._saying.amend(entry, loopstatus.rollback_fields(ended, self._saying.fields(entry)))
        self._metrics.rollbacks.labels(str(state).lower()).inc()


def _holds(placed: Sequence[Placement], value: Value | None) -> bool:
    return value is not None and any(each.value.is_of(value) for each in placed)
