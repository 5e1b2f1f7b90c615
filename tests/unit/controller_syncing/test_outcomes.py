"""What status says of a sync and of the health behind it."""

from __future__ import annotations

import pytest

from image_updater.cluster.errors import ClusterUnavailable, Forbidden, InvalidObject
from image_updater.cluster.model import Ref
from image_updater.controller.status import Ready, standing
from image_updater.controller.sync import outcomes
from image_updater.controller.sync.dependencies import DependencyNotReady
from image_updater.errors import ImageUpdaterError, SpecError, Where
from image_updater.sync.model import Action, Condition, Done, Health, SyncReport

REVISION = "main@sha1:1234"
REFS = [Ref("apps", "Deployment", "prod", f"web{number}") for number in range(5)]
OLD = Ref("", "Service", "prod", "old")


def report(*done: Done) -> SyncReport:
    errors = tuple(each.error for each in done if each.error is not None)
    return SyncReport(revision=REVISION, done=done, errors=errors)


def broken(ref: Ref, error: ImageUpdaterError) -> Done:
    return Done(ref=ref, action=Action.FAILED, error=error)


@pytest.mark.parametrize(
    ("done", "message"),
    [
        ([], "main@sha1:1234 is applied: 5 objects"),
        (
            [Done(ref=REFS[0], action=Action.DRIFTED, fields=("spec",))],
            (
                "main@sha1:1234 is applied: 5 objects; Deployment.apps prod/web0 differs in the cluster and is left so"
                " (drift: warn)"
            ),
        ),
        (
            [Done(ref=ref, action=Action.SKIPPED) for ref in REFS],
            (
                "main@sha1:1234 is applied: 5 objects; Deployment.apps prod/web0, Deployment.apps prod/web1,"
                " Deployment.apps prod/web2 and 2 more are left alone: annotations say so"
            ),
        ),
        (
            [Done(ref=OLD, action=Action.HELD, reason="Kustomization prod/x renders it now")],
            "main@sha1:1234 is applied: 5 objects; not pruned: Service prod/old (Kustomization prod/x renders it now)",
        ),
        (
            [Done(ref=OLD, action=Action.YIELDED, reason="it is Kustomization prod/x's now")],
            "main@sha1:1234 is applied: 5 objects; not set back: Service prod/old (it is Kustomization prod/x's now)",
        ),
    ],
    ids=["plain", "drift", "skipped", "held", "yielded"],
)
def test_what_is_applied_says_what_is_left_alone(done: list[Done], message: str) -> None:
    ready = outcomes.applied(REVISION, 5, report(*done))
    assert (ready.state, ready.reason, ready.message) == (True, "ReconciliationSucceeded", message)


@pytest.mark.parametrize(
    ("done", "reason", "stalled"),
    [
        ([broken(REFS[0], Forbidden("no"))], "Forbidden", True),
        ([broken(REFS[0], Forbidden("no")), broken(REFS[1], InvalidObject("bad"))], "ApplyFailed", True),
        ([broken(REFS[0], Forbidden("no")), broken(REFS[1], ClusterUnavailable("down"))], "ApplyFailed", False),
        ([broken(OLD, Forbidden("no"))], "PruneFailed", True),
        ([broken(OLD, Forbidden("no")), broken(REFS[0], Forbidden("no"))], "Forbidden", True),
    ],
    ids=["one", "two", "mixed", "prune", "both"],
)
def test_a_failure_is_called_by_its_own_reason(done: list[Done], reason: str, stalled: bool) -> None:
    ready = outcomes.failed(REVISION, report(*done), REFS)
    assert (ready.state, ready.reason, ready.stalled, ready.reconciling) == (False, reason, stalled, not stalled)


def test_many_failures_are_counted() -> None:
    ready = outcomes.failed(REVISION, report(*(broken(ref, Forbidden(f"no {ref.name}")) for ref in REFS)), REFS)
    assert ready.message == "main@sha1:1234: no web0; and 4 more: see status.failed"


def test_sentences_have_short_revisions() -> None:
    assert outcomes.short("main@sha1:0123456789abcdef0123456789abcdef01234567") == "main@sha1:0123456789ab"
    assert outcomes.short("sha1:0123456789abcdef0123456789abcdef01234567") == "sha1:0123456789ab"
    assert outcomes.short(REVISION) == REVISION


def test_what_failed_says_its_place_and_field() -> None:
    where = Where(file="apps/a.yaml", line=7, object=str(REFS[0]), field="data.port")
    fields = outcomes.report_fields([broken(REFS[0], InvalidObject("expected string", where=where))])
    assert [each["reason"] for each in fields["failed"]] == ["apps/a.yaml:7: data.port: expected string"]


def test_who_waits_is_not_stalled() -> None:
    ready = Ready.of(DependencyNotReady("waits for apps/db"))
    assert (ready.state, ready.reason, ready.reconciling, ready.stalled) == (False, "DependencyNotReady", True, False)
    assert Ready.of(SpecError("bad")).stalled


def test_health_names_what_failed_before_what_is_late() -> None:
    good = outcomes.applied(REVISION, 2, report())
    current = Health(ref=REFS[0], condition=Condition.CURRENT)
    late = Health(ref=REFS[1], condition=Condition.IN_PROGRESS, message="0 of 1 ready")
    bad = Health(ref=REFS[2], condition=Condition.FAILED, message="crash loop")
    assert outcomes.judged(good, REVISION, [current], 60) is good
    assert outcomes.judged(good, REVISION, [current, late], 60).message == (
        "main@sha1:1234 is applied, not healthy after 60 s: Deployment.apps prod/web1: 0 of 1 ready"
    )
    assert outcomes.judged(good, REVISION, [late, bad], 60).message == (
        "main@sha1:1234 is applied, not healthy: Deployment.apps prod/web2: crash loop"
    )
    assert outcomes.health_fields([current, late, bad]) == {
        "unhealthy": [
            {"id": "prod_web1_apps_Deployment", "status": "InProgress", "message": "0 of 1 ready"},
            {"id": "prod_web2_apps_Deployment", "status": "Failed", "message": "crash loop"},
        ],
        "healthCounts": {"Current": 1, "Failed": 1, "InProgress": 1},
    }


def test_changes_are_told_by_what_was_done() -> None:
    done = [
        Done(ref=REFS[0], action=Action.CONFIGURED),
        Done(ref=REFS[1], action=Action.EQUAL),
        Done(ref=OLD, action=Action.PRUNED),
        Done(ref=REFS[2], action=Action.CREATED),
    ]
    assert outcomes.changes(done) == (
        "created Deployment.apps prod/web2; configured Deployment.apps prod/web0; pruned Service prod/old"
    )


def test_what_stands_is_read_back() -> None:
    assert standing({}) is None
    status = {
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Forbidden", "message": "no"},
            {"type": "Stalled", "status": "True", "reason": "Forbidden", "message": "no"},
        ]
    }
    ready = standing(status)
    assert ready is not None
    assert (ready.state, ready.reason, ready.message, ready.stalled) == (False, "Forbidden", "no", True)
