"""Whether a place with this past holds a selection: the decision table of design section 7, without any Git."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import (
    Author,
    DigestPolicy,
    DigestReflection,
    HoldUntil,
    ImagePolicy,
    Meta,
    NewestPolicy,
    ObjectKey,
    SemverPolicy,
)
from image_updater.git import Chain, Changed, CommitInfo, End, Value
from image_updater.images import Digest
from image_updater.patch.decisions import Choice
from image_updater.pipeline.people.contested import steps
from image_updater.pipeline.people.holds import judge
from image_updater.policy import Selection, TagFacts, may_replace
from image_updater.policy import compile as compile_policy

if TYPE_CHECKING:
    from image_updater.api.model import Strategy
    from image_updater.policy.model import Movement
    from image_updater.policy.situation import Hold

START = datetime(2026, 11, 1, tzinfo=UTC)
OURS = "Update acme/web to {new}\n\nImage-Policy: apps/web\nImage: acme/web\nNew: {new}\nAutomation: apps/fleet\n"
ROLLBACK = "Roll back\n\nRollback: it crashed\n" + OURS.partition("\n\n")[2]
A, B, C = (f"sha256:{digit * 64}" for digit in "abc")


@dataclass(frozen=True)
class By:
    """Who changed the value to what."""

    tag: str | None
    message: str = "By hand"


def ours(tag: str) -> By:
    return By(tag, OURS.format(new=tag.partition("@")[0]))


def rolled_back(tag: str) -> By:
    return By(tag, ROLLBACK.format(new=tag))


def value(text: str | None) -> Value | None:
    if text is None:
        return None
    tag, _, digest = text.partition("@")
    return Value(tag or None, digest or None)


def chain(*history: By, end: End = End.ENOUGH) -> Chain:
    """Oldest first, as things happen; each on a day of its own. The first found 0.1."""
    made: list[Changed] = []
    before: str | None = "0.1"
    for number, by in enumerate(history):
        commit = CommitInfo(
            id=f"{number + 1:040x}",
            tree="t",
            parents=(),
            message=by.message,
            author=Author(name="Ada", email="ada@acme.example"),
            when=START + timedelta(days=number),
        )
        made.insert(0, Changed(commit=commit, before=value(before), after=value(by.tag)))
        before = by.tag
    return Chain(now=value(before), changes=tuple(made), end=end)


def hold(
    past: Chain,
    wanted: str,
    *,
    strategy: Strategy | None = None,
    resumed: datetime | None = None,
    proposed: tuple[str, ...] = (),
    dates: dict[str, datetime] | None = None,
    until: HoldUntil = HoldUntil.NEWER,
) -> Hold | None:
    follows = isinstance(strategy, DigestPolicy)
    policy = ImagePolicy(
        meta=Meta(key=ObjectKey("apps", "web")),
        image="acme/web",
        strategy=strategy or SemverPolicy(range="*", loose=True),
        reflection=DigestReflection.ALWAYS if follows else DigestReflection.NEVER,
        hold=until,
    )
    tag, _, digest = wanted.partition("@")
    selection = Selection(policy="apps/web", name="acme/web", tag=tag, digest=Digest(digest) if digest else None)
    facts = {
        name: TagFacts(created=date, pushed=date, first_seen=date, created_known=True)
        for name, date in (dates or {}).items()
    }

    def move(current: str | None, current_digest: str | None) -> Movement:
        return may_replace(compile_policy(policy), selection, current, current_digest, facts)

    waiting = [replace(chain(ours(each)).changes[0].commit, id="f" * 40) for each in proposed]
    return judge(
        past,
        selection,
        Choice(policy=policy, selection=selection, reason="", move=move),
        proposed=steps(waiting),
        resumed=resumed,
    )


@pytest.mark.parametrize(
    ("history", "held", "free"),
    [
        pytest.param([], (), ("1.0", "1.2"), id="nobody-ever-changed-it"),
        pytest.param([By("1.1"), By("1.0")], (), ("1.1", "1.2"), id="it-was-never-ours"),
        pytest.param([ours("1.1")], (), ("1.1", "1.2", "1.0"), id="ours-is-the-newest"),
        pytest.param([ours("1.1"), By("1.0")], ("0.9", "1.0.5", "1.1"), ("1.1.1", "2.0"), id="taken-back"),
        pytest.param([ours("1.1"), By(None)], ("1.1", "1.0"), ("1.2",), id="taken-out"),
        pytest.param([ours("1.1"), By(None), By("1.0")], ("1.0.5", "1.1"), ("1.2",), id="taken-out-and-put-back-older"),
        pytest.param([ours("1.1"), By(None), By("1.1")], (), ("1.1", "1.2"), id="taken-out-and-put-back"),
        pytest.param([ours("1.1"), By("1.0"), By("0.9")], ("1.1",), ("1.2",), id="and-then-set-by-hand"),
        pytest.param([ours("1.1"), By("1.0"), By("1.1")], (), ("1.1", "1.2", "1.0"), id="and-put-back"),
        pytest.param([ours("1.1"), By("1.3")], ("1.1",), ("1.2", "1.4"), id="set-to-a-newer-one-by-hand"),
        pytest.param([ours("1.1"), By("1.0"), ours("1.2")], (), ("1.2", "1.3"), id="a-newer-one-has-ended-it"),
        pytest.param(
            [ours("1.1"), By("1.0"), ours("1.2"), By("1.0")], ("1.1", "1.2"), ("1.3",), id="the-later-displacement"
        ),
        pytest.param([ours("1.1"), ours("1.2"), By("1.1")], ("1.2", "1.1.5"), ("1.3",), id="back-to-our-older-one"),
        pytest.param([ours("1.2"), rolled_back("1.1")], ("1.1.5", "1.2"), ("1.2.1",), id="rolled-back"),
        pytest.param(
            [ours("1.2"), rolled_back("1.1"), By("1.2")], ("1.1",), ("1.2", "1.3"), id="a-rollback-taken-back"
        ),
        pytest.param(
            [ours("1.2"), rolled_back("1.1"), By("1.0")], ("1.1", "1.1.5", "1.2"), ("1.3",), id="rolled-back-further"
        ),
        pytest.param(
            [ours("1.2"), rolled_back("1.1"), ours("1.3"), rolled_back("1.1")], ("1.3",), ("1.4",), id="two-rollbacks"
        ),
        pytest.param(
            [ours("1.2"), By("1.1"), rolled_back("1.0")], ("1.1.5", "1.2"), ("1.3",), id="rolled-back-after-a-person"
        ),
        pytest.param(
            [ours("1.3"), rolled_back("1.2"), rolled_back("1.1")], ("1.2", "1.3"), ("1.4",), id="rolled-back-again"
        ),
        pytest.param(
            [ours("1.3"), By("1.1"), ours("1.4"), rolled_back("1.1")], ("1.4",), ("1.5",), id="what-has-ended-before"
        ),
    ],
)
def test_what_is_held(history: list[By], held: tuple[str, ...], free: tuple[str, ...]) -> None:
    past = chain(*history)
    assert {tag: hold(past, tag) is not None for tag in (*held, *free)} == {
        **dict.fromkeys(held, True),
        **dict.fromkeys(free, False),
    }


SQUASHED = "Update (#3)\n\n* " + OURS.format(new="1.2").replace("\n", "\n  ") + "\nReviewed-by: Ada\n"


@pytest.mark.parametrize(
    ("message", "is_held"),
    [
        (SQUASHED, False),
        (SQUASHED.replace("  New:", "  > New:"), False),
        (SQUASHED.replace("New: 1.2", "New: 1.9"), True),
        ("Update (#3)\n\nIt says New: 1.2 and Image-Policy: apps/web", True),
        ("Update (#3)", True),
    ],
    ids=["our-text", "quoted", "of-another-value", "not-as-lines", "no-text"],
)
def test_a_squash_with_our_text_is_ours(message: str, is_held: bool) -> None:
    """Under a person's name, of something that a person has then; the tag before it is not to come back by itself."""
    past = chain(ours("1.3"), By("1.2", message))
    assert (hold(past, "1.3") is not None) is is_held
    after = chain(ours("1.1"), By("1.2", message), By("1.1"))
    assert (hold(after, "1.2") is not None) is not is_held, "a revert of it is a hold, where it is known to be ours"


