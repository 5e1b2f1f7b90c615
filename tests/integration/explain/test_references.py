"""Secrets and repositories that objects name and nobody has: exit 2 from every command, before anything is asked."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.integration.explain.running import policy, run, thing

if TYPE_CHECKING:
    from pathlib import Path

ANY = "{semver: {range: '*'}}"
REPOSITORY = thing("GitRepository", "url: https://127.0.0.1:9/fleet.git", "secretRef: {name: git}", name="fleet")
AUTOMATION = thing("ImageUpdateAutomation", "sourceRef: {name: fleet}", name="fleet")
SIGNED = thing(
    "ImageUpdateAutomation",
    "sourceRef: {name: fleet}",
    "git: {commit: {signingKey: {secretRef: {name: key}}}}",
    name="fleet",
)
DANGLING = thing("ImageUpdateAutomation", "sourceRef: {name: flet}", name="fleet")
POLICY = policy(ANY, image="acme/web")
CLOSED = policy(ANY, "secretRef: {name: ghcr}", image="acme/web")
MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: 'acme/web:1.0.0'}]}}}
"""

# The command's own arguments, the objects, and the names that are missed.
CASES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "explain: a login": (["explain"], [CLOSED], ["default/ghcr"]),
    "explain: no Git is asked": (["explain"], [POLICY, REPOSITORY, AUTOMATION], []),
    "a path: a login": (["update", "TREE"], [CLOSED, AUTOMATION], ["default/ghcr"]),
    "a path: the URL is not contacted": (["update", "TREE"], [POLICY, REPOSITORY, AUTOMATION], []),
    "a path: no repository is needed": (["update", "TREE"], [POLICY, DANGLING], []),
    "a path: a signing key": (["update", "TREE"], [POLICY, SIGNED], ["default/key"]),
    "a path: before it is written": (["update", "TREE", "--write"], [CLOSED], ["default/ghcr"]),
    "no target: all of them": (
        ["update"],
        [CLOSED, REPOSITORY, SIGNED],
        ["default/ghcr", "default/git", "default/key"],
    ),
    "no target: a repository": (["update"], [POLICY, REPOSITORY, DANGLING], ["default/git", "default/flet"]),
    "a URL": (["update", "https://127.0.0.1:9/fleet.git"], [POLICY, REPOSITORY, AUTOMATION], ["default/git"]),
    "run": (["run"], [CLOSED, REPOSITORY, SIGNED], ["default/ghcr", "default/git", "default/key"]),
}


@pytest.mark.parametrize(("arguments", "objects", "missing"), CASES.values(), ids=CASES)
def test_what_is_named_must_be_there(
    arguments: list[str], objects: list[str], missing: list[str], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "web.yaml").write_text(MANIFEST)
    file = tmp_path / "objects.yaml"
    file.write_text("---\n".join(objects))
    (tmp_path / "tags").write_text("1.1.0\n")
    command, *rest = [str(tree) if each == "TREE" else each for each in arguments]
    flags = [] if command == "run" else ["-o", "json", "--tags", str(tmp_path / "tags")]
    if command != "explain":
        flags += ["--cache", str(tmp_path / "cache")]
    answer = run(command, *rest, "-f", str(file), *flags)
    for name in missing:
        assert f"{name}\n" in answer.stderr
    assert (answer.code == 2) is bool(missing), answer.stderr
    if missing:
        assert (tree / "web.yaml").read_text() == MANIFEST
        assert answer.stderr.count("error: ") == len(missing)
        assert f"{file}:" in answer.stderr


def test_the_folder_of_secrets_counts_everywhere(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "web.yaml").write_text(MANIFEST)
    file, tags, folder = tmp_path / "objects.yaml", tmp_path / "tags", tmp_path / "secrets"
    file.write_text(CLOSED)
    tags.write_text("1.1.0\n")
    (folder / "ghcr").mkdir(parents=True)
    (folder / "ghcr" / "username").write_text("a")
    flags = ["-f", str(file), "--tags", str(tags), "--secrets", str(folder), "-o", "json"]
    assert run("explain", *flags).code == 0
    assert run("update", str(tree), *flags).code == 3


@pytest.mark.parametrize("flag", ["--state", "--secrets"])
def test_an_empty_path_is_not_the_current_folder(flag: str, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(POLICY)
    answer = run("explain", "-f", str(file), flag, "")
    assert answer.code == 2
    assert flag in answer.stderr


def test_a_build_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    stub = tmp_path / "kustomize"
    stub.write_text('#!/bin/sh\nif [ "$1" = version ]; then echo v5.8.1; else exec /bin/sleep 60; fi\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "web.yaml").write_text(MANIFEST)
    (tree / "kustomization.yaml").write_text("resources: [web.yaml]\n")
    limits = ["--kustomize", str(stub), "--render-timeout", "1", "--render-workers", "1"]
    answer = run("render", str(tree), "-o", "json", "--cache", str(tmp_path / "cache"), *limits)
    assert answer.code == 1
    assert "1 second" in answer.stderr or "1 s" in answer.stderr
