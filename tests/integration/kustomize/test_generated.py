"""Generated repositories: for each root the static answer is what the binary renders, and each site changes what it
says."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.integration.kustomize.harness import build, check_before, check_edits, commands, images, provenance, said
from tests.integration.kustomize.repositories import Repository, repositories


def _compare(repository: tuple[Repository, list[str]], dialect: str, edits: int) -> None:
    files, roots = repository
    answer = provenance(files)
    command = commands()[dialect]
    for root in roots:
        objects = build(files, root, command)
        if objects is None:
            continue  # whether `locate` foresees it is no promise: the renderer disposes
        assert answer.roots[root].unbuildable is None
        assert said(answer, root) == images(objects)
        if edits:
            check_before(files, answer, root, command)
            check_edits(files, answer, root, command, limit=edits)


@pytest.mark.parametrize(("dialect", "edits"), [("5.8", 0), ("5.5", 0)])
def test_the_static_answer_is_what_the_binary_renders(dialect: str, edits: int) -> None:
    @settings(max_examples=70, suppress_health_check=list(HealthCheck))
    @given(repositories())
    def check(repository: tuple[Repository, list[str]]) -> None:
        _compare(repository, dialect, edits)

    check()


def test_another_tag_at_a_site_changes_exactly_its_uses() -> None:
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(repositories())
    def check(repository: tuple[Repository, list[str]]) -> None:
        _compare(repository, "5.8", 3)

    check()
