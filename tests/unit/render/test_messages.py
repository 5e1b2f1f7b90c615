"""Kustomize's words, however the program that carries it wraps them."""

from __future__ import annotations

import pytest

from image_updater.render import messages
from image_updater.render.sandbox import Limits
from image_updater.render.workspace import Workspace
from tests.parts.trees import MemoryTree, kustomize_root

TREE = MemoryTree({"prod/kustomization.yaml": "resources: [p.yaml]\n", "prod/p.yaml": "kind: A\n"})
HEAD = "E1125 18:00:00.000000  123 run.go:72] "


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: accumulating resources: p.yaml: not found\n", "accumulating resources: p.yaml: not found"),
        ('error: accumulating "p.yaml"\n', 'accumulating "p.yaml"'),
        (HEAD + '"command failed" err="accumulating \\"p.yaml\\":\\n gone"\n', 'accumulating "p.yaml":\n gone'),
        (
            HEAD + '"command failed" err=<\n\tconfig: `\n\tpath: p.yaml\n\t`: no patch\n >\n',
            "config: `\npath: p.yaml\n`: no patch",
        ),
    ],
    ids=["kustomize", "kubectl", "kubectl-logged-on-a-line", "kubectl-logged-as-a-block"],
)
def test_the_cause_is_unwrapped(said: str, words: str) -> None:
    workspace = Workspace(TREE, limits=Limits())
    try:
        found = messages.failure(said, 1, workspace, kustomize_root("prod", TREE))
    finally:
        workspace.close()
    assert found.message == words
    assert found.where.file == "prod/p.yaml"
