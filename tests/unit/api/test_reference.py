"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.load_rooms()
    return module


@pytest.mark.parametrize("name", ["objects.md", "annotations.md", "settings.md", "reasons.md"])
def test_a_page_is_up_to_date(generate: Any, name: str) -> None:
    assert (DOCS / "reference" / name).read_text() == generate.page(name), "make generate"


def test_every_reason_has_a_meaning(generate: Any) -> None:
    rows = [line for line in generate.reasons() if line.startswith("| `")]
    assert len(rows) > 20
    assert [row for row in rows if row.rstrip().endswith("| |") or row.rstrip().endswith("|  |")] == []
