"""The end of a client over TLS whose server says nothing any more: it does not wait, and leaves no socket behind."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from image_updater.cluster import Cluster, ClusterConfig
from image_updater.registry.errors import RegistryUnavailable
from image_updater.registry.http import Http, Wire
from tests.parts.registries import Authority
from tests.unit.cluster.conftest import DEPLOYMENTS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

LINE = json.dumps({"type": "ADDED", "object": {"metadata": {"name": "a"}}}).encode() + b"\n"
BEGINNING = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class Silent:
    """Begins each answer, and never says or hears a word after that: no end of it, and no goodbye of TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve) for _ in range(2)]
        for each in self._threads:
            each.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            accepted, _ = self._listening.accept()
            with self._context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(65_536)
                connection.sendall(BEGINNING + f"{len(LINE):x}\r\n".encode() + LINE + b"\r\n")
                self._over.wait()

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._threads:
            each.join()

    def clients(self) -> list[socket.socket]:
        """Sockets of this process that are open to it."""
        found = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() >= 0]
        return [each for each in found if _peer(each) == self.port]


def _peer(each: socket.socket) -> int | None:
    if each.family is socket.AF_INET:
        with contextlib.suppress(OSError):
            port: int = each.getpeername()[1]
            return port
    return None


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def silent(authority: Authority, tmp_path: Path) -> Iterator[Silent]:
    server = Silent(authority.server_context(tmp_path))
    yield server
    server.close()


def config(authority: Authority, silent: Silent) -> ClusterConfig:
    return ClusterConfig(server=f"https://127.0.0.1:{silent.port}", ca=authority.certificate)


async def test_a_watch_that_was_left(authority: Authority, silent: Silent) -> None:
    cluster = await Cluster.connect(config(authority, silent))
    async with contextlib.aclosing(cluster.watch(DEPLOYMENTS, resource_version="1")) as events:  # type: ignore[type-var]
        assert (await anext(events)).body["metadata"]["name"] == "a"
    assert len(silent.clients()) == 1, "it waits for the server's goodbye"
    await cluster.close()
    assert silent.clients() == []


async def test_a_library_that_makes_its_own_requests(authority: Authority, silent: Silent) -> None:
    cluster = await Cluster.connect(config(authority, silent))
    session = cluster.open_session()
    async with session.get(f"{cluster.server}/apis") as response:
        assert await response.content.readline() == LINE
        response.close()
    await session.close()
    assert len(silent.clients()) == 1
    await cluster.close()
    assert silent.clients() == []


async def test_a_registry_that_stops_in_mid_answer(authority: Authority, silent: Silent) -> None:
    http = Http(monotonic=time.monotonic, per_host=1)
    with pytest.raises(RegistryUnavailable, match="no complete answer"):
        await http.exchange(
            "GET", f"https://127.0.0.1:{silent.port}/v2/", wire=Wire(ca=authority.certificate), timeout=0.5, limit=1_000
        )
    await http.aclose()
    assert silent.clients() == []
