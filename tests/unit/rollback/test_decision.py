"""What a rollout leads to: the tables of facts/flagger.md 2.4 and 2.6, with the actions of design section 9."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from image_updater.api.model import ObjectKey, OnFailure
from image_updater.cluster.model import Ref
from image_updater.kustomize.model import ObjectId
from image_updater.pipeline.rollback.decision import (
    FROZEN,
    HISTORY,
    SETTLED,
    Author,
    Image,
    Intent,
    IntentState,
    Kind,
    Written,
    decide,
)
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=1)
STARTED = NOW - timedelta(hours=1)
REF = Ref("apps", "Deployment", "shop", "web")
BAD, OLD = Value("1.5.0"), Value("1.4.2")
COMMIT = "c" * 40


def placement(container: str = "main", value: Value = BAD, image: str = "acme/web") -> Placement:
    return Placement(
        automation=ObjectKey("shop", "all"),
        policy=f"shop/{container}",
        name=f"shop/{container}",
        root="apps",
        folder="apps",
        object=ObjectId(group="apps", kind="Deployment", namespace="shop", name="web"),
        container=container,
        path=("spec", "template", "spec", "containers", 0, "image"),
        image=image,
        value=value,
        site=f"apps/{container}.yaml#0:image",
        file=f"apps/{container}.yaml",
    )


def image(
    container: str = "main",
    value: Value = BAD,
    author: Author = Author.OURS,
    *,
    old: Value | None = OLD,
    at: datetime = SINCE,
    **more: Any,
) -> Image:
    written = Written(author=author, commit=COMMIT, at=at, old=old)
    return Image(placement=placement(container, value), written=written, **more)


def rollout(
    state: RolloutState = RolloutState.FAILED,
    culprit: Culprit = Culprit.TAG,
    *,
    images: tuple[tuple[str, str], ...] = (("main", "acme/web:1.5.0"),),
    **more: Any,
) -> Rollout:
    return Rollout(ref=REF, state=state, culprit=culprit, reason="it crashes", images=images, **more)


def ask(seen: Rollout | None = None, *images: Image, **more: Any) -> Any:
    known: dict[str, Any] = {
        "on_failure": OnFailure.ROLLBACK,
        "now": NOW,
        "since": SINCE,
        "started": STARTED,
    }
    return decide(seen or rollout(), images or (image(),), **known | more)


CANARY = Ref("flagger.app", "Canary", "shop", "web")


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (rollout(RolloutState.HEALTHY), Kind.PROVEN),
        (rollout(RolloutState.HEALTHY_UNANALYSED), Kind.DEPLOYED),
        (rollout(RolloutState.PENDING, canary=CANARY), Kind.BUSY),
        (rollout(RolloutState.PROGRESSING, canary=CANARY), Kind.BUSY),
        (rollout(RolloutState.WAITING_APPROVAL, canary=CANARY), Kind.BUSY),
        (rollout(RolloutState.PROGRESSING), Kind.NOTHING),
        (rollout(RolloutState.SUSPENDED, canary=CANARY), Kind.NOTHING),
        (rollout(RolloutState.TERMINATING), Kind.NOTHING),
        (rollout(RolloutState.ROLLED_BACK, canary=CANARY), Kind.NOTHING),
        (rollout(RolloutState.PRIMARY_BROKEN, canary=CANARY), Kind.PAGE),
        (rollout(), Kind.ROLLBACK),
        (rollout(culprit=Culprit.ENVIRONMENT), Kind.NOTIFY),
        (rollout(culprit=Culprit.UNKNOWN), Kind.NOTIFY),
    ],
    ids=lambda value: (
        value.state.value + ("" if value.canary is None else "-canary") + f"-{value.culprit.value}"
        if isinstance(value, Rollout)
        else value.value
    ),
)
def test_every_state_has_its_action(seen: Rollout, kind: Kind) -> None:
    action = ask(seen)
    assert action.kind is kind
    assert action.reason


@pytest.mark.parametrize(
    ("on_failure", "kind"),
    [(OnFailure.ROLLBACK, Kind.ROLLBACK), (OnFailure.HOLD, Kind.HOLD), (OnFailure.NONE, Kind.NOTIFY)],
)
def test_on_failure_says_what_is_done(on_failure: OnFailure, kind: Kind) -> None:
    assert ask(on_failure=on_failure).kind is kind


def test_it_goes_to_the_last_proven_value_else_to_what_the_commit_displaced() -> None:
    assert ask(None, image(proven=Value("1.3.0"))).suspects[0].to == Value("1.3.0")
    assert ask(None, image()).suspects[0].to == OLD
    lost = ask(None, image(old=None))
    assert lost.kind is Kind.NOTIFY
    assert "nothing is known" in lost.reason
    assert lost.again is None
    unsaid = ask(None, image(old=None, unknown=OLD))
    assert (unsaid.kind, unsaid.again) == (Kind.NOTIFY, NOW + FROZEN)
    assert "does not say which bytes 1.4.2 has" in unsaid.reason
    assert ask(None, image(old=None), on_failure=OnFailure.HOLD).kind is Kind.HOLD, "a hold needs no way back"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ((image(author=Author.PERSON),), "no commit of ours"),
        ((image(author=Author.UNKNOWN),), "no commit of ours"),
        ((image(author=Author.ROLLBACK),), "was a rollback itself"),
        ((image(changed=False),), "no commit of ours"),
        ((), "Git holds"),
        (
            (image(), image("proxy", Value("2.0"), Author.PERSON)),
            "changed too, and not by us",
        ),
    ],
    ids=["a-persons", "nobody-knows", "a-rollbacks", "as-it-was", "moved-on", "beside-a-persons"],
)
def test_what_is_not_ours_alone_stays(images: tuple[Image, ...], words: str) -> None:
    seen = rollout(images=(("main", "acme/web:1.5.0"), ("proxy", "acme/web:2.0")))
    if not images:
        images = (image(value=OLD),)
    action = ask(seen, *images)
    assert action.kind in (Kind.NOTIFY, Kind.NOTHING)
    assert words in action.reason


def test_two_of_our_images_go_back_together() -> None:
    seen = rollout(images=(("main", "acme/web:1.5.0"), ("proxy", "acme/web:2.0")), failing=("proxy",))
    action = ask(seen, image(), image("proxy", Value("2.0"), old=Value("1.9")))
    assert action.kind is Kind.ROLLBACK
    assert [str(each.to) for each in action.suspects] == ["1.4.2", "1.9"]


def test_an_image_that_was_good_before_is_no_suspect() -> None:
    seen = rollout(images=(("main", "acme/web:1.5.0"), ("proxy", "acme/web:2.0")))
    action = ask(seen, image(), image("proxy", Value("2.0"), changed=False))
    assert [each.placement.container for each in action.suspects] == ["main"]


def test_a_container_that_we_did_not_change_is_not_our_failure() -> None:
    seen = rollout(failing=("other",))
    assert ask(seen).kind is Kind.NOTIFY
    assert "other" in ask(seen).reason


def test_more_than_our_images_changed() -> None:
    action = ask(mixed="Deployment shop/web: spec.replicas: '1' → '2'")
    assert action.kind is Kind.NOTIFY
    assert "spec.replicas" in action.reason
    assert ask(mixed="x", on_failure=OnFailure.HOLD).kind is Kind.NOTIFY


@pytest.mark.parametrize(
    ("intent", "kind"),
    [
        (None, Kind.HISTORY),
        (Intent(state=IntentState.INTENDED, bad=BAD), Kind.ROLLBACK),
        (Intent(state=IntentState.INTENDED, bad=BAD, to=OLD), Kind.ROLLBACK),
        (Intent(state=IntentState.INTENDED, bad=Value("1.4.9"), to=OLD), Kind.HISTORY),
        (Intent(state=IntentState.DONE, bad=BAD, to=OLD), Kind.HISTORY),
        (Intent(state=IntentState.PUSHED, bad=BAD, to=OLD, commit=COMMIT), Kind.NOTHING),
    ],
    ids=["none", "begun", "decided", "of-another-tag", "done", "pushed"],
)
def test_what_failed_long_before_the_start_is_history_unless_it_was_begun(intent: Intent | None, kind: Kind) -> None:
    since = STARTED - HISTORY - timedelta(seconds=1)
    assert ask(since=since, intent=intent).kind is kind
    assert ask(since=STARTED - HISTORY + timedelta(seconds=1)).kind is Kind.ROLLBACK


def test_a_failure_must_stand_for_a_moment() -> None:
    action = ask(since=NOW - timedelta(seconds=1))
    assert action.kind is Kind.WAIT
    assert action.again == NOW - timedelta(seconds=1) + SETTLED
    assert ask(since=NOW - timedelta(seconds=1), intent=Intent(state=IntentState.INTENDED, bad=BAD)).kind is (
        Kind.ROLLBACK
    )


def test_a_clock_that_jumps_back_only_waits() -> None:
    assert ask(since=NOW + timedelta(hours=2)).kind is Kind.WAIT


def test_what_fails_after_a_clock_was_set_back_is_no_history_of_a_start_that_lies_ahead() -> None:
    assert ask(started=NOW + timedelta(hours=3)).kind is Kind.ROLLBACK
    assert ask(started=NOW + timedelta(hours=3), since=NOW - HISTORY - timedelta(seconds=1)).kind is Kind.HISTORY


def test_two_bad_tags_in_a_row_open_the_breaker_and_the_second_still_goes_back() -> None:
    action = ask(None, image(bad=(Value("1.4.9"),)))
    assert action.kind is Kind.ROLLBACK
    assert "1.4.9 and 1.5.0" in action.breaker
    assert ask(None, image(bad=(BAD,))).breaker == "", "it is the very same one"
    assert ask(None, image(bad=(Value("1.4.9"),)), on_failure=OnFailure.HOLD).breaker


def test_an_open_breaker_stops_what_was_not_decided_before() -> None:
    assert ask(breaker="3 policies failed").kind is Kind.NOTIFY
    begun = Intent(state=IntentState.INTENDED, bad=BAD)
    assert ask(breaker="3 policies failed", intent=begun).kind is Kind.NOTIFY
    assert ask(breaker="3 policies failed", intent=replace(begun, to=OLD)).kind is Kind.ROLLBACK


def test_a_freeze_is_asked_again() -> None:
    action = ask(frozen="frozen by Freeze shop/xmas")
    assert action.kind is Kind.NOTIFY
    assert action.again == NOW + FROZEN
    assert ask(frozen="frozen", on_failure=OnFailure.HOLD).kind is Kind.HOLD, "a hold writes nothing to Git"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Value("1"), Value("1"), True),
        (Value("1"), Value("2"), False),
        (Value("1", "sha256:a"), Value("1"), True),
        (Value("1", "sha256:a"), Value("1", "sha256:b"), False),
        (Value("1", "sha256:a"), Value(None, "sha256:a"), True),
        (Value("1", "sha256:a"), Value("2", "sha256:a"), False),
        (Value(), Value(), False),
    ],
)
def test_values_mean_the_same_bytes(one: Value, other: Value, same: bool) -> None:
    assert one.is_of(other) is same
    assert other.is_of(one) is same
