"""A use that is to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from image_updater.kustomize.model import Use
    from image_updater.policy.model import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A use, the selection that it is to get, and the reference that it will render."""

    use: Use
    policy: str
    selection: Selection
    reason: str
    new: str
