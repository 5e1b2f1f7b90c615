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
from image_updater.api.wishes import ApprovalWish, DenyWish
from image_updater.images import Digest
from image_updater.policy import CompiledPolicy, Fate, Gated, TagFacts
from image_updater.policy.contest import Outcome
from image_updater.policy.gates.gathered import gather
from image_updater.policy.model import Verified
from image_updater.policy.situation import Hold, Need, Origin, Proven, Quarantined, Situation
from tests.unit.policy.making import NOW, sha
from tests.unit.policy_gates.gating import HOUR, freeze, made, proven

TAGS = ["1.4.0", "1.5.0", "1.5.1", "1.6.0", "v1.6.0", "1.7.0", "latest", "2"]
STRATEGIES = [None, None, None, AlphabeticalPolicy(), NewestPolicy(), DigestPolicy(tag="latest")]
WINDOWS = [
    (Window(cron="0 9 * * *", duration=8 * HOUR, time_zone="Europe/Berlin"),),
    (Window(cron="0 14 * * 1-5", duration=HOUR), Window(cron="30 12 * * *", duration=HOUR)),
    (Window(cron="* * * * *", duration=HOUR),),
    (Window(cron="0 0 30 2 *", duration=HOUR),),
]
NEEDS = {
    "after": "upstream",
    "group": "group",
    "approvals": "approvals",
    "start": "start",
    "from_nodes": "node_platforms",
}
Case = tuple[CompiledPolicy, list[str], dict[str, TagFacts], Situation]
_seeds = st.integers(0, 2**48)


class Dice(random.Random):
    """Cases in which about half of the candidates pass."""

    def perhaps(self, part: float) -> bool:
        return self.random() < part

    def moment(self, *hours: int) -> datetime:
        return NOW + self.choice(hours) * HOUR

    def digest(self) -> Digest | None:
        return self.choice([None, sha("a"), sha("a"), sha("a"), sha("b"), sha("c")])

    def ends(self) -> datetime | None:
        return self.choice([None, self.moment(-3, 1, 2, 30)])

    def tags(self) -> frozenset[str]:
        return frozenset(self.sample(TAGS, self.randint(2, len(TAGS))))

    def proven(self) -> tuple[Proven, ...]:
        return tuple(
            proven(
                self.choice(TAGS),
                self.choice([80, 50, 3, 1, 0]) * HOUR,
                digest=self.choice([None, None, self.digest()]),
                withdrawn=self.choice([None, None, self.moment(-60, -2)]),
                environment=self.choice(["apps/a", "apps/b"]),
            )
            for _ in range(self.choice([0, 3, 9]))
        )

    def facts(self) -> TagFacts:
        return TagFacts(
            digest=self.digest(),
            created=self.moment(-5, -4, -3),
            created_known=self.perhaps(0.5),
            pushed=self.moment(-80, -1, 1) if self.perhaps(0.2) else None,
            first_seen=self.moment(-80, -1) if self.perhaps(0.3) else None,
            bytes_seen=self.moment(-80, -80, -1, 1) if self.perhaps(0.8) else None,
            platforms=self.choice([None, ("linux/amd64",), *[("linux/amd64", "linux/arm64")] * 4]),
            verified=self.choice(
                [
                    None,
                    Verified(ok=False, reason="so", lasting=self.perhaps(0.5)),
                    *[Verified(ok=True, reason="so")] * 4,
                ]
            ),
            unknowable=frozenset(Need) if self.perhaps(0.3) else frozenset(),
        )

    def own(self, name: str) -> Any:
        """A field of the policy."""
        match name:
            case "min_age":
                return self.choice([HOUR, 2 * HOUR, 72 * HOUR])
            case "platforms":
                return ("linux/arm64",)
            case "from_nodes":
                return True
            case "verify":
                return Verify(secret_ref="keys")
            case "windows":
                return self.choice(WINDOWS)
            case "after":
                return After(name="staging", soak=self.choice([0, 1, 2]) * HOUR)
            case "group":
                return "checkout"
            case "approvals":
                return self.choice([1, 1, 2])
            case "start":
                return Start.PROVEN
            case "deny":
                return (sha("c"),)
        return DigestReflection.ALWAYS

    def part(self, name: str) -> Any:
        """A field of the situation."""
        match name:
            case "freezes":
                return tuple(
                    freeze(starts=self.choice([None, self.moment(-3, 1, 2)]), expires=self.moment(-3, -2, 1, 2, 30))
                    for _ in range(self.randint(1, 2))
                )
            case "quarantined":
                return tuple(
                    Quarantined(
                        image="ghcr.io/acme/web",
                        tag=self.choice([None, *TAGS]),
                        digest=self.digest(),
                        expires=self.ends(),
                        origin=self.choice(list(Origin)),
                    )
                    for _ in range(self.randint(1, 3))
                )
            case "hold":
                return Hold(
                    reason="why",
                    until=self.ends(),
                    tag=self.choice([None, *TAGS, *TAGS]),
                    digest=self.digest(),
                    until_resume=self.perhaps(0.1),
                )
            case "denied":
                return (DenyWish(what=self.choice([*TAGS, sha("b")])),)
            case "approvals":
                return tuple(
                    ApprovalWish(
                        tag=self.choice(TAGS),
                        by=self.choice(["ann", "bob"]),
                        at=NOW,
                        digest=self.choice([None, sha("a")]),
                    )
                    for _ in range(self.randint(1, 20))
                )
            case "upstream" | "start":
                return self.proven()
            case "group":
                return {member: self.tags() for member in ("apps/a", "apps/b")[: self.randint(0, 2)]}
            case "node_platforms":
                return self.choice([("linux/amd64",), ("linux/amd64", "linux/arm64")])
            case "group_problem":
                return "another failed"
        return "two bad tags in a row"


