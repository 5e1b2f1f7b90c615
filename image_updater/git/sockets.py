"""Forty milliseconds a request: libgit2 writes a request's head and body apart and leaves Nagle's algorithm on, so the
body waits for the server's delayed ACK (RFC 896, RFC 1122 4.2.3.2; measured here: 41 of the 88 ms of a push). It has no
option for that and does not hand out its socket, so the process's own descriptors are looked through for connections to
that port. TCP_NODELAY is harmless where it hits another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from urllib.parse import urlsplit

_DESCRIPTORS = "/proc/self/fd"


def peer_port(port: int, proxy: str | None) -> int:
    """The port that the socket is connected to: the proxy's, when there is one."""
    if not proxy or proxy == "auto":
        return port
    parts = urlsplit(proxy)
    return parts.port or (443 if parts.scheme == "https" else 80)


def send_at_once(port: int) -> int:
    """Set TCP_NODELAY on every connection of this process to `port`; how many there were. Does nothing where there is
    no /proc.
    """
    try:
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return 0
    found = 0
    for descriptor in descriptors:
        # A descriptor may be closed, or become another file, at any moment: whatever it is then, it is left alone.
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as twin:
                if twin.family in (socket.AF_INET, socket.AF_INET6) and twin.getpeername()[1] == port:
                    twin.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    found += 1
    return found
