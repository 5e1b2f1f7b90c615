"""The gates of Flagger's Canaries, from what the image half knows: may this revision go out now?

Asked is about the images of the Canary's target that our policies claim, with the value that Git holds of each. Windows
(of policy and automation), freezes, holds and the breaker close `confirm-rollout` and `confirm-promotion`, and so does
what bars the value itself: a quarantine, a denial, a signature that does not count. A value that was proven before is
only stopped by a freeze or by what bars it: going back must be possible at night. `rollback` opens when somebody took
the value back. What cannot be known holds, and rolls nothing back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from image_updater.cluster.model import Resource
from image_updater.controller.loop.status import value_of
from image_updater.errors import ImageUpdaterError
from image_updater.images import Digest, parse_name
from image_updater.pipeline.rollback.placements import of_object
from image_updater.policy.gates.blocked import Blocked, GateName
from image_updater.policy.gates.gathered import gather
from image_updater.policy.gates.people import denial
from image_updater.policy.gates.quarantines import bars, reason
from image_updater.policy.gates.windows import opening
from image_updater.policy.gating import said
from image_updater.policy.model import Fate, TagFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, ObjectKey
    from image_updater.cluster import Cluster
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.daemon.daemon import Daemon
    from image_updater.pipeline.report import UpdateReport
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.policy.model import Verified

CANARIES: Final = Resource(group="flagger.app", version="v1beta1", kind="Canary", plural="canaries", namespaced=True)
_WIDE = frozenset({GateName.FREEZE, GateName.WINDOWS, GateName.HOLD, GateName.BREAKER})
"""Of what stops a policy: the rest is about the choice of a tag, which was made."""
_OWN = frozenset({GateName.QUARANTINE, GateName.DENY, GateName.VERIFY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the image half knows while it leads."""

    situations: Situations
    answers: Callable[[], Mapping[str, Outcome]]
    automations: Callable[[], Iterable[ImageUpdateAutomation]]
    verified: Callable[[ImagePolicy, str, Digest | None], Awaitable[Verified | None]]
    """What the signatures of a tag (with a digest: of that) are worth, asked for where it is not known."""
    released: Callable[[ObjectKey], None]
    """Look at the branch of this automation: what it waited for has ended."""

    @classmethod
    def of(cls, daemon: Daemon, selector: Selector) -> Knowledge:
        return cls(
            situations=selector.situations,
            answers=lambda: selector.answers,
            automations=lambda: daemon.objects.automations,
            verified=selector.verified,
            released=daemon.released,
        )


