"""What goes back when a person asks for it, and to what: the places of a policy and of its group, and their target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import DigestReflection
from image_updater.errors import ImageUpdaterError, SpecError, Waiting
from image_updater.images import is_tag
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.people.despite import despite
from image_updater.pipeline.rollback.decision import Author, Back
from image_updater.pipeline.rollback.evidence import written
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.pipeline.rollback.waysback import digest_of, way_back
from image_updater.policy.gating import may_roll_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.rollback.decision import Written
    from image_updater.pipeline.rollback.evidence import Ground, Key
    from image_updater.policy.situation import Proven


class NotNow(Waiting):
    """A Freeze, or what is not known yet, keeps it from being done now: it is tried again."""

    reason = "RollbackRefused"


class Aims:
    """See the module. Arguments as those of Reverting."""

    def __init__(
        self,
        *,
        situations: Situations,
        answers: Callable[[], Mapping[str, Outcome]],
        proven: Callable[[str], Sequence[Proven]],
        clock: Callable[[], datetime],
        digests: Callable[[ImagePolicy, Iterable[str]], Awaitable[Mapping[str, str]]],
        forbids: Callable[[Sequence[Placement]], str | None],
    ) -> None:
        self._situations = situations
        self._answers = answers
        self._proven = proven
        self._clock = clock
        self._digests = digests
        self._forbids = forbids

    async def meant(self, ground: Ground, name: str) -> list[Placement]:
        """All places of the policy that this automation sets. Raises NotNow."""
        found = [
            each
            for each in await ground.found()
            if each.automation == ground.automation.key and _same_policy(each, name, ground)
        ]
        forbidden = self._forbids(found)
        if forbidden is not None:
            raise NotNow(forbidden)
        return found

    def check(self, outcome: Outcome, to: str | None) -> None:
        """Raises NotNow, and SpecError for a tag that nobody can go to."""
        assert outcome.compiled is not None
        stopped = may_roll_back(outcome.compiled, self._situations.of(outcome.spec), self._clock(), by_person=True)
        if stopped is not None:
            raise NotNow(stopped)
        listing = outcome.listing
        if to is not None and (not is_tag(to) or (listing is not None and to not in listing)):
            raise SpecError(f"{outcome.spec.image} has no tag {to}", remedy="name a tag that the registry has")

    def against(self, outcome: Outcome, to: str | None) -> tuple[str, ...]:
        """What speaks against the tag that somebody asks for: it is done, and said."""
        if to is None:
            return ()
        spec = outcome.spec
        return despite(
            spec.image,
            to,
            digest=digest_of(outcome, to),
            quarantined=self._situations.of(spec).quarantined,
            denied=self._situations.wishes(spec).denied,
            deny=spec.deny,
            now=self._clock(),
        )

    async def target(
        self, outcome: Outcome, meant: Sequence[Placement], known: Mapping[Key, Written], to: str | None
    ) -> Value:
        """Where they go: the tag that was named, else down, to what is known to be good. Raises NotNow."""
        spec = outcome.spec
        proven = self._proven(policy_name(spec))
        if to is not None:
            digest = next((each.digest for each in proven if each.tag == to and each.digest), None)
            return Value(to, digest or (digest_of(outcome, to) if _writes_digest(spec) else None))
        found = await way_back(
            outcome,
            meant,
            known,
            proven=proven,
            situation=self._situations.of(spec),
            now=self._clock(),
            digests=self._digests,
        )
        if found is None:
            raise NotNow(
                f"nothing is known that {spec.image} could go back to",
                remedy="name a tag: `image-updater rollback POLICY --to TAG`",
            )
        if _writes_digest(spec) and found.digest is None:
            return Value(found.tag, digest_of(outcome, found.tag))
        return found

    async def members(self, ground: Ground, spec: ImagePolicy, meant: Sequence[Placement], to: Value) -> list[Back]:
        """The other members of its group that hold the same tag, by our own hand: what moves together goes back
        together, to the same tag. Raises NotNow where one may not.
        """
        tags = {each.value.tag for each in meant} - {None, to.tag}
        group = self._situations.groups.get((spec.key.namespace, spec.group or ""), frozenset())
        found: list[Back] = []
        for name in sorted(group - {policy_name(spec)}):
            outcome = self._answers().get(name)
            places = [each for each in await self.meant(ground, name) if each.value.tag in tags]
            known = await written(ground, places)
            places = [each for each in places if known[each.key].author is Author.OURS]
            if not places or to.tag is None:
                continue
            why = "it has no answer" if outcome is None else self._bars(outcome, to.tag)
            if outcome is None or why:
                raise NotNow(f"its group goes back together, and {name} may not go to {to.tag}: {why}")
            digest = digest_of(outcome, to.tag) if _writes_digest(outcome.spec) else None
            found += backs(places, Value(to.tag, digest))
        return found

    def _bars(self, outcome: Outcome, to: str) -> str:
        """Why a member of a group may not go to a tag; "" where it may."""
        try:
            self.check(outcome, to)
        except ImageUpdaterError as error:
            return error.message
        return "; ".join(f"{to} is {each}" for each in self.against(outcome, to))


def backs(meant: Sequence[Placement], to: Value, *, bad: Value | None = None) -> Iterator[Back]:
    """One for each image of these places."""
    for policy, image in dict.fromkeys((each.policy, each.image) for each in meant):
        places = frozenset(each.key for each in meant if (each.policy, each.image) == (policy, image))
        yield Back(policy=policy, image=image, to=to, bad=bad, places=places)


def _same_policy(placement: Placement, name: str, ground: Ground) -> bool:
    """An annotation's policy is known by its automation, too, once the controller has found its pull secrets."""
    return name in (placement.name, f"{placement.name} ({ground.automation.key})")


def _writes_digest(spec: ImagePolicy) -> bool:
    return spec.reflection is not DigestReflection.NEVER