def test_a_squashed_rollback_displaces_as_it_did_before() -> None:
    squash = "Roll back (#4)\n\n* " + rolled_back("1.1").message.replace("\n", "\n  ") + "\n\nReviewed-by: Ada\n"
    found = hold(chain(ours("1.2"), By("1.1", squash)), "1.2")
    assert found is not None
    assert "rolled 1.2 back (it crashed)" in found.reason
    assert hold(chain(ours("1.2"), By("1.1", squash)), "1.3") is None


def test_a_value_that_waits_on_our_push_branch_is_no_hold() -> None:
    past = chain(ours("nightly-7"), By("1.2"))
    assert hold(past, "1.3") is not None, "it cannot be compared with what was displaced"
    assert hold(past, "1.3", proposed=("1.2",)) is None
    assert hold(past, "1.3", proposed=("1.1",)) is not None
    reverted = chain(ours("1.1"), By("1.2"), By("1.1"))
    assert hold(reverted, "1.2") is None, "nobody knows that this was ours"
    assert hold(reverted, "1.2", proposed=("1.2",)) is not None


def test_resume_ends_only_what_began_before_it() -> None:
    past = chain(ours("1.3"), By("1.2"), rolled_back("1.1"))
    assert hold(past, "1.3", resumed=START + timedelta(days=1)) is None, "the rollback holds up to 1.2 alone"
    assert hold(past, "1.2", resumed=START + timedelta(days=1)) is not None
    assert hold(past, "1.2", resumed=START + timedelta(days=2)) is None


