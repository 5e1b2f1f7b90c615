"""Entries that come: in the file's own layout, in one piece, touching nothing else (design sections 6, 7, 10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.sites.harness import ALWAYS, PINNED, POLICY, WEB, C, deployment, policy, rows, scoped, update

BASE = {"base/kustomization.yaml": "resources: [deploy.yaml]\n", "base/deploy.yaml": deployment()}
OTHER = {"o/b/kustomization.yaml": "resources: [../../base]\n"}
NEW = f"- name: {WEB}\n  newTag: 1.2.0\n"

WIDE = "resources: [../../base]\nimages:\n    -   name: redis\n        newTag: v7\n"
JSON = '{\n  "resources": ["../../base"],\n  "images": [\n    {"name": "redis", "newTag": "7"}'
BLOCK = """resources: [../../base]
patches:
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, labels: {a: b}}"""

LAYOUTS = {
    "no-list": ("resources: [../../base]\n", f"resources: [../../base]\nimages:\n{NEW}"),
    "indented-like-the-other-lists": (
        "resources:\n  - ../../base\n",
        f"resources:\n  - ../../base\nimages:\n  - name: {WEB}\n    newTag: 1.2.0\n",
    ),
    "no-final-break": ("resources:\n- ../../base", f"resources:\n- ../../base\nimages:\n{NEW[:-1]}"),
    "crlf": (
        "resources:\r\n- ../../base\r\n",
        f"resources:\r\n- ../../base\r\nimages:\r\n- name: {WEB}\r\n  newTag: 1.2.0\r\n",
    ),
    "crlf-no-final-break": (
        "resources:\r\n- ../../base",
        f"resources:\r\n- ../../base\r\nimages:\r\n- name: {WEB}\r\n  newTag: 1.2.0",
    ),
    "before-a-closing-marker": (
        "---\nresources:\n- ../../base\n...\n",
        f"---\nresources:\n- ../../base\nimages:\n{NEW}...\n",
    ),
    "before-the-next-document": (
        "resources: [../../base]\n---\n# nothing\n",
        f"resources: [../../base]\nimages:\n{NEW}---\n# nothing\n",
    ),
    "behind-the-list's-last-entry": (
        "resources:\n- ../../base\nimages:\n# other\n- name: redis\n  newTag: v7 # c\n# after\n\nnamespace: x # ns\n",
        f"resources:\n- ../../base\nimages:\n# other\n- name: redis\n  newTag: v7 # c\n{NEW}# after\n\nnamespace: x # ns\n",  # noqa: E501
    ),
    "with-the-neighbours'-quotes": (
        'resources: [../../base]\nimages:\n- name: "redis"\n  newTag: "7"\n',
        f'resources: [../../base]\nimages:\n- name: "redis"\n  newTag: "7"\n- name: "{WEB}"\n  newTag: "1.2.0"\n',
    ),
    "with-the-neighbours'-indentation": (
        WIDE,
        f"{WIDE}    -   name: {WEB}\n        newTag: 1.2.0\n",
    ),
    "into-an-empty-list": (
        "resources: [../../base]\nimages: [] # none\nnamespace: x\n",
        f"resources: [../../base]\nimages: [{{name: {WEB}, newTag: 1.2.0}}] # none\nnamespace: x\n",
    ),
    "below-a-key-without-a-value": (
        "resources: [../../base]\nimages: # none yet\nnamespace: x\n",
        f"resources: [../../base]\nimages: # none yet\n{NEW}namespace: x\n",
    ),
    "into-flow-style": (
        "{resources: [../../base], images: [{name: redis, newTag: v7}]}\n",
        f"{{resources: [../../base], images: [{{name: redis, newTag: v7}}, {{name: {WEB}, newTag: 1.2.0}}]}}\n",
    ),
    "flow-style-without-the-list": (
        "{resources: [../../base]}",
        f"{{resources: [../../base], images: [{{name: {WEB}, newTag: 1.2.0}}]}}",
    ),
    "json": (
        '{\n  "resources": [\n    "../../base"\n  ]\n}\n',
        f'{{\n  "resources": [\n    "../../base"\n  ],\n  "images": [{{"name": "{WEB}", "newTag": "1.2.0"}}]\n}}\n',
    ),
    "json-with-the-list": (
        JSON + "\n  ]\n}\n",
        f'{JSON},\n    {{"name": "{WEB}", "newTag": "1.2.0"}}\n  ]\n}}\n',
    ),
    "behind-comments-at-the-end": (
        "resources:\n- ../../base\n\n# patches\n#patches: []\n",
        f"resources:\n- ../../base\n\n# patches\n#patches: []\nimages:\n{NEW}",
    ),
    "a-byte-order-mark": ("\ufeffresources: [../../base]\n", f"\ufeffresources: [../../base]\nimages:\n{NEW}"),
    "behind-a-block-scalar": (f"{BLOCK}\n", f"{BLOCK}\nimages:\n{NEW}"),
    "tabs-behind-values": (
        "resources: [../../base]\t\nimages:\t\n- name: redis\t# c\n  newTag: v7\t\n",
        f"resources: [../../base]\t\nimages:\t\n- name: redis\t# c\n  newTag: v7\t\n{NEW}",
    ),
    "a-newTag-into-an-entry-that-sets-none": (
        f"resources: [../../base]\nimages:\n- name: {WEB} # ours\n  newName: {WEB}\n",
        f"resources: [../../base]\nimages:\n- name: {WEB} # ours\n  newName: {WEB}\n  newTag: 1.2.0\n",
    ),
    "a-newTag-into-an-entry-whose-own-is-empty": (
        f"resources: [../../base]\nimages:\n- name: {WEB}\n  newTag:\n",
        f"resources: [../../base]\nimages:\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_entry_comes_in_the_files_own_layout(name: str, tmp_path: Path) -> None:
    before, after = LAYOUTS[name]
    files = {**BASE, **OTHER, "o/a/kustomization.yaml": before}
    outcome = update(tmp_path, files, objects=scoped("paths: [o/a]"))
    assert outcome.files["o/a/kustomization.yaml"].decode() == after
    assert {n: t.encode() for n, t in files.items()} == {**outcome.files, "o/a/kustomization.yaml": before.encode()}
    assert outcome.site("base/deploy.yaml", 12, root="o/a")["state"] == "updated"
    assert outcome.site("base/deploy.yaml", 12, root="o/b")["state"] == "unmanaged"


API = "ghcr.io/acme/api"
HELD = f"resources: [../../base]\nimages:\n- name: {API}\n  newTag: 1.0.0\n"
MOVED = f"resources: [../../base]\nimages:\n- name: {API}\n  newTag: 1.2.0\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{HELD}  digest: {C}\n", f"{MOVED}{NEW}"),
        (f"{HELD}  digest: {C}", f"{MOVED}{NEW[:-1]}"),
        (f"{HELD}  digest: {C} # d\n# end\nnamespace: z\n", f"{MOVED}{NEW}# end\nnamespace: z\n"),
        (f"{HELD}  digest: {C}\n".replace("\n", "\r\n"), f"{MOVED}{NEW}".replace("\n", "\r\n")),
        (f"{HELD}  digest: {C}\n".replace("  newTag: 1.0.0\n", ""), f"{MOVED}{NEW}"),
    ],
    ids=["last-line", "without-a-final-break", "before-more", "crlf", "a-tag-comes-for-it"],
)
def test_an_entry_comes_behind_one_whose_last_key_goes(before: str, after: str, tmp_path: Path) -> None:
    base = BASE["base/deploy.yaml"] + f"        - name: api\n          image: {API}:1.0.0\n"
    files = {**BASE, **OTHER, "base/deploy.yaml": base, "o/a/kustomization.yaml": before}
    objects = scoped("paths: [o/a]", POLICY + "---\n" + policy(API, name="api"))
    outcome = update(tmp_path, files, objects=objects)
    assert outcome.files["o/a/kustomization.yaml"].decode() == after


@pytest.mark.parametrize("name", ["kustomization.yml", "Kustomization"])
def test_the_other_names_of_a_kustomization(name: str, tmp_path: Path) -> None:
    files = {**BASE, **OTHER, f"o/a/{name}": "resources: [../../base]\n"}
    outcome = update(tmp_path, files, objects=scoped("paths: [o/a]"))
    assert rows(outcome) == [(f"o/a/{name}", 1, "images[0].newTag", None, "1.2.0", "insert")]


def test_the_name_is_the_image_as_it_reaches_the_roots_images(tmp_path: Path) -> None:
    files = {
        **BASE,
        "mid/kustomization.yaml": "resources: [../base]\nimages: [{name: ghcr.io/acme/web, newName: m.io/web}]\n",
        "o/a/kustomization.yaml": "resources: [../../mid]\n",
        "o/b/kustomization.yaml": "resources: [../../mid]\n",
    }
    outcome = update(tmp_path, files, objects=scoped("paths: [o/a]", policy("m.io/web")))
    assert outcome.files["o/a/kustomization.yaml"].endswith(b"images:\n- name: m.io/web\n  newTag: 1.2.0\n")
    assert len(outcome.report["edits"]) == 1


def test_a_digest_comes_with_the_tag(tmp_path: Path) -> None:
    files = {**BASE, **OTHER, "o/a/kustomization.yaml": "resources: [../../base]\n"}
    outcome = update(tmp_path, files, objects=scoped("paths: [o/a]", ALWAYS), tags=PINNED)
    assert outcome.files["o/a/kustomization.yaml"].endswith(f"{NEW}  digest: {C}\n".encode())


def test_two_roots_whose_annotations_differ_get_an_entry_each(tmp_path: Path) -> None:
    note = "commonAnnotations:\n  image-updater.dev/policy: "
    files = {
        **BASE,
        "o/a/kustomization.yaml": f"resources: [../../base]\n{note}semver ^1\n",
        "o/b/kustomization.yaml": f"resources: [../../base]\n{note}semver ~1.1\n",
    }
    outcome = update(tmp_path, files, objects="")
    assert [edit[0] for edit in rows(outcome)] == ["o/a/kustomization.yaml", "o/b/kustomization.yaml"]
    assert outcome.files["o/b/kustomization.yaml"].endswith(b"newTag: 1.1.0\n")


REFUSED = {
    "it-would-touch-another-container": {
        **BASE,
        "base/deploy.yaml": deployment() + f"        - name: side\n          image: {WEB}:1.0.0\n",
        "base/kustomization.yaml": "resources: [deploy.yaml]\n"
        "commonAnnotations: {image-updater.dev/policy.web: semver ^1}\n",
        **OTHER,
        "o/a/kustomization.yaml": "resources: [../../base]\n",
    },
    "it-would-touch-a-patch's-image": {
        **BASE,
        "base/deploy.yaml": deployment() + deployment(name="other", image="x/y:1").join(["---\n", ""]),
        **OTHER,
        "o/a/kustomization.yaml": "resources: [../../base]\npatches:\n- patch: |-\n    apiVersion: apps/v1\n"
        "    kind: Deployment\n    metadata: {name: other}\n    spec:\n      template:\n        spec:\n"
        f"          containers: [{{name: other, image: '{WEB}:0.9.0'}}]\n",
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_entry_that_would_touch_more_is_not_inserted(name: str, tmp_path: Path) -> None:
    policies = "" if name.startswith("it-would-touch-another") else POLICY
    outcome = update(tmp_path, REFUSED[name], objects=scoped("paths: [o/a]", policies).removeprefix("---\n"))
    assert outcome.report["edits"] == []
    site = outcome.site("base/deploy.yaml", 12, root="o/a")
    assert site["state"] == "refused"
    assert "would also touch" in site["reason"]
