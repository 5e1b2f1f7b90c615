"""Every command that the documentation shows runs, and prints what the page says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.cli.documentation import PAGES, ROOT, play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text()
    assert play(text, tmp_path) == text, "run `python -m tests.integration.cli.documentation`"


def test_links_lead_somewhere() -> None:
    import re

    for page in PAGES:
        path = ROOT / page
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{page}: {target}"
