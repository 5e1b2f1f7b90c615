"""What a tag and a digest look like, for fields and annotations (their grammar in full is `images/names.py`)."""

from __future__ import annotations

import re

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z|sha512:[0-9a-f]{128}\Z")


def check_tag(text: str) -> str | None:
    """A legal tag (distribution specification, `<reference>`)."""
    return None if _TAG.match(text) else f"{text[:140]!r} is not a tag (letters, digits, '_', '.', '-'; at most 128)"


def check_digest(text: str) -> str | None:
    return None if _DIGEST.match(text) else f"{text[:140]!r} is not a digest (sha256:<64 hex digits>)"


def check_denied(text: str) -> str | None:
    return (
        None
        if _TAG.match(text) or _DIGEST.match(text)
        else f"{text[:140]!r} is neither a tag nor a digest (sha256:<64 hex digits>)"
    )
