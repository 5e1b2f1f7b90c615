"""Policies of one `group` move together: what each of them would take goes to all the others, and what keeps one of
them from moving keeps all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import SpecError, Where
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.policy.gates.groups import disagreement, divided

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, Objects
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.policy.situation import Situation


def settle(situations: Situations, members: Mapping[str, ImagePolicy], answers: Mapping[str, Outcome]) -> None:
    """Tell every member of one group what the others would take, or why the group stands still."""
    problem = situations.apart.get(next(iter(members), ""), "") or disagreement(tuple(members.values()))
    takes: dict[str, tuple[str, ...]] = {}
    for name, policy in members.items():
        answer = answers.get(name)
        if policy.suspend:
            problem = problem or f"{name} of its group is suspended"
        elif answer is None or answer.spec != policy:
            problem = problem or f"{name} of its group was not looked at yet"
        elif answer.error is not None or answer.taken is None:
            problem = problem or f"{name} of its group has no answer: {answer.reason}"
        else:
            takes[name] = answer.taken.tags
    problem = problem or divided(takes)
    for name in members:
        others = {other: frozenset(tags) for other, tags in takes.items() if other != name}
        situations.grouped(name, others, problem)


def groups(policies: Iterable[ImagePolicy]) -> dict[tuple[str, str], tuple[ImagePolicy, ...]]:
    """The members of each group, by namespace and name."""
    found: dict[tuple[str, str], tuple[ImagePolicy, ...]] = {}
    for policy in policies:
        if policy.group is not None:
            key = (policy.key.namespace, policy.group)
            found[key] = (*found.get(key, ()), policy)
    return found


def together(namespace: str, group: str | None, specs: Mapping[str, ImagePolicy]) -> dict[str, ImagePolicy]:
    """Those of these policies that are of one group, by name; {} where there is none."""
    if group is None:
        return {}
    return {
        name: policy
        for name, policy in sorted(specs.items())
        if (policy.key.namespace, policy.group) == (namespace, group)
    }


def others(policy: ImagePolicy, outcomes: Mapping[str, Outcome]) -> tuple[Outcome, ...]:
    """What the other members of its group say."""
    specs = {name: each.spec for name, each in outcomes.items()}
    members = together(policy.key.namespace, policy.group, specs)
    return tuple(outcomes[name] for name in members if name != policy_name(policy))


def apart(objects: Objects) -> dict[str, str]:
    """By policy, why its group cannot move in one commit: other automations, or other branches, write some of it."""
    found: dict[str, str] = {}
    for (_, group), members in groups(objects.policies).items():
        homes = {policy_name(member): _homes(member, objects.automations) for member in members}
        if len(set(homes.values())) > 1:
            text = "; ".join(f"{name} by {', '.join(sorted(home)) or 'none'}" for name, home in sorted(homes.items()))
            reason = (
                f"the members of group {group!r} are not written by the same automation, so not in one commit: {text}"
            )
            found |= dict.fromkeys(homes, reason)
    return found


def _homes(policy: ImagePolicy, automations: Sequence[ImageUpdateAutomation]) -> frozenset[str]:
    return frozenset(
        str(automation.key)
        for automation in automations
        if automation.key.namespace == policy.key.namespace and automation.policy_selector.matches(policy.meta.labels)
    )


def alone(policy: ImagePolicy, situation: Situation) -> tuple[str, ...]:
    """What must be said of a group of one: that may be the name of another group, mistyped."""
    if policy.group is None or situation.group is None or situation.group or situation.group_problem:
        return ()
    return (f"it is the only policy of group {policy.group!r}: nothing else moves with it",)


def check_groups(objects: Objects) -> tuple[SpecError, ...]:
    """What is wrong with the groups of these objects."""
    found: list[SpecError] = []
    separate = apart(objects)
    for members in groups(objects.policies).values():
        problem = separate.get(policy_name(members[0]))
        remedy = "let one automation select all of them, or use another group"
        if problem is None:
            problem = disagreement(members)
            remedy = (
                "give all of them the same spec.policy, and the same filterTags.pattern and extract where extract is"
                " set, or use another group"
            )
        if problem:
            place = members[0].meta.source.where
            field = "spec.group"
            where = place(field) if place is not None else Where(object=f"ImagePolicy {members[0].key}", field=field)
            found.append(SpecError(problem, where=where, remedy=remedy))
    return tuple(found)
