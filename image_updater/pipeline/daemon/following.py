"""Which policies are polled, and together with which: one list serves all that look at an image as the same identity.

Policies that cannot be polled (a range that is none) have an answer that says so, and no place in the schedule. One
whose Secret is missing has a place of its own: the Secret may come.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from image_updater.images import canonical
from image_updater.pipeline.answers.outcome import policy_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from image_updater.api.model import ImagePolicy, ObjectKey
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.daemon.scheduler import Schedule

Group = tuple[str, str]
"""Canonical image name and identity: one list."""


def differing(
    known: Mapping[ObjectKey, ImagePolicy], policies: Iterable[ImagePolicy]
) -> dict[ObjectKey, ImagePolicy | None]:
    """The policies that are not as they were; None for those that are gone."""
    present = {policy.key: policy for policy in policies}
    changed = {key: policy for key, policy in present.items() if known.get(key) != policy}
    return {**changed, **dict.fromkeys(known.keys() - present)}


class Following:
    """The policies of a daemon by name, and when their lists are due."""

    def __init__(
        self,
        selector: Selector,
        polls: Schedule[Group],
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._selector = selector
        self._polls = polls
        self._clock = clock
        self._monotonic = monotonic
        self._specs: dict[str, ImagePolicy] = {}
        self._places: dict[str, Group] = {}
        self._groups: dict[Group, dict[str, ImagePolicy]] = {}
        self._images: dict[str, set[Group]] = {}
        self.unasked: set[str] = set()
        """Names that are due at once and were not checked yet."""
        self._left: set[Group] = set()
        """Groups that somebody left, and that may be empty now."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    @property
    def names(self) -> Iterable[str]:
        """Those that have a place in the schedule."""
        return self._places.keys()

    def members(self, group: Group) -> tuple[ImagePolicy, ...]:
        """The policies that share a list; () when it is followed no more."""
        return tuple(self._groups.get(group, {}).values())

    def spec(self, name: str) -> ImagePolicy | None:
        """The policy of this name, as it is followed."""
        return self._specs.get(name)

    def group(self, name: str) -> Group | None:
        return self._places.get(name)

    def has(self, image: str) -> bool:
        """Does anybody look at the image of this canonical name?"""
        return image in self._images

    def of_image(self, image: str) -> list[ImagePolicy]:
        return [member for group in self._images.get(image, ()) for member in self._groups[group].values()]

    async def follow(self, policies: Iterable[ImagePolicy]) -> dict[str, Outcome]:
        """Follow these too, or as they are now; the answers that could be had without asking anybody.

        What is new is due at once, unless the store has an answer younger than its interval. What was edited is due at
        once.
        """
        new: list[ImagePolicy] = []
        edited: set[str] = set()
        touched: dict[Group, None] = {}
        for policy in policies:
            name = policy_name(policy)
            known = self._specs.get(name)
            if known is policy or known == policy:
                continue
            if policy.suspend:
                self._drop([name])
                continue
            if known is not None:
                self._leave(name)
            self._specs[name] = policy
            group = self._group(name, policy)
            if group is not None:
                self._places[name] = group
                self._groups.setdefault(group, {})[name] = policy
                self._images.setdefault(group[0], set()).add(group)
                touched[group] = None
            answer = self._selector.answers.get(name)
            if group is None or answer is None or (known is None and answer.spec != policy):
                new.append(policy)
            elif known is not None:
                edited.add(name)
        self._release()
        restored = await self._selector.restore(new)
        for group in touched:
            self._put(group, restored, edited)
        return restored

    def _put(self, group: Group, restored: Mapping[str, Outcome], edited: set[str]) -> None:
        members = self._groups.get(group)
        if members is None:
            return
        now = self._monotonic()
        interval = min(member.interval for member in members.values()).total_seconds()
        ages = [self._age(restored[name]) for name in members if name in restored]
        fresh = [age for age in ages if age is not None]
        if len(fresh) < len(ages) or not edited.isdisjoint(members):
            wait = 0.0
        else:
            wait = max(0.0, interval - max(fresh)) if fresh else interval
        self._polls.put(group, interval=interval, due=now + wait)
        if wait == 0:
            self._polls.hurry(group, now)
            self.unasked.update(members.keys() & (restored.keys() | edited))

    def _group(self, name: str, policy: ImagePolicy) -> Group | None:
        # Whatever else is wrong, with the policy or with us, is told by its answer, and ends the following of no other.
        try:
            self._selector.compile(policy)
        except Exception:
            return None
        try:
            return self._selector.source(policy).key
        except Exception:
            return canonical(policy.image) or policy.image, f"?{name}"

    def _age(self, outcome: Outcome) -> float | None:
        """Seconds since the list behind a usable answer was made."""
        if outcome.error is not None or outcome.scanned_at is None:
            return None
        return max(timedelta(0), self._clock() - outcome.scanned_at).total_seconds()

    async def renew(self, policies: Iterable[ImagePolicy]) -> None:
        """Their Secrets changed: they may ask as somebody else now."""
        again = [policy for policy in policies if policy_name(policy) in self._specs]
        for policy in again:
            self._leave(policy_name(policy))
            del self._specs[policy_name(policy)]
        await self.follow(again)

    def drop(self, names: Iterable[str]) -> None:
        """Follow these no more, and forget their answers."""
        self._drop(names)
        self._release()

    def _drop(self, names: Iterable[str]) -> None:
        gone = [name for name in names if name in self._specs]
        for name in gone:
            self._leave(name)
            del self._specs[name]
        self._selector.forget(gone)

    def _release(self) -> None:
        """After those that only changed have their place again."""
        self._selector.release(self._left - self._groups.keys())
        self._left.clear()

    def _leave(self, name: str) -> None:
        self.unasked.discard(name)
        group = self._places.pop(name, None)
        if group is None:
            return
        members = self._groups[group]
        del members[name]
        if not members:
            del self._groups[group]
            self._left.add(group)
            self._polls.drop(group)
            others = self._images[group[0]]
            others.discard(group)
            if not others:
                del self._images[group[0]]
