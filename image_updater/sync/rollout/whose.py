"""Whose failure it is (design section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from image_updater.sync.health.reading import mapping, text
from image_updater.sync.rollout.model import Culprit
from image_updater.sync.rollout.pods import Before, broken_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.sync.rollout.evidence import Evidence, Memory
    from image_updater.sync.rollout.pods import Generations
    from image_updater.sync.rollout.signs import Sign

OTHERS: Final = 2
"""Workloads whose established pods broke on the same nodes meanwhile: then it is not the tag."""

_REVISED: Final = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("batch", "Job"), ("batch", "CronJob")})
"""Kinds that tell a rollout that is under way from one that was complete long ago."""


class Failure(NamedTuple):
    culprit: Culprit
    reason: str
    failing: tuple[str, ...] = ()


def whose(evidence: Evidence, ages: Generations, signs: Sequence[Sign], memory: Memory) -> Failure:
    """`signs` are those that the failure rests on: the ripe ones, or at a deadline all of them."""
    own = [sign for sign in signs if sign.culprit is Culprit.TAG]
    proof = [sign for sign in own if sign.strong]
    environment = [sign for sign in signs if sign.culprit is Culprit.ENVIRONMENT]
    if not proof and environment:
        # What is merely not ready may wait for what is not there.
        return Failure(Culprit.ENVIRONMENT, environment[0].reason)
    if not own:
        return Failure(Culprit.UNKNOWN, signs[0].reason if signs else "", _names(signs))
    blamed = proof or own
    reason, failing = blamed[0].reason, _names(blamed)
    if _others_too(evidence, memory):
        return Failure(Culprit.ENVIRONMENT, f"{reason}; pods of other workloads broke on its nodes meanwhile", failing)
    if ages.before is Before.SICK:
        return Failure(Culprit.UNKNOWN, f"{reason}; the pods before are not healthy either", failing)
    if ages.before is Before.NONE and not proof:
        return Failure(Culprit.UNKNOWN, f"{reason}; no pods before are left to compare with", failing)
    if not memory.ours and (evidence.ref.group, evidence.ref.kind) not in _REVISED:
        return Failure(Culprit.UNKNOWN, f"{reason}; it may have been healthy before", failing)
    return Failure(Culprit.TAG, reason, failing)


def _names(signs: Sequence[Sign]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sign.container for sign in signs if sign.container))


def _others_too(evidence: Evidence, memory: Memory) -> bool:
    mine = frozenset(text(mapping(pod, "metadata"), "uid") for pod in evidence.pods or ())
    return broken_since(evidence.neighbours or (), memory.began, besides=mine) >= OTHERS
