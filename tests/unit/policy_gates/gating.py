"""Short ways to gate, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from image_updater import policy
from image_updater.api.model import Freeze, LabelSelector, Meta, ObjectKey, SemverPolicy, Strategy
from image_updater.api.wishes import DenyWish
from image_updater.policy import CompiledPolicy, Fate, Gated, TagFacts
from image_updater.policy.model import Verified
from image_updater.policy.situation import Need, Proven, Quarantined, Situation
from tests.unit.policy.making import NOW, compiled, sha

TAGS = ("1.4.0", "1.5.0", "1.6.0", "latest")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def made(strategy: Strategy | None = None, **fields: Any) -> CompiledPolicy:
    return compiled(strategy or SemverPolicy(range="^1.2"), **fields)


def gated(
    made: CompiledPolicy,
    facts: Mapping[str, TagFacts] | None = None,
    tags: Sequence[str] = TAGS,
    *,
    now: datetime = NOW,
    **situation: Any,
) -> Gated:
    known = facts or {}
    judged = policy.judge(made, tags, known, now=now)
    return policy.gate(judged, made, known, Situation(**situation), now=now)


def known(letter: str, **fields: Any) -> TagFacts:
    return TagFacts(digest=sha(letter), **fields)


def seen(letter: str, ago: timedelta, **fields: Any) -> TagFacts:
    """Bytes that were first seen so long ago."""
    return TagFacts(digest=sha(letter), bytes_seen=NOW - ago, **fields)


def signed(ok: bool, reason: str, *, lasting: bool = True) -> TagFacts:
    return TagFacts(digest=sha("a"), verified=Verified(ok=ok, reason=reason, lasting=lasting))


def nobody_knows(*needs: Need) -> TagFacts:
    return TagFacts(created_known=True, unknowable=frozenset(needs))


def bad(tag: str | None = "1.6.0", letter: str | None = None, **fields: Any) -> Quarantined:
    digest = None if letter is None else sha(letter)
    return Quarantined(image=fields.pop("image", "ghcr.io/acme/web"), tag=tag, digest=digest, **fields)


def denied(*what: str) -> tuple[DenyWish, ...]:
    return tuple(DenyWish(what=each) for each in what)


def proven(tag: str, ago: timedelta, **fields: Any) -> Proven:
    return Proven(tag=tag, at=NOW - ago, environment=fields.pop("environment", "apps/staging"), **fields)


def freeze(name: str = "holidays", namespace: str = "apps", **fields: Any) -> Freeze:
    return Freeze(
        meta=Meta(key=ObjectKey(namespace, name)),
        reason=fields.pop("reason", "nobody is here"),
        policies=fields.pop("policies", LabelSelector()),
        **fields,
    )


def pick(answer: Gated) -> str | None:
    return None if answer.chosen is None else answer.chosen.tag


def said(answer: Gated, tag: str) -> tuple[Fate, str]:
    return next((verdict.fate, verdict.reason) for verdict in answer.verdicts if verdict.tag == tag)
