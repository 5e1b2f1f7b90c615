"""A leaf against one repository's own CA, with a real TLS server behind it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from image_updater.git import certificates
from image_updater.git.errors import CertificateUntrusted
from tests.parts.gitservers import Authority, ConnectProxy, authority

CA = authority("Own CA")
MIDDLE = CA.issue("Middle", authority=True)


def der(holder: Authority) -> bytes:
    return holder.certificate.public_bytes(serialization.Encoding.DER)


@contextlib.contextmanager
def tls(folder: Path, leaf: Authority, *chain: Authority) -> Iterator[int]:
    """A server that shows `leaf` and `chain` and hangs up."""
    (folder / "c.pem").write_bytes(leaf.pem + b"".join(c.pem for c in chain))
    (folder / "k.pem").write_bytes(leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as secure:
                secure.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    yield int(listener.getsockname()[1])
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def check(leaf: Authority, ca: bytes, port: int = 1, proxy: str | None = None, host: str = "127.0.0.1") -> None:
    certificates.check(der(leaf), ca, host, port, proxy=proxy, timeout=5)


def test_a_leaf_of_the_ca_needs_no_connection() -> None:
    check(CA.issue("127.0.0.1"), CA.pem)
    check(CA.issue("git.example.com"), authority("Other").pem + CA.pem, host="git.example.com")


@pytest.mark.parametrize(
    ("leaf", "ca"),
    [
        (CA.issue("127.0.0.1"), authority("Own CA").pem),
        (CA.issue("127.0.0.2"), CA.pem),
        (CA.issue("127.0.0.1", days=-1), CA.pem),
        (authority("x").issue("127.0.0.1"), CA.pem),
        (CA.issue("127.0.0.1"), b"garbage"),
    ],
    ids=["a CA of the same name", "another host", "expired", "another CA", "no CA at all"],
)
def test_everything_else_is_refused_also_by_the_handshake(tmp_path: Path, leaf: Authority, ca: bytes) -> None:
    with tls(tmp_path, leaf) as port, pytest.raises(CertificateUntrusted) as caught:
        check(leaf, ca, port)
    assert caught.value.remedy


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "through a proxy"])
def test_an_intermediate_is_taken_from_the_server(tmp_path: Path, proxied: bool) -> None:
    leaf = MIDDLE.issue("127.0.0.1")
    with tls(tmp_path, leaf, MIDDLE) as port, ConnectProxy(user="me", password="s3cret") as proxy:
        address = f"http://me:s3cret@127.0.0.1:{proxy.port}" if proxied else None
        check(leaf, CA.pem, port, address)
        assert len(proxy.seen) == int(proxied)
        other = MIDDLE.issue("127.0.0.1")
        with pytest.raises(CertificateUntrusted):
            check(other, CA.pem, port, address)


def test_a_servers_own_certificate_can_be_pinned_and_trusts_no_other() -> None:
    own = CA.issue("127.0.0.1")
    check(own, own.pem)
    with pytest.raises(CertificateUntrusted):
        check(CA.issue("127.0.0.1"), own.pem)
    with pytest.raises(CertificateUntrusted):
        check(own, own.pem, host="127.0.0.2")


def test_a_verdict_is_kept_for_an_hour_for_this_ca_alone(tmp_path: Path) -> None:
    leaf, now = MIDDLE.issue("127.0.0.1"), 1e6

    def at(seconds: float, ca: bytes = CA.pem, port: int = 1) -> None:
        certificates.check(der(leaf), ca, "127.0.0.1", port, proxy=None, timeout=2, clock=lambda: now + seconds)

    with tls(tmp_path, leaf, MIDDLE) as port:
        at(0, port=port)
    at(3599)
    for seconds, ca in [(3601, CA.pem), (10, authority("Own CA").pem)]:
        with pytest.raises(CertificateUntrusted):
            at(seconds, ca)
