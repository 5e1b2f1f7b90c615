"""`group`: policies that move together, to the best tag that all of them would take, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.policy.describe import describe
from image_updater.policy.gates.blocked import Blocked, GateName, held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from image_updater.api.model import ImagePolicy


def check(name: str, members: Mapping[str, AbstractSet[str]], tag: str) -> Blocked | None:
    """`members`: by other member the tags that it would take."""
    without = sorted(member for member, tags in members.items() if tag not in tags)
    if not without:
        return None
    return held(GateName.GROUP, tag, f"not taken by {', '.join(without)} (group {name} moves together)")


def divided(takes: Mapping[str, Sequence[str]]) -> str:
    """Why members do not go to one tag: by `newest` each ranks them by the dates of its own image. '' when the best
    that all would take is one. `takes`: by name what each would take, best first."""
    common = frozenset.intersection(*map(frozenset, takes.values())) if takes else frozenset()
    first = {name: next(tag for tag in tags if tag in common) for name, tags in takes.items()} if common else {}
    if len(set(first.values())) < 2:
        return ""
    return "its members would take different tags: " + ", ".join(f"{name} {tag}" for name, tag in sorted(first.items()))


def disagreement(members: Sequence[ImagePolicy]) -> str:
    """Why these policies cannot be one group; '' when they can: they must order tags alike, or each has its own best
    of what they have in common."""
    ordered: dict[tuple[object, ...], list[ImagePolicy]] = {}
    for policy in members:
        filters = policy.filter_tags
        ordered.setdefault((policy.strategy, filters.pattern if filters.extract else None, filters.extract), []).append(
            policy
        )
    if len(ordered) <= 1:
        return ""
    first, second, *_ = sorted((policies[0] for policies in ordered.values()), key=lambda policy: policy.key)
    return f"{first.key.name} and {second.key.name} choose differently ({describe(first)}; {describe(second)})"
