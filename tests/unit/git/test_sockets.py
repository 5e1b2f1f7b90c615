"""TCP_NODELAY reaches the connections that libgit2 keeps to itself, and nothing else."""

from __future__ import annotations

import socket

import pytest

from image_updater.git import sockets


def nodelay(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_only_connections_to_that_port_are_touched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port = one.getsockname()[1]
        with (
            socket.create_connection(one.getsockname()) as mine,
            socket.create_connection(other.getsockname()) as theirs,
            socket.socket() as idle,
        ):
            assert sockets.send_at_once(port) == 1
            assert nodelay(mine)
            assert not nodelay(theirs)
            assert idle.fileno() >= 0
            assert mine.send(b"x") == 1


@pytest.mark.parametrize(
    ("proxy", "port"),
    [(None, 443), ("auto", 443), ("http://p:3128", 3128), ("http://u:p@p", 80), ("https://p", 443)],
)
def test_behind_a_proxy_it_is_the_proxys_port(proxy: str | None, port: int) -> None:
    assert sockets.peer_port(443, proxy) == port


def test_without_proc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_DESCRIPTORS", "/nonexistent")
    assert sockets.send_at_once(1) == 0
