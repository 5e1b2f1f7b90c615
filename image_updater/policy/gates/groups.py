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
