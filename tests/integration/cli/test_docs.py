"""Every command that the documentation shows runs, and prints what the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from image_updater.pipeline.report import State
from tests.integration.cli.documentation import PAGES, ROOT, play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text()
    assert play(text, tmp_path) == text, "run `python -m tests.integration.cli.documentation`"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        path = ROOT / page
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
            place = path.parent / target if target else path
            assert place.exists(), f"{page}: {target}"
            if heading:
                assert heading in headings(place.read_text()), f"{page}: {target}#{heading}"


def headings(text: str) -> set[str]:
    """The anchors that forges make of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_troubleshooting_says_what_to_do_about_every_reason_and_state() -> None:
    advice = (ROOT / "docs/troubleshooting.md").read_text()
    reasons = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/reasons.md").read_text(), re.MULTILINE)
    assert len(reasons) > 30
    assert [each for each in (*reasons, *State) if f"`{each}`" not in advice] == []
