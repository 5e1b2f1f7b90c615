"""From what a Canary says to what is done about it: every row of facts/flagger.md 2.1, 2.4 and 2.6, the verdict and the
action of design section 9 together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from image_updater.api.model import ObjectKey, OnFailure
from image_updater.kustomize.model import ObjectId
from image_updater.pipeline.rollback.decision import Author, Image, Kind, Written, decide
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.sync.health import Seen
from image_updater.sync.rollout.model import Culprit, RolloutState
from tests.unit.sync_rollout.bodies import NOW, deployment, evidence, judged
from tests.unit.sync_rollout.test_canaries import CANARY, canary

S, K, C = RolloutState, Kind, Culprit
SHOWN = (("web", "acme/web:1.5.0"),)
OFF = deployment(replicas=0, status={}, progressing="NewReplicaSetAvailable")


class Row(NamedTuple):
    body: Any
    state: RolloutState
    action: Kind
    culprit: Culprit = C.UNKNOWN
    author: Author = Author.OURS
    mixed: str = ""
    seen: bool = False
    """It looked just so when our change was applied."""
    words: str = ""
    busy: bool = False


ROWS = {
    # 2.1: the phases
    "2.1 Initializing": Row(canary("Initializing"), S.PROGRESSING, K.BUSY, busy=True),
    "2.1 Initialized": Row(canary("Initialized", "A", "A"), S.HEALTHY, K.PROVEN),
    "2.1 Waiting": Row(canary("Waiting", "A", "A"), S.WAITING_APPROVAL, K.BUSY, busy=True, words="confirm-rollout"),
    "2.1 Progressing": Row(canary("Progressing", "B", "A"), S.PROGRESSING, K.BUSY, busy=True),
    "2.1 WaitingPromotion": Row(
        canary("WaitingPromotion", "B", "A"), S.WAITING_APPROVAL, K.BUSY, busy=True, words="confirm-promotion"
    ),
    "2.1 Promoting": Row(canary("Promoting", "B", "A"), S.PROGRESSING, K.BUSY, busy=True),
    "2.1 Finalising": Row(canary("Finalising", "B", "A"), S.PROGRESSING, K.BUSY, busy=True),
    "2.1 Succeeded": Row(canary("Succeeded", "B", "B"), S.HEALTHY, K.PROVEN),
    "2.1 Failed": Row(canary("Failed", "B", "A", canaryWeight=0), S.FAILED, K.ROLLBACK, C.TAG),
    "2.1 Terminating": Row(canary("Terminating", "A", "A"), S.TERMINATING, K.NOTHING),
    "2.1 Terminated": Row(canary("Terminated", "A", "A"), S.TERMINATING, K.NOTHING),
    # 2.4: what the image automation does
    "2.4 proven": Row(canary("Succeeded", "B", "B"), S.HEALTHY, K.PROVEN),
    "2.4 busy": Row(canary("Progressing", "B", "A", canaryWeight=20), S.PROGRESSING, K.BUSY, busy=True),
    "2.4 bad tag": Row(canary("Failed", "B", "A", canaryWeight=0), S.FAILED, K.ROLLBACK, C.TAG),
    "2.4 a person's change": Row(
        canary("Failed", "B", "A"), S.FAILED, K.NOTIFY, C.TAG, author=Author.PERSON, words="no commit of ours"
    ),
    "2.4 image and config": Row(
        canary("Failed", "B", "A"), S.FAILED, K.NOTIFY, C.TAG, mixed="spec.replicas: 1 → 2", words="spec.replicas"
    ),
    "2.4 primary broken": Row(
        canary("Failed", "B", "A", canaryWeight=30), S.PRIMARY_BROKEN, K.PAGE, words="nothing may be changed now"
    ),
    "2.4 rolled back already": Row(canary("Failed", "A", "A"), S.ROLLED_BACK, K.NOTHING),
    "2.4 skipAnalysis": Row(
        canary("Succeeded", "B", "B", spec={"skipAnalysis": True}), S.HEALTHY_UNANALYSED, K.DEPLOYED
    ),
    "2.4 suspend": Row(canary("Progressing", "B", "A", spec={"suspend": True}), S.SUSPENDED, K.NOTHING),
    # 2.6: the same by fields
    "2.6 Succeeded of the run before": Row(canary("Succeeded", "A", "A"), S.PENDING, K.BUSY, seen=True, busy=True),
    "2.6 Progressing": Row(
        canary("Progressing", "B", "A", canaryWeight=20, failedChecks=2), S.PROGRESSING, K.BUSY, busy=True
    ),
    "2.6 Waiting": Row(canary("Waiting", "A", "A"), S.WAITING_APPROVAL, K.BUSY, busy=True),
    "2.6 WaitingPromotion": Row(canary("WaitingPromotion", "B", "A"), S.WAITING_APPROVAL, K.BUSY, busy=True),
    "2.6 Promoting": Row(canary("Promoting", "B", "A"), S.PROGRESSING, K.BUSY, busy=True),
    "2.6 Finalising": Row(canary("Finalising", "B", "A"), S.PROGRESSING, K.BUSY, busy=True),
    "2.6 Succeeded": Row(canary("Succeeded", "B", "B"), S.HEALTHY, K.PROVEN, seen=False),
    "2.6 Failed": Row(canary("Failed", "B", "A", canaryWeight=0), S.FAILED, K.ROLLBACK, C.TAG),
    "2.6 Failed and rolled back": Row(canary("Failed", "A", "A"), S.ROLLED_BACK, K.NOTHING),
    "2.6 Failed in the promotion": Row(canary("Failed", "B", "A", canaryWeight=100), S.PRIMARY_BROKEN, K.PAGE),
    "2.6 Initializing": Row(canary("Initializing"), S.PROGRESSING, K.BUSY, busy=True),
    "2.6 Initialized": Row(canary("Initialized", "A", "A"), S.HEALTHY, K.PROVEN),
    "2.6 suspended": Row(canary("Progressing", spec={"suspend": True}), S.SUSPENDED, K.NOTHING),
    "2.6 skipAnalysis": Row(
        canary("Succeeded", "B", "B", spec={"skipAnalysis": True}), S.HEALTHY_UNANALYSED, K.DEPLOYED
    ),
    "2.6 Terminating": Row(canary("Terminating"), S.TERMINATING, K.NOTHING),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_its_verdict_and_its_action(name: str) -> None:
    row = ROWS[name]
    seen = Seen.of(row.body, NOW) if row.seen else None
    known = evidence(OFF, canary=CANARY, canary_body=row.body, images=SHOWN)
    rollout = judged(known, 5, seen=seen).rollout
    assert (rollout.state, rollout.culprit, rollout.busy) == (row.state, row.culprit, row.busy)
    action = decide(
        rollout,
        (image(row.author),),
        on_failure=OnFailure.ROLLBACK,
        now=NOW + timedelta(minutes=2),
        since=NOW,
        started=datetime(2026, 11, 26, 10, tzinfo=UTC),
        mixed=row.mixed,
    )
    assert action.kind is row.action, action
    assert row.words in action.reason
    if action.kind is Kind.ROLLBACK:
        assert [(each.placement.image, each.to) for each in action.suspects] == [("acme/web", Value("1.4.2"))]
    else:
        assert not action.suspects


@pytest.mark.parametrize(("on_failure", "kind"), [(OnFailure.HOLD, K.HOLD), (OnFailure.NONE, K.NOTIFY)])
def test_a_failed_canary_goes_back_only_where_it_was_asked_for(on_failure: OnFailure, kind: Kind) -> None:
    body = canary("Failed", "B", "A", canaryWeight=0)
    rollout = judged(evidence(OFF, canary=CANARY, canary_body=body, images=SHOWN), 5).rollout
    now = NOW + timedelta(minutes=2)
    action = decide(rollout, (image(Author.OURS),), on_failure=on_failure, now=now, since=NOW, started=NOW)
    assert action.kind is kind


def image(author: Author) -> Image:
    placement = Placement(
        automation=ObjectKey("prod", "all"),
        policy="prod/web",
        name="prod/web",
        root="apps",
        folder="apps",
        object=ObjectId(group="apps", kind="Deployment", namespace="prod", name="web"),
        container="web",
        path=("spec", "template", "spec", "containers", 0, "image"),
        image="acme/web",
        value=Value("1.5.0"),
        site="apps/web.yaml#0:image",
        file="apps/web.yaml",
    )
    return Image(placement=placement, written=Written(author=author, commit="c" * 40, at=NOW, old=Value("1.4.2")))
