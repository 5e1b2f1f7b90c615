"""`helmCharts:` with a chart in the repository, through the real helm, offline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from image_updater.render import BuildFailed, Kustomize, Renderer
from tests.integration.render.test_builds import DEPLOY, image
from tests.parts.tools import binary
from tests.parts.trees import MemoryTree, kustomize_root

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "prod/kustomization.yaml": (
        "helmCharts:\n- name: web\n  releaseName: web\n  valuesInline: {image: {tag: '1.7'}}\n"
    ),
    "prod/charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "prod/charts/web/values.yaml": "image: {repository: acme/web, tag: '1.0'}\n",
    "prod/charts/web/templates/deploy.yaml": DEPLOY.replace(
        '"nginx:1.0"', '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"'
    ),
}


async def test_a_vendored_chart_is_built_with_its_values(renderer: Renderer) -> None:
    tree = MemoryTree(FILES)
    assert image(await renderer.build(tree, kustomize_root("prod", tree, helm=True))) == "acme/web:1.7"


async def test_a_chart_that_is_not_vendored_reaches_no_network(renderer: Renderer) -> None:
    kustomization = "helmCharts:\n- {name: web, releaseName: web, version: 1.0.0, repo: 'http://127.0.0.1:9/charts'}\n"
    tree = MemoryTree({"prod/kustomization.yaml": kustomization})
    with pytest.raises(BuildFailed, match=r"permission denied|unable to run"):
        await renderer.build(tree, kustomize_root("prod", tree, helm=True))


async def test_a_chart_of_an_overlay_above_a_base_is_built(renderer: Renderer) -> None:
    files = {name.replace("prod/", "base/"): text for name, text in FILES.items()}
    files["prod/kustomization.yaml"] = "resources: [../base]\nimages: [{name: acme/web, newTag: '1.9'}]\n"
    tree = MemoryTree(files)
    assert image(await renderer.build(tree, kustomize_root("prod", tree, helm=True))) == "acme/web:1.9"


async def test_the_helm_is_part_of_the_key(dialect: Kustomize, tmp_path: Path) -> None:
    other = tmp_path / "helm"
    other.write_text("#!/bin/sh\necho v3.19.0\n")
    other.chmod(0o755)
    tree = MemoryTree(FILES)
    root = kustomize_root("prod", tree, helm=True)
    with Renderer(dialect, helm=binary("helm")) as four, Renderer(dialect, helm=str(other)) as three:
        assert four.key(tree, root) != three.key(tree, root)
        assert four.key(tree, replace(root, helm=False)) == three.key(tree, replace(root, helm=False))
