"""The reference pages say what the code says."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from image_updater.api.annotations import ELSEWHERE, MEANING, PREFIX
from image_updater.api.status import REASONS
from image_updater.api.wishes import READERS

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


def test_every_annotation_that_is_read_is_on_the_page(generate: Any) -> None:
    page = generate.page("annotations.md")
    names = {*READERS, *(f"{PREFIX}{name}" for name in (*MEANING, *ELSEWHERE))}
    assert [name for name in sorted(names) if f"`{name}" not in page] == []


def test_every_reason_has_a_meaning(generate: Any) -> None:
    rows = [line for line in generate.reasons() if line.startswith("| `")]
    assert len(rows) > 20
    assert [row for row in rows if row.rstrip().endswith("| |") or row.rstrip().endswith("|  |")] == []


def reasons_in(source: str) -> set[str]:
    """Words that a piece of code gives as `reason=…`: written there, or by the name of a constant."""
    tree = ast.parse(source)
    constants: dict[str, str] = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.AnnAssign) and isinstance(each.value, ast.Constant):
            constants[ast.unparse(each.target)] = str(each.value.value)
    values = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "reason"
    ]
    found = {str(value.value) for value in values if isinstance(value, ast.Constant)}
    found |= {constants[value.id] for value in values if isinstance(value, ast.Name) and value.id in constants}
    return {word for word in found if re.fullmatch(r"[A-Z][A-Za-z]+", word)}


def test_every_reason_that_the_controller_writes_is_on_the_page(generate: Any) -> None:
    page = generate.page("reasons.md")
    known = set(re.findall(r"^(?:\| |- )`(\w+)`", page, re.MULTILINE))
    written: set[str] = set()
    for path in (DOCS.parent / "image_updater/controller").rglob("*.py"):
        written |= reasons_in(path.read_text())
    assert "Succeeded" in written
    assert written - known == set(), "describe them in REASONS of image_updater/api/status.py"
    assert REASONS.keys() - known == set()
