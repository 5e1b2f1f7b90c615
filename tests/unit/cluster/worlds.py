"""A world without waiting: an event loop whose time jumps to the next thing to do, and a store with versions in it.

What takes hours in the world takes milliseconds here, and takes them in the same order every time.
"""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from image_updater.cluster.errors import ClusterUnavailable, Conflict, ObjectNotFound

Body = dict[str, Any]


class _Jumping(selectors.DefaultSelector):
    """Nothing comes from outside: to wait is to let time pass."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self.loop.now += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _Jumping()
        super().__init__(selector)
        selector.loop = self
        self.now = 1_000.0

    def time(self) -> float:
        return self.now


def live(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a world of its own."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())


class Objects:
    """get, create and replace of one resource, with optimistic locking, as an API server does it.

    `before` and `after` are awaited around each change; what they raise is what the caller sees, so `after` makes an
    answer that is lost on its way.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.version = 0
        self.log: list[str] = []
        self.before: Callable[[str], Awaitable[None]] = _nothing
        self.after: Callable[[str], Awaitable[None]] = _nothing

    def unqueued(self) -> Objects:
        return self

    async def get(self, _: Any, name: str, namespace: str | None = None) -> Body | None:
        await self._around("get")
        found = copy.deepcopy(self.objects.get(name))
        await self.after("get")
        return found

    async def create(self, _: Any, body: Body, namespace: str | None = None) -> Body:
        await self._around("create")
        name = body["metadata"]["name"]
        if name in self.objects:
            raise Conflict("it exists")
        return await self._put(name, {**body, "metadata": {**body["metadata"], "uid": f"u{self.version}"}}, "create")

    async def replace(self, _: Any, body: Body) -> Body:
        await self._around("replace")
        name = body["metadata"]["name"]
        if name not in self.objects:
            raise ObjectNotFound("it is gone")
        if self.objects[name]["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict("it has been modified")
        return await self._put(name, body, "replace")

    async def _put(self, name: str, body: Body, verb: str) -> Body:
        self.version += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[name] = stored
        answer = copy.deepcopy(stored)
        await self.after(verb)
        return answer

    async def _around(self, verb: str) -> None:
        self.log.append(verb)
        await self.before(verb)


async def _nothing(_: str) -> None:
    await asyncio.sleep(0)


async def away(_: str) -> None:
    raise ClusterUnavailable("the server is away")