class Gatekeeper:
    """`web.flagger.FlaggerGate`, for the controller. Used from one event loop."""

    def __init__(
        self,
        *,
        cluster: Callable[[], Cluster | None],
        clock: Callable[[], datetime],
        leader: Callable[[], str] = lambda: "",
        shard: str = "",
    ) -> None:
        """`leader`: where the replica answers that leads, if that is another one. `shard`: the selector of the objects
        that are worked on here; "" = all.
        """
        self._cluster = cluster
        self._clock = clock
        self._leader = leader
        self._shard = shard
        self._knowledge: Knowledge | None = None
        self._placed: dict[ObjectKey, tuple[Placement, ...]] = {}

    # ------------------------------------------------------------------------------------------------- what is known

    def begin(self, knowledge: Knowledge) -> None:
        """The image half works now."""
        self._knowledge = knowledge

    def end(self) -> None:
        self._knowledge = None
        self._placed.clear()

    def ran(self, report: UpdateReport, automations: Iterable[ObjectKey]) -> None:
        """The line ran over a branch: where its policies have their hands on."""
        for key in automations:
            part = report.automations.get(str(key))
            if part is not None and (part.error is None or part.placements):
                self._placed[key] = part.placements

    # ------------------------------------------------------------------------------------------------- asked

    def elsewhere(self) -> str:
        return self._leader() if self._knowledge is None else ""

    async def decide(
        self, namespace: str, canary: str, kind: str, checksum: str, metadata: Mapping[str, str]
    ) -> tuple[bool, str]:
        knowledge = self._knowledge
        if knowledge is None:
            return False, "this replica does not lead, and knows nothing of policies"
        found = await self._claimed(namespace, canary)
        if isinstance(found, str):
            return False, found
        automations = {each.key: each for each in knowledge.automations()}
        placed = [each for each in found if each.automation in automations]
        if not placed:
            nobody = "no policy claims an image of its target"
            works = (key for key, each in automations.items() if not each.suspend)
            unread = next((key for key in works if key not in self._placed), None)
            if unread is not None:
                return False, f"{nobody}, as far as is known: ImageUpdateAutomation {unread} was not read yet"
            if self._shard:
                return False, f"{nobody} in the shard {self._shard}: ask the Service of the shard that has them"
            return kind != "rollback", nobody
        if kind == "rollback":
            return self._taken_back(knowledge, placed)
        stops = [why for each in placed if (why := await self._stops(knowledge, each, automations[each.automation]))]
        if stops:
            return False, "; ".join(dict.fromkeys(stops))
        values = ", ".join(dict.fromkeys(f"{each.image}:{each.value}" for each in placed))
        return True, f"nothing holds {values}"

    async def heard(self, namespace: str, canary: str, kind: str, phase: str) -> None:
        """What waited for this canary is looked at now. Its verdict comes by the watch on it."""
        knowledge = self._knowledge
        if knowledge is None:
            return
        found = await self._claimed(namespace, canary)
        if not isinstance(found, str):
            for key in sorted({each.automation for each in found}):
                knowledge.released(key)

    async def _claimed(self, namespace: str, canary: str) -> Sequence[Placement] | str:
        """What policies claim of the target; else why that cannot be said."""
        cluster = self._cluster()
        if cluster is None:
            return "there is no connection to the cluster yet"
        try:
            body = await cluster.get(CANARIES, canary, namespace)
        except ImageUpdaterError as error:
            return f"Canary {namespace}/{canary} cannot be read: {error.message}"
        if body is None:
            return f"there is no Canary {namespace}/{canary}"
        target = (body.get("spec") or {}).get("targetRef") or {}
        group = str(target.get("apiVersion") or "").rpartition("/")[0]
        return of_object(
            (each for placed in self._placed.values() for each in placed),
            group=group,
            kind=str(target.get("kind") or ""),
            namespace=namespace,
            name=str(target.get("name") or ""),
        )

    # ------------------------------------------------------------------------------------------------- judged

    async def _stops(self, knowledge: Knowledge, placement: Placement, automation: ImageUpdateAutomation) -> str:
        """Why this image may not go out now; '' = it may."""
        outcome, now = knowledge.answers().get(placement.name), self._clock()
        if outcome is None or outcome.compiled is None:
            return f"{placement.name}: there is no answer yet"
        situation = knowledge.situations.of(outcome.spec)
        facts = outcome.facts
        gates = gather(outcome.compiled, facts, situation, now)
        wide = [blocked for blocked in gates.wide if blocked.gate in _WIDE]
        window = opening(automation.windows, now)
        if not window.open:
            reason = f"{window.reason} (of ImageUpdateAutomation {automation.key})"
            wide.append(Blocked(gate=GateName.WINDOWS, reason=reason))
        tag = placement.value.tag
        if tag is not None and self._proven(knowledge, placement):
            wide = [blocked for blocked in wide if blocked.gate is GateName.FREEZE]
        known = _known(facts, placement)
        if tag is not None and outcome.spec.verify is not None:
            # Git's tag need not be one that we chose.
            digest = Digest(placement.value.digest) if placement.value.digest is not None else None
            try:
                known = replace(known or TagFacts(), verified=await knowledge.verified(outcome.spec, tag, digest))
            except ImageUpdaterError as error:
                return f"{placement.name}: the signatures of {tag} cannot be checked: {error.message}"
        own = () if tag is None else gates.blocks(tag, known)
        bad = [blocked for blocked in own if blocked.gate in _OWN or blocked.fate is Fate.REJECTED]
        texts = [said(wide)] if wide else []
        texts += [f"{tag} is {said(bad)}"] if bad else []
        return f"{placement.name}: {'; '.join(texts)}" if texts else ""

    def _taken_back(self, knowledge: Knowledge, placed: Iterable[Placement]) -> tuple[bool, str]:
        now = self._clock()
        for each in placed:
            outcome = knowledge.answers().get(each.name)
            if outcome is None:
                continue
            situation, value = knowledge.situations.of(outcome.spec), each.value
            entry = bars(situation.quarantined, parse_name(each.image), value.tag, value.digest, now)
            if entry is not None:
                return True, f"{each.name}: {value} is {reason(entry, value.tag, now)}"
            denied = next((wish for wish in situation.denied if wish.what in (value.tag, value.digest)), None)
            if denied is not None:
                return True, f"{each.name}: {value} is {denial(denied)}"
        return False, "nobody took it back"

    @staticmethod
    def _proven(knowledge: Knowledge, placement: Placement) -> bool:
        return any(
            each.withdrawn is None and value_of(each).is_of(placement.value)
            for each in knowledge.situations.proven_by(placement.name)
        )


def _known(facts: Mapping[str, TagFacts], placement: Placement) -> TagFacts | None:
    """What is known of the bytes that Git names: a tag may have others by now."""
    value = placement.value
    known = facts.get(value.tag or "")
    if value.digest is None or (known is not None and known.digest == value.digest):
        return known
    return replace(known or TagFacts(), digest=Digest(value.digest), verified=None, platforms=None, bytes_seen=None)
