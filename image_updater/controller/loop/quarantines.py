"""Quarantine objects from the records of commits: what a branch says is bad stands in every cluster that reads it.

The record binds without them (it is read before anything is chosen); the objects show it to people, and remember what
is older than the history that is read. One is made where it is missing, again too, never changed (a person may give it
an end), and taken away when a commit of a person releases what it is about.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import API_VERSION, GROUP, ImagePolicy, ObjectKey, Quarantine
from image_updater.cluster.errors import Conflict, NamespaceMissing, ObjectNotFound
from image_updater.controller.status import Happening, resource_of
from image_updater.controller.update.inputs import POLICY
from image_updater.errors import ImageUpdaterError
from image_updater.images import canonical
from image_updater.pipeline.answers.situations import DERIVED
from image_updater.pipeline.tasks import pause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.controller.context import Context
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.policy.situation import Quarantined

log = logging.getLogger("image_updater.controller")

QUARANTINE: Final = "Quarantine"
AGAIN: Final = 60.0
"""Seconds between looks when nobody tells of anything: what a person deletes comes back."""
RETRY: Final = 5.0
LONGEST: Final = 300.0
"""Seconds until what failed is tried again: at first, and at most."""
_LABEL: Final = f"{GROUP}/derived"


class Quarantines:
    """`await run()` until it is cancelled. Used from one event loop."""

    def __init__(self, context: Context, saying: Saying, situations: Situations, metrics: LoopMetrics) -> None:
        self._context = context
        self._saying = saying
        self._situations = situations
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._said: str | None = None

    def look(self) -> None:
        """A record may be another one."""
        self._wake.set()

    async def run(self) -> None:
        changes = self._context.cache.subscribe([QUARANTINE])
        waiting = asyncio.create_task(changes.next())
        failures = 0
        try:
            while True:
                self._wake.clear()
                good = await self._reconcile()
                failures = 0 if good else failures + 1
                # What it has no rights for would be asked for ever.
                wait = AGAIN if good else min(RETRY * 2 ** min(failures - 1, 10), LONGEST)
                wake = asyncio.create_task(pause(self._wake, wait))
                await asyncio.wait({wake, waiting} if good else {wake}, return_when=asyncio.FIRST_COMPLETED)
                wake.cancel()
                if waiting.done():
                    waiting = asyncio.create_task(changes.next())
        finally:
            waiting.cancel()

    async def _reconcile(self) -> bool:
        """Make what is missing, take away what was released. False: something could not be done."""
        wanted: dict[ObjectKey, Quarantined] = {}
        released: dict[ObjectKey, Quarantined] = {}
        for namespace, quarantined, lifted in self._situations.records():
            if namespace is not None:
                wanted |= {ObjectKey(namespace, name_of(each)): each for each in quarantined}
                released |= {ObjectKey(namespace, name_of(each)): each for each in lifted}
        self._metrics.quarantines.set(len(wanted))
        entries = self._context.cache.entries(QUARANTINE)
        good = True
        for key in sorted(wanted.keys() - entries.keys()):
            good = await self._try(self._make(key, wanted[key])) and good
        for key in sorted((released.keys() - wanted.keys()) & entries.keys()):
            if is_derived(entries[key].value) and not entries[key].deleting:
                good = await self._try(self._take_away(key)) and good
        return good

    async def _try(self, work: Any) -> bool:
        try:
            await work
        except ImageUpdaterError as error:
            if str(error) != self._said:
                log.warning("a Quarantine cannot be written: %s", error)
            self._said = str(error)
            return False
        return True

    async def _make(self, key: ObjectKey, quarantined: Quarantined) -> None:
        try:
            await self._context.cluster.create(resource_of(QUARANTINE), body(key, quarantined))
        except Conflict:
            return  # it is there by now
        except NamespaceMissing:
            return
        log.info("Quarantine %s: %s", key, quarantined.reason or quarantined.source)
        text = f"{_image(quarantined)} may not be chosen: {quarantined.reason or 'quarantined'} ({quarantined.source})"
        for entry in self._about(key.namespace, quarantined):
            self._saying.amend(entry, {}, Happening(reason="Quarantined", message=text, warning=True))

    async def _take_away(self, key: ObjectKey) -> None:
        try:
            await self._context.cluster.delete(resource_of(QUARANTINE), key.name, key.namespace)
        except ObjectNotFound:
            return
        log.info("Quarantine %s: released", key)

    def _about(self, namespace: str, quarantined: Quarantined) -> Iterable[Any]:
        """The policies that it stops."""
        for key, entry in self._context.cache.entries(POLICY).items():
            if key.namespace != namespace or entry.deleting or not self._context.owns(entry):
                continue
            if isinstance(entry.value, ImagePolicy) and canonical(entry.value.image) == canonical(quarantined.image):
                yield entry


def is_derived(value: object) -> bool:
    """Was it made from a record, and not by a person?"""
    return isinstance(value, Quarantine) and value.source.startswith(DERIVED)


def name_of(quarantined: Quarantined) -> str:
    """The same in every cluster and for every commit that says it: `web-1.5.0-<hash>`."""
    image = canonical(quarantined.image) or quarantined.image
    words = f"{image.rpartition('/')[2]}-{quarantined.tag or 'digest'}".lower()
    slug = re.sub(r"[^a-z0-9.-]+", "-", words)[:40].strip("-.")
    identity = "\0".join((image, quarantined.tag or "", quarantined.digest or ""))
    return f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def body(key: ObjectKey, quarantined: Quarantined) -> dict[str, Any]:
    said = {
        "image": quarantined.image,
        "tag": quarantined.tag,
        "digest": quarantined.digest,
        "reason": _line(quarantined.reason),
        "source": quarantined.source,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": QUARANTINE,
        "metadata": {"name": key.name, "namespace": key.namespace, "labels": {_LABEL: "commit"}},
        "spec": {name: value for name, value in said.items() if value},
    }


def _line(text: str) -> str:
    """One line that our own reader takes: what a container said may have anything in it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:1000]


def _image(quarantined: Quarantined) -> str:
    tag = f":{quarantined.tag}" if quarantined.tag else ""
    return f"{quarantined.image}{tag}" + (f"@{quarantined.digest}" if quarantined.digest else "")
