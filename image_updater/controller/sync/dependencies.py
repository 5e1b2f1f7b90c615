"""`dependsOn`: who waits for whom, and who waits for itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import Terminal, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.api.model import ObjectKey


class DependencyNotReady(Waiting):
    """Something it depends on has to be applied first; it is woken then."""

    reason = "DependencyNotReady"


class DependencyCycle(Terminal):
    """It depends on itself, directly or through others."""

    reason = "DependencyCycle"


def cycles(depends_on: Mapping[ObjectKey, Iterable[ObjectKey]]) -> dict[ObjectKey, tuple[ObjectKey, ...]]:
    """Each key that is part of a cycle, with one such cycle, from itself to itself. What only leads into one waits."""
    found: dict[ObjectKey, tuple[ObjectKey, ...]] = {}
    for group in _components(depends_on):
        members = set(group)
        for key in group:
            path = _way_back(key, depends_on, members)
            if path is not None:
                found[key] = path
    return found


def _way_back(
    start: ObjectKey, depends_on: Mapping[ObjectKey, Iterable[ObjectKey]], members: set[ObjectKey]
) -> tuple[ObjectKey, ...] | None:
    """The shortest way from `start` to itself."""
    before: dict[ObjectKey, ObjectKey] = {}
    row = [start]
    for key in row:
        for next_key in depends_on.get(key, ()):
            if next_key == start:
                path = [key]
                while path[-1] != start:
                    path.append(before[path[-1]])
                return (*reversed(path), start)
            if next_key in members and next_key not in before:
                before[next_key] = key
                row.append(next_key)
    return None


def _components(depends_on: Mapping[ObjectKey, Iterable[ObjectKey]]) -> list[list[ObjectKey]]:
    """Strongly connected components (Tarjan), without recursion: chains may be long."""
    index: dict[ObjectKey, int] = {}
    low: dict[ObjectKey, int] = {}
    stack: list[ObjectKey] = []
    on_stack: set[ObjectKey] = set()
    groups: list[list[ObjectKey]] = []
    for root in depends_on:
        if root in index:
            continue
        work = [(root, iter(tuple(depends_on.get(root, ()))))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            key, rest = work[-1]
            for next_key in rest:
                if next_key not in index:
                    index[next_key] = low[next_key] = len(index)
                    stack.append(next_key)
                    on_stack.add(next_key)
                    work.append((next_key, iter(tuple(depends_on.get(next_key, ())))))
                    break
                if next_key in on_stack:
                    low[key] = min(low[key], index[next_key])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[key])
                if low[key] == index[key]:
                    group = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        group.append(member)
                        if member == key:
                            break
                    groups.append(group)
    return groups
