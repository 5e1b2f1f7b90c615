"""Two policies on one line of Git, each of which cannot order what the other one writes: it flips once at most."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from image_updater.cli.app import cli
from tests.integration.line.test_checkout import deployment
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = {
    "releases": "{pattern: '^\\d+\\.\\d+\\.\\d+$'}\n  policy: {semver: {range: '*'}}",
    "builds": "{pattern: '^main-(?P<n>\\d+)$', extract: $n}\n  policy: {numerical: {}}",
}


def update(place: Path, policy: str, tags: list[str]) -> dict[str, Any]:
    objects = (
        "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\n"
        f"metadata: {{name: {policy}}}\nspec:\n  image: acme/web\n  filterTags: {POLICIES[policy]}\n"
    )
    (place / f"{policy}.yaml").write_text(objects)
    (place / "tags.json").write_text(json.dumps(tags))
    files = ["-f", str(place / f"{policy}.yaml"), "--tags", str(place / "tags.json")]
    result = CliRunner().invoke(cli, ["update", str(place / "repository"), *files, "--commit", "-o", "json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_what_another_policy_displaced_is_not_written_back(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "web.yaml").write_text(deployment("web", "1.0.0"))
    gitservers.git("init", "-q", "-b", "main", folder)
    gitservers.git("add", ".", cwd=folder)
    gitservers.git("commit", "-qm", "Start", cwd=folder)
    tags = ["1.0.0", "1.1.0", "main-7"]
    assert update(tmp_path, "releases", tags)["changed"]
    assert update(tmp_path, "builds", tags)["changed"], "nobody has written this before"
    answer = update(tmp_path, "releases", tags)
    assert not answer["changed"]
    (site,) = answer["sites"]
    assert site["state"] == "refused"
    assert "policy default/builds" in site["reason"]
    assert "let only one policy claim it" in site["reason"]
    assert not update(tmp_path, "builds", tags)["changed"], "up to date"
    # A newer value is a new proposal, and the other one then holds still.
    assert update(tmp_path, "releases", [*tags, "1.2.0"])["changed"]
    assert update(tmp_path, "builds", [*tags, "1.2.0"])["sites"][0]["state"] == "refused"
    history = gitservers.git("log", "--format=%s", cwd=folder).splitlines()
    assert history[:3] == ["Update acme/web to 1.2.0", "Update acme/web to main-7", "Update acme/web to 1.1.0"]
