"""`verify`: what the check of a tag's signatures found. Not signed yet holds; signed wrongly is out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.policy.gates.blocked import Blocked, GateName, asks, held, rejected, unknowable
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from image_updater.policy.model import TagFacts


def check(tag: str, known: TagFacts | None) -> Blocked | None:
    found = None if known is None else known.verified
    if found is None:
        if unknowable(known, Need.SIGNATURE):
            return rejected(GateName.VERIFY, tag, "not verified: its signatures cannot be asked for")
        return asks(GateName.VERIFY, tag, Need.SIGNATURE)
    if found.ok:
        return None
    if found.lasting:
        return rejected(GateName.VERIFY, tag, f"not verified: {found.reason}")
    return held(GateName.VERIFY, tag, f"not verified yet: {found.reason}")
