"""A key changes with everything that decides a render, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from image_updater.render import Options, closure_id
from tests.parts.trees import MemoryTree, kustomize_root, plain_root

FILES = {
    "base/deploy.yaml": "kind: Deployment\n",
    "base/kustomization.yaml": "resources: [deploy.yaml]\n",
    "prod/kustomization.yaml": "resources: [../base]\n",
    "other/values.yaml": "a: 1\n",
}
TREE = MemoryTree(FILES)
CLOSURE = frozenset({"base/deploy.yaml", "base/kustomization.yaml", "prod/kustomization.yaml"})
ROOT = kustomize_root("prod", TREE, closure=CLOSURE, folders=frozenset({"base", "prod"}))
OPTIONS = Options(renderer="kustomize v5.8.2")
KEY = closure_id(TREE, ROOT, OPTIONS)


def test_an_equal_closure_has_an_equal_key_in_another_tree() -> None:
    other = TREE.changed({"other/values.yaml": "a: 2\n", "more.yaml": "b: 1\n"})
    assert other.id != TREE.id
    assert closure_id(other, ROOT, OPTIONS) == KEY


@pytest.mark.parametrize(
    ("files", "fields", "options"),
    [
        ({"base/deploy.yaml": "kind: Job\n"}, {}, {}),
        ({"base/kustomization.yml": "resources: []\n"}, {}, {}),
        ({"prod/Kustomization": "resources: []\n"}, {}, {}),
        ({}, {"wrapper": "resources: [../ROOT]\n"}, {}),
        ({}, {"path": "base"}, {}),
        ({}, {"closure": CLOSURE | {"other/values.yaml"}}, {}),
        ({}, {"closure": CLOSURE | {"absent.yaml"}}, {}),
        ({}, {}, {"renderer": "kustomize v5.5.0"}),
        ({}, {"helm": True}, {"helm": "v4.3.1"}),
        ({}, {"remotes": ("https://example.com/base",)}, {"allow_remote": True}),
    ],
    ids=[
        "a file",
        "a second kustomization beside the first",
        "a second kustomization in the root",
        "the wrapper",
        "the folder",
        "a further file",
        "a file that is absent",
        "the renderer",
        "helm, where it is used",
        "remote bases, where they are allowed and used",
    ],
)
def test_the_key_changes_with(files: dict[str, str], fields: dict[str, object], options: dict[str, object]) -> None:
    tree = TREE.changed(files)
    root = replace(ROOT, **fields)  # type: ignore[arg-type]
    assert closure_id(tree, root, replace(OPTIONS, **options)) != KEY  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "options"),
    [({"id": "named by an object"}, {}), ({}, {"helm": "v4.3.1"}), ({}, {"allow_remote": True})],
    ids=["the root's id", "helm, where it is not used", "remote bases, where there are none"],
)
def test_the_key_does_not_change_with(fields: dict[str, object], options: dict[str, object]) -> None:
    root = replace(ROOT, **fields)  # type: ignore[arg-type]
    assert closure_id(TREE, root, replace(OPTIONS, **options)) == KEY  # type: ignore[arg-type]


def test_a_symlink_is_not_a_file_of_the_same_bytes() -> None:
    root = plain_root(".", MemoryTree({"a.yaml": "b"}))
    file = closure_id(MemoryTree({"a.yaml": "b"}), root, OPTIONS)
    link = closure_id(MemoryTree({}, symlinks={"a.yaml": "b"}), root, OPTIONS)
    assert file != link
