"""Who waits for itself."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.model import ObjectKey
from image_updater.controller.sync.dependencies import cycles


def key(name: str) -> ObjectKey:
    return ObjectKey("apps", name)


def graph(text: str) -> dict[ObjectKey, tuple[ObjectKey, ...]]:
    """`a>b a>c b`."""
    found: dict[ObjectKey, tuple[ObjectKey, ...]] = {}
    for word in text.split():
        name, _, other = word.partition(">")
        found[key(name)] = (*found.get(key(name), ()), *([key(other)] if other else []))
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a>b b>c c", {}),
        ("a>b a>c b>d c>d d", {}),
        ("a>a", {"a": "a a"}),
        ("a>b b>a", {"a": "a b a", "b": "b a b"}),
        ("a>b b>c c>b", {"b": "b c b", "c": "c b c"}),
        ("a>gone", {}),
        ("a>b b>c c>a d>a", {"a": "a b c a", "b": "b c a b", "c": "c a b c"}),
    ],
    ids=["chain", "diamond", "itself", "two", "led-into", "missing", "three"],
)
def test_cycles_name_the_way_round(text: str, wanted: dict[str, str]) -> None:
    found = {member.name: " ".join(each.name for each in path) for member, path in cycles(graph(text)).items()}
    assert found == wanted


def test_a_long_chain_is_no_recursion() -> None:
    chain = {key(f"k{i:06}"): (key(f"k{i + 1:06}"),) for i in range(20_000)}
    assert cycles(chain) == {}


@given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4), max_size=10))
def test_exactly_those_that_reach_themselves_are_in_a_cycle(numbers: dict[int, list[int]]) -> None:
    edges = {key(str(name)): tuple(key(str(each)) for each in others) for name, others in numbers.items()}

    def reaches_itself(start: ObjectKey) -> bool:
        seen, row = set(), list(edges.get(start, ()))
        while row:
            each = row.pop()
            if each == start:
                return True
            if each not in seen:
                seen.add(each)
                row.extend(edges.get(each, ()))
        return False

    found = cycles(edges)
    assert set(found) == {each for each in edges if reaches_itself(each)}
    for member, path in found.items():
        assert path[0] == path[-1] == member
        assert all(after in edges[before] for before, after in itertools.pairwise(path))
