"""A local checkout: what `--commit` commits and leaves, how a subfolder narrows it, and what its history dates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: NAME, image: acme/NAME:TAG}]}
"""
OBJECTS = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web}
spec: {image: acme/web, policy: {POLICY}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: api}
spec: {image: acme/api, policy: {semver: {range: ^1}}}
"""


def deployment(name: str, tag: str) -> str:
    return DEPLOYMENT.replace("NAME", name).replace("TAG", tag)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for name in ("web", "api"):
        (folder / name).mkdir(parents=True)
        (folder / name / "deployment.yaml").write_text(deployment(name, "1.0.0"))
    gitservers.git("init", "-q", "-b", "main", folder)
    gitservers.git("add", ".", cwd=folder)
    date = {"GIT_COMMITTER_DATE": "2024-01-15T12:00:00Z", "GIT_AUTHOR_DATE": "2024-01-15T12:00:00Z"}
    gitservers.git("commit", "-qm", "Start", cwd=folder, env=date)
    return folder


def update(folder: Path, tags: object, *arguments: str, policy: str = "semver: {range: ^1}") -> dict[str, object]:
    place = folder if folder.name == "repository" else folder.parent
    (place.parent / "objects.yaml").write_text(OBJECTS.replace("POLICY", policy))
    (place.parent / "tags.json").write_text(json.dumps(tags))
    result = CliRunner().invoke(
        cli,
        [
            "update",
            str(folder),
            "-f",
            str(place.parent / "objects.yaml"),
            "--tags",
            str(place.parent / "tags.json"),
            "-o",
            "json",
            *arguments,
        ],
        standalone_mode=False,
    )
    if result.exception is not None:
        raise result.exception
    assert result.return_value in (0, 3), result.output
    report: dict[str, object] = json.loads(result.stdout)
    return report


def states(report: dict[str, object]) -> dict[str, str]:
    return {site["file"]: site["state"] for site in report["sites"]}  # type: ignore[attr-defined]


def test_a_commit_carries_its_record_and_nothing_of_the_person(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine\n")
    (checkout / "staged.txt").write_text("staged\n")
    gitservers.git("add", "staged.txt", cwd=checkout)
    report = update(checkout, ["1.0.0", "1.1.0"], "--commit")
    assert states(report) == {"web/deployment.yaml": "updated", "api/deployment.yaml": "updated"}
    head = gitservers.git("rev-parse", "HEAD", cwd=checkout)
    assert report["commit"] == head
    message = gitservers.git("log", "-1", "--format=%B", cwd=checkout)
    for line in ("Image-Policy: default/web", "Old: 1.0.0", "New: 1.1.0", "Automation: default/image-updater"):
        assert line in message.splitlines()
    assert "Proof: rendered" in message
    changed = gitservers.git("show", "--name-only", "--format=", cwd=checkout).splitlines()
    assert sorted(changed) == ["api/deployment.yaml", "web/deployment.yaml"]
    assert gitservers.git("status", "--porcelain", cwd=checkout).splitlines() == ["A  staged.txt", "?? notes.txt"]
    assert (checkout / "web/deployment.yaml").read_text() == deployment("web", "1.1.0")
    assert update(checkout, ["1.0.0", "1.1.0"], "--commit")["changed"] is False


def test_what_is_dirty_is_read_and_never_committed(checkout: Path) -> None:
    dirty = deployment("web", "1.0.0") + "# mine\n"
    (checkout / "web/deployment.yaml").write_text(dirty)
    report = update(checkout, ["1.0.0", "1.1.0"], "--commit")
    assert states(report) == {"web/deployment.yaml": "refused", "api/deployment.yaml": "updated"}
    assert (checkout / "web/deployment.yaml").read_text() == dirty
    assert update(checkout, ["1.0.0", "1.1.0"], "--write")["changed"] is True
    assert (checkout / "web/deployment.yaml").read_text() == deployment("web", "1.1.0") + "# mine\n"


def test_a_subfolder_narrows_what_is_reported_and_edited(checkout: Path) -> None:
    report = update(checkout / "web", ["1.0.0", "1.1.0"], "--write")
    assert states(report) == {"web/deployment.yaml": "updated"}
    assert (checkout / "api/deployment.yaml").read_text() == deployment("api", "1.0.0")


@pytest.mark.parametrize(
    ("created", "state"),
    [("2024-02-01T00:00:00Z", "updated"), ("2023-12-01T00:00:00Z", "held")],
    ids=["newer", "older"],
)
def test_a_tag_that_no_list_has_is_dated_by_the_commit_that_wrote_it(checkout: Path, created: str, state: str) -> None:
    tags = {"acme/web": [{"tag": "abc", "created": created}], "acme/api": ["1.0.0"]}
    report = update(checkout, tags, policy="newest: {}")
    assert states(report)["web/deployment.yaml"] == state


def test_a_shallow_boundary_dates_nothing(checkout: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow" / "repository"
    gitservers.git("clone", "-q", "--depth", "1", f"file://{checkout}", shallow)
    tags = {"acme/web": [{"tag": "abc", "created": "2024-02-01T00:00:00Z"}], "acme/api": ["1.0.0"]}
    assert states(update(shallow, tags, policy="newest: {}"))["web/deployment.yaml"] == "held"
