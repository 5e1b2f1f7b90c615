"""One connection to a Git server: credentials, host keys, CA, limits, and libgit2's errors in our words.

libgit2's time limits are process-wide: they are set to the longest that any repository asks for, and each operation has
its own deadline, which the progress callbacks enforce (and `asyncio` above them). Credentials are offered once: libgit2
asks again for ever when they are wrong.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pygit2
from pygit2.enums import CredentialType
from pygit2.ffi import C

from image_updater.errors import ImageUpdaterError
from image_updater.git import certificates, hooks, hostkeys, sockets, sshhome, urls
from image_updater.git.access import GitAccess
from image_updater.git.errors import (
    CertificateUntrusted,
    GitAuthenticationFailed,
    GitUnavailable,
    MirrorDamaged,
    PermissionDenied,
    PushRaced,
    RepositoryNotFound,
)

CONNECT_TIMEOUT = timedelta(seconds=15)
_longest = timedelta(0)
_settings_lock = threading.Lock()
_STATUS = re.compile(r"unexpected http status code: (\d{3})")
# git2/errors.h: what fails here is in our own cache, not on the server.
_LOCAL_CLASSES = frozenset({4, 5, 6, 9, 10, 11, 13, 14, 20})
_OS = 2
_DISK = re.compile(r"no space left|disk quota|file too large|read-only file system|input/output error", re.IGNORECASE)
_DAMAGE = re.compile(
    r"object not found|odb|pack|zlib|inflate|corrupt|checksum|hash mismatch|loose object"
    r"|invalid.*(?:object|tree|header)|missing (?:blob|delta|tree)|failed to read|bad (?:object|offset|tree)",
    re.IGNORECASE,
)


def guard(repository: pygit2.Repository) -> None:
    """A repository of ours whose connections never leave the host they were made for (see
    `Callbacks.fetch_options`).
    """
    repository.config["http.followRedirects"] = "false"


def prepare(access: GitAccess) -> None:
    """Process-wide settings that must be in place before any connection."""
    global _longest
    hooks.install()
    with _settings_lock:
        if access.timeout > _longest:
            _longest = access.timeout
            # Both, always: with one of them alone every operation fails at once with EAGAIN.
            pygit2.settings.server_connect_timeout = max(1, int(min(_longest, CONNECT_TIMEOUT).total_seconds() * 1000))
            pygit2.settings.server_timeout = max(1, int(_longest.total_seconds() * 1000))


class Callbacks(pygit2.RemoteCallbacks):
    """What one operation answers to libgit2. `started` tells whether a push had begun to send; `words` what the server
    said.
    """

    def __init__(
        self,
        address: urls.Address,
        access: GitAccess,
        *,
        deadline: float,
        lease: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.address = address
        self.access = access
        self.deadline = deadline
        self.lease = lease
        self.clock = clock
        self.started = False
        self.refusals: dict[str, str] = {}
        self.accepted: set[str] = set()
        self._said = bytearray()
        self._offers = self._offered()
        self._asked = 0

    # libgit2 follows a first redirect to any host and sends it our credentials. pygit2 stores each operation's options
    # in these attributes just before it runs, which is the only way to switch that off; redirects within the host stay
    # allowed.

    @property
    def fetch_options(self) -> Any:
        return self._fetch_options

    @fetch_options.setter
    def fetch_options(self, options: Any) -> None:
        options.follow_redirects = C.GIT_REMOTE_REDIRECT_NONE
        self._fetch_options = options

    @property
    def push_options(self) -> Any:
        return self._push_options

    @push_options.setter
    def push_options(self, options: Any) -> None:
        options.follow_redirects = C.GIT_REMOTE_REDIRECT_NONE
        self._push_options = options

    # -- credentials

    def _offered(self) -> Iterator[Any]:
        access, address = self.access, self.address
        if address.ssh:
            name = address.user or "git"
            if access.ssh_key is not None:
                yield pygit2.KeypairFromMemory(name, None, _private_key(access.ssh_key), access.ssh_passphrase or "")
                return
            if access.ssh_agent:
                yield pygit2.KeypairFromAgent(name)
            for file in access.ssh_key_files:
                yield pygit2.Keypair(name, None, file, access.ssh_passphrase or "")
            return
        if access.password is not None and access.bearer is None:
            yield pygit2.UserPass(access.username or address.user or "git", access.password)
        elif address.password is not None:
            yield pygit2.UserPass(address.user or "git", address.password)

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> Any:
        self._asked += 1
        if allowed_types & CredentialType.USERNAME and not allowed_types & (
            CredentialType.SSH_KEY | CredentialType.SSH_MEMORY | CredentialType.USERPASS_PLAINTEXT
        ):
            return pygit2.Username(self.address.user or "git")
        for offer in self._offers:
            if offer.credential_type & allowed_types:
                return offer
        raise GitAuthenticationFailed(
            f"{self.place} refuses our credentials"
            if self._had_any
            else f"{self.place} wants credentials and there are none",
            remedy=self._remedy,
        )

    @property
    def _had_any(self) -> bool:
        access = self.access
        if self.address.ssh:
            return access.ssh_key is not None or access.ssh_agent or bool(access.ssh_key_files)
        return (
            access.password is not None
            or access.bearer is not None
            or access.header is not None
            or self.address.password is not None
        )

    @property
    def _remedy(self) -> str:
        if self.access.identity.startswith("secret:"):
            # What stands behind the `+` tells identities apart; the Secret's name is before it.
            return f"check {self.access.identity.partition('+')[0].replace('secret:', 'Secret ')}"
        return (
            "add a key to the SSH agent or name a Secret with identity and known_hosts"
            if self.address.ssh
            else "set GIT_USERNAME and GIT_PASSWORD, or name a Secret with username and password"
        )

    @property
    def place(self) -> str:
        """Host, or path of a local repository."""
        return self.address.host or self.address.path

    def custom_headers(self) -> list[str] | None:
        if self.address.ssh:
            return None
        if self.access.bearer:
            return [f"Authorization: Bearer {self.access.bearer}"]
        return [self.access.header] if self.access.header else None

    # -- certificates (hooks.CertificateJudge)

    def send_at_once(self) -> None:
        """Call whenever a connection may be new (see sockets.py)."""
        if not self.address.local:
            proxy = None if self.address.ssh else self.access.proxy
            sockets.send_at_once(sockets.peer_port(self.address.effective_port, proxy))

    def judge_host_key(self, key: bytes) -> None:
        hostkeys.check(
            self.access.known_hosts,
            self.address.host,
            self.address.effective_port,
            key,
            source=self.access.known_hosts_source,
        )
        self.send_at_once()

    def judge_certificate(self, der: bytes, valid: bool) -> None:
        host = self.address.host
        if self.access.ca is not None:
            left = max(1.0, self.deadline - self.clock())
            certificates.check(
                der, self.access.ca, host, self.address.effective_port, proxy=self.access.proxy, timeout=left
            )
        elif not valid:
            raise CertificateUntrusted(
                f"the TLS certificate of {host} does not verify", remedy="name its CA: ca.crt of spec.certSecretRef"
            )
        self.send_at_once()

    # -- progress, limits and results

    def _tick(self) -> None:
        if self.clock() > self.deadline:
            raise GitUnavailable(
                f"{self.place} took longer than {self.access.timeout.total_seconds():g} s", remedy="see spec.timeout"
            )

    def transfer_progress(self, stats: Any) -> None:
        self._tick()

    def sideband_bytes(self, said: bytes) -> None:
        if len(self._said) < 65536:
            self._said += said
        self._tick()

    def push_negotiation(self, updates: list[Any]) -> None:
        self._tick()
        self.send_at_once()
        for update in updates:
            if self.lease is not None:
                self.lease(str(update.src))
        self.started = True

    def push_update_reference(self, refname: str, message: str | None) -> None:
        if message is None:
            self.accepted.add(refname)
        else:
            self.refusals[refname] = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def words(self) -> str:
        """What the server wrote on the sideband, without progress bars."""
        text = self._said.decode("utf-8", errors="replace").replace("\r\n", "\n")
        lines = [line.rsplit("\r", 1)[-1].strip() for line in text.split("\n")]
        noise = re.compile(
            r"^(?:Counting|Compressing|Enumerating|Resolving|Unpacking|Writing|Total|Processing changes)\b"
        )
        return "\n".join(urls.redact(line) for line in lines if line and not noise.match(line))[:4000]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A repository's address and who we are there; opens remotes on a local repository."""

    address: urls.Address
    access: GitAccess = field(repr=False)

    @contextlib.contextmanager
    def remote(
        self,
        repository: pygit2.Repository,
        *,
        lease: Callable[[str], None] | None = None,
        timeout: timedelta | None = None,
    ) -> Iterator[tuple[pygit2.Remote, Callbacks, str | bool | None]]:
        """A fresh anonymous remote (a kept one would show stale refs), its callbacks and proxy. Errors come out
        translated.
        """
        prepare(self.access)
        limit = timeout or self.access.timeout
        callbacks = Callbacks(self.address, self.access, deadline=time.monotonic() + limit.total_seconds(), lease=lease)
        with contextlib.ExitStack() as stack:
            if self.address.ssh:
                stack.enter_context(
                    sshhome.preferring(
                        self.access.known_hosts,
                        self.address.host,
                        self.address.effective_port,
                        timeout=limit.total_seconds(),
                    )
                )
            stack.enter_context(translated(callbacks))
            proxy = None if self.address.local or self.address.ssh else self.access.proxy
            yield repository.remotes.create_anonymous(self.address.bare), callbacks, True if proxy == "auto" else proxy


