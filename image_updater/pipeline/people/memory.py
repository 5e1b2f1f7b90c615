"""What a process has read of branches' histories. Lost = read again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from image_updater.git import Chain, Wanted
    from image_updater.pipeline.people.pins import Pin
    from image_updater.pipeline.people.record import Record

_KEEP: Final = 64
"""Commits whose chains are kept."""


@dataclass(slots=True)
class Memory:
    """`records`: by repository and branch the commit that was read last, and the record there. `deep`: where as much
    was fetched as a move needs.
    """

    records: dict[tuple[str, str], tuple[str, Record]] = field(default_factory=dict)
    deep: set[tuple[str, str]] = field(default_factory=set)
    files: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """What commits of ours changed, by repository and commit."""
    pins: dict[Pin, tuple[Chain, ...]] = field(default_factory=dict)
    """The past of what an insert took the place of."""
    _chains: OrderedDict[tuple[str, str], dict[Wanted, Chain]] = field(default_factory=OrderedDict)

    def chains(self, repository: str, commit: str) -> dict[Wanted, Chain]:
        """What is known of places as that commit has them; to be added to."""
        found = self._chains.setdefault((repository, commit), {})
        self._chains.move_to_end((repository, commit))
        while len(self._chains) > _KEEP:
            self._chains.popitem(last=False)
        return found
