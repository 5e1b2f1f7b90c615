"""An answer kept between processes is the answer, or it is made anew."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from image_updater.kustomize import MemoryCache, locate
from image_updater.kustomize.locate import forget
from tests.integration.kustomize.harness import MemoryTree
from tests.integration.kustomize.repositories import Repository, repositories


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(repositories())
def test_a_kept_answer_is_equal_in_every_part(repository: tuple[Repository, list[str]]) -> None:
    tree, cache = MemoryTree(repository[0]), MemoryCache()
    forget()
    first = locate(tree, cache=cache)
    forget()
    assert locate(tree, cache=cache) == first
    forget()
    assert locate(tree, cache=cache, reuse=False) == first


@pytest.mark.parametrize("data", [b"", b"x", b"iu2:3.11:", b"iu2:3.11:" + b"\xff" * 40])
def test_a_damaged_one_is_made_anew(data: bytes) -> None:
    class Damaged(MemoryCache):
        def get(self, oid: str) -> bytes | None:
            return data if oid.startswith("answer-") else super().get(oid)

    tree = MemoryTree(
        {"o/d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{image: a}]}\n"}
    )
    forget()
    assert len(locate(tree, cache=Damaged()).sites) == 1
