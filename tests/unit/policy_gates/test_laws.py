"""Laws of gating, over policies, facts and situations at random."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater import policy
from image_updater.api.model import (
    After,
    AlphabeticalPolicy,
    DigestPolicy,
    DigestReflection,
    NewestPolicy,
    NumericalPolicy,
    Start,
    Verify,
    Window,
)
from image_updater.policy import CompiledPolicy, Fate, Gated, TagFacts
from image_updater.policy.contest import Outcome
from image_updater.policy.gates.gathered import gather
from image_updater.policy.model import Verified
from image_updater.policy.situation import Approval, Hold, Need, Origin, Quarantined, Situation
from tests.unit.policy.making import NOW, sha
from tests.unit.policy_gates.gating import HOUR, freeze, made, proven

TAGS = ["1.4.0", "1.5.0", "1.5.1", "1.6.0", "v1.6.0", "1.7.0", "latest", "2"]
_moments = st.sampled_from([-80, -30, -3, -1, 1, 2, 30]).map(lambda hours: NOW + hours * HOUR)
_past = st.sampled_from([80, 50, 3, 1]).map(lambda hours: hours * HOUR)
_ends = st.none() | _moments
_tag = st.sampled_from(TAGS)
_digest = st.sampled_from([None, sha("a"), sha("b"), sha("c")])

_fact = st.builds(
    TagFacts,
    digest=_digest,
    created=st.sampled_from([NOW - 5 * HOUR, NOW - 4 * HOUR, NOW - 3 * HOUR]),
    created_known=st.booleans(),
    pushed=st.none() | _moments,
    first_seen=st.none() | _moments,
    bytes_seen=st.none() | _moments,
    platforms=st.sampled_from([None, ("linux/amd64",), ("linux/amd64", "linux/arm64")]),
    verified=st.none() | st.builds(Verified, ok=st.booleans(), reason=st.just("so"), lasting=st.booleans()),
    unknowable=st.sampled_from([frozenset(), frozenset(Need)]),
)
_facts = st.dictionaries(_tag, _fact)

_own: dict[str, st.SearchStrategy[Any]] = {
    "min_age": st.sampled_from([HOUR, 2 * HOUR, 72 * HOUR]),
    "platforms": st.just(("linux/arm64",)),
    "from_nodes": st.just(True),
    "verify": st.just(Verify(secret_ref="keys")),
    "windows": st.sampled_from(
        [
            (Window(cron="0 9 * * *", duration=8 * HOUR, time_zone="Europe/Berlin"),),
            (Window(cron="0 14 * * 1-5", duration=HOUR), Window(cron="30 12 * * *", duration=HOUR)),
            (Window(cron="* * * * *", duration=HOUR),),
            (Window(cron="0 0 30 2 *", duration=HOUR),),
        ]
    ),
    "after": st.builds(After, name=st.just("staging"), soak=st.sampled_from([timedelta(0), HOUR, 2 * HOUR])),
    "group": st.just("checkout"),
    "approvals": st.sampled_from([1, 2]),
    "start": st.just(Start.PROVEN),
    "deny": st.just((sha("c"),)),
    "reflection": st.just(DigestReflection.ALWAYS),
}
_strategies = st.sampled_from(
    [None, AlphabeticalPolicy(), NumericalPolicy(), NewestPolicy(), DigestPolicy(tag="latest")]
)

_proven = st.lists(
    st.builds(
        lambda tag, ago, digest, withdrawn, where: proven(
            tag, ago, digest=digest, withdrawn=withdrawn, environment=where
        ),
        _tag,
        _past,
        _digest,
        st.none() | _moments,
        st.sampled_from(["apps/a", "apps/b"]),
    ),
    max_size=5,
).map(tuple)
_quarantined = st.builds(
    Quarantined,
    image=st.just("ghcr.io/acme/web"),
    tag=st.none() | _tag,
    digest=_digest,
    expires=_ends,
    origin=st.sampled_from(Origin),
)
_hold = st.builds(
    Hold, reason=st.just("why"), until=_ends, tag=st.none() | _tag, digest=_digest, until_resume=st.booleans()
)
_parts: dict[str, st.SearchStrategy[Any]] = {
    "freezes": st.lists(
        st.builds(lambda starts, ends: freeze(starts=starts, expires=ends), _ends, _ends), max_size=2
    ).map(tuple),
    "quarantined": st.lists(_quarantined, max_size=3).map(tuple),
    "hold": _hold,
    "denied": st.lists(_tag | _digest.filter(bool), max_size=2).map(tuple),
    "approvals": st.lists(
        st.builds(Approval, tag=_tag, by=st.sampled_from(["ann", "bob", "eve"]), at=st.just(NOW), digest=_digest),
        max_size=6,
    ).map(tuple),
    "upstream": st.none() | _proven,
    "group": st.none() | st.dictionaries(st.sampled_from(["apps/a", "apps/b"]), st.frozensets(_tag)),
    "group_problem": st.sampled_from(["", "", "", "another failed"]),
    "node_platforms": st.sampled_from([None, ("linux/amd64",), ("linux/amd64", "linux/arm64")]),
    "breaker": st.sampled_from(["", "", "", "two bad tags in a row"]),
    "start": st.none() | _proven,
}


def _some(fields: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


@st.composite
def _cases(draw: st.DrawFn) -> tuple[CompiledPolicy, list[str], dict[str, TagFacts], Situation]:
    own = draw(_some(_own, 3))
    wanted = {"after": "upstream", "group": "group", "approvals": "approvals", "start": "start"}
    situation = draw(_some(_parts, 3)) | {
        part: draw(_parts[part]) for name, part in wanted.items() if name in own and draw(st.booleans())
    }
    tags = draw(st.lists(_tag, unique=True, min_size=1))
    return made(draw(_strategies), **own), tags, draw(_facts), Situation(**situation)


def gate(case: tuple[CompiledPolicy, list[str], dict[str, TagFacts], Situation], now: datetime = NOW) -> Gated:
    made, tags, facts, situation = case
    return policy.gate(policy.judge(made, tags, facts, now=now), made, facts, situation, now=now)


def _tags(walk: Iterable[Outcome]) -> list[str]:
    return [outcome.winner[1] for outcome in walk if outcome.winner is not None]


def told(answer: Gated) -> tuple[object, ...]:
    """What is decided, without words: they name today's times by the clock alone."""
    because = tuple((one.gate, one.tag, one.fate, one.until, one.needs, one.undecided) for one in answer.because)
    return answer.chosen, answer.wanted, answer.held, because


