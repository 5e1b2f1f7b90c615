"""The sockets of one client, so that its end is their end.

A connection over TLS that is closed in the middle of an answer (a watch that was left, a request that was cancelled)
says goodbye and waits for the server's, for up to 30 seconds. No session knows of it any more, and a loop that ends
before leaves a socket behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import AddrInfoType

TURNS: Final = 1_000
"""Of the loop, at most: a handful is what a transport needs once its peer is gone."""


class Sockets:
    """`make` is aiohttp's `socket_factory`."""

    def __init__(self) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def make(self, info: AddrInfoType) -> socket.socket:
        made = socket.socket(*info[:3])
        self._made.add(made)
        return made

    async def close(self) -> None:
        """After the sessions were closed: what still waits for the other side has heard the last of it."""
        for each in self._open():
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(TURNS):
            if not self._open():
                return
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [each for each in self._made if each.fileno() >= 0]
