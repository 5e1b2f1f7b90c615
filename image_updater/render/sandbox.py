"""What a child may not do: reach a network, read the caller's environment, grow without bound.

Kustomize has no offline switch. On Linux the threads that start children carry a seccomp filter that answers EACCES
to `socket(2)` and `io_uring_setup(2)`; a filter belongs to a thread and is inherited by what it starts, so nothing
has to run between fork and exec (the start stays a vfork), and it needs no privilege, no namespace and no helper
binary: it works as root, as nobody and in containers. Elsewhere proxies that lead nowhere are all there is, and
`network_closed()` says so.

The filter is classic BPF: see seccomp(2) and the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | errno.EACCES
_KILL = 0x80000000
_X32_BIT = 0x40000000

_SYSCALLS = {
    # machine: (AUDIT_ARCH_*, numbers of socket and io_uring_setup)
    "x86_64": (0xC000003E, (41, 425)),
    "aarch64": (0xC00000B7, (198, 425)),
    "riscv64": (0xC00000F3, (198, 425)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one build. A real root takes 10 to 400 ms and 60 MB; these stop what is broken or hostile."""

    seconds: float = 60.0
    """Wall-clock time, after which the whole process group is killed."""
    cpu_seconds: int = 60
    memory: int = 2 * 1024**3
    """Bytes of data segment (RLIMIT_DATA; not RLIMIT_AS: Go reserves address space that it never uses)."""
    output: int = 64 * 1024**2
    """Bytes of manifests."""
    input: int = 256 * 1024**2
    """Bytes of all files of one root."""
    files: int = 50_000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _instructions(arch: int, denied: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    deny = 6 + len(denied)  # index of the last instruction

    def jump(index: int) -> int:
        return deny - index - 1

    return [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 1, 0, arch),
        (give, 0, 0, _KILL),  # a foreign ABI (32 bit) has other numbers
        (load, 0, 0, 0),  # seccomp_data.nr
        (at_least, jump(4), 0, _X32_BIT),
        *((equal, jump(index), 0, number) for index, number in enumerate(denied, start=5)),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _DENY),
    ]


def close_network() -> bool:
    """Take sockets from the calling thread and all it starts, for good. False where the system has no such thing."""
    entry = _SYSCALLS.get(platform.machine())
    if not sys.platform.startswith("linux") or entry is None or struct.calcsize("P") != 8:
        return False
    rows = _instructions(*entry)
    code = (_Instruction * len(rows))(*(_Instruction(*row) for row in rows))
    program = _Program(len(rows), code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.restype = ctypes.c_int
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


@functools.cache
def network_closed() -> bool:
    """Whether children get no network here: tried once, on a thread of its own."""
    closed = False

    def attempt() -> None:
        nonlocal closed
        if not close_network():
            return
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        except OSError as exc:
            closed = exc.errno == errno.EACCES

    thread = threading.Thread(target=attempt, name="render-probe")
    thread.start()
    thread.join()
    return closed


_NOWHERE = "http://127.0.0.1:9"


def child_environment(
    *, home: str, temporary: str, path: str = "", network: Mapping[str, str] | None = None
) -> dict[str, str]:
    """All that a child sees: nothing of ours but what is named here. `network`: proxy variables for remote bases."""
    environment = {
        "PATH": path,
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "XDG_CACHE_HOME": temporary,
        "XDG_DATA_HOME": temporary,
        "TMPDIR": temporary,
        "LC_ALL": "C",
        # A build is over before a collection pays: 10 ms instead of 13; the soft limit keeps large ones in bounds.
        "GOMAXPROCS": "1",
        "GOGC": "off",
        "GOMEMLIMIT": "256MiB",
        "GOTRACEBACK": "none",
        "KUBECONFIG": "/dev/null",
        "KUBERC": "off",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if network is None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment[name] = environment[name.lower()] = _NOWHERE
    else:
        environment.update(network)
    return environment