@settings(max_examples=300, deadline=None)
@given(_cases())
def test_the_chosen_passes_every_gate_and_no_better_one_does(case: Any) -> None:
    made, tags, facts, situation = case
    answer = gate(case)
    gates = gather(made, facts, situation, NOW)
    judged = policy.judge(made, tags, facts, now=NOW)
    if answer.chosen is not None:
        assert gates.blocks(answer.chosen.tag, facts.get(answer.chosen.tag)) == ()
        assert gates.wide == ()
    for outcome in judged.walk():
        # By reading all of them: whatever comes before the chosen one is held or rejected for certain.
        if outcome.winner is None or outcome.winner[1] == (answer.chosen and answer.chosen.tag):
            break
        blocks = gates.blocks(outcome.winner[1], facts.get(outcome.winner[1]))
        sure = any(not blocked.undecided for blocked in blocks)
        if answer.chosen is not None:
            assert sure
        elif not sure:
            assert blocks or gates.wide or outcome.chosen is None
            break


@settings(max_examples=300, deadline=None)
@given(_cases())
def test_equal_inputs_give_equal_answers_and_verdicts_have_their_order(case: Any) -> None:
    answer, again = gate(case), gate(case)
    assert (answer, answer.verdicts) == (again, again.verdicts)
    verdicts = answer.verdicts
    assert all(verdict.reason for verdict in verdicts)
    assert answer.reason
    assert {verdict.tag for verdict in verdicts} == set(case[1])
    assert [verdict.tag for verdict in verdicts if verdict.fate is Fate.CHOSEN] == (
        [] if answer.chosen is None else [answer.chosen.tag]
    )
    places = [list(Fate).index(verdict.fate) for verdict in verdicts]
    assert places == sorted(places)
    for count in (1, 3, 10):
        assert tuple(gate(case).best(count)) == tuple(verdicts[:count])
    leading = gate(case).leading(20)
    assert set(leading) <= set(verdicts)
    shown = [blocked.tag for blocked in answer.because if blocked.tag is not None]
    assert list(dict.fromkeys(shown)) == [verdict.tag for verdict in leading][: len(set(shown))]
    assert set(answer.needs) <= set(case[1])


