"""What the tests read of the pages about the cluster."""

from __future__ import annotations

import re

CLUSTER_PAGES = (
    "docs/tutorial.md",
    "docs/operations.md",
    "docs/federation.md",
    "docs/security.md",
    "docs/when-it-fails.md",
    "docs/people-first.md",
    "docs/flagger.md",
)

_FENCE = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [match["body"] for match in _FENCE.finditer(text) if match["language"] == language]


def noted(text: str) -> list[tuple[str, str, str]]:
    """All fenced blocks as (note, language, body): the note is a comment right before the fence, or empty."""
    return [(match["note"] or "", match["language"], match["body"]) for match in _FENCE.finditer(text)]
