"""`set` in every form of its grammar, with every outcome (design section 10)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.sites.harness import WEB, A, B, deployment, lay, read, run

HEAD = "resources: [deploy.yaml]\n"
ENTRY = f"images:\n- name: {WEB}\n  newTag: 1.0.0\n"


def entry(*lines: str) -> str:
    return "".join([f"images:\n- name: {WEB}\n", *(f"  {line}\n" for line in lines)])


CASES = {
    "a-tag": (ENTRY, [f"{WEB}=:2.0.0"], entry("newTag: 2.0.0")),
    "kustomize's-form": (ENTRY, [f"{WEB}:2.0.0"], entry("newTag: 2.0.0")),
    "kustomize's-form-with-a-new-name": (
        ENTRY,
        [f"{WEB}=m.io:5000/web:2.0.0"],
        entry("newName: m.io:5000/web", "newTag: 2.0.0"),
    ),
    "kustomize's-form-with-a-digest": (ENTRY, [f"{WEB}@{A}"], entry(f"digest: {A}")),
    "a-digest-alone-removes-the-tag-and-keeps-the-final-break": (ENTRY, [f"{WEB}=@{A}"], entry(f"digest: {A}")),
    "without-a-final-break-none-comes": (ENTRY.rstrip("\n"), [f"{WEB}=@{A}"], entry(f"digest: {A}").rstrip("\n")),
    "a-tag-alone-removes-the-digest": (
        entry("newTag: 1.0.0", f"digest: {A}"),
        [f"{WEB}=:1.10"],
        entry('newTag: "1.10"'),
    ),
    "a-tag-alone-replaces-the-digest": (entry(f"digest: {A}"), [f"{WEB}=:v2"], entry("newTag: v2")),
    "both": (ENTRY, [f"{WEB}=:v2@{A}"], entry("newTag: v2", f"digest: {A}")),
    "both-in-one-field-stay-in-one": (
        entry(f"newTag: 1.0.0@{A}"),
        [f"{WEB}=:v2@{B}"],
        entry(f"newTag: v2@{B}"),
    ),
    "a-new-name-alone-keeps-the-rest": (
        entry("newTag: 1.0.0", f"digest: {A}"),
        [f"{WEB}=m.io/web"],
        entry("newName: m.io/web", "newTag: 1.0.0", f"digest: {A}"),
    ),
    "everything": (
        ENTRY,
        [f"{WEB}=m.io/web:v2@{A}"],
        entry("newName: m.io/web", "newTag: v2", f"digest: {A}"),
    ),
    "the-rendered-name": (
        entry("newName: m.io/web", "newTag: v1"),
        ["m.io/web=:v2"],
        entry("newName: m.io/web", "newTag: v2"),
    ),
    "back-to-its-own-name": (
        entry("newName: m.io/web", "newTag: v1"),
        [f"{WEB}={WEB}:v2"],
        entry("newTag: v2"),
    ),
    "the-last-of-a-repeated-image-wins": (
        ENTRY,
        [f"{WEB}=:2.0.0", f"{WEB}=m.io/web"],
        entry("newName: m.io/web", "newTag: 1.0.0"),
    ),
    "the-last-of-two-entries": (
        ENTRY + f"- name: {WEB}\n  newTag: v1\n",
        [f"{WEB}=:v2"],
        ENTRY + f"- name: {WEB}\n  newTag: v2\n",
    ),
    "a-new-entry": ("", [f"{WEB}=:v2"], f"images:\n- name: {WEB}\n  newTag: v2\n"),
    "an-empty-value-is-filled": (entry("newTag:"), [f"{WEB}=:v2"], entry("newTag: v2")),
    "crlf": (
        ENTRY.replace("\n", "\r\n"),
        [f"{WEB}=:v2@{A}"],
        entry("newTag: v2", f"digest: {A}").replace("\n", "\r\n"),
    ),
    "flow": (
        f"images: [{{name: {WEB}, newTag: 'v1'}}]\n",
        [f"{WEB}=@{A}"],
        f"images: [{{name: {WEB}, digest: {A}}}]\n",
    ),
    "the-first-key-goes": (
        f"images:\n- newTag: v1 # old\n  name: {WEB} # ours\n",
        [f"{WEB}=@{A}"],
        f"images:\n- name: {WEB} # ours\n  digest: {A}\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_set(name: str, tmp_path: Path) -> None:
    before, arguments, after = CASES[name]
    files = {"kustomization.yaml": HEAD + before, "deploy.yaml": deployment()}
    lay(tmp_path, files)
    code, out, _ = run("set", *arguments, "--path", str(tmp_path), "--dry-run", "-o", "json")
    assert (code, json.loads(out)["changed"]) == (3, True)
    assert read(tmp_path)["kustomization.yaml"].decode() == HEAD + before, "a dry run writes nothing"
    code, out, err = run("set", *arguments, "--path", str(tmp_path), "-o", "json")
    assert code == 0, err
    assert read(tmp_path) == {"kustomization.yaml": (HEAD + after).encode(), "deploy.yaml": deployment().encode()}
    report = json.loads(out)
    assert {"changed", "commit", "edits", "sites", "problems"} <= set(report)
    code, out, _ = run("set", *arguments, "--path", str(tmp_path), "--dry-run", "-o", "json")
    assert (code, json.loads(out)["edits"]) == (0, []), "the second time there is nothing to do"


def test_images_match_as_images_do(tmp_path: Path) -> None:
    lay(tmp_path, {"kustomization.yaml": HEAD, "deploy.yaml": deployment("docker.io/library/nginx:1")})
    assert run("set", "nginx=:v2", "--path", str(tmp_path))[0] == 0
    assert read(tmp_path)["kustomization.yaml"].endswith(b"- name: docker.io/library/nginx\n  newTag: v2\n")
    assert run("set", "index.docker.io/library/nginx:v3", "--path", str(tmp_path))[0] == 0
    assert read(tmp_path)["kustomization.yaml"].endswith(b"- name: docker.io/library/nginx\n  newTag: v3\n")


@pytest.mark.parametrize(
    "argument",
    [WEB, f"{WEB}=", "localhost:5000/web", "=:v1", f"{WEB}=:", f"{WEB}=:a b", f"{WEB}=@sha256:12", f"{WEB}:v1=:v2"],
)
def test_what_says_nothing_or_is_no_image_is_a_usage_error(argument: str, tmp_path: Path) -> None:
    lay(tmp_path, {"kustomization.yaml": HEAD + ENTRY, "deploy.yaml": deployment()})
    assert run("set", argument, "--path", str(tmp_path))[0] == 2
    assert read(tmp_path)["kustomization.yaml"].decode() == HEAD + ENTRY


def test_no_or_two_kustomizations_are_named(tmp_path: Path) -> None:
    lay(tmp_path, {"a/x.yaml": "a: b\n", "b/kustomization.yaml": HEAD, "b/Kustomization": HEAD})
    code, _, err = run("set", f"{WEB}=:v1", "--path", str(tmp_path / "a"))
    assert (code, "kustomization.yaml" in err) == (1, True)
    code, _, err = run("set", f"{WEB}=:v1", "--path", str(tmp_path / "b"))
    assert (code, "kustomization.yaml" in err, "Kustomization" in err) == (1, True, True)


REFUSED = {
    "an-alias-that-another-entry-uses": f"images:\n- name: {WEB}\n  newTag: &t v1\n- name: redis\n  newTag: *t\n",
    "a-suffix": entry("newTag: v1", "tagSuffix: -x"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_left(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {"kustomization.yaml": HEAD + REFUSED[name], "deploy.yaml": deployment()})
    code, _, err = run("set", f"{WEB}=:v2", "--path", str(tmp_path))
    assert (code, bool(err)) == (1, True)
    assert read(tmp_path)["kustomization.yaml"].decode() == HEAD + REFUSED[name]


@pytest.mark.parametrize(
    "head",
    [
        "resources:\n- https://github.com/org/repo//deploy?ref=v1\n",
        "helmCharts:\n- name: web\n  repo: https://charts.example.com\n  version: 0.1.0\n",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n",
    ],
)
def test_where_not_everything_is_seen_an_entry_is_taken_at_its_word(head: str, tmp_path: Path) -> None:
    lay(tmp_path, {"kustomization.yaml": head})
    assert run("set", "nginx:v2", "--path", str(tmp_path))[0] == 0
    assert read(tmp_path)["kustomization.yaml"].decode() == f"{head}images:\n- name: nginx\n  newTag: v2\n"
