"""What a plan says: a state with a reason for each site in each of its roots, and the changes that follow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.api.model import ImagePolicy
    from image_updater.kustomize.model import Site
    from image_updater.patch.model import Change, Intended
    from image_updater.policy.model import Movement, Selection


class State(StrEnum):
    """The state of one image site; all but the first two carry a reason."""

    CURRENT = "current"
    UPDATED = "updated"
    HELD = "held"
    MANUAL = "manual"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    REMOTE = "remote"
    REFUSED = "refused"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy says now: a selection, or why there is none. `move(tag, digest)` is never-down against a
    current value. `stopped`: the selection that something keeps from all sites (a Freeze, say); one that holds it
    already waits for nothing.
    """

    policy: ImagePolicy
    selection: Selection | None
    reason: str
    move: Callable[[str | None, str | None], Movement]
    stopped: Selection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state of a site in some of its roots."""

    site: Site
    state: State
    reason: str = ""
    policy: str | None = None
    roots: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Decisions in site order; `intended` says by root which rendered images are meant to change, `consent` which
    files a marker edits.
    """

    decisions: tuple[Decision, ...] = ()
    intended: Mapping[str, tuple[Intended, ...]] = field(default_factory=dict)

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(dict.fromkeys(change for decision in self.decisions for change in decision.changes))


def merge_rows(rows: Iterable[Decision]) -> list[Decision]:
    """One row for each (state, reason, policy) of a site, with all the roots it holds for."""
    merged: dict[tuple[str, int, str, State, str, str | None], Decision] = {}
    for row in rows:
        key = (row.site.id, row.site.line, row.site.field, row.state, row.reason, row.policy)
        found = merged.get(key)
        if found is None:
            merged[key] = row
        else:
            merged[key] = replace(
                found,
                roots=tuple(dict.fromkeys((*found.roots, *row.roots))),
                changes=tuple(dict.fromkeys((*found.changes, *row.changes))),
            )
    return list(merged.values())
