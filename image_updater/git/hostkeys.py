"""Which SSH host keys a known_hosts text allows for a host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Read by us, because libgit2 looks only at one process-wide file while each repository brings its own, and because
libssh2 knows neither wildcards, negation nor @revoked. Hosts that present certificates need @cert-authority, which
libssh2 cannot check: refused with the reason.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from image_updater.git.errors import HostKeyMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One key of a known_hosts file. `marker` is '', 'revoked' or 'cert-authority'; `key` is the wire format (RFC 4253,
    6.6).
    """

    hosts: tuple[str, ...]
    kind: str
    key: bytes
    marker: str = ""
    number: int = 0

    def matches(self, host: str, port: int) -> bool:
        """The host as OpenSSH names it: plain on port 22, `[host]:port` elsewhere. A negated pattern wins over all
        others.
        """
        name = host.lower() if port == 22 else f"[{host.lower()}]:{port}"
        hit = False
        for pattern in self.hosts:
            if pattern.startswith("|1|"):
                hit = hit or _hashed(pattern, name)
            elif pattern.startswith("!"):
                if _glob(pattern[1:], name):
                    return False
            else:
                hit = hit or _glob(pattern, name)
        return hit


def parse(text: bytes) -> Iterator[Line]:
    """Each usable line; comments, blank and broken lines are passed over, as OpenSSH does (they can only
    allow less).
    """
    for number, raw in enumerate(text.decode("utf-8", errors="replace").splitlines(), 1):
        fields = raw.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = ""
        if fields[0].startswith("@"):
            marker, fields = fields[0][1:].lower(), fields[1:]
            if marker not in {"revoked", "cert-authority"}:
                continue
        if len(fields) < 3:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        if key_type(key) != fields[1]:
            continue
        hosts = tuple(part if part.startswith("|1|") else part.lower() for part in fields[0].split(",") if part)
        yield Line(hosts=hosts, kind=fields[1], key=key, marker=marker, number=number)


def key_type(key: bytes) -> str:
    """The algorithm a key names itself (`ssh-ed25519`), '' for what is no key."""
    length = int.from_bytes(key[:4], "big")
    name = key[4 : 4 + length]
    return name.decode("ascii", errors="replace") if len(key) > 4 + length and 0 < length < 64 else ""


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def allowed(known_hosts: bytes | None, host: str, port: int) -> tuple[Line, ...]:
    """The lines that allow a key for this host."""
    lines = tuple(parse(known_hosts or b""))
    revoked = {line.key for line in lines if line.marker == "revoked" and line.matches(host, port)}
    return tuple(x for x in lines if not x.marker and x.key not in revoked and x.matches(host, port))


def check(known_hosts: bytes | None, host: str, port: int, key: bytes, *, source: str = "known_hosts") -> None:
    """Return only when `key` is a key of that host. Raises HostKeyMismatch, which says why and what to add."""
    place = f"{host}:{port}" if port != 22 else host
    shown = f"{key_type(key) or 'unknown'} {fingerprint(key)}"
    matching = [line for line in parse(known_hosts or b"") if line.matches(host, port)]
    if any(line.marker == "revoked" and hmac.compare_digest(line.key, key) for line in matching):
        raise HostKeyMismatch(
            f"{place} presented the SSH host key {shown}, which {source} revokes", remedy="do not connect to it"
        )
    plain = [line for line in matching if not line.marker]
    if any(hmac.compare_digest(line.key, key) for line in plain):
        return
    if plain:
        kinds = ", ".join(dict.fromkeys(line.kind for line in plain))
        raise HostKeyMismatch(
            f"{place} presented the SSH host key {shown}, but {source} has other keys for it ({kinds})",
            remedy="someone may be in between; if the host was rebuilt, replace its lines with the verified new key",
        )
    if any(line.marker == "cert-authority" for line in matching):
        raise HostKeyMismatch(
            f"{place} is known in {source} only through @cert-authority, which this SSH library cannot check",
            remedy="add the host's own key",
        )
    raise HostKeyMismatch(
        f"{place} is not in {source}; it presented the SSH host key {shown}",
        remedy=f"compare it with the host's published fingerprint, then add the line of: ssh-keyscan -p {port} {host}",
    )


def _hashed(pattern: str, name: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, digest = base64.b64decode(parts[2], validate=True), base64.b64decode(parts[3], validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def _glob(pattern: str, name: str) -> bool:
    """Only `*` and `?` are special in known_hosts: brackets belong to `[host]:port`."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
