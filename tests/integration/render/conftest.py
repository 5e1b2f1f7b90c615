"""The dialects: the pinned kustomize, the old one, and the one inside kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.render import Kustomize, Renderer, find_binary
from tests.parts.tools import binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session", params=["kustomize", "kustomize-5.5", "kubectl"])
def dialect(request: pytest.FixtureRequest) -> Kustomize:
    return find_binary(binary(request.param), {})


@pytest.fixture
def renderer(dialect: Kustomize) -> Iterator[Renderer]:
    with Renderer(dialect, helm=binary("helm")) as opened:
        yield opened


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Kustomize]:
    """A kustomize made of shell text, for what the real one does not do."""

    def make(script: str) -> Kustomize:
        path = tmp_path / "kustomize"
        path.write_text(f'#!/bin/sh\n[ "$1" = version ] && {{ echo v5.99.0; exit; }}\n{script}\n')
        path.chmod(0o755)
        return find_binary(str(path), {})

    return make
