"""Every gate with what it says, as `explain` shows it, and with its time where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from image_updater.api.model import After, DigestPolicy, NewestPolicy, Start, Verify, Window
from image_updater.api.wishes import ApprovalWish, DenyWish
from image_updater.policy import CompiledPolicy, Fate, TagFacts
from image_updater.policy.gating import GateName
from image_updater.policy.situation import Hold, Need
from tests.unit.policy.making import NOW, sha
from tests.unit.policy_gates.gating import (
    DAY,
    HOUR,
    TAGS,
    bad,
    denied,
    freeze,
    gated,
    known,
    made,
    nobody_knows,
    pick,
    proven,
    said,
    seen,
    signed,
)

OFFICE = Window(cron="0 9 * * 1-5", duration=timedelta(hours=2), time_zone="Europe/Berlin")
AGED = made(min_age=timedelta(hours=72))
OLD = {"1.5.0": seen("e", 90 * HOUR), "1.4.0": seen("d", 100 * HOUR)}
SIGNED = made(verify=Verify(secret_ref="keys"))
TWO = made(approvals=2)
STAGED = made(after=After(name="web-staging", soak=HOUR))
GROUPED = made(group="checkout")
ARM = made(platforms=("linux/amd64", "linux/arm64"))
NODES = made(from_nodes=True)
START = made(start=Start.PROVEN)
PLAIN = made()


class Case(NamedTuple):
    policy: CompiledPolicy
    facts: Mapping[str, TagFacts]
    situation: Mapping[str, Any]
    gate: GateName
    fate: Fate
    text: str
    until: datetime | None = None
    chosen: str | None = None
    needs: Need | None = None


def at(hour: int, minute: int = 0, *, day: int = 25, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def yes(by: str, letter: str | None = None, tag: str = "1.6.0") -> ApprovalWish:
    return ApprovalWish(tag=tag, by=by, at=NOW, digest=None if letter is None else sha(letter))


TABLE = {
    # Per tag: what the best one, 1.6.0, is said to be, and what is chosen instead.
    "quarantined": Case(
        PLAIN,
        {},
        {"quarantined": (bad(reason="crash loop", source="commit 1234abcd"),)},
        GateName.QUARANTINE,
        Fate.REJECTED,
        "quarantined by commit 1234abcd: crash loop",
        chosen="1.5.0",
    ),
    "quarantined for a while": Case(
        PLAIN,
        {},
        {"quarantined": (bad(expires=at(12, 30)),)},
        GateName.QUARANTINE,
        Fate.REJECTED,
        "quarantined until 12:30",
        until=at(12, 30),
        chosen="1.5.0",
    ),
    "quarantined bytes under another tag": Case(
        PLAIN,
        {"1.6.0": known("a"), "1.5.0": known("b")},
        {"quarantined": (bad("1.5.9", "a"),)},
        GateName.QUARANTINE,
        Fate.REJECTED,
        "quarantined (its bytes are those of 1.5.9)",
        chosen="1.5.0",
    ),
    "quarantine, digest not known": Case(
        PLAIN,
        {},
        {"quarantined": (bad("1.5.9", "a"),)},
        GateName.QUARANTINE,
        Fate.HELD,
        "waiting: its digest is not known yet (quarantine asks for it)",
        needs=Need.DIGEST,
    ),
    "denied by annotation": Case(
        PLAIN, {}, {"denied": denied("1.6.0")}, GateName.DENY, Fate.REJECTED, "denied by annotation", chosen="1.5.0"
    ),
    "denied, by whom, when and why": Case(
        PLAIN,
        {},
        {"denied": (DenyWish(what="1.6.0", by="ada", at=NOW - DAY, reason="loses\n orders"), DenyWish(what="1.6.0"))},
        GateName.DENY,
        Fate.REJECTED,
        "denied by ada at 2026-11-24T12:00Z: loses orders",
        chosen="1.5.0",
    ),
    "denied by its digest, by whom and why": Case(
        PLAIN,
        {"1.6.0": known("a"), "1.5.0": known("b")},
        {"denied": (DenyWish(what=sha("a"), by="ada", reason="slow"),)},
        GateName.DENY,
        Fate.REJECTED,
        f"denied by ada, by its digest {sha('a')}: slow",
        chosen="1.5.0",
    ),
    "denied by its digest": Case(
        PLAIN,
        {"1.6.0": known("a"), "1.5.0": known("b")},
        {"denied": denied(sha("a"))},
        GateName.DENY,
        Fate.REJECTED,
        f"denied by annotation, by its digest {sha('a')}",
        chosen="1.5.0",
    ),
    "denied digest, not known": Case(
        PLAIN,
        {},
        {"denied": denied(sha("a"))},
        GateName.DENY,
        Fate.HELD,
        "waiting: its digest is not known yet (deny asks for it)",
        needs=Need.DIGEST,
    ),
    "platform missing": Case(
        ARM,
        {
            "1.6.0": known("a", platforms=("linux/amd64",)),
            "1.5.0": known("b", platforms=("linux/amd64", "linux/arm64")),
        },
        {},
        GateName.PLATFORMS,
        Fate.REJECTED,
        "not for linux/arm64: it is for linux/amd64",
        chosen="1.5.0",
    ),
    "platforms of nodes": Case(
        NODES,
        {"1.6.0": known("a", platforms=("linux/amd64",)), "1.5.0": known("b", platforms=("linux/arm64/v8",))},
        {"node_platforms": ("linux/arm64",)},
        GateName.PLATFORMS,
        Fate.REJECTED,
        "not for linux/arm64: it is for linux/amd64",
        chosen="1.5.0",
    ),
    "platforms not known": Case(
        ARM,
        {},
        {},
        GateName.PLATFORMS,
        Fate.HELD,
        "waiting: its platforms are not known yet (platforms asks for it)",
        needs=Need.PLATFORMS,
    ),
    "platforms nobody knows": Case(
        ARM,
        {"1.6.0": nobody_knows(Need.PLATFORMS), "1.5.0": known("b", platforms=("linux/amd64", "linux/arm64"))},
        {},
        GateName.PLATFORMS,
        Fate.REJECTED,
        "of unknown platforms, and nobody can tell them",
        chosen="1.5.0",
    ),
    "signed wrongly": Case(
        SIGNED,
        {"1.6.0": signed(False, "signed by another key"), "1.5.0": signed(True, "signed by keys/cosign.pub")},
        {},
        GateName.VERIFY,
        Fate.REJECTED,
        "not verified: signed by another key",
        chosen="1.5.0",
    ),
    "not signed yet": Case(
        SIGNED,
        {"1.6.0": signed(False, "there is no signature", lasting=False), "1.5.0": signed(True, "signed")},
        {},
        GateName.VERIFY,
        Fate.HELD,
        "not verified yet: there is no signature",
        chosen="1.5.0",
    ),
    "signature not checked": Case(
        SIGNED,
        {"1.5.0": signed(True, "signed")},
        {},
        GateName.VERIFY,
        Fate.HELD,
        "waiting: its signatures were not checked yet (verify asks for it)",
        needs=Need.SIGNATURE,
    ),
    "signature nobody can check": Case(
        SIGNED,
        {"1.6.0": nobody_knows(Need.SIGNATURE), "1.5.0": signed(True, "signed")},
        {},
        GateName.VERIFY,
        Fate.REJECTED,
        "not verified: its signatures cannot be asked for",
        chosen="1.5.0",
    ),
    "too young": Case(
        AGED,
        {"1.6.0": seen("f", timedelta(hours=71, minutes=57)), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 12:03 (minAge 72h)",
        until=at(12, 3),
        chosen="1.5.0",
    ),
    "too young, for days": Case(
        AGED,
        {"1.6.0": seen("f", HOUR), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 2026-11-28T11:00Z (minAge 72h)",
        until=at(11, day=28),
        chosen="1.5.0",
    ),
    "too young by the registry": Case(
        AGED,
        {"1.6.0": TagFacts(pushed=NOW - 70 * HOUR), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 14:00 (minAge 72h)",
        until=at(14),
        chosen="1.5.0",
    ),
    "age not known": Case(
        AGED,
        OLD,
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "waiting: its digest is not known yet (minAge asks for it)",
        needs=Need.DIGEST,
    ),
    "age not known, of a new tag": Case(
        AGED,
        {"1.6.0": TagFacts(first_seen=NOW - 71 * HOUR), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 13:00 at the earliest (minAge 72h): its digest is not known yet",
        until=at(13),
        chosen="1.5.0",
        needs=Need.DIGEST,
    ),
    "age that nobody knows": Case(
        AGED,
        {"1.6.0": nobody_knows(Need.DIGEST), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "of unknown age: without its digest nobody knows when its bytes came (minAge 72h)",
        chosen="1.5.0",
    ),
    "age that nobody knows, of a new tag": Case(
        AGED,
        {"1.6.0": replace(nobody_knows(Need.DIGEST), first_seen=NOW - 71 * HOUR), **OLD},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 13:00 at the earliest (minAge 72h)",
        until=at(13),
        chosen="1.5.0",
    ),
    "not proven": Case(
        STAGED,
        {},
        {"upstream": (proven("1.5.0", DAY),)},
        GateName.AFTER,
        Fate.HELD,
        "not proven by web-staging",
        chosen="1.5.0",
    ),
    "soaking": Case(
        STAGED,
        {},
        {"upstream": (proven("1.5.0", DAY), proven("1.6.0", timedelta(minutes=50)))},
        GateName.AFTER,
        Fate.HELD,
        "eligible at 12:10 (proven by web-staging at 11:10, soak 1h)",
        until=at(12, 10),
        chosen="1.5.0",
    ),
    "withdrawn": Case(
        STAGED,
        {},
        {"upstream": (proven("1.5.0", DAY), proven("1.6.0", DAY, withdrawn=at(10, 30)))},
        GateName.AFTER,
        Fate.REJECTED,
        "withdrawn by web-staging, where it failed at 10:30",
        chosen="1.5.0",
    ),
    "other bytes proven": Case(
        STAGED,
        {"1.6.0": known("a")},
        {"upstream": (proven("1.5.0", DAY), proven("1.6.0", DAY, digest=sha("b")))},
        GateName.AFTER,
        Fate.HELD,
        "not proven by web-staging: web-staging proved other bytes of this tag",
        chosen="1.5.0",
    ),
    "proven bytes, not known": Case(
        STAGED,
        {},
        {"upstream": (proven("1.5.0", DAY), proven("1.6.0", DAY, digest=sha("b")))},
        GateName.AFTER,
        Fate.HELD,
        "waiting: its digest is not known yet (after asks for it)",
        needs=Need.DIGEST,
    ),
    "not in the group": Case(
        GROUPED,
        {},
        {"group": {"apps/api": frozenset({"1.5.0"}), "apps/job": frozenset({"1.6.0", "1.5.0"})}},
        GateName.GROUP,
        Fate.HELD,
        "not taken by apps/api (group checkout moves together)",
        chosen="1.5.0",
    ),
    "one of two approvals": Case(
        TWO,
        {},
        {"approvals": (yes("ann"), yes("ann"), yes("ann", tag="1.5.0"), yes("bob", tag="1.5.0"))},
        GateName.APPROVALS,
        Fate.HELD,
        "at 1 of 2 approvals (ann)",
        chosen="1.5.0",
    ),
    "no approvals": Case(
        TWO,
        {},
        {},
        GateName.APPROVALS,
        Fate.HELD,
        "at 0 of 2 approvals",
    ),
    "approvals of bytes that nobody can compare": Case(
        TWO,
        {"1.6.0": nobody_knows(Need.DIGEST)},
        {"approvals": (yes("ann"), yes("bob", "b"))},
        GateName.APPROVALS,
        Fate.HELD,
        "at 1 of 2 approvals (ann); 1 more for certain bytes, and its own are not known",
    ),
    "approvals of other bytes": Case(
        TWO,
        {"1.6.0": known("a")},
        {"approvals": (yes("ann"), yes("bob", "b"))},
        GateName.APPROVALS,
        Fate.HELD,
        "at 1 of 2 approvals (ann); 1 more for other bytes",
    ),
    "approvals of bytes not known": Case(
        TWO,
        {},
        {"approvals": (yes("ann"), yes("bob", "b"))},
        GateName.APPROVALS,
        Fate.HELD,
        "waiting: its digest is not known yet (approvals asks for it)",
        needs=Need.DIGEST,
    ),
    "starts with the proven": Case(
        START,
        {},
        {"start": (proven("1.5.0", DAY), proven("1.4.0", 2 * DAY))},
        GateName.START,
        Fate.HELD,
        "held by start: proven, which begins with 1.5.0",
        chosen="1.5.0",
    ),
    "starts with nothing proven": Case(
        START,
        {},
        {"start": ()},
        GateName.START,
        Fate.HELD,
        "held by start: proven, as nothing is known to be proven",
    ),
    "starts with other bytes": Case(
        START,
        {"1.6.0": known("a")},
        {"start": (proven("1.6.0", DAY, digest=sha("b")),)},
        GateName.START,
        Fate.HELD,
        "held by start: proven, as other bytes of this tag were proven",
    ),
    "held up to a tag": Case(
        PLAIN,
        {},
        {"hold": Hold(reason="reverted in 1234abcd", by="ann", tag="1.6.0", until=at(18))},
        GateName.HOLD,
        Fate.HELD,
        "held by ann up to 1.6.0 until 18:00: reverted in 1234abcd",
        until=at(18),
    ),
    "digest to be written, not known": Case(
        made(reflection="Always", approvals=0),
        {},
        {"denied": denied("0.0.1")},
        GateName.DIGEST,
        Fate.HELD,
        "waiting: its digest is not known yet, and must be",
    ),
    "both too young and not approved": Case(
        made(min_age=timedelta(hours=2), approvals=1),
        {"1.6.0": seen("a", HOUR)},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "at 0 of 1 approvals; eligible at 13:00 (minAge 2h)",
        until=at(13),
    ),
    # Of the whole policy: what would win is held.
    "hold": Case(
        PLAIN,
        {},
        {"hold": Hold(reason="we look into it", by="ann", since=NOW)},
        GateName.HOLD,
        Fate.HELD,
        "it is held by ann: we look into it (resume ends it)",
    ),
    "hold by hand, of which nobody knows the time": Case(
        PLAIN,
        {},
        {"hold": Hold(reason="we look into it")},
        GateName.HOLD,
        Fate.HELD,
        "it is held: we look into it (taking the annotation away ends it)",
    ),
    "hold for a while": Case(
        PLAIN,
        {},
        {"hold": Hold(reason="demo", until=at(6, day=26))},
        GateName.HOLD,
        Fate.HELD,
        "it is held until 2026-11-26T06:00Z: demo",
        until=at(6, day=26),
    ),
    "hold until somebody resumes": Case(
        PLAIN,
        {},
        {"hold": Hold(reason="reverted", by="ann", tag="1.4.0", since=NOW, until_resume=True)},
        GateName.HOLD,
        Fate.HELD,
        "it is held by ann: reverted (resume ends it)",
    ),
    "breaker": Case(
        PLAIN,
        {},
        {"breaker": "three policies failed within 10m"},
        GateName.BREAKER,
        Fate.HELD,
        "the breaker is open: three policies failed within 10m",
    ),
    "freeze": Case(
        PLAIN,
        {},
        {"freezes": (freeze(expires=at(12, 15)),)},
        GateName.FREEZE,
        Fate.HELD,
        "Freeze apps/holidays stops it until 12:15: nobody is here",
        until=at(12, 15),
    ),
    "freeze without end, of the cluster": Case(
        PLAIN,
        {},
        {"freezes": (freeze("audit", namespace="", reason="audit"),)},
        GateName.FREEZE,
        Fate.HELD,
        "ClusterFreeze audit stops it until it is deleted: audit",
    ),
    "windows closed": Case(
        made(windows=(OFFICE,)),
        {},
        {},
        GateName.WINDOWS,
        Fate.HELD,
        "the windows are closed, and open at 2026-11-26T09:00+01:00",
        until=at(8, day=26),
    ),
    "windows closed until today": Case(
        made(windows=(Window(cron="30 14 * * *", duration=HOUR, time_zone="Europe/Berlin"),)),
        {},
        {},
        GateName.WINDOWS,
        Fate.HELD,
        "the windows are closed, and open at 14:30 Europe/Berlin",
        until=at(13, 30),
    ),
    "windows that never open": Case(
        made(windows=(Window(cron="0 0 30 2 *", duration=HOUR),)),
        {},
        {},
        GateName.WINDOWS,
        Fate.HELD,
        "the windows never open: '0 0 30 2 *' names no time (Bad day-of-month)",
    ),
    "no source": Case(
        STAGED,
        {},
        {"upstream_source": "there is no ImagePolicy apps/web-staging"},
        GateName.AFTER,
        Fate.HELD,
        "nobody knows what web-staging has proven, which it comes after: there is no ImagePolicy apps/web-staging",
    ),
    "group that cannot move": Case(
        GROUPED,
        {},
        {"group": {}, "group_problem": "apps/api failed"},
        GateName.GROUP,
        Fate.HELD,
        "group checkout does not move: apps/api failed",
    ),
    "group not known": Case(
        GROUPED,
        {},
        {},
        GateName.GROUP,
        Fate.HELD,
        "group checkout does not move: what its other members would take is not known yet",
    ),
    "nodes not known": Case(
        NODES,
        {},
        {},
        GateName.PLATFORMS,
        Fate.HELD,
        "the platforms of the cluster's nodes are not known",
    ),
    "followed tag too young": Case(
        made(DigestPolicy(tag="latest"), min_age=2 * HOUR),
        {"latest": seen("a", HOUR)},
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 13:00 (minAge 2h)",
        until=at(13),
    ),
    "newest by date too young": Case(
        made(NewestPolicy(), min_age=2 * HOUR),
        {
            tag: seen("a", age, created=NOW - age, created_known=True)
            for tag, age in zip(TAGS, (5 * HOUR, 4 * HOUR, HOUR, 6 * HOUR), strict=True)
        },
        {},
        GateName.MIN_AGE,
        Fate.HELD,
        "eligible at 13:00 (minAge 2h)",
        until=at(13),
        chosen="1.5.0",
    ),
}
_FIRST = {"followed tag too young": "latest"}


@pytest.mark.parametrize("name", TABLE)
def test_each_gate_says_why_and_until_when(name: str) -> None:
    case, tag = TABLE[name], _FIRST.get(name, "1.6.0")
    answer = gated(case.policy, case.facts, **case.situation)
    assert said(answer, tag) == (case.fate, case.text)
    assert (pick(answer), answer.until) == (case.chosen, case.until)
    assert case.gate in {blocked.gate for blocked in answer.because}
    assert case.text.split("; ")[0] in answer.reason or case.gate is GateName.DIGEST
    assert answer.held is (case.chosen is None and (case.fate is Fate.HELD or answer.wanted is not None))
    assert (case.needs in answer.needs.get(tag, ())) is (case.needs is not None)
    assert answer.wanted == (tag if case.fate is Fate.HELD else None)


def test_every_gate_is_in_the_table() -> None:
    assert {case.gate for case in TABLE.values()} == set(GateName)


@pytest.mark.parametrize(
    ("policy", "facts", "situation", "reason"),
    [
        (
            AGED,
            {"1.6.0": seen("f", timedelta(hours=71, minutes=57)), **OLD},
            {},
            "the newest version in ^1.2; 1.6.0 is eligible at 12:03 (minAge 72h)",
        ),
        (
            PLAIN,
            {},
            {"denied": denied("1.6.0", "1.5.0")},
            "the newest version in ^1.2; 1.6.0 is denied by annotation (and 1 more does not pass)",
        ),
        (
            AGED,
            {"1.6.0": seen("f", HOUR), **OLD},
            {"breaker": "two bad tags in a row"},
            (
                "1.5.0 would win, but the breaker is open: two bad tags in a row;"
                " 1.6.0 is eligible at 2026-11-28T11:00Z (minAge 72h)"
            ),
        ),
        (
            made(approvals=1),
            {},
            {"denied": denied("1.6.0")},
            "no tag passes the gates: 1.5.0 is at 0 of 1 approvals (and 2 more do not pass)",
        ),
        (
            AGED,
            {},
            {},
            "1.6.0 would win, but it is waiting: its digest is not known yet (minAge asks for it)",
        ),
    ],
    ids=["held", "rejected", "stopped", "none", "unknown"],
)
def test_the_reason_names_what_passes_and_what_is_waited_for(policy, facts, situation, reason) -> None:  # type: ignore[no-untyped-def]
    assert gated(policy, facts, **situation).reason == reason


def test_a_time_is_rounded_up_to_the_minute() -> None:
    answer = gated(AGED, {"1.6.0": seen("f", 72 * HOUR - timedelta(seconds=61)), **OLD})
    assert said(answer, "1.6.0")[1] == "eligible at 12:02 (minAge 72h)"
    assert answer.until == NOW + timedelta(seconds=61)
