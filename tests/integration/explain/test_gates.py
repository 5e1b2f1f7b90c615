"""`explain` with gates: each held tag with its reason and time, and the policy's own line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web}
spec:
  image: acme/web
  policy: {semver: {range: ^1}}
  minAge: 72h
"""
BAD = """\
---
apiVersion: image-updater.dev/v1alpha1
kind: Quarantine
metadata: {name: web}
spec: {image: acme/web, tag: 1.2.0, reason: crash loop}
"""


def explain(folder: Path, tags: object, now: str) -> dict[str, Any]:
    (folder / "objects.yaml").write_text(POLICY + BAD)
    (folder / "tags.json").write_text(json.dumps(tags))
    arguments = ["explain", "-f", str(folder / "objects.yaml"), "--tags", str(folder / "tags.json"), "--now", now]
    arguments += ["--state", str(folder / "state.sqlite"), "-o", "json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    report: dict[str, Any] = json.loads(result.stdout)[0]
    assert report.keys() == {"policy", "image", "chosen", "reason", "tags"}
    return report


def tag(name: str, content: int) -> dict[str, str]:
    return {"tag": name, "digest": f"sha256:{content:064x}"}


def test_the_clock_that_is_given_decides_and_every_tag_says_what_it_waits_for(tmp_path: Path) -> None:
    first = explain(tmp_path, [tag("1.0.0", 1)], "2024-05-01T12:03:00Z")
    assert first["chosen"] is None
    assert "eligible at 2024-05-04T12:03Z" in first["reason"]
    tags = [tag("1.0.0", 1), tag("1.1.0", 2), tag("1.2.0", 3)]
    report = explain(tmp_path, tags, "2024-05-04T12:03:00Z")
    assert report["chosen"] == {"tag": "1.0.0", "digest": None}
    said = {each["tag"]: (each["verdict"], each["reason"]) for each in report["tags"]}
    assert said["1.0.0"][0] == "chosen"
    assert said["1.1.0"] == ("held", "eligible at 2024-05-07T12:03Z (minAge 72h)")
    assert said["1.2.0"][0] == "rejected"
    assert "crash loop" in said["1.2.0"][1]
    assert "1.1.0 is eligible at 2024-05-07T12:03Z" in report["reason"]
    again = explain(tmp_path, tags, "2024-05-07T12:03:00Z")
    assert again["chosen"] == {"tag": "1.1.0", "digest": None}


def test_a_quarantined_tag_below_the_chosen_one_is_not_called_eligible(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(POLICY.replace("  minAge: 72h\n", "") + BAD)
    (tmp_path / "tags").write_text("1.1.0\n1.2.0\n1.3.0\n")
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags"), "-o", "json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    said = {each["tag"]: (each["verdict"], each["reason"]) for each in json.loads(result.stdout)[0]["tags"]}
    assert said["1.3.0"][0] == "chosen"
    assert said["1.1.0"] == ("eligible", "eligible, but 1.3.0 is newer")
    assert said["1.2.0"][0] == "rejected"
    assert "crash loop" in said["1.2.0"][1]


def test_without_state_the_age_begins_now_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(POLICY)
    (tmp_path / "tags.json").write_text(json.dumps([tag("1.0.0", 1), "1.1.0"]))
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags.json"), "-o", "json"]
    result = CliRunner().invoke(cli, [*arguments, "--now", "2024-05-01T12:03:00Z"], standalone_mode=False)
    report = json.loads(result.stdout)[0]
    assert report["chosen"] is None
    assert "give --state FILE" in report["reason"]
    assert {each["tag"]: (each["verdict"], each["reason"]) for each in report["tags"]} == {
        "1.0.0": ("held", "eligible at 2024-05-04T12:03Z (minAge 72h)"),
        "1.1.0": ("held", "of unknown age: without its digest nobody knows when its bytes came (minAge 72h)"),
    }


@pytest.mark.parametrize("ends", ["", ", expires: '2100-01-01T00:00:00Z'"])
def test_a_quarantine_of_what_git_holds_takes_it_down(tmp_path: Path, ends: str) -> None:
    bad = BAD.replace("crash loop}", f"crash loop{ends}}}")
    (tmp_path / "objects.yaml").write_text(POLICY.replace("  minAge: 72h\n", "") + bad)
    (tmp_path / "tags").write_text("1.1.0\n1.2.0\n")
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags"), "-o", "json"]
    result = CliRunner().invoke(cli, [*arguments, "--current", "1.2.0"], standalone_mode=False)
    report = json.loads(result.stdout)[0]
    assert report["chosen"] == {"tag": "1.1.0", "digest": None}
    assert report["reason"].endswith("down to 1.1.0, the best that is left")
    assert report["reason"].count("crash loop") == 1, "the gate has said it already"


AUTOMATION = """\
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {name: fleet}
spec: {url: 'https://git.example/fleet.git', ref: {branch: main}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {name: all}
spec: {sourceRef: {name: fleet}, windows: [{cron: '0 9 * * 1-5', duration: 1h}]}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {name: others}
spec: {sourceRef: {name: fleet}, policySelector: {matchLabels: {team: b}}, suspend: true}
"""


@pytest.mark.parametrize(
    ("now", "labels", "note"),
    [
        (
            "2024-05-02T08:00:00Z",
            "{}",
            "; ImageUpdateAutomation default/all writes nothing now: the windows are closed, and open at 09:00",
        ),
        ("2024-05-02T09:30:00Z", "{}", ""),
        ("2024-05-02T09:30:00Z", "{team: b}", "; ImageUpdateAutomation default/others is suspended: it writes nothing"),
    ],
    ids=["closed", "open", "suspended"],
)
def test_what_stops_the_automations_of_a_policy_is_a_note(tmp_path: Path, now: str, labels: str, note: str) -> None:
    policy = POLICY.replace("  minAge: 72h\n", "").replace("{name: web}", f"{{name: web, labels: {labels}}}")
    (tmp_path / "objects.yaml").write_text(policy + AUTOMATION)
    (tmp_path / "tags").write_text("1.1.0\n")
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags"), "-o", "json"]
    result = CliRunner().invoke(cli, [*arguments, "--now", now], standalone_mode=False)
    (report,) = json.loads(result.stdout)
    assert report["chosen"] == {"tag": "1.1.0", "digest": None}
    assert report["reason"] == f"the newest version in ^1{note}"


@pytest.mark.parametrize(("worker", "chosen"), [("a", None), ("b", "b")], ids=["apart", "alike"])
def test_a_group_by_date_moves_only_where_its_members_mean_one_tag(
    tmp_path: Path, worker: str, chosen: str | None
) -> None:
    """Each image has dates of its own: a tag that was built again for one of them is the newest for that one alone."""
    member = "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: {0}}}\n"
    member += "spec: {{image: acme/{0}, policy: {{newest: {{}}}}, group: shop}}\n"
    (tmp_path / "objects.yaml").write_text("---\n".join(map(member.format, ("web", "worker"))))
    dated = {name: {"a": "2024-05-01T00:00:00Z", "b": "2024-05-02T00:00:00Z"} for name in ("web", "worker")}
    dated["worker"][worker] = "2024-05-03T00:00:00Z"
    tags = {f"acme/{name}": [{"tag": tag, "created": at} for tag, at in dates.items()] for name, dates in dated.items()}
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags.json"), "-o", "json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    reports = json.loads(result.stdout)
    assert [report["chosen"] and report["chosen"]["tag"] for report in reports] == [chosen, chosen]
    told = "group shop does not move: its members would take different tags: default/web b, default/worker a"
    assert all((told in report["reason"]) is (chosen is None) for report in reports)


@pytest.mark.parametrize(
    ("spec", "objects", "note"),
    [
        (
            "after: {name: staging, provenFile: proven.yaml}",
            "",
            "`explain` reads no branch: what proven.yaml says of it, `update` knows",
        ),
        (
            "start",
            "",
            "start: proven has nothing to begin with: no ImageUpdateAutomation that takes it has a provenFile",
        ),
        (
            "start",
            AUTOMATION.replace("windows: [{cron: '0 9 * * 1-5', duration: 1h}]", "git: {provenFile: proven.yaml}"),
            "start: proven counts as well: `explain` reads no branch, `update` knows what proven.yaml says",
        ),
    ],
    ids=["after", "start-without-a-file", "start"],
)
def test_what_only_a_branch_can_tell_is_a_note(tmp_path: Path, spec: str, objects: str, note: str) -> None:
    policy = POLICY.replace("  minAge: 72h\n", f"  {spec}\n" if spec != "start" else "")
    if spec == "start":
        policy = policy.replace("{range: ^1}", "{range: ^1}, start: proven")
    (tmp_path / "objects.yaml").write_text(policy + objects)
    (tmp_path / "tags").write_text("1.1.0\n")
    arguments = ["explain", "-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags"), "-o", "json"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    (report,) = json.loads(result.stdout)
    assert report["reason"].endswith(f"; {note}")