@settings(max_examples=300, deadline=None)
@given(_cases(), _some(_own, 1), _some(_parts, 1))
def test_another_gate_never_makes_a_better_tag_chosen(case: Any, own: dict[str, Any], parts: dict[str, Any]) -> None:
    made, tags, facts, situation = case
    before = gate(case)
    # A field that is set already would be replaced, not added; a digest that must be known is the judgement's own.
    own = {
        name: value
        for name, value in own.items()
        if name not in ("reflection", "deny") and getattr(made.policy, name) == getattr(_plain.policy, name)
    }
    parts = {
        name: value
        for name, value in parts.items()
        if name in ("freezes", "quarantined", "hold", "denied", "breaker") and not getattr(situation, name)
    }
    stricter = policy.compile(replace(made.policy, **own))
    after = gate((stricter, tags, facts, replace(situation, **parts)))
    if after.chosen is None:
        return
    order = _tags(policy.judge(made, tags, facts, now=NOW).walk())
    ended = before.chosen.tag if before.chosen is not None else before.wanted
    # Where nothing was chosen, it was because of one that is not decided: that one is no worse.
    assert ended is not None
    if before.chosen is not None:
        assert order.index(after.chosen.tag) >= order.index(ended)
    else:
        undecided = [blocked.tag for blocked in before.because if blocked.undecided]
        assert undecided
        assert order.index(after.chosen.tag) > order.index(undecided[-1])


_plain = made()


@settings(max_examples=500, deadline=None)
@given(_cases(), st.floats(0, 1), st.integers(1, 10**6))
def test_the_answer_stays_until_it_is_said_to_change(case: Any, part: float, seconds: int) -> None:
    answer = gate(case)
    if answer.until is None:
        later = NOW + timedelta(seconds=seconds * 100)
        assert told(gate(case, later)) == told(answer)
        return
    assert answer.until > NOW
    for moment in (NOW + (answer.until - NOW) * min(part, 0.999), answer.until - timedelta(microseconds=1)):
        assert told(gate(case, moment)) == told(answer)
    assert told(gate(case, answer.until)) != told(answer)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([None, NumericalPolicy(), AlphabeticalPolicy(), NewestPolicy()]))
def test_a_long_list_is_walked_in_order_whatever_came_and_went(seed: int, strategy: Any) -> None:
    dice = random.Random(seed)
    numeric = isinstance(strategy, NumericalPolicy)
    pool = [f"{n}" if numeric else f"1.{n % 7 + 2}.{n // 7}{dice.choice(['', '', '-rc.1'])}" for n in range(1500)]
    tags = set(dice.sample(pool, 700))
    extract = {"pattern": r"^(?P<n>.*)$", "extract": "$n"} if dice.random() < 0.3 else None
    made_ = made(strategy, filters=extract, deny=(sha("c"),) if dice.random() < 0.5 else ())
    dates = {tag: NOW - timedelta(minutes=n) for n, tag in enumerate(pool)}
    judged = None
    for _ in range(4):
        facts = {
            tag: TagFacts(digest=sha(dice.choice("abc")), created=dates[tag]) for tag in tags if dice.random() < 0.9
        }
        if isinstance(strategy, NewestPolicy):
            facts = {tag: facts.get(tag) or TagFacts(created=dates[tag], digest=sha("a")) for tag in tags}
        judged = policy.judge(made_, tuple(tags), facts, now=NOW, previous=judged)
        fresh = policy.judge(made_, tuple(sorted(tags)), facts, now=NOW)
        eligible = [verdict.tag for verdict in fresh.verdicts if verdict.fate is not Fate.REJECTED]
        if fresh.chosen is None and not isinstance(strategy, NewestPolicy):
            # The one that would win stands behind the eligible, as it is held.
            eligible = [eligible[-1], *eligible[:-1]] if eligible else []
        if eligible and not isinstance(strategy, NewestPolicy):
            count = dice.choice([1, 3, 60, 200, 2000])
            walked = [
                won[1] for outcome, _ in zip(judged.walk(), range(count), strict=False) if (won := outcome.winner)
            ]
            assert walked == eligible[:count]
            few = dice.sample(sorted(tags), 20)
            among = judged.among(few)
            assert among is not None
            assert _tags(among) == [tag for tag in eligible if tag in few]
        elif fresh.chosen is not None:
            assert _tags(judged.walk()) == eligible
        assert tuple(judged.best(12)) == tuple(fresh.verdicts[:12])
        tags -= set(dice.sample(sorted(tags), dice.choice([0, 1, 30])))
        if eligible and dice.random() < 0.5:
            tags -= set(eligible[: dice.choice([1, 2, 100])])
        tags |= set(dice.sample(pool, dice.choice([0, 1, 8, 300])))
