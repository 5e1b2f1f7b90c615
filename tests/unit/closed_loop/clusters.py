"""A cluster in memory that takes what the closed loop writes, and mirrors whose pushes can be met on their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_updater.api.model import ObjectKey
from image_updater.cluster.errors import ObjectNotFound
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Cache
from image_updater.images.names import split
from image_updater.pipeline.mirrors import Mirrors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from image_updater.git import Mirror, WriterQueue

API = "image-updater.dev/v1alpha1"
SPACE = "shop"


class Circles(AssertionError):
    """Work leads to work without an end."""


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Hooked:
    """What happens right before, or right after, the next push reaches the server."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None


class WatchedMirrors(Mirrors):
    """Queues that tell the time of the test, and mirrors whose pushes can be met on their way."""

    def __init__(self, folder: Path, clock: Callable[[], datetime], hooked: Hooked) -> None:
        super().__init__(folder)
        self._clock = clock
        self._hooked = hooked

    def queue(self, mirror: Mirror, branch: str, *, base: str) -> WriterQueue:
        queue = super().queue(mirror, branch, base=base)
        queue._now = self._clock
        if "push" not in vars(mirror):
            push, hooked = mirror.push, self._hooked

            async def met(*arguments: Any, **more: Any) -> None:
                before, hooked.before = hooked.before, None
                if before is not None:
                    before()
                await push(*arguments, **more)
                after, hooked.after = hooked.after, None
                if after is not None:
                    after()

            mirror.push = met  # type: ignore[method-assign]
        return queue


class FakeCluster:
    """Takes statuses and Quarantines, and tells the cache at once, as the watch would."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.cache = Cache()
        self.bodies: dict[tuple[str, str], dict[str, Any]] = {}
        self._uids = 0

    def put(self, body: dict[str, Any]) -> None:
        """Somebody makes or edits an object."""
        place = (body["kind"], body["metadata"]["name"])
        known = self.bodies.get(place)
        metadata = {"namespace": SPACE, **body["metadata"]}
        if known is None:
            self._uids += 1
            metadata |= {"uid": f"uid-{self._uids}", "generation": 1}
            metadata["creationTimestamp"] = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            old = known["metadata"]
            metadata |= {"uid": old["uid"], "creationTimestamp": old["creationTimestamp"]}
            metadata["generation"] = old["generation"] + (known["spec"] != body["spec"])
        status = known.get("status", {}) if known is not None else {}
        self.bodies[place] = {**body, "metadata": metadata, "status": status}
        self._tell(place)

    def remove(self, kind: str, name: str) -> None:
        self.bodies.pop((kind, name), None)
        self.cache.forget(kind, ObjectKey(SPACE, name))

    def status(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.bodies[kind, name].get("status", {})
        return found

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        self.bodies[kind, name]["status"] = status
        self._tell((kind, name))

    def _tell(self, place: tuple[str, str]) -> None:
        self.cache.observe(place[0], dict(self.bodies[place]))

    # ---------------------------------------------------------------------------------------------- asked by us

    async def apply(self, _: object, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        self.set_status(body["kind"], body["metadata"]["name"], body["status"])
        return body

    async def create(self, _: object, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        self.put(body)
        return body

    async def delete(self, resource: Any, name: str, namespace: str | None = None, **_: Any) -> None:
        if (resource.kind, name) not in self.bodies:
            raise ObjectNotFound(f"no {resource.kind} {name}")
        self.remove(resource.kind, name)


class Events:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def event(self, *, about: Any, type: str, reason: str, message: str, action: str = "") -> None:  # noqa: A002
        self.sent.append((about["name"], reason, message))


def ref_of(app: str) -> Ref:
    return Ref("apps", "Deployment", SPACE, app)


def object_(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def value_of(image: str) -> tuple[str, str | None]:
    """Tag and digest of an image as Git holds it."""
    _, tag, digest = split(image)
    return tag or "", digest
