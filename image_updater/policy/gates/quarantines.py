"""Quarantine: images that nobody may choose, and what a person's one means for the value that Git holds.

With a digest the bytes are bad under every tag, and other bytes under that tag are not; without one, the tag is.
Images are compared as images are. An expired entry counts no more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from image_updater.images import same_image
from image_updater.policy.gates.blocked import Blocked, GateName, asks, clock, rejected, unknowable, utc
from image_updater.policy.situation import Need, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    certain = digest is not None or unknowable(known, Need.DIGEST)
    by_digest = [entry for entry in entries if entry.digest is not None]
    sure = entries if certain else [entry for entry in entries if entry.digest is None]
    entry = _lasting([entry for entry in sure if _bars(entry, tag, digest)])
    if entry is not None:
        return rejected(GateName.QUARANTINE, tag, reason(entry, tag, now), _end(entry))
    last = _lasting(by_digest)
    if certain or last is None:
        return None
    return asks(GateName.QUARANTINE, tag, Need.DIGEST, _end(last))


def by_person(quarantined: Iterable[Quarantined]) -> list[Quarantined]:
    """Those that make a site go down when Git holds them."""
    return [entry for entry in quarantined if entry.origin is Origin.PERSON]


def _bars(entry: Quarantined, tag: str | None, digest: str | None) -> bool:
    if entry.digest is not None and digest is not None:
        return entry.digest == digest
    return entry.tag is not None and entry.tag == tag


def _lasting(entries: Sequence[Quarantined]) -> Quarantined | None:
    """The one that ends last."""
    for_ever = next((entry for entry in entries if entry.expires is None), None)
    if for_ever is not None or not entries:
        return for_ever
    return max(entries, key=lambda entry: _end(entry) or datetime.max.replace(tzinfo=UTC))


def _end(entry: Quarantined) -> datetime | None:
    return None if entry.expires is None else utc(entry.expires)


def reason(entry: Quarantined, tag: str | None, now: datetime) -> str:
    """Continues "TAG is"."""
    text = "quarantined"
    if entry.tag is not None and entry.tag != tag:
        text += f" (its bytes are those of {entry.tag})"
    if entry.source:
        text += f" by {entry.source}"
    if entry.expires is not None:
        text += f" until {clock(utc(entry.expires), now)}"
    return f"{text}: {' '.join(entry.reason.split())}" if entry.reason else text
