"""Strategy `alphabetical`: byte order, `asc` takes the last and `desc` the first, as in Flux."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.model import Order
from image_updater.policy.ordering import Best, Key, Passes, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.api.model import AlphabeticalPolicy
    from image_updater.policy.tagset import TagSet


class _Backwards(str):
    """A string that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)

    def __le__(self, other: str) -> bool:
        return str.__ge__(self, other)

    def __ge__(self, other: str) -> bool:
        return str.__le__(self, other)


@dataclass(frozen=True, slots=True)
class Alphabetical:
    """`spec.policy.alphabetical`. Code points order as their UTF-8 bytes do."""

    ascending: bool
    better: str
    has_shape: bool = False

    @classmethod
    def compile(cls, spec: AlphabeticalPolicy) -> Alphabetical:
        return cls(True, "later in byte order") if spec.order is Order.ASC else cls(False, "earlier in byte order")

    def key(self, value: str) -> tuple[str]:
        return (value,) if self.ascending else (_Backwards(value),)

    def refusal(self, key: Key) -> str | None:
        return None

    def best(self, values: TagSet, passes: Passes) -> Best | None:
        return scan(self, values, passes)

    def groups(self, values: TagSet) -> Iterator[list[str]]:
        return iter(())

    def praise(self) -> str:
        return f"the {'last' if self.ascending else 'first'} in byte order"
