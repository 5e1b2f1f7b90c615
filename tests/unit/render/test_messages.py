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


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "loading KV pairs: literal sources [hunter2 p=hunter2]: invalid literal source hunter2, expected key=value",
            "loading KV pairs: literal sources […]: invalid literal source …, expected key=value",
        ),
        (
            (
                "trouble configuring builtin PatchTransformer with config: `\npatch: |\n"
                "  stringData: {a: hunter2, b: `}\ntarget:\n  kind: Secret\n`: unable to parse SM or JSON patch from "
                '[patch: "stringData: {a: hunter2}"]'
            ),
            (
                "trouble configuring builtin PatchTransformer with config: `\npatch: …\ntarget:\n  kind: Secret\n`: "
                'unable to parse SM or JSON patch from [patch: "…"]'
            ),
        ),
        (
            "yaml: unknown anchor 'hunter2' referenced in File: p.yaml",
            "yaml: unknown anchor '…' referenced in File: p.yaml",
        ),
        (
            "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `hunter2` into map[string]string",
            "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `…` into map[string]string",
        ),
    ],
    ids=["literal", "patch", "anchor", "scalar"],
)
def test_values_that_it_quotes_are_left_out(said: str, words: str) -> None:
    """They may be a Secret's."""
    workspace = Workspace(TREE, limits=Limits())
    try:
        found = messages.failure(f"Error: {said}\n", 1, workspace, kustomize_root("prod", TREE))
    finally:
        workspace.close()
    assert found.message == words
