"""Answers and runs as status: what people read, and what does not move by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater import policy as policies
from image_updater.api.model import DigestReflection, NewestPolicy, ObjectKey
from image_updater.controller.update import automationstatus, policystatus
from image_updater.errors import ImageUpdaterError, SecretNotFound, SpecError
from image_updater.patch.decisions import State
from image_updater.pipeline.answers.outcome import Amended, Outcome
from image_updater.pipeline.report import AutomationReport, CommitReport, ProblemReport, SiteReport
from image_updater.policy import TagFacts
from image_updater.policy.model import Fate, Verdict
from image_updater.registry.errors import AuthenticationFailed, RateLimited
from tests.unit.pipeline_selection.fakes import IMAGE, digest
from tests.unit.pipeline_selection.fakes import policy as model_policy

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TAGS = st.lists(st.from_regex(r"\A(v?[0-9]\.[0-9]\.[0-9](-rc[0-9])?|latest|[a-c])\Z"), max_size=30, unique=True)


def outcome(
    *tags: str, facts: dict[str, TagFacts] | None = None, error: ImageUpdaterError | None = None, **spec: Any
) -> Outcome:
    document = model_policy(**spec)
    compiled = policies.compile(document)
    judgement = policies.judge(compiled, tags, facts or {}, now=NOW)
    selection = policies.select(compiled, judgement, facts or {}) if error is None else None
    reason = judgement.reason if error is None else str(error)
    return Outcome(
        policy="default/web",
        spec=document,
        reason=reason,
        compiled=compiled,
        judgement=judgement,
        selection=selection,
        facts=facts or {},
        error=error,
    )


def fields(answer: Outcome, before: dict[str, Any] | None = None, now: datetime = NOW) -> dict[str, Any]:
    judgement = answer.judgement
    verdicts = judgement.best(10) if judgement is not None else ()
    return policystatus.fields(answer, before or {}, verdicts=verdicts, first_seen={"1.1.0": NOW}, now=now)


@given(tags=TAGS, count=st.integers(0, 12))
def test_the_best_are_the_first_of_all(tags: list[str], count: int) -> None:
    compiled = policies.compile(model_policy())
    judged = policies.judge(compiled, tags, {}, now=NOW)
    best = judged.best(count)
    assert list(best) == list(judged.verdicts[:count])
    assert list(judged.best(count)) == list(best), "also where all of them are known"
    amended = Amended(judged, {"zzz": "it is gone"})
    assert list(amended.best(count)) == list(amended.verdicts[:count])


def test_what_was_chosen_keeps_its_time_until_another_is_chosen() -> None:
    first = fields(outcome("1.0.0", "1.1.0"))
    assert first["latest"] == {"image": IMAGE, "tag": "1.1.0", "since": "2026-05-01T00:00:00Z"}
    assert first["candidates"][0]["firstSeen"] == "2026-05-01T00:00:00Z"
    later = datetime(2026, 6, 1, tzinfo=UTC)
    assert fields(outcome("1.0.0", "1.1.0"), first, later) == first
    assert fields(outcome("1.0.0", "1.2.0"), first, later)["latest"]["since"] == "2026-06-01T00:00:00Z"


def test_another_digest_of_the_tag_is_another_image() -> None:
    facts = {"1.0.0": TagFacts(digest=digest("a"))}
    first = fields(outcome("1.0.0", facts=facts, reflection=DigestReflection.ALWAYS))
    assert first["latest"]["digest"] == digest("a")
    assert fields(outcome("1.0.0", facts=facts, reflection=DigestReflection.ALWAYS), first) == first
    facts = {"1.0.0": TagFacts(digest=digest("b"))}
    later = datetime(2026, 6, 1, tzinfo=UTC)
    moved = fields(outcome("1.0.0", facts=facts, reflection=DigestReflection.ALWAYS), first, later)
    assert moved["latest"] == {**first["latest"], "digest": digest("b"), "since": "2026-06-01T00:00:00Z"}


def test_a_failure_keeps_everything_and_nothing_eligible_takes_the_choice_away() -> None:
    first = fields(outcome("1.0.0"))
    assert fields(outcome("2.0.0", error=RateLimited("later")), first) == first
    assert "latest" not in fields(outcome("latest"), first)
    held = outcome("1.0.0", strategy=NewestPolicy())
    assert policystatus.is_held(held)
    assert fields(held, first)["latest"] == first["latest"]
    bad = [Verdict("1.0.0", Fate.REJECTED, "quarantined")]
    assert "latest" not in policystatus.fields(held, first, verdicts=bad, first_seen={}, now=NOW)


def test_ten_candidates_at_most() -> None:
    made = fields(outcome(*(f"1.{number}.0" for number in range(50))))
    assert [each["tag"] for each in made["candidates"]] == [f"1.{number}.0" for number in range(49, 39, -1)]


@pytest.mark.parametrize(
    ("answer", "state", "reason", "stalled", "reconciling"),
    [
        (outcome("1.0.0"), True, "Succeeded", False, False),
        (outcome("latest"), False, "NothingEligible", False, False),
        (outcome("1.0.0", strategy=NewestPolicy()), False, "Held", False, False),
        (outcome("1.0.0", error=RateLimited("x")), False, "RateLimited", False, True),
        (outcome("1.0.0", error=AuthenticationFailed("x")), False, "AuthenticationFailed", True, False),
        (outcome("1.0.0", error=SpecError("x")), False, "InvalidSpec", True, False),
        (outcome("1.0.0", error=SecretNotFound("x")), False, "SecretNotFound", False, True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_ready_says(answer: Outcome, state: bool, reason: str, stalled: bool, reconciling: bool) -> None:
    ready = policystatus.ready(answer)
    assert (ready.state, ready.reason, ready.stalled, ready.reconciling) == (state, reason, stalled, reconciling)
    assert ready.message


def test_the_words_of_a_failure_that_goes_on_stay() -> None:
    error = RateLimited("next try at 12:00")
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "RateLimited",
        "message": "next try at 11:00",
        "observedGeneration": 3,
    }
    new = policystatus.failed(error)
    assert policystatus.steady(new, error, {"conditions": [condition]}, 3).message == "next try at 11:00"
    assert policystatus.steady(new, error, {"conditions": [condition]}, 4).message == "next try at 12:00"
    assert policystatus.steady(new, error, {}, 3).message == "next try at 12:00"
    assert policystatus.steady(policystatus.failed(SpecError("a")), SpecError("a"), {"conditions": [condition]}, 3) == (
        policystatus.failed(SpecError("a"))
    )


# ------------------------------------------------------------------------------------------------- automations


def site(state: State, name: str = "web", reason: str = "", policy: str = "default/web") -> SiteReport:
    return SiteReport(
        file=f"{name}.yaml", line=1, field="image", image=f"{IMAGE}:1.0.0", state=state, policy=policy, reason=reason
    )


def after(report: AutomationReport, before: dict[str, Any] | None = None, **answers: Outcome) -> automationstatus.Said:
    known = {name.replace("_", "/"): answer for name, answer in answers.items()}
    return automationstatus.after_run(report, before or {}, branch="main", answers=known, now=NOW)


def commit() -> CommitReport:
    return CommitReport(
        repository="r", branch="main", commit="c" * 40, automation="default/a", subject="Update web", pushed=True
    )


def test_a_commit_is_said_and_told() -> None:
    said = after(AutomationReport(sites=(site(State.UPDATED),), revision="a" * 40, commit=commit()))
    assert said.fields["lastPushCommit"] == "c" * 40
    assert said.fields["observedRevision"] == "main@sha1:" + "c" * 40
    assert said.fields["siteCounts"] == {"current": 1}
    assert [(each.reason, each.message) for each in said.happened] == [
        ("CommitPushed", "Update web (cccccccccccc on main)")
    ]
    again = after(AutomationReport(sites=(site(State.CURRENT),), revision="d" * 40), dict(said.fields))
    assert again.fields == said.fields, "a commit of somebody else that changes nothing here"
    assert not again.happened


def test_what_needs_a_person_comes_first_and_the_rest_is_counted() -> None:
    sites = [site(State.IGNORED, f"i{number}") for number in range(90)]
    sites += [site(State.HELD, f"h{number}") for number in range(20)]
    sites += [site(State.REFUSED, f"r{number}", "no") for number in range(3)]
    said = after(AutomationReport(sites=tuple(sites), unmanaged=7, revision="a" * 40))
    listed = [each["state"] for each in said.fields["sites"]]
    assert listed == ["refused"] * 3 + ["held"] * 20 + ["ignored"] * 77
    assert said.fields["siteCounts"] == {"refused": 3, "held": 20, "ignored": 90, "unmanaged": 7}
    assert said.ready.message == "sites: 3 refused, 20 held, 90 ignored"
    assert [each.message for each in said.happened] == ["r0.yaml:1: no (and 2 more)"]


def test_more_than_status_can_name_is_told_once_all_the_same() -> None:
    sites = tuple(site(State.REFUSED, f"r{number}", "no") for number in range(150))
    implicit = tuple(
        model_policy(name=f"annotation:{IMAGE}:p{number}", found_by=ObjectKey("default", "a")) for number in range(150)
    )
    report = AutomationReport(sites=sites, implicit=implicit, revision="a" * 40)
    answers = {
        f"annotation:{IMAGE}:p{number} (default/a)": outcome(
            "1.0.0", error=RateLimited("at 11:00") if number >= 120 else None
        )
        for number in range(150)
    }

    def said(before: dict[str, Any]) -> automationstatus.Said:
        return automationstatus.after_run(report, before, branch="main", answers=answers, now=NOW)

    first = said({})
    assert len(first.happened) == 1 + 30
    assert (len(first.fields["sites"]), len(first.fields["policies"])) == (100, 100)
    again = said(dict(first.fields))
    assert (again.fields, again.happened) == (first.fields, ())


def test_a_failed_push_is_told_once_by_ready_alone() -> None:
    error = AuthenticationFailed("the server says no")
    report = AutomationReport(sites=(site(State.REFUSED, reason=error.message),), revision="a" * 40, error=error)
    said = after(report)
    assert (said.ready.state, said.ready.reason, said.ready.stalled) == (False, "AuthenticationFailed", True)
    assert not said.happened


def test_problems_name_their_files() -> None:
    problems = (
        ProblemReport(file="bad.yaml", line=3, reason="no YAML"),
        ProblemReport(file=None, line=None, reason="elsewhere"),
    )
    said = after(AutomationReport(problems=problems, revision="a" * 40))
    assert said.fields["problems"] == [{"file": "bad.yaml", "line": 3, "reason": "no YAML"}]
    assert said.ready.message == "no image here is claimed by a policy; 1 file cannot be read"


def test_a_selector_that_selects_nothing_is_told() -> None:
    report = AutomationReport(revision="a" * 40)
    said = automationstatus.after_run(report, {}, branch="main", answers={}, now=NOW, selects=False)
    assert said.ready.message == (
        "no image here is claimed by a policy: spec.policySelector selects no ImagePolicy of this namespace"
    )
    claimed = AutomationReport(sites=(site(State.CURRENT),), revision="a" * 40)
    said = automationstatus.after_run(claimed, {}, branch="main", answers={}, now=NOW, selects=False)
    assert said.ready.message == "sites: 1 current"


def test_a_site_that_waits_for_a_registry_does_not_move_with_its_words() -> None:
    def report(reason: str) -> AutomationReport:
        return AutomationReport(sites=(site(State.HELD, reason=reason),), revision="a" * 40)

    first = after(report("again at 11:00"), default_web=outcome("1.0.0", error=RateLimited("again at 11:00")))
    second = after(
        report("again at 12:00"), dict(first.fields), default_web=outcome("1.0.0", error=RateLimited("again at 12:00"))
    )
    assert second.fields == first.fields
    assert first.fields["sites"][0]["current"] == "1.0.0"
    assert "wanted" not in first.fields["sites"][0]


def test_a_policy_of_an_annotation_that_fails_is_told_once() -> None:
    name = f"annotation:{IMAGE}:semver *"
    spec = model_policy(name=name, found_by=ObjectKey("default", "a"), pull_note="a note")
    report = AutomationReport(implicit=(spec,), revision="a" * 40)
    key = f"{name} (default/a)"

    def said(error: ImageUpdaterError | None, before: dict[str, Any]) -> automationstatus.Said:
        answers = {key: outcome("1.0.0", error=error)}
        return automationstatus.after_run(report, before, branch="main", answers=answers, now=NOW)

    good = said(None, {})
    assert good.fields["policies"] == [
        {"name": name, "image": IMAGE, "tag": "1.0.0", "reason": good.fields["policies"][0]["reason"]}
    ]
    assert good.fields["policies"][0]["reason"].endswith("; a note")
    assert not good.happened
    bad = said(RateLimited("at 11:00"), dict(good.fields))
    assert [(each.reason, each.warning) for each in bad.happened] == [("RateLimited", True)]
    again = said(RateLimited("at 12:00"), dict(bad.fields))
    assert again.fields == bad.fields
    assert not again.happened
    other = said(AuthenticationFailed("no"), dict(again.fields))
    assert [each.reason for each in other.happened] == ["AuthenticationFailed"]


def test_a_commit_whose_author_was_killed_before_it_said_so_is_found_in_git() -> None:
    report = AutomationReport(sites=(site(State.CURRENT),), revision="d" * 40, last=("c" * 40, NOW))
    said = after(report, {"lastPushCommit": "b" * 40, "lastPushTime": "2025-01-01T00:00:00Z"})
    assert said.fields["lastPushCommit"] == "c" * 40
    assert said.fields["lastPushTime"] == "2026-05-01T00:00:00Z"
    assert not said.happened
    told = {"lastPushCommit": "c" * 40, "lastPushTime": "2026-04-30T23:59:59Z"}
    assert after(report, told).fields["lastPushTime"] == "2026-04-30T23:59:59Z"