@pytest.mark.parametrize(("days", "is_held"), [(0, True), (1, False), (2, False)])
def test_resume_ends_what_began_before_it(days: int, is_held: bool) -> None:
    past = chain(ours("1.2"), By("1.1"))
    assert (hold(past, "1.2", resumed=START + timedelta(days=days)) is not None) is is_held


@pytest.mark.parametrize(("wanted", "is_held"), [(f"latest@{B}", True), (f"latest@{C}", False), (f"latest@{A}", False)])
def test_a_followed_tag_is_held_for_the_displaced_bytes_alone(wanted: str, is_held: bool) -> None:
    past = chain(ours(f"latest@{B}"), By(f"latest@{A}"))
    assert (hold(past, wanted, strategy=DigestPolicy(tag="latest")) is not None) is is_held


def test_newest_compares_by_date_and_waits_where_it_knows_none() -> None:
    past = chain(ours("main-b"), By("main-a"))
    dates = {name: START + timedelta(hours=n) for n, name in enumerate(("main-a", "main-b", "main-c"))}
    newest = NewestPolicy()
    assert hold(past, "main-b", strategy=newest, dates=dates) is not None
    assert hold(past, "main-c", strategy=newest, dates=dates) is None
    del dates["main-b"]
    assert hold(past, "main-c", strategy=newest, dates=dates) is not None


def test_other_bytes_under_the_displaced_tag_stay_held() -> None:
    past = chain(ours(f"1.2@{A}"), By("1.1"))
    assert hold(past, f"1.2@{B}") is not None


@pytest.mark.parametrize(
    ("wanted", "is_held"),
    [(f"1.2@{B}", False), (f"1.2@{A}", True), ("1.2", True), (f"1.1.5@{B}", True)],
    ids=["other bytes", "the bad bytes", "unknown bytes", "an older tag"],
)
def test_other_bytes_of_what_a_rollback_found_bad_are_new(wanted: str, is_held: bool) -> None:
    record = By("1.1", f"{rolled_back('1.1').message}Quarantine: docker.io/acme/web:1.2@{A}\n")
    assert (hold(chain(ours("1.2"), record), wanted) is not None) is is_held
    without = By("1.1", f"{rolled_back('1.1').message}Quarantine: acme/web:1.2\n")
    assert hold(chain(ours("1.2"), without), wanted) is not None, "whatever bytes the tag has"
    assert hold(chain(ours("1.2"), record), wanted, until=HoldUntil.RESUME) is not None, "only a resume ends it"


def test_the_reason_has_all_that_a_person_asks_for() -> None:
    found = hold(chain(ours("1.2"), By("1.1")), "1.2")
    assert found is not None
    assert found.reason == (
        "held: 000000000000 by Ada (2026-11-02) replaced 1.2 by 1.1; a tag newer than 1.2 ends it,"
        " or a commit with `Image-Updater: resume` or `image-updater resume`"
    )
    assert (found.by, found.tag, found.since) == ("Ada", "1.2", START + timedelta(days=1))
    rolled = hold(chain(ours("1.2"), rolled_back("1.1")), "1.2")
    assert rolled is not None
    assert "rolled 1.2 back (it crashed)" in rolled.reason


@pytest.mark.parametrize("back", [By("1.0"), rolled_back("1.0")], ids=["a-person", "a-rollback"])
def test_a_policy_may_be_held_until_somebody_resumes_it(back: By) -> None:
    past = chain(ours("1.1"), back)
    assert hold(past, "1.2") is None
    held = hold(past, "1.2", until=HoldUntil.RESUME)
    assert held is not None
    assert held.until_resume
    resumes = "a commit with `Image-Updater: resume` or `image-updater resume`"
    assert held.reason.endswith(f"; {resumes} ends it (hold: untilResume)")
    assert hold(past, "1.2", until=HoldUntil.RESUME, resumed=START + timedelta(days=2)) is None
    assert hold(chain(ours("1.1")), "1.2", until=HoldUntil.RESUME) is None
