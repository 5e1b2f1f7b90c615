"""A server's TLS certificate against exactly one repository's own CA.

libgit2 knows one process-wide set of CAs; merging a repository's CA into it would make every other repository trust it
too. So a repository with its own CA is judged here, from the leaf that libgit2 hands out: first alone (RFC 5280 by
`cryptography`, with the CA file's certificates as trust anchors); if that fails, for instance because the server sends
an intermediate that libgit2 does not hand out, by one handshake of OpenSSL with that CA alone, whose verified leaf must
be the very one that libgit2 saw. A verdict is kept for an hour.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.x509 import verification

from image_updater.git.errors import CertificateUntrusted

_KEEP = 3600.0
_verdicts: dict[tuple[bytes, bytes, str], float] = {}
_lock = threading.Lock()


def check(
    der: bytes,
    ca: bytes,
    host: str,
    port: int,
    *,
    proxy: str | None,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return only when `der` is a certificate for `host` that leads to `ca` (PEM). Raises CertificateUntrusted."""
    key = (hashlib.sha256(der).digest(), hashlib.sha256(ca).digest(), host)
    now = clock()
    with _lock:
        if _verdicts.get(key, 0.0) > now:
            return
    reason = _alone(der, ca, host)
    if reason is not None and _handshake(ca, host, port, proxy, timeout) != der:
        raise CertificateUntrusted(
            f"the certificate of {host} does not verify against the repository's own CA: {reason}",
            remedy="ca.crt must hold the CA that issued it, and the certificate must name this host",
        )
    with _lock:
        if len(_verdicts) > 1000:
            _verdicts.clear()
        _verdicts[key] = now + _KEEP


def _alone(der: bytes, ca: bytes, host: str) -> str | None:
    """None when it verifies without asking anybody, else why not."""
    try:
        anchors = x509.load_pem_x509_certificates(ca)
        leaf = x509.load_der_x509_certificate(der)
        try:
            subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            subject = x509.DNSName(host.encode("idna").decode())
        builder = verification.PolicyBuilder().store(verification.Store(anchors))
        builder.build_server_verifier(subject).verify(leaf, [])  # type: ignore[arg-type]
    except (verification.VerificationError, ValueError) as exc:
        return str(exc).strip() or type(exc).__name__
    return None


def _handshake(ca: bytes, host: str, port: int, proxy: str | None, timeout: float) -> bytes | None:
    """The leaf that OpenSSL verified with this CA alone, None when it refuses or nothing answers."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca.decode("ascii", errors="ignore"))
        with (
            contextlib.closing(_connect(host, port, proxy, timeout)) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            return tls.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError, ValueError):
        # The caller reports why the certificate did not verify by itself; no answer is no trust.
        return None


def _connect(host: str, port: int, proxy: str | None, timeout: float) -> socket.socket:
    if not proxy or proxy == "auto":
        return socket.create_connection((host, port), timeout)
    parts = urlsplit(proxy)
    sock = socket.create_connection((parts.hostname or "", parts.port or 3128), timeout)
    login = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}\r\n"
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 65536:
        data = sock.recv(1)
        if not data:
            break
        head += data
    if b" 200" not in head.split(b"\r\n", 1)[0]:
        sock.close()
        raise OSError("the proxy refused the tunnel")
    return sock
