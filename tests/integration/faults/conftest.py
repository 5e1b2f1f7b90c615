"""The registry of the fault suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.faults.harness import Fleet, Registry, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def stage(registry: Registry, tmp_path: Path) -> Fleet:
    return fleet(registry, tmp_path)