OWN = [
    "min_age",
    "platforms",
    "from_nodes",
    "verify",
    "windows",
    "after",
    "group",
    "approvals",
    "start",
    "deny",
    "reflection",
]
PARTS = ["freezes", "quarantined", "hold", "denied", "breaker", "group_problem"]


def make(seed: int) -> Case:
    dice = Dice(seed)
    own = {name: dice.own(name) for name in dice.sample(OWN, dice.choice([0, 1, 1, 2, 2, 3]))}
    parts = dice.sample(PARTS[:4], dice.choice([0, 1, 1, 2])) + (dice.sample(PARTS, 1) if dice.perhaps(0.1) else [])
    parts += [NEEDS[name] for name in own if name in NEEDS and dice.perhaps(0.9)]
    situation = Situation(**{name: dice.part(name) for name in parts})
    tags = dice.sample(TAGS, dice.randint(4, len(TAGS)))
    facts = {tag: dice.facts() for tag in TAGS if dice.perhaps(0.9)}
    return made(dice.choice(STRATEGIES), **own), tags, facts, situation


_cases = st.builds(make, _seeds)


def gate(case: Case, now: datetime = NOW) -> Gated:
    made, tags, facts, situation = case
    return policy.gate(policy.judge(made, tags, facts, now=now), made, facts, situation, now=now)


def _tags(walk: Iterable[Outcome]) -> list[str]:
    return [outcome.winner[1] for outcome in walk if outcome.winner is not None]


def told(answer: Gated) -> tuple[object, ...]:
    """What is decided, without words: they name today's times by the clock alone."""
    because = tuple((one.gate, one.tag, one.fate, one.until, one.needs, one.undecided) for one in answer.because)
    return answer.chosen, answer.wanted, answer.held, because


@settings(max_examples=300, deadline=None)
@given(_cases)
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
@given(_cases)
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


@settings(max_examples=500, deadline=None)
@given(_cases, _seeds)
def test_another_gate_never_makes_a_better_tag_chosen(case: Any, seed: int) -> None:
    made, tags, facts, situation = case
    dice, before = Dice(seed), gate(case)
    # A field that is set already would be replaced, not added; a digest that must be known is the judgement's own.
    name, part = dice.choice(OWN[:-2]), dice.choice(PARTS)
    own = {name: dice.own(name)} if getattr(made.policy, name) == getattr(_plain.policy, name) else {}
    parts = {} if getattr(situation, part) else {part: dice.part(part)}
    if name in NEEDS and own and getattr(situation, NEEDS[name]) in (None, ()):
        parts[NEEDS[name]] = dice.part(NEEDS[name])
    stricter = policy.compile(replace(made.policy, **own))
    after = gate((stricter, tags, facts, replace(situation, **parts)))
    if after.chosen is None:
        return
    order = _tags(policy.judge(made, tags, facts, now=NOW).walk())
    if before.chosen is not None:
        assert order.index(after.chosen.tag) >= order.index(before.chosen.tag)
    else:
        # Nothing was chosen because of one that is not decided: that one is better.
        undecided = [blocked.tag for blocked in before.because if blocked.undecided]
        assert undecided
        assert order.index(after.chosen.tag) > order.index(undecided[-1])


_plain = made()


@settings(max_examples=500, deadline=None)
@given(_cases, st.floats(0, 1), st.integers(1, 10**6))
def test_the_answer_stays_until_it_is_said_to_change(case: Any, part: float, seconds: int) -> None:
    answer = gate(case)
    if answer.until is None:
        later = NOW + timedelta(seconds=seconds)
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
