"""Short ways to make policies, facts and judgements for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from image_updater import policy
from image_updater.api.model import FilterTags, ImagePolicy, Meta, ObjectKey, SemverPolicy, Strategy
from image_updater.images import Digest
from image_updater.policy import CompiledPolicy, Fate, Judged, Judgement, TagFacts

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def day(number: int) -> datetime:
    return datetime(2026, 10, number, tzinfo=UTC)


def sha(letter: str) -> Digest:
    return Digest(f"sha256:{letter * 64}")


def compiled(strategy: Strategy, *, filters: Mapping[str, Any] | None = None, **fields: Any) -> CompiledPolicy:
    return policy.compile(
        ImagePolicy(
            meta=Meta(key=ObjectKey("apps", "web")),
            image="ghcr.io/acme/web",
            strategy=strategy,
            filter_tags=FilterTags(**(filters or {})),
            **fields,
        )
    )


def semver(range_: str, **options: Any) -> SemverPolicy:
    return SemverPolicy(range=range_, **options)


def judge(
    made: CompiledPolicy,
    tags: Sequence[str],
    facts: Mapping[str, TagFacts] | None = None,
    previous: Judgement | None = None,
) -> Judged:
    return policy.judge(made, tags, facts or {}, now=NOW, previous=previous)


def chosen(judged: Judgement) -> str | None:
    return None if judged.chosen is None else judged.chosen.tag


def pick(made: CompiledPolicy, tags: Sequence[str], facts: Mapping[str, TagFacts] | None = None) -> str | None:
    judged = judge(made, tags, facts)
    assert judged.reason
    for verdict in judged.verdicts:
        assert verdict.reason
    assert {verdict.tag for verdict in judged.verdicts} == set(tags)
    assert len(judged.verdicts) == len(set(tags))
    assert [v.tag for v in judged.verdicts if v.fate is Fate.CHOSEN] == ([chosen(judged)] if judged.chosen else [])
    fates = list(Fate)
    places = [fates.index(verdict.fate) for verdict in judged.verdicts]
    assert places == sorted(places)
    return chosen(judged)


def why(judged: Judgement, tag: str) -> tuple[Fate, str]:
    return next((verdict.fate, verdict.reason) for verdict in judged.verdicts if verdict.tag == tag)
