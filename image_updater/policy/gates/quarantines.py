"""Quarantine: images that nobody may choose, and what a person's one means for the value that Git holds.

With a digest the bytes are bad under every tag, and other bytes under that tag are not; without one, the tag is.
Images are compared as images are. An expired entry counts no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.images import same_image
from image_updater.policy.gates.blocked import Blocked, GateName, asks, clock, rejected, unknowable, utc
from image_updater.policy.situation import Need, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from image_updater.images import ImageName
    from image_updater.policy.model import TagFacts
    from image_updater.policy.situation import Quarantined


def bars(
    quarantined: Iterable[Quarantined], image: ImageName, tag: str | None, digest: str | None, now: datetime
) -> Quarantined | None:
    """The entry that bars this image now; of several the one that lasts longest. Where `digest` is None, an entry for
    a tag with a digest bars that tag: nothing says that its bytes are other ones."""
    found = [entry for entry in standing(quarantined, image, now) if _bars(entry, tag, digest)]
    return _lasting(found)


def standing(quarantined: Iterable[Quarantined], image: ImageName, now: datetime) -> tuple[Quarantined, ...]:
    """The entries for this image that are in force."""
    return tuple(
        entry
        for entry in quarantined
        if (entry.expires is None or utc(entry.expires) > now) and same_image(entry.image, image)
    )


def check(entries: Sequence[Quarantined], tag: str, known: TagFacts | None, now: datetime) -> Blocked | None:
    """`entries` are those in force for the image."""
    digest = None if known is None else known.digest
    entry = _lasting([entry for entry in entries if _bars(entry, tag, digest)])
    certain = digest is not None or unknowable(known, Need.DIGEST)
    if entry is not None and (certain or entry.digest is None):
        return rejected(GateName.QUARANTINE, tag, _reason(entry, tag, now), entry.expires and utc(entry.expires))
    if not certain and any(entry.digest is not None for entry in entries):
        return asks(GateName.QUARANTINE, tag, Need.DIGEST)
    return None


def by_person(quarantined: Iterable[Quarantined]) -> list[Quarantined]:
    """Those that make a site go down when Git holds them."""
    return [entry for entry in quarantined if entry.origin is Origin.PERSON]


def _bars(entry: Quarantined, tag: str | None, digest: str | None) -> bool:
    if entry.digest is not None and digest is not None:
        return entry.digest == digest
    return entry.tag is not None and entry.tag == tag


def _lasting(entries: Sequence[Quarantined]) -> Quarantined | None:
    if not entries:
        return None
    return max(
        entries, key=lambda entry: (entry.expires is None, (entry.expires and utc(entry.expires).timestamp()) or 0)
    )


def _reason(entry: Quarantined, tag: str, now: datetime) -> str:
    text = "quarantined"
    if entry.tag is not None and entry.tag != tag:
        text += f" (its bytes are those of {entry.tag})"
    if entry.source:
        text += f" by {entry.source}"
    if entry.expires is not None:
        text += f" until {clock(utc(entry.expires), now)}"
    return f"{text}: {entry.reason}" if entry.reason else text
