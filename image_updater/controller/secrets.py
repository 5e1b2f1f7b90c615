"""Secrets of the cluster, read by name and never listed (design section 13).

The line asks for a Secret in the middle of its work and waits for nobody, so the answer is in memory: `need` reads what
an object refers to, `refresh` reads again what was read, and who subscribed hears of a Secret that has changed. Nothing
is watched: the right to watch Secrets is the right to list them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Meta, Secret
from image_updater.cluster.errors import Forbidden
from image_updater.cluster.model import Resource
from image_updater.errors import ImageUpdaterError, SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from image_updater.api.model import ObjectKey
    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Body

log = logging.getLogger("image_updater.secrets")

FRESH: Final = 60.0
"""Seconds that a Secret counts as known: a rotated one is in use after that at the latest."""

AT_ONCE: Final = 16

SECRETS: Final = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)


@dataclass(slots=True)
class _Known:
    secret: Secret | None
    version: str
    read_at: float
    error: ImageUpdaterError | None = None


class ClusterSecrets:
    """Call it with a key to get what is known; see the module. Used from one event loop."""

    def __init__(self, cluster: Cluster, *, monotonic: Callable[[], float]) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._known: dict[ObjectKey, _Known] = {}
        self._wanted: dict[str, frozenset[ObjectKey]] = {}
        self._listeners: list[Callable[[frozenset[ObjectKey]], None]] = []
        self._gate = asyncio.Semaphore(AT_ONCE)

    def __call__(self, key: ObjectKey) -> Secret | None:
        """The Secret as it was read last; None when there is none. Raises what its reading failed with."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.error is not None and known.secret is None:
            raise known.error
        return known.secret

    def error(self, key: ObjectKey) -> ImageUpdaterError | None:
        """Why the last reading failed."""
        known = self._known.get(key)
        return known.error if known is not None else None

    def subscribe(self, listener: Callable[[frozenset[ObjectKey]], None]) -> None:
        """Be told the keys of Secrets that changed, appeared or went."""
        self._listeners.append(listener)

    def want(self, user: str, keys: Iterable[ObjectKey]) -> None:
        """What `user` (an object's name, say) refers to from now on; () = nothing. What nobody wants is forgotten."""
        wanted = frozenset(keys)
        if wanted:
            self._wanted[user] = wanted
        else:
            self._wanted.pop(user, None)

    @property
    def wanted(self) -> frozenset[ObjectKey]:
        return frozenset().union(*self._wanted.values()) if self._wanted else frozenset()

    async def need(self, keys: Iterable[ObjectKey], *, fresh: float = FRESH) -> None:
        """Read these now, except those that were read less than `fresh` seconds ago. Failures are kept, not raised."""
        now = self._monotonic()
        due = [
            key
            for key in dict.fromkeys(keys)
            if (known := self._known.get(key)) is None or now - known.read_at >= fresh
        ]
        if not due:
            return
        changed = [key for key, moved in zip(due, await asyncio.gather(*map(self._read, due)), strict=True) if moved]
        if changed:
            for listener in self._listeners:
                listener(frozenset(changed))

    async def run(self) -> None:
        """Read what is wanted again and again, for ever."""
        while True:
            await asyncio.sleep(FRESH / 4)
            wanted = self.wanted
            for key in self._known.keys() - wanted:
                del self._known[key]
            # Three quarters of the time are over: due before it ends.
            await self.need(wanted, fresh=FRESH * 3 / 4)

    async def _read(self, key: ObjectKey) -> bool:
        """Read one; True when it is another than before."""
        before = self._known.get(key)
        try:
            async with self._gate:
                body = await self._cluster.get(SECRETS, key.name, key.namespace)
        except ImageUpdaterError as error:
            if isinstance(error, Forbidden):
                error = Forbidden(
                    f"Secret {key} may not be read",
                    where=Where(object=f"Secret {key}"),
                    remedy="let the controller's account `get` Secrets in that namespace",
                )
            if before is None or before.error is None:
                log.warning("Secret %s cannot be read: %s", key, error)
            kept = before.secret if before is not None and not isinstance(error, Forbidden) else None
            self._known[key] = _Known(kept, before.version if before else "", self._monotonic(), error)
            return before is not None and before.secret is not kept
        version = str(body["metadata"].get("resourceVersion") or "") if body is not None else ""
        if before is not None and before.error is None and before.version == version:
            before.read_at = self._monotonic()
            return False
        failure: ImageUpdaterError | None = None
        secret = None
        if body is not None:
            try:
                secret = decode(key, body)
            except SpecError as error:
                failure = error
        self._known[key] = _Known(secret, version, self._monotonic(), failure)
        return before is not None or secret is not None


def decode(key: ObjectKey, body: Body) -> Secret:
    """A Secret of the API. Raises SpecError for data that is no base64 (which no API server gives)."""
    data: dict[str, bytes] = {}
    for name, value in (body.get("data") or {}).items():
        try:
            data[name] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise SpecError("is no base64", where=Where(object=f"Secret {key}", field=f"data.{name}")) from exc
    return Secret(meta=Meta(key=key), type=str(body.get("type") or "Opaque"), data=data)
