"""Two policies that fight over one value: A → B → A, each overwriting what the other wrote. Found in Git alone.

Never-down stops most of it. What it does not stop is a value that one policy cannot order by the other's rule (a branch
build beside a release), `allowDowngrade`, and equal policies whose objects differ between two clusters. Every commit of
ours says in its trailers which policy moved which image from what to what (message.py), so whoever reads the branch
sees the other one's move, wherever it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.errors import SpecError
from image_updater.images import parse_name, same_image
from image_updater.images.names import split
from image_updater.pipeline.people.past import ROLLBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from image_updater.git import CommitInfo
    from image_updater.patch.decisions import Choice, Decision
    from image_updater.pipeline.people.past import Past


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One policy's move in a commit of ours, as its trailers have it. A digest counts as a value too."""

    commit: CommitInfo
    automation: str
    policy: str
    image: str
    old: frozenset[str]
    new: frozenset[str]
    rollback: bool = False


def steps(commits: Iterable[CommitInfo]) -> tuple[Step, ...]:
    """The moves of these commits, in their order; what is no commit of ours has none."""
    found: list[Step] = []
    for commit in commits:
        trailers = commit.trailers
        automation = next((value for key, value in trailers if key == "Automation"), None)
        if automation is None:
            continue
        rollback = any(key == ROLLBACK for key, _ in trailers)
        groups: list[dict[str, list[str]]] = []
        for key, value in trailers:
            if key == "Image-Policy":
                groups.append({})
            if groups:
                groups[-1].setdefault(key, []).append(value)
        found += [
            Step(
                commit=commit,
                automation=automation,
                policy=group["Image-Policy"][0],
                image=group["Image"][0],
                old=frozenset(group.get("Old", ())),
                new=frozenset((*group.get("New", ()), *group.get("Digest", ()))),
                rollback=rollback,
            )
            for group in groups
            if group.get("Image")
        ]
    return tuple(found)


def contested(decisions: Iterable[Decision], choices: Mapping[str, Choice], past: Past) -> dict[str, str]:
    """Site → why it is left alone, for the planned changes that would write back what another policy has just
    displaced, or what this one has displaced and written back before.
    """
    known: tuple[Step, ...] | None = None
    refused: dict[str, str] = {}
    for decision in decisions:
        choice = choices.get(decision.policy) if decision.policy is not None else None
        if not decision.changes or choice is None or choice.selection is None:
            continue
        if known is None:
            known = steps(past.recent())
        if not known:
            return {}
        selection = choice.selection
        wanted = {selection.tag, *([str(selection.digest)] if selection.digest else [])}
        held = {part for use in decision.site.uses for part in split(use.value)[1:] if part is not None}
        files = {change.file for change in decision.changes}
        reason = _fight(known, selection.policy, selection.name, wanted - held, held - wanted, _toucher(past, files))
        if reason is not None:
            refused |= dict.fromkeys((change.site for change in decision.changes), reason)
    return refused


def _toucher(past: Past, files: Iterable[str]) -> Callable[[CommitInfo], bool]:
    return lambda commit: any(past.touched(commit.id, file) for file in files)


def _fight(
    known: Sequence[Step],
    policy: str,
    image: str,
    wanted: set[str],
    held: set[str],
    touched: Callable[[CommitInfo], bool],
) -> str | None:
    """Why writing `wanted` over `held` would be one more turn; None when it is not."""
    ours: list[str] = []
    for step in known:
        if not _same(step.image, image) or (step.rollback and step.policy == policy):
            # What a rollback took back comes again when its hold ends: there is only one reading of the policy.
            continue
        away = step.old & wanted and step.new & held
        back = step.old & held and step.new & wanted
        if not (away or back) or not touched(step.commit):
            continue
        if away and step.policy != policy and not ours:
            value, other = ", ".join(sorted(step.old & wanted)), ", ".join(sorted(step.new & held))
            return (
                f"policy {step.policy} (automation {step.automation}) replaced {value} by {other} in"
                f" {step.commit.id[:12]}: writing it back would be a fight over this line; let only one policy claim it"
            )
        if step.policy == policy:
            ours.append("away" if away else "back")
            if ours == ["away", "back"]:
                return (
                    f"{', '.join(sorted(wanted))} and {', '.join(sorted(held))} have replaced each other here before"
                    f" ({step.commit.id[:12]} and later): two controllers read policy {policy} in different ways;"
                    " make their objects equal, or let only one of them write"
                )
    return None


def _same(one: str, other: str) -> bool:
    try:
        return same_image(one, parse_name(other))
    except SpecError:
        return one == other
