"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import re
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


def test_the_pages_are_up_to_date(generate: Any) -> None:
    pages = {str(path.relative_to(DOCS / "reference")) for path in (DOCS / "reference").rglob("*.md")}
    assert pages == set(generate.PAGES)
    stale = [name for name in sorted(pages) if (DOCS / "reference" / name).read_text() != generate.page(name)]
    assert stale == [], "make generate"


def test_every_link_of_the_pages_leads_somewhere(generate: Any) -> None:
    for name in generate.PAGES:
        for target in re.findall(r"\]\(([^)#:]+)", generate.page(name)):
            assert ((DOCS / "reference" / name).parent / target).exists(), f"{name}: {target}"


def test_every_reason_has_a_meaning(generate: Any) -> None:
    rows = [line for line in generate.reasons() if line.startswith("| `")]
    assert len(rows) > 20
    assert [row for row in rows if row.rstrip().endswith("| |") or row.rstrip().endswith("|  |")] == []
