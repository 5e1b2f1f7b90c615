"""What may stand where something has failed: values of a policy's image, the bytes that they have, and what bars them.

What is bad by its bytes is bad under every tag: where some are quarantined by digest, a value counts only with its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import DigestReflection
from image_updater.errors import ImageUpdaterError
from image_updater.images import parse_name
from image_updater.pipeline.rollback.placements import Value
from image_updater.policy.gating import bars
from image_updater.policy.situation import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.controller.loop.proving import Proving
    from image_updater.git import History
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.policy.situation import Proven, Quarantined, Situation


class Values:
    """See the module. Policies are named as answers name them; one that is not known bars nothing."""

    def __init__(self, *, selector: Selector, proving: Proving, clock: Callable[[], datetime]) -> None:
        self._selector = selector
        self._situations = selector.situations
        self._proving = proving
        self._clock = clock

    def spec(self, name: str) -> ImagePolicy | None:
        outcome = self._selector.answers.get(name)
        return outcome.spec if outcome is not None else None

    def failed_since(self, name: str, last: Proven | None, history: History) -> tuple[Value, ...]:
        """What failed since something was proven last."""
        spec = self.spec(name)
        if spec is None:
            return ()
        return tuple(
            Value(each.tag, each.digest)
            for each in self._situations.of(spec).quarantined
            if each.origin is not Origin.PERSON and (last is None or _is_since(each, last, history))
        )

    async def ask(self, name: str, values: Iterable[Value]) -> None:
        """Have the registry asked which bytes these have, where that matters and is not known."""
        spec = self.spec(name)
        if spec is None or not _is_by_bytes(self._situations.of(spec)):
            return
        for tag in sorted({each.tag for each in values if each.tag and self.digest(name, each) is None}):
            await self._selector.hint(parse_name(spec.image), tag, [spec])

    def fits(self, name: str, value: Value) -> bool:
        """May it stand? Not while nobody says that its bytes are not the bad ones."""
        spec = self.spec(name)
        if spec is None:
            return True
        return not (_is_by_bytes(self._situations.of(spec)) and self.digest(name, value) is None) and self.is_free(
            name, value
        )

    def is_free(self, name: str, value: Value) -> bool:
        """Is it barred by nothing, as far as is known?"""
        spec = self.spec(name)
        if spec is None:
            return True
        situation, digest = self._situations.of(spec), self.digest(name, value)
        denied = {*(each.what for each in situation.denied), *spec.deny}
        image = parse_name(spec.image)
        return (
            not {value.tag, digest} & denied
            and bars(situation.quarantined, image, value.tag, digest, self._clock()) is None
        )

    def digest(self, name: str, value: Value) -> str | None:
        """The bytes of a tag, as they were when it was chosen; else as they are known now."""
        if value.digest is not None or value.tag is None:
            return value.digest
        spec = self.spec(name)
        return self._proving.digest_of(name, value) or (self.seen(spec, value.tag) if spec else None)

    def seen(self, spec: ImagePolicy, tag: str) -> str | None:
        """What the registry was seen to hold under it last."""
        try:
            source = self._selector.source(spec)
        except ImageUpdaterError:
            return None  # its Secret is gone: nobody can be asked
        return self._selector.store.tag_digests(source.repository, source.identity, [tag]).get(tag)

    def with_digest(self, name: str, value: Value | None) -> Value | None:
        """As the policy has it written."""
        spec = self.spec(name)
        if value is None or value.digest is not None or spec is None or spec.reflection is DigestReflection.NEVER:
            return value
        return Value(value.tag, self.digest(name, value))


def _is_by_bytes(situation: Situation) -> bool:
    return any(each.digest for each in situation.quarantined)


def _is_since(bad: Quarantined, last: Proven, history: History) -> bool:
    """Did it fail after that was proven? Git's times are whole seconds: within one, what was made on what tells."""
    second = last.at.replace(microsecond=0)
    if bad.since is None or bad.since.replace(microsecond=0) != second:
        return bad.since is None or bad.since > second
    kind, _, commit = bad.source.partition(" ")
    if kind != "commit":
        return bad.since > last.at
    return not history.follows(str(last.revision).rpartition(":")[2], commit)