@contextlib.contextmanager
def translated(callbacks: Callbacks) -> Iterator[None]:
    """libgit2's errors in our words, in this one place."""
    try:
        yield
    except ImageUpdaterError:
        raise
    except (pygit2.GitError, KeyError, ValueError, OSError) as exc:
        raise translate(exc, callbacks) from exc


def translate(exc: Exception, callbacks: Callbacks) -> ImageUpdaterError:
    text = urls.redact(str(exc.args[0]) if exc.args else type(exc).__name__).strip()
    place = callbacks.place
    kind = getattr(exc, "error_class", None)
    words = callbacks.words
    said = f"{text}: {words}" if words else text
    if status := _STATUS.search(text):
        return _from_status(int(status[1]), callbacks, said)
    # What a hook printed during a push is for people, not for judging what broke.
    low = (text if callbacks.started else said).lower()
    if (
        type(exc).__name__ == "AuthError"
        or "authenticat" in low
        or "auth cancelled" in low
        or "callback returned unsupported" in low
    ):
        if "proxy" in low:
            return GitAuthenticationFailed(
                f"the proxy on the way to {place} refuses us: {said}", remedy="check spec.proxySecretRef"
            )
        return GitAuthenticationFailed(f"{place} refuses our credentials: {said}", remedy=callbacks._remedy)
    if "unable to extract public key" in low or ("private key" in low and "ssh" not in low) or "passphrase" in low:
        return GitAuthenticationFailed(f"the SSH key cannot be read: {said}", remedy="check identity and its password")
    if type(exc).__name__ == "CertificateError":
        return CertificateUntrusted(f"{place}: {said}", remedy="name its CA: ca.crt of spec.certSecretRef")
    if "cannot redirect" in low:
        return RepositoryNotFound(
            f"{place} sends us to another host, where our credentials do not belong: {text}", remedy="use the new URL"
        )
    if "not present locally" in low or "non-fastforward" in low or "non-fast-forward" in low:
        return PushRaced("another writer pushed first", remedy="it is planned again on the new state")
    if "not owned by current user" in low:
        return PermissionDenied(
            f"{place} belongs to another user",
            remedy="git config --global --add safe.directory <path>, if you trust it",
        )
    if any(
        x in low
        for x in ("could not find repository", "does not appear to be a git repository", "repository not found",
                  "failed to resolve path",
                  "unsupported url protocol", "project you were looking for could not be found")
    ):  # fmt: skip
        return RepositoryNotFound(
            f"there is no repository at {_shown(callbacks)}: {said}", remedy="check the URL and the account's rights"
        )
    if any(x in low for x in ("permission denied", "access denied", "not permitted", "read only", "read-only")):
        return PermissionDenied(f"{place}: {said}", remedy="give the account write access to the repository")
    if kind in _LOCAL_CLASSES | {_OS} and _DISK.search(text):
        return GitUnavailable(f"our own disk fails: {said}", remedy="make room, check its rights, or see --cache")
    if isinstance(exc, KeyError) or (kind in _LOCAL_CLASSES and _DAMAGE.search(text)):
        return MirrorDamaged(f"the local mirror is damaged: {said}", remedy="it is made anew")
    remedy = "it is tried again"
    if "failed to resolve address" in low and callbacks.address.ssh:
        remedy = "check the host's name; aliases of ~/.ssh/config are not known here"
    return GitUnavailable(f"{place}: {said}", remedy=remedy)


def _from_status(status: int, callbacks: Callbacks, said: str) -> ImageUpdaterError:
    place = callbacks.place
    if status in (401, 407):
        return GitAuthenticationFailed(f"{place} refuses our credentials: {said}", remedy=callbacks._remedy)
    if status == 403:
        return PermissionDenied(
            f"{place} does not let us do this: {said}", remedy="give the account write access to the repository"
        )
    if status in (404, 410):
        return RepositoryNotFound(
            f"there is no repository at {_shown(callbacks)}, or we may not see it: {said}",
            remedy="check the URL and the account's rights",
        )
    return GitUnavailable(f"{place}: {said}", remedy="it is tried again")


def _shown(callbacks: Callbacks) -> str:
    return urls.redact(callbacks.address.bare)


def _private_key(raw: bytes) -> str:
    """libssh2 wants exactly one final line break; Secrets made by hand often lack it or have CRLF."""
    return raw.decode("utf-8", errors="replace").replace("\r\n", "\n").strip() + "\n"
