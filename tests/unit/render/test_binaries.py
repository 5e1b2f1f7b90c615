"""The renderer of a machine is found in a stated order, and its absence says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from image_updater.render import RendererMissing, RendererTooOld, find_binary, find_helm

KUBECTL = """\
echo '{"clientVersion": {"gitVersion": "v1.37.1"}, "kustomizeVersion": "VERSION"}'
[ "$*" = "version --client -o json" ]"""


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "bin" / "python"))


def test_kustomize_on_path_comes_before_kubectl(tmp_path: Path) -> None:
    program(tmp_path / "a", "kubectl", KUBECTL.replace("VERSION", "v5.5.0"))
    own = program(tmp_path / "b", "kustomize", "echo v5.8.2")
    found = find_binary(None, {"PATH": f"{tmp_path}/a:{tmp_path}/b"})
    assert (found.command, found.version, found.description) == ((str(own), "build"), "v5.8.2", "kustomize v5.8.2")


def test_kubectl_carries_a_kustomize(tmp_path: Path) -> None:
    path = program(tmp_path / "a", "kubectl", KUBECTL.replace("VERSION", "v5.5.0"))
    found = find_binary(None, {"PATH": f"{tmp_path}/a"})
    assert found.command == (str(path), "kustomize")
    assert found.description == "kustomize v5.5.0 (kubectl v1.37.1)"
    assert found.supports(5, 5)
    assert not found.supports(5, 8)


def test_the_wheel_is_beside_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    path = program(tmp_path / "python" / "bin", "kubectl", KUBECTL.replace("VERSION", "v5.8.1"))
    assert find_binary(None, {"PATH": "/nonexistent"}).path == str(path)


def test_the_one_named_explicitly_is_taken(tmp_path: Path) -> None:
    program(tmp_path / "a", "kustomize", "echo v5.8.2")
    named = program(tmp_path / "b", "kustomize-5", "echo '{Version:kustomize/v5.0.1 GitCommit:abc}'")
    found = find_binary(str(named), {"PATH": f"{tmp_path}/a"})
    assert (found.path, found.version) == (str(named), "v5.0.1")


def test_none_names_the_three_ways() -> None:
    with pytest.raises(RendererMissing) as caught:
        find_binary(None, {"PATH": "/nonexistent"})
    for way in ("`kustomize` 5 on PATH", "`kubectl`", "pip install 'image-updater[kustomize]'"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo v4.5.7", RendererTooOld, "v4.5.7, 5.0 is the oldest"),
        ("echo hello", RendererMissing, "is no version"),
        ("echo broken >&2; exit 3", RendererMissing, "broken"),
    ],
    ids=["too old", "not a kustomize", "failing"],
)
def test_one_that_does_not_do_is_refused(tmp_path: Path, script: str, error: type[Exception], words: str) -> None:
    program(tmp_path / "a", "kustomize", script)
    with pytest.raises(error, match=words):
        find_binary(None, {"PATH": f"{tmp_path}/a"})


def test_a_build_without_a_version_is_known_by_its_file(tmp_path: Path) -> None:
    path = program(tmp_path / "a", "kustomize", "echo '(devel)'")
    first = find_binary(None, {"PATH": f"{tmp_path}/a"})
    assert first.version.startswith("devel-")
    assert first.supports(5, 8)
    path.write_text(path.read_text() + "# another build\n")
    assert find_binary(None, {"PATH": f"{tmp_path}/a"}).version != first.version


def test_the_version_is_read_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    path = program(tmp_path / "a", "kustomize", f"echo x >>{asked}; echo v5.8.1")
    for _ in range(3):
        assert find_binary(None, {"PATH": f"{tmp_path}/a"}).version == "v5.8.1"
    assert asked.read_text() == "x\n"
    path.write_text(path.read_text().replace("v5.8.1", "v5.10.22"))
    assert find_binary(None, {"PATH": f"{tmp_path}/a"}).version == "v5.10.22"


def test_a_missing_explicit_one_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    program(tmp_path / "a", "kustomize", "echo v5.8.2")
    with pytest.raises(RendererMissing, match="/nonexistent/kustomize"):
        find_binary("/nonexistent/kustomize", {"PATH": f"{tmp_path}/a"})


def test_helm_is_optional_unless_named(tmp_path: Path) -> None:
    helm = program(tmp_path / "a", "helm", "echo v4.3.1")
    assert find_helm(None, {"PATH": "/nonexistent"}) is None
    assert find_helm(None, {"PATH": f"{tmp_path}/a"}) == str(helm)
    with pytest.raises(RendererMissing, match="helm-3"):
        find_helm("helm-3", {"PATH": f"{tmp_path}/a"})
