"""What would have been committed, moment by moment: the gates over a past that is made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater import api
from image_updater.api.model import Objects
from image_updater.api.wishes import ApprovalWish
from image_updater.pipeline.answers.tagsfile import TagsFile
from image_updater.pipeline.replay import remembering
from image_updater.pipeline.replay.simulation import Past, Replayed, replay
from image_updater.policy.situation import Proven
from image_updater.store import Store, StoredTags

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IMAGE = "ghcr.io/acme/web"


def policy(name: str = "web", more: str = "", *, strategy: str = "{semver: {range: '*'}}", image: str = IMAGE) -> str:
    return (
        f"---\napiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: {name}, namespace: apps}}\n"
        f"spec:\n  image: {image}\n  policy: {strategy}\n" + "".join(f"  {line}\n" for line in more.splitlines())
    )


def objects(*texts: str) -> Objects:
    return api.load_text("".join(texts))


def tags_at(hours: dict[str, float], **more: Any) -> TagsFile:
    """A tags file; hours count from the start."""
    listed = [
        {"tag": tag, "created": (START + h * HOUR).isoformat().replace("+00:00", "Z"), **more}
        for tag, h in hours.items()
    ]
    return TagsFile.parse(json.dumps(listed), file="tags.json")


def play(
    spec: Objects, hours: dict[str, float], *, days: float = 7, more: dict[str, Any] | None = None, **options: Any
) -> tuple[Replayed, ...]:
    past = remembering.from_file(tags_at(hours, **(more or {})), spec)
    if "past" in options:
        extra = options.pop("past")
        past = Past(tags=past.tags, approvals=extra.approvals, proven=extra.proven)
    return replay(spec, past, since=START, until=START + days * DAY, **options)


def moments(replayed: Replayed) -> list[tuple[str, float]]:
    return [(commit.tag, (commit.at - START) / HOUR) for commit in replayed.commits]


MORNINGS = "windows: [{cron: '0 9 * * *', duration: 2h}]"

CASES: dict[str, tuple[str, dict[str, float], str | None, list[tuple[str, float]]]] = {
    "no gate": ("", {"1.0": -5, "1.1": 1, "1.2": 2.5}, "1.0", [("1.1", 1), ("1.2", 2.5)]),
    "nothing before": ("", {"1.1": 1}, None, [("1.1", 1)]),
    "two at once": ("", {"1.0": -5, "1.1": 1, "1.2": 1}, "1.0", [("1.2", 1)]),
    "an older one later": ("", {"1.0": -5, "1.2": 1, "1.1": 2}, "1.0", [("1.2", 1)]),
    "out of range": ("filterTags: {exclude: [rc]}", {"1.0": -5, "1.1-rc1": 1}, "1.0", []),
    "behind the end": ("", {"1.0": -5, "1.1": 24 * 8}, "1.0", []),
    "minAge": ("minAge: 10h", {"1.0": -50, "1.1": 1, "1.2": 5}, "1.0", [("1.1", 11), ("1.2", 15)]),
    "minAge at the start": ("minAge: 10h", {"1.0": -50, "1.1": -4}, "1.0", [("1.1", 6)]),
    "windows": (
        MORNINGS,
        {"1.0": -5, "1.1": 1, "1.2": 10, "1.3": 11.5},
        "1.0",
        [("1.1", 9), ("1.2", 10), ("1.3", 33)],
    ),
    "windows and minAge": (f"minAge: 10h\n{MORNINGS}", {"1.0": -50, "1.1": 0.5}, "1.0", [("1.1", 10.5)]),
    "deny": ("deny: ['1.1']", {"1.0": -5, "1.1": 1, "1.2": 2}, "1.0", [("1.2", 2)]),
    "suspended": ("suspend: true", {"1.0": -5, "1.1": 1}, None, []),
    "approvals": ("approvals: 1", {"1.0": -5, "1.1": 1}, "1.0", []),
}


@pytest.mark.parametrize(("gates", "hours", "start", "commits"), CASES.values(), ids=CASES)
def test_what_is_committed_when(
    gates: str, hours: dict[str, float], start: str | None, commits: list[tuple[str, float]]
) -> None:
    (found,) = play(objects(policy(more=gates, strategy="{semver: {range: '*', loose: true}}")), hours)
    assert found.start == start
    assert moments(found) == commits


def test_a_commit_says_why_when_and_what_it_waited_for() -> None:
    (found,) = play(objects(policy(more=f"minAge: 10h\n{MORNINGS}")), {"1.0.0": -50, "1.1.0": 2, "1.2.0": 30})
    first = found.commits[0]
    assert (first.tag, first.before, first.appeared, first.at) == (
        "1.1.0",
        "1.0.0",
        START + 2 * HOUR,
        START + 33 * HOUR,
    )
    assert first.held_by == ("minAge", "windows")
    assert first.waited == 31 * HOUR
    assert "newest version" in first.reason
    assert found.end == "1.2.0"
    assert found.passed_over == ()


def test_what_never_came_in_is_passed_over_and_what_waits_is_said() -> None:
    (found,) = play(
        objects(policy(more="minAge: 24h")), {"1.0.0": -50, "1.1.0": 1, "1.1.1": 2, "1.2.0": 24 * 6.5}, days=7
    )
    assert moments(found) == [("1.1.0", 25), ("1.1.1", 26)]
    assert found.waiting is not None
    assert found.waiting.tag == "1.2.0"
    assert found.waiting.until == START + 7.5 * DAY
    (quick,) = play(objects(policy(more=MORNINGS)), {"1.0.0": -50, "1.1.0": 12, "1.2.0": 13})
    assert moments(quick) == [("1.2.0", 33)]
    assert quick.passed_over == ("1.1.0",)


def test_what_waits_is_never_what_git_holds() -> None:
    # At the end the window is closed, 1.1.0 is written, and 1.2.0 is too young.
    spec = objects(policy(more=f"minAge: 24h\n{MORNINGS}"))
    (found,) = play(spec, {"1.0.0": -50, "1.1.0": 1, "1.2.0": 40}, days=2)
    assert found.end == "1.1.0"
    assert found.waiting is not None
    assert found.waiting.tag == "1.2.0"
    assert found.waiting.reason.startswith("1.2.0 waits: the windows are closed")
    assert "eligible at" in found.waiting.reason
    assert "1.1.0" not in found.waiting.reason
    assert found.waiting.until == START + 64 * HOUR
    (settled,) = play(spec, {"1.0.0": -50, "1.1.0": 1}, days=2)
    assert settled.waiting is None
    (agreed,) = play(objects(policy(more="minAge: 24h\napprovals: 1")), {"1.0.0": -50, "1.1.0": 40}, days=2)
    assert agreed.waiting is not None
    assert agreed.waiting.until is None, "time alone does not bring an approval"


def test_the_windows_of_the_automation_are_what_is_waited_for_as_well() -> None:
    automation = (
        "---\napiVersion: image-updater.dev/v1alpha1\nkind: ImageUpdateAutomation\n"
        "metadata: {name: fleet, namespace: apps}\nspec:\n"
        f"  sourceRef: {{name: fleet}}\n  git: {{push: {{branch: main}}}}\n  {MORNINGS}\n"
        "---\napiVersion: image-updater.dev/v1alpha1\nkind: GitRepository\n"
        "metadata: {name: fleet, namespace: apps}\nspec: {url: 'https://git.example/fleet', ref: {branch: main}}\n"
    )
    (found,) = play(objects(policy(), automation), {"1.0.0": -50, "1.1.0": 12}, days=1)
    assert found.waiting is not None
    assert found.waiting.reason == "1.1.0 waits: the windows are closed, and open at 09:00"
    assert found.waiting.until == START + 33 * HOUR


def test_what_comes_after_another_policy_follows_its_commits() -> None:
    spec = objects(
        policy("staging", "minAge: 2h"),
        policy("prod", "after: {name: staging, soak: 5h}"),
        policy("late", "after: {name: prod}"),
    )
    staging, prod, late = play(spec, {"1.0.0": -50, "1.1.0": 1, "1.2.0": 4})
    assert moments(staging) == [("1.1.0", 3), ("1.2.0", 6)]
    assert (prod.start, late.start) == ("1.0.0", "1.0.0")
    assert moments(prod) == [("1.1.0", 8), ("1.2.0", 11)]
    assert moments(late) == [("1.1.0", 8), ("1.2.0", 11)]
    assert prod.commits[0].held_by == ("after",)
    assert any("healthy at once" in note for note in prod.notes)


def test_what_another_controller_proved_counts_where_it_is_kept() -> None:
    spec = objects(policy(more="after: {name: elsewhere, provenFile: proven.yaml}"))
    (held,) = play(spec, {"1.0.0": -50, "1.1.0": 1})
    assert (held.start, held.commits) == (None, ())
    assert any("nothing is known of what apps/elsewhere had proven" in note for note in held.notes)
    known = Past(tags={}, proven={"apps/elsewhere": (Proven(tag="1.1.0", at=START + 3 * HOUR),)})
    (found,) = play(spec, {"1.0.0": -50, "1.1.0": 1}, past=known)
    assert moments(found) in ([("1.1.0", 1)], [("1.1.0", 3)])


def test_a_group_moves_together_or_not_at_all() -> None:
    web, api_ = "ghcr.io/acme/web", "ghcr.io/acme/api"
    spec = objects(policy("web", "group: shop", image=web), policy("api", "group: shop\nminAge: 4h", image=api_))
    listed = {
        web: {"1.0.0": -50, "1.1.0": 1, "1.2.0": 9},
        api_: {"1.0.0": -50, "1.1.0": 3},
    }
    document = {
        image: [{"tag": tag, "created": (START + h * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")} for tag, h in hours.items()]
        for image, hours in listed.items()
    }
    past = remembering.from_file(TagsFile.parse(json.dumps(document), file="t"), spec)
    first, second = replay(spec, past, since=START, until=START + DAY)
    assert (first.start, second.start) == ("1.0.0", "1.0.0")
    assert moments(first) == moments(second) == [("1.1.0", 7)]
    assert first.waiting is not None
    assert "group" in first.waiting.reason


def test_approvals_that_are_kept_count_from_when_they_were_given() -> None:
    spec = objects(policy(more="approvals: 2"))
    given = tuple(
        ApprovalWish(tag="1.1.0", by=who, at=START + hours * HOUR) for who, hours in (("a", 2), ("a", 3), ("b", 6))
    )
    (found,) = play(spec, {"1.0.0": -50, "1.1.0": 1}, past=Past(tags={}, approvals={"apps/web": given}))
    assert moments(found) == [("1.1.0", 6)]
    assert found.commits[0].held_by == ("approvals",)
    (free,) = play(spec, {"1.0.0": -50, "1.1.0": 1}, assume_approved=True)
    assert moments(free) == [("1.1.0", 1)]


def test_windows_of_the_automation_count_too() -> None:
    automation = (
        "---\napiVersion: image-updater.dev/v1alpha1\nkind: ImageUpdateAutomation\n"
        "metadata: {name: a, namespace: apps}\n"
        "spec: {windows: [{cron: '0 12 * * *', duration: 1h}]}\n"
    )
    (found,) = play(objects(policy(), automation), {"1.0.0": -50, "1.1.0": 1})
    assert found.start == "1.0.0"
    assert moments(found) == [("1.1.0", 12)]
    assert found.commits[0].held_by == ("windows",)
    (other,) = play(objects(policy(), automation.replace("namespace: apps", "namespace: b")), {"1.0.0": -5, "1.1.0": 1})
    assert moments(other) == [("1.1.0", 1)]
    assert any("no ImageUpdateAutomation selects it" in note for note in other.notes)


def test_a_freeze_of_that_time_holds_and_ends() -> None:
    freeze = (
        "---\napiVersion: image-updater.dev/v1alpha1\nkind: Freeze\nmetadata: {name: f, namespace: apps}\n"
        "spec: {reason: sale, starts: 2026-03-02T00:30:00Z, expires: 2026-03-03T00:00:00Z}\n"
    )
    (found,) = play(objects(policy(), freeze), {"1.0.0": -50, "1.1.0": 1, "1.2.0": 2})
    assert moments(found) == [("1.2.0", 24)]
    assert found.commits[0].held_by == ("freeze",)


def test_platforms_are_looked_at_where_they_are_known_and_taken_for_granted_elsewhere() -> None:
    spec = objects(policy(more="platforms: [linux/arm64, fromNodes]\nverify: {secretRef: {name: k}}"))
    (found,) = play(spec, {"1.0.0": -50, "1.1.0": 1}, more={"platforms": ["linux/amd64"]})
    assert (found.start, found.commits) == (None, ())
    (blind,) = play(spec, {"1.0.0": -50, "1.1.0": 1})
    assert moments(blind) == [("1.1.0", 1)]
    said = " ".join(blind.notes)
    assert all(word in said for word in ("platforms of 2 tags", "signatures are not looked at", "fromNodes"))


def test_an_annotation_of_today_says_nothing_of_the_past() -> None:
    held = policy().replace("namespace: apps}", "namespace: apps, annotations: {image-updater.dev/hold: now}}")
    (found,) = play(objects(held), {"1.0.0": -50, "1.1.0": 1})
    assert moments(found) == [("1.1.0", 1)]


def test_a_policy_whose_image_nobody_saw_says_so() -> None:
    spec = objects(policy())
    (found,) = replay(spec, Past(tags={}), since=START, until=START + DAY)
    assert (found.start, found.commits) == (None, ())
    assert found.notes == ("nothing is known of the tags of its image",)
    listed = remembering.from_file(TagsFile.parse('{"ghcr.io/acme/other": ["1.0.0"]}', file="t"), spec)
    (found,) = replay(spec, listed, since=START, until=START + DAY)
    assert found.notes == ("nothing is known of the tags of its image",)


# ------------------------------------------------------------------------------------------- a state file


def test_a_state_file_says_when_tags_were_first_seen_and_which_bytes_they_had(tmp_path: Path) -> None:
    spec = objects(
        policy("web"), policy("latest", strategy="{digest: {tag: latest}}"), policy("new", strategy="{newest: {}}")
    )
    digests = {i: f"sha256:{str(i) * 64}" for i in range(5)}
    with Store.open(tmp_path / "s.sqlite") as store:
        store.note_seen(IMAGE, "me", ["1.0.0", "latest", f"latest@{digests[1]}"], START - 5 * DAY)
        store.note_seen(IMAGE, "me", ["1.1.0"], START + HOUR)
        store.note_seen(IMAGE, "me", [f"latest@{digests[2]}"], START + 2 * HOUR)
        store.note_seen(IMAGE, "me", [f"latest@{digests[3]}"], START + 5 * HOUR)
        store.save_facts(IMAGE, "me", {digests[4]: {"created": "2026-03-02T00:30:00Z"}})
        store.save_tag_digests(IMAGE, "me", {"1.1.0": digests[4], "latest": digests[3]})
        tags = StoredTags(tags=("1.0.0", "latest", "1.1.0"), fingerprint="f", scanned_at=START + DAY)
        store.save_tags(IMAGE, "me", tags)
        past = remembering.from_store(store, spec)
    web, latest, new = replay(spec, past, since=START, until=START + DAY)
    assert (web.start, moments(web)) == ("1.0.0", [("1.1.0", 1)])
    assert [(commit.digest, (commit.at - START) / HOUR) for commit in latest.commits] == [
        (digests[2], 2),
        (digests[3], 5),
    ]
    assert ("1.1.0", 1) in moments(new)
    assert any("2 of 3 tags have no date" in note for note in web.notes)
    assert any("digest of 1 tags is not known" in note for note in latest.notes)
    assert any("2 tags have no creation date" in note for note in new.notes)


def test_a_history_that_begins_later_says_so(tmp_path: Path) -> None:
    spec = objects(policy())
    with Store.open(tmp_path / "s.sqlite") as store:
        store.note_seen(IMAGE, "me", ["1.0.0"], START + 3 * DAY)
        store.note_seen(IMAGE, "me", ["1.1.0"], START + 4 * DAY)
        past = remembering.from_store(store, spec)
    (found,) = replay(spec, past, since=START, until=START + 7 * DAY)
    assert moments(found) == [("1.1.0", 96)]
    assert any("known since 2026-03-05" in note for note in found.notes)


# ------------------------------------------------------------------------------------------- laws

HOURS = st.lists(st.integers(-48, 7 * 24), min_size=1, max_size=12)
GATES = st.lists(
    st.sampled_from(["minAge: 7h", MORNINGS, "deny: ['1.3.0']", "approvals: 0", "filterTags: {exclude: ['5']}"]),
    unique=True,
)


@given(HOURS, GATES)
def test_git_never_goes_back_and_no_tag_comes_before_its_time(hours: list[int], gates: list[str]) -> None:
    listed = {f"1.{i}.0": float(h) for i, h in enumerate(hours)}
    (found,) = play(objects(policy(more="\n".join(gates))), listed)
    numbers = [int(tag.split(".")[1]) for tag in (found.start, *(tag for tag, _ in moments(found))) if tag]
    assert numbers == sorted(set(numbers))
    age = 7 if "minAge: 7h" in gates else 0
    for tag, at in moments(found):
        assert at >= max(listed[tag] + age, 0)
        assert "deny" not in " ".join(gates) or tag != "1.3.0"
        if MORNINGS in gates:
            assert 9 <= at % 24 < 11
    assert [at for _, at in moments(found)] == sorted({at for _, at in moments(found)})


@given(HOURS, GATES)
def test_gates_only_ever_delay_or_leave_out(hours: list[int], gates: list[str]) -> None:
    listed = {f"1.{i}.0": float(h) for i, h in enumerate(hours)}
    (free,) = play(objects(policy()), listed)
    (gated,) = play(objects(policy(more="\n".join(gates))), listed)
    at = dict(moments(free))
    for tag, moment in moments(gated):
        assert tag not in at or moment >= at[tag]


def test_a_long_history_is_replayed_in_moments() -> None:
    listed = {f"1.{i}.0": i / 4 for i in range(4_000)}
    (found,) = play(objects(policy(more=MORNINGS)), listed, days=60)
    assert len(found.commits) > 100
