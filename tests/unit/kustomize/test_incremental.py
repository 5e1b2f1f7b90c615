"""What a process keeps between calls never shows: the answer for a tree is the same whatever was located before."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_updater.kustomize import MemoryCache, Provenance, locate
from image_updater.kustomize.locate import forget
from tests.integration.kustomize.harness import MemoryTree
from tests.integration.kustomize.repositories import Repository, repositories


def _fresh(files: Repository) -> Provenance:
    forget()
    return locate(MemoryTree(files), cache=MemoryCache())


def _parts(answer: Provenance) -> object:
    return answer.roots, answer.sites, answer.problems, answer.loose


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(repositories(), repositories(), st.randoms(use_true_random=False))
def test_a_tree_after_another_is_located_as_if_it_were_the_first(
    one: tuple[Repository, list[str]], two: tuple[Repository, list[str]], chance: random.Random
) -> None:
    files, other = dict(one[0]), two[0]
    trees = [dict(files)]
    for _ in range(4):
        path = chance.choice(sorted({*files, *other}))
        if path in other and chance.random() < 0.7:
            files[path] = other[path]
        elif path in files and len(files) > 1:
            del files[path]
        trees.append(dict(files))
    fresh = [_parts(_fresh(tree)) for tree in trees]
    forget()
    cache = MemoryCache()
    for tree, expected in zip(trees, fresh, strict=True):
        assert _parts(locate(MemoryTree(tree), cache=cache)) == expected
