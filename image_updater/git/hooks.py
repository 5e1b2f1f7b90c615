"""The one place that reads libgit2's private memory: the certificate callback, with the certificate that pygit2 leaves
out.

pygit2 passes `None` instead of the certificate, so neither a host key nor a CA can be checked per repository. The
callback is registered anew; our own callbacks (`CertificateJudge`) get the bytes, everybody else's get pygit2's own
behaviour. The structures are those of libgit2's `git2/cert.h` (1.7 to 1.9); a test compares them with real servers, and
whatever does not look as expected is refused.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from typing import Any, Protocol, runtime_checkable

import pygit2.callbacks
from pygit2.errors import Passthrough
from pygit2.ffi import C, ffi

from image_updater.git.errors import CertificateUntrusted, HostKeyMismatch

CERT_X509 = 1
CERT_HOSTKEY = 2
SSH_SHA256 = 1 << 2
SSH_RAW = 1 << 3
SUPPORTED = {(1, 7), (1, 8), (1, 9)}
_MAX = 1 << 20

# struct { int cert_type; int flags; u8 md5[16]; u8 sha1[20]; u8 sha256[32]; int raw_type; const char *hostkey; size_t
# hostkey_len; }
HOSTKEY = struct.Struct("@ii16s20s32siPN")
# struct { int cert_type; void *data; size_t len; }
X509 = struct.Struct("@iPN")


@runtime_checkable
class CertificateJudge(Protocol):
    """Callbacks that see the certificate. Both return only when it is to be trusted."""

    def judge_host_key(self, key: bytes) -> None: ...

    def judge_certificate(self, der: bytes, valid: bool) -> None: ...


@runtime_checkable
class SidebandListener(Protocol):
    """Callbacks that hear the server's words as they come, in any encoding and cut anywhere."""

    def sideband_bytes(self, said: bytes) -> None: ...


def supported() -> bool:
    """Whether this libgit2 is one whose layout is known."""
    return tuple(int(x) for x in pygit2.LIBGIT2_VERSION.split(".")[:2]) in SUPPORTED


def read_host_key(pointer: Any) -> bytes:
    """The host key's wire format, checked against the SHA-256 that libssh2 computed of it."""
    _, flags, _, _, sha256, _, address, length = HOSTKEY.unpack(
        bytes(ffi.buffer(ffi.cast("char *", pointer), HOSTKEY.size))
    )
    if not (flags & SSH_RAW and flags & SSH_SHA256 and address and 16 < length < _MAX):
        raise HostKeyMismatch("libgit2 did not hand out the SSH host key", remedy="use a supported version of pygit2")
    key = bytes(ffi.buffer(ffi.cast("char *", address), length))
    if hashlib.sha256(key).digest() != sha256:
        raise HostKeyMismatch("the SSH host key and its fingerprint differ", remedy="use a supported version of pygit2")
    return key


def read_certificate(pointer: Any) -> bytes:
    """The leaf certificate as DER."""
    _, address, length = X509.unpack(bytes(ffi.buffer(ffi.cast("char *", pointer), X509.size)))
    if not (address and 16 < length < _MAX):
        raise CertificateUntrusted(
            "libgit2 did not hand out the TLS certificate", remedy="use a supported version of pygit2"
        )
    der = bytes(ffi.buffer(ffi.cast("char *", address), length))
    if der[:1] != b"\x30":
        raise CertificateUntrusted("the TLS certificate is no DER sequence", remedy="use a supported version of pygit2")
    return der


def _certificate_check(pointer: Any, valid: int, host: Any, data: Any) -> int:
    """Registered in place of pygit2's `_certificate_check_cb`. Must not raise: an exception is kept in the payload."""
    payload = ffi.from_handle(data)
    try:
        kind = int(pointer.cert_type)
        if isinstance(payload, CertificateJudge):
            if not supported():
                raise HostKeyMismatch(
                    f"certificates of libgit2 {pygit2.LIBGIT2_VERSION} cannot be read",
                    remedy="install pygit2 1.18 to 1.21",
                )
            if kind == CERT_HOSTKEY:
                payload.judge_host_key(read_host_key(pointer))
            elif kind == CERT_X509:
                payload.judge_certificate(read_certificate(pointer), bool(valid))
            else:
                raise CertificateUntrusted(f"a certificate of an unknown kind ({kind})", remedy="use https or ssh")
            return 0
        try:
            return 0 if payload.certificate_check(None, bool(valid), ffi.string(host)) else int(C.GIT_ECERTIFICATE)
        except Passthrough:
            return 0 if valid or kind == CERT_HOSTKEY else int(C.GIT_ECERTIFICATE)
    except BaseException as exc:
        # Not swallowed: pygit2 raises what is stored here as soon as libgit2 returns.
        payload._stored_exception = exc
        return int(C.GIT_EUSER)


def _sideband_progress(text: Any, length: int, data: Any) -> int:
    """In place of pygit2's `_sideband_progress_cb`, which decodes strictly: a hook that speaks Latin-1, or a character
    cut in two by a packet's end, would break the push and hide the hook's refusal.
    """
    payload = ffi.from_handle(data)
    try:
        said = bytes(ffi.buffer(text, length)) if length > 0 else b""
        if isinstance(payload, SidebandListener):
            payload.sideband_bytes(said)
        elif (listener := getattr(payload, "sideband_progress", None)) is not None:
            listener(said.decode("utf-8", errors="replace"))
        return 0
    except Passthrough:
        return int(C.GIT_PASSTHROUGH)
    except BaseException as exc:
        # Not swallowed: pygit2 raises what is stored here as soon as libgit2 returns.
        payload._stored_exception = exc
        return int(C.GIT_EUSER)


_installed = False
_lock = threading.Lock()


def install() -> None:
    """Register the callbacks, once a process."""
    global _installed
    with _lock:
        if not _installed:
            ffi.def_extern(name="_certificate_check_cb")(_certificate_check)
            ffi.def_extern(name="_sideband_progress_cb")(_sideband_progress)
            _installed = True
