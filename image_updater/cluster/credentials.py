"""What requests authenticate with: nothing, a fixed token or key pair, a token file that rotates, or an exec plugin.

A login is asked for before every request and kept by its owner; `renew` says that the server has just refused it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from image_updater.errors import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

REREAD = 60.0
"""Seconds after which a token file is read again: a kubelet renews it at 80 % of its life, an hour as a rule."""

PLUGIN = 60.0
"""Seconds that an exec plugin may take."""

EARLY = timedelta(minutes=1)
"""An exec plugin is asked anew this long before what it gave ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A header and a client certificate (PEM); neither is ever shown."""

    authorization: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def bearer(cls, token: str) -> Login:
        return cls(authorization=f"Bearer {token}")


class Credentials(Protocol):
    """Where logins come from. `login` raises AccessDenied when there is none to be had."""

    async def login(self, *, renew: bool = False) -> Login: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """What never changes: an inline token or key pair, or nothing at all."""

    value: Login = field(default_factory=Login)

    async def login(self, *, renew: bool = False) -> Login:
        return self.value


class TokenFile:
    """A file that something else renews."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._kept: Login | None = None
        self._read_at = 0.0

    async def login(self, *, renew: bool = False) -> Login:
        """Raises AccessDenied when there is no token in the file."""
        now = self._monotonic()
        if self._kept is None or renew or now - self._read_at >= REREAD:
            # Not in a thread: a renewal of a Lease must not wait for one, and this takes microseconds.
            self._kept = self._read()
            self._read_at = now
        return self._kept

    def _read(self) -> Login:
        try:
            token = self._path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise AccessDenied(
                f"the token file {self._path} cannot be read: {why}", remedy="is the account's token mounted?"
            ) from None
        if not token or any(each.isspace() or not each.isprintable() for each in token):
            raise AccessDenied(f"the token file {self._path} holds no token", remedy="is the account's token mounted?")
        return Login.bearer(token)


class ExecPlugin:
    """A program named in the operator's own kubeconfig (client.authentication.k8s.io). What it gives is kept until it
    ends, or until the server refuses it.
    """

    def __init__(self, spec: Mapping[str, Any], *, clock: Callable[[], datetime]) -> None:
        self._spec = dict(spec)
        self._clock = clock
        self._kept: Login | None = None
        self._until: datetime | None = None
        self._lock = asyncio.Lock()

    async def login(self, *, renew: bool = False) -> Login:
        """Raises AccessDenied with the plugin's own words."""
        before = self._kept
        async with self._lock:
            if renew and self._kept is not before and self._kept is not None:
                return self._kept  # another request has renewed it meanwhile
            if self._kept is None or renew or (self._until is not None and self._clock() >= self._until - EARLY):
                self._kept, self._until = await self._run()
            return self._kept

    async def _run(self) -> tuple[Login, datetime | None]:
        from kubernetes.aio.config import ConfigException
        from kubernetes.aio.config.exec_provider import ExecProvider
        from kubernetes.aio.config.kube_config import ConfigNode

        command = str(self._spec.get("command") or "")
        try:
            async with asyncio.timeout(PLUGIN):
                status = await ExecProvider(ConfigNode("exec", self._spec)).run()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise AccessDenied(
                f"the exec plugin {command!r} of the kubeconfig did not end in {PLUGIN:g} s",
                remedy="it must not ask a person anything",
            ) from None
        except (ConfigException, OSError, ValueError) as exc:
            raise AccessDenied(
                f"the exec plugin {command!r} of the kubeconfig failed: {str(exc)[:300]}",
                remedy="run it by hand to see why",
            ) from None
        return read_status(status, command)


def read_status(status: object, command: str) -> tuple[Login, datetime | None]:
    """An ExecCredential's status: what it lets us log in with, and until when."""
    if not isinstance(status, dict):
        status = {}
    token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if not token and not (certificate and key):
        raise AccessDenied(
            f"the exec plugin {command!r} gave neither a token nor a client certificate with its key",
            remedy="run it by hand to see what it prints",
        )
    login = Login(
        authorization=f"Bearer {token}" if token else None,
        certificate=str(certificate).encode() if certificate and key else None,
        key=str(key).encode() if certificate and key else None,
    )
    stamp = status.get("expirationTimestamp")
    if not stamp:
        return login, None
    try:
        until = datetime.fromisoformat(str(stamp))
    except ValueError:
        raise AccessDenied(
            f"the exec plugin {command!r} says an expirationTimestamp that is none: {json.dumps(str(stamp)[:40])}"
        ) from None
    return login, until if until.tzinfo else until.replace(tzinfo=UTC)
