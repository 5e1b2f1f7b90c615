"""What `images`, `render`, `diff` and the outputs of `update` say of one repository (design section 10)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sites.harness import POLICY, TAGS, WEB, A, deployment, lay, read, run, scoped

FILES = {
    "base/kustomization.yaml": "resources: [deploy.yaml]\n",
    "base/deploy.yaml": deployment(),
    "o/a/kustomization.yaml": f"resources: [../../base]\nimages: [{{name: {WEB}, newTag: 1.0.0}}]\n",
    "o/b/kustomization.yaml": "resources: [../../base]\n",
    "plain/p.yaml": deployment(name="p", annotations="{image-updater.dev/policy: semver ^1}"),
}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = lay(tmp_path / "repository", FILES)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "one")
    return folder


def answer(*arguments: str, code: int = 0) -> dict[str, Any]:
    found, out, err = run(*arguments, "-o", "json")
    assert found == code, err
    document: dict[str, Any] = json.loads(out)
    return document


# ------------------------------------------------------------------ images


def test_images_lists_every_site_with_its_roots_and_its_policy(repository: Path, tmp_path: Path) -> None:
    report = answer("images", str(repository))
    assert set(report) == {"sites", "problems"}
    seen = {(s["file"], s["line"]): s for s in report["sites"]}
    assert {place: (s["roots"], s["policy"] is not None) for place, s in seen.items()} == {
        ("base/deploy.yaml", 12): (["o/b"], False),
        ("o/a/kustomization.yaml", 2): (["o/a"], False),
        ("plain/p.yaml", 13): (["plain"], True),
    }
    assert seen["base/deploy.yaml", 12]["state"] == "unmanaged"
    assert seen["base/deploy.yaml", 12]["image"] == f"{WEB}:1.0.0"

    (tmp_path / "objects.yaml").write_text(POLICY)
    report = answer("images", str(repository), "-f", str(tmp_path / "objects.yaml"))
    assert {s["policy"] for s in report["sites"]} > {"default/web"}

    report = answer("images", str(repository), "--root", "base")
    assert next(s for s in report["sites"] if s["file"] == "base/deploy.yaml")["roots"] == ["o/b", "base"]


# ------------------------------------------------------------------ render


def test_render_gives_the_roots_asked_for(repository: Path) -> None:
    code, out, _ = run("render", str(repository), "--root", "o/a")
    assert (code, out.count("kind: Deployment"), f"{WEB}:1.0.0" in out) == (0, 1, True)
    report = answer("render", str(repository))
    assert [root["root"] for root in report["roots"]] == ["o/a", "o/b", "plain"]
    assert [root["root"] for root in answer("render", str(repository), "--root", "base")["roots"]] == ["base"]
    assert run("render", str(repository), "--root", "nowhere")[0] == 2


def test_a_root_that_does_not_build_fails_beside_the_others(repository: Path) -> None:
    lay(repository, {"o/d/kustomization.yaml": "resources: [missing.yaml]\n"})
    report = answer("render", str(repository), code=1)
    assert [root["root"] for root in report["roots"]] == ["o/a", "o/b", "plain"]
    assert [failure["subject"] for failure in report["failures"]] == ["o/d"]


# ------------------------------------------------------------------ diff


def images(report: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(image["root"], image["old"], image["new"]) for image in report["images"]]


def test_diff_compares_head_revisions_and_files(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = str(repository)
    assert answer("diff", top)["changed"] is False
    moved = [("o/a", f"{WEB}:1.0.0", f"{WEB}:1.2.0")]
    lay(repository, {"o/a/kustomization.yaml": FILES["o/a/kustomization.yaml"].replace("1.0.0", "1.2.0")})
    assert images(answer("diff", top)) == moved
    assert images(answer("diff", top, "HEAD")) == moved
    commit(repository, "two")
    assert answer("diff", top)["changed"] is False
    assert images(answer("diff", top, "HEAD~1")) == moved
    assert images(answer("diff", top, "HEAD~1", "HEAD")) == moved
    assert images(answer("diff", top, "HEAD", "HEAD~1")) == [("o/a", f"{WEB}:1.2.0", f"{WEB}:1.0.0")]
    assert images(answer("diff", top, "HEAD~1", "--root", "o/b")) == []
    assert run("diff", top, "HEAD~1", "HEAD", "HEAD")[0] == 2
    assert run("diff", top, "nothing")[0] == 1
    monkeypatch.chdir(repository)
    assert images(answer("diff", "HEAD~1")) == moved
    assert images(answer("diff", "HEAD~1", "HEAD")) == moved


def test_diff_shows_roots_that_come_and_go(repository: Path) -> None:
    shutil.rmtree(repository / "o/b")
    lay(repository, {"o/c/kustomization.yaml": "resources: [../../base]\nnamePrefix: c-\n"})
    report = answer("diff", str(repository))
    assert sorted(images(report), key=str) == [("o/b", f"{WEB}:1.0.0", None), ("o/c", None, f"{WEB}:1.0.0")]
    assert {(item["root"], item["change"], item["object"]) for item in report["objects"]} == {
        ("o/b", "removed", "Deployment web"),
        ("o/c", "added", "Deployment c-web"),
    }


# ------------------------------------------------------------------ update's outputs


@pytest.mark.parametrize("tool", ["git", "patch"])
def test_the_diff_applies(tool: str, tmp_path: Path) -> None:
    files = {
        "a b/ü.yaml": deployment(),
        "crlf/k.yaml": deployment().replace("\n", "\r\n"),
        "nofinal/p.yaml": deployment().rstrip("\n"),
        "bom/x.yaml": "\ufeff" + deployment(),
        'tab\tq"uote/a.yaml': deployment(),
        "k/base/kustomization.yaml": "resources: [d.yaml]\n",
        "k/base/d.yaml": deployment(),
        "k/o/kustomization.yaml": "resources: [../base]",
        "k/p/kustomization.yaml": "resources: [../base]\n",
        "k/q/kustomization.yaml": f"resources: [../base]\nimages:\n- name: {WEB}\n  digest: {A}",
    }
    (tmp_path / "objects.yaml").write_text(scoped("exclude: [k/p]"))
    (tmp_path / "tags.json").write_text(json.dumps(TAGS))
    common = ["-f", str(tmp_path / "objects.yaml"), "--tags", str(tmp_path / "tags.json")]
    patched, written = lay(tmp_path / "patched", files), lay(tmp_path / "written", files)
    code, out, _ = run("update", str(patched), *common, "-o", "diff")
    assert (code, read(patched)) == (3, {name: text.encode() for name, text in files.items()})
    (tmp_path / "the.patch").write_bytes(out.encode())
    command = ["git", "apply"] if tool == "git" else ["patch", "-p1", "--binary", "-s", "-i"]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    subprocess.run([*command, str(tmp_path / "the.patch")], cwd=patched, check=True, env=environment)
    assert run("update", str(written), *common, "--write")[0] == 0
    assert read(patched) == read(written) != {name: text.encode() for name, text in files.items()}


def test_modes_and_inputs_have_their_exit_codes(tmp_path: Path) -> None:
    folder = lay(tmp_path / "repository", {"d.yaml": deployment()})
    (tmp_path / "objects.yaml").write_text(POLICY)
    (tmp_path / "bad.yaml").write_text(POLICY.replace("  policy:", "  polisy:"))
    (tmp_path / "tags").write_text("1.0.0\n1.2.0\n")

    def code(*arguments: str, objects: str = "objects.yaml", tags: str = "tags") -> int:
        return run("update", str(folder), "-f", str(tmp_path / objects), "--tags", str(tmp_path / tags), *arguments)[0]

    assert code() == code("--dry-run") == 3
    assert code("--dry-run", "--write") == 2
    assert code("--write", objects="bad.yaml") == 2
    assert code("--write", objects="missing.yaml") == 2
    assert code("--write", tags="missing") == 2
    assert code("--commit") == code("--push") == 2
    assert read(folder) == {"d.yaml": deployment().encode()}
    assert (code("--write"), code()) == (0, 0)
