"""Plain manifests: a stray object at the top of a repository takes no folder out of an automation's paths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web}
spec: {image: acme/web, policy: {semver: {range: ^1}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {name: fleet}
spec: {url: https://git.example/fleet}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {name: web}
spec:
  sourceRef: {name: fleet}
  update: {paths: [PATH]}
  git: {commit: {author: {name: bot, email: bot@example.com}}, push: {branch: main}}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec: {containers: [{name: web, image: acme/web:1.0.0}]}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`kind.yaml` at the top makes the whole repository one root of plain manifests."""
    folder = tmp_path / "repository"
    for name in ("web", "other"):
        (folder / name).mkdir(parents=True)
        (folder / name / "pod.yaml").write_text(POD.replace("NAME", name))
    (folder / "kind.yaml").write_text("apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n")
    return folder


@pytest.mark.parametrize("path", ["web", "web/pod.yaml"])
def test_only_what_the_paths_name_moves(repository: Path, path: str) -> None:
    objects, tags = repository.parent / "objects.yaml", repository.parent / "tags.json"
    objects.write_text(OBJECTS.replace("PATH", path))
    tags.write_text(json.dumps(["1.0.0", "1.1.0"]))

    result = CliRunner().invoke(
        cli, ["update", str(repository), "-f", str(objects), "--tags", str(tags), "-o", "json", "--write"]
    )

    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [(row["file"], row["state"], row["roots"]) for row in answer["sites"]] == [
        ("other/pod.yaml", "unmanaged", ["."]),
        ("web/pod.yaml", "updated", ["."]),
    ]
    assert (repository / "web/pod.yaml").read_text() == POD.replace("NAME", "web").replace("1.0.0", "1.1.0")
    assert (repository / "other/pod.yaml").read_text() == POD.replace("NAME", "other")
