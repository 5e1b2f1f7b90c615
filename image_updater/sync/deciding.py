"""What has to be asked of the server about one object, from what is known of it: a table, no I/O."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from image_updater.api.model import Drift

if TYPE_CHECKING:
    from image_updater.api.model import ObjectKey
    from image_updater.sync.model import Applied, Manifest
    from image_updater.sync.watches import Seen


class Step(Enum):
    """The next thing to do with one object."""

    LEAVE = auto()
    """Known to be equal, or none of our business (`drift: off`): no request."""
    READ = auto()
    """We applied this very manifest, and nobody watches the object: read whether it moved, then LEAVE or MEND."""
    MEND = auto()
    """We applied this very manifest, and the object moved: what differs is drift."""
    SEND = auto()
    """It is there and has our managedFields entry: apply."""
    SEEK = auto()
    """Whether it is there, and whose it is, is not known: apply it as a new object, and look when it is none."""


def decide(
    manifest: Manifest,
    owner: ObjectKey,
    *,
    known: Applied | None,
    watched: bool,
    seen: Seen | None,
    drift: Drift,
    force_all: bool,
) -> Step:
    """`watched` says whether `seen` can be believed: then None means that nothing carries an owner label there.

    | applied before         | watched, equal | watched, moved | watched, gone | not watched |
    | ---------------------- | -------------- | -------------- | ------------- | ----------- |
    | this very manifest     | LEAVE          | MEND           | MEND          | READ        |
    | another one            | SEND           | SEND           | SEEK          | SEND        |
    | never, as far as known | –              | SEND           | SEEK          | SEEK        |

    With `drift: off` this very manifest is left alone in any case; with `force_all` it is READ in any other. An object
    without a managedFields entry of ours is SEEK: other tools' fields are to be taken over first.
    """
    if known is not None and known.digest == manifest.digest:
        if drift is Drift.OFF:
            return Step.LEAVE
        if force_all or not watched:
            return Step.READ
        return Step.LEAVE if seen is not None and seen.holds(known, owner) else Step.MEND
    if watched:
        return Step.SEND if seen is not None and seen.mark else Step.SEEK
    return Step.SEND if known is not None else Step.SEEK
