"""Docker's credential files: `config.json`, `.dockerconfigjson` and the legacy `.dockercfg`, and which entry serves an
image.

Keys are written in many ways (a URL with `/v1/`, `ghcr.io`, `registry:5000/team`). A key matches when its
host is the image's, its port (if it has one, or the scheme's) is too, and its path is a prefix of the repository in
whole components; the longest path wins (Kubernetes' rule for pull secrets). `docker.io`, `index.docker.io` and
`registry-1.docker.io` are one registry.
"""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from image_updater.errors import SpecError, Where

_INDEX = "index.docker.io"
_HUB = frozenset({"docker.io", _INDEX, "registry-1.docker.io", "registry.hub.docker.com"})
_API = ("/v1", "/v2")
_HUB_KEY = f"https://{_INDEX}/v1/"
"""What `docker login` calls Docker Hub in its files and to helpers; a name there, never an address that is asked."""

_MAKE = "make it with `docker login`"

Rank = tuple[int, bool, bool]
"""How closely an entry fits: length of its path, whether it has no wildcard, whether it has a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A login. `identity_token` is an OAuth 2 refresh token, `registry_token` a bearer token that is sent as it
    stands.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str | None:
        """Value of a basic Authorization header; None without a password."""
        if not self.username and not self.password:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed."""
        return tuple(text for text in (self.password, self.identity_token, self.registry_token) if text)


@dataclass(frozen=True, slots=True)
class Place:
    """A config key, taken apart. `port` None = any."""

    host: str
    port: int | None
    path: str

    @classmethod
    def of(cls, key: str) -> Place:
        scheme, has_scheme, rest = key.strip().partition("://")
        if not has_scheme:
            scheme, rest = "", key.strip()
        authority, _, path = rest.partition("/")
        host, number = _split(authority)
        path = "/" + path.strip("/") if path.strip("/") else ""
        for api in _API:
            if path == api:
                path = ""
        if number is None:
            number = {"http": 80, "https": 443}.get(scheme.lower())
        if host in _HUB:
            host, number = "docker.io", None if number in {None, 443} else number
        return cls(host, number, path)

    def matches(self, host: str, port: int | None, repository: str) -> bool:
        """Does this entry serve `repository` at `host`? `port` None = the scheme's own (443; 80 is reached by
        `insecure` only).
        """
        if self.host != host and not ("*" in self.host and _glob(self.host, host)):
            return False
        if self.port is None:
            # As in Kubernetes: an entry without port says nothing about a registry on a port of its own.
            if port not in {None, 80, 443}:
                return False
        elif port != self.port and not (port is None and self.port in {80, 443}):
            return False
        path = self.path.lstrip("/")
        return not path or repository == path or repository.startswith(path + "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """Logins by config key; helpers only from the user's own file (a Secret may not choose a program that we run)."""

    auths: Mapping[str, Credentials] = field(default_factory=dict)
    cred_helpers: Mapping[str, str] = field(default_factory=dict)
    creds_store: str | None = None

    def find(self, host: str, repository: str) -> tuple[str, Credentials] | None:
        """The entry for a repository: `host` may carry a port. Longest path first, then the exact host before a
        wildcard.
        """
        best = self.best(host, repository)
        return (best[1], best[2]) if best else None

    def best(self, host: str, repository: str) -> tuple[Rank, str, Credentials] | None:
        """The entry for a repository, and how closely it fits: the greatest of several configs wins."""
        name, port = split_host(host)
        best: tuple[Rank, str, Credentials] | None = None
        for key, credentials in self.auths.items():
            place = Place.of(key)
            if place.matches(name, port, repository):
                rank = (len(place.path), "*" not in place.host, place.port is not None)
                if best is None or rank > best[0]:
                    best = (rank, key, credentials)
        return best

    def helper(self, host: str) -> tuple[str, str] | None:
        """The credential helper for a host and the server URL that it is asked for."""
        name, port = split_host(host)
        for key, helper in self.cred_helpers.items():
            if Place.of(key).matches(name, port, ""):
                return helper, key
        if self.creds_store:
            return self.creds_store, _HUB_KEY if name == "docker.io" else host
        return None


def split_host(host: str) -> tuple[str, int | None]:
    """`registry:5000` → (`registry`, 5000); Docker Hub's names become one."""
    name, port = _split(host)
    return ("docker.io" if name in _HUB else name), port


def _split(authority: str) -> tuple[str, int | None]:
    """The host in lower case, and the port that is written. What is no port is part of the host, which nobody has."""
    host, colon, port = authority.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return host.lower(), int(port)
    return authority.lower(), None


def load(data: bytes, *, where: Where, helpers: bool = False) -> DockerConfig:
    """Parse `config.json`, `.dockerconfigjson` or `.dockercfg`. Raises SpecError; what the file holds never gets into
    the message.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise SpecError("the docker config is not JSON", where=where, remedy=_MAKE) from None
    if not isinstance(value, dict):
        raise SpecError("the docker config is not a JSON object", where=where, remedy=_MAKE)
    modern = "auths" in value or any(key in value for key in ("credsStore", "credHelpers", "HttpHeaders", "proxies"))
    auths = value.get("auths", {}) if modern or not _looks_legacy(value) else value
    if auths is None:
        auths = {}
    if not isinstance(auths, dict):
        raise SpecError("`auths` of the docker config is not an object", where=where, remedy=_MAKE)
    entries = {key: found for key, entry in auths.items() if (found := _entry(key, entry, where)) is not None}
    if not helpers:
        return DockerConfig(auths=entries)
    store = value.get("credsStore")
    named = value.get("credHelpers") or {}
    return DockerConfig(
        auths=entries,
        cred_helpers={str(k): str(v) for k, v in named.items()} if isinstance(named, dict) else {},
        creds_store=store if isinstance(store, str) and store else None,
    )


def _looks_legacy(value: Mapping[str, object]) -> bool:
    return any(isinstance(entry, dict) and ("auth" in entry or "username" in entry) for entry in value.values())


def _entry(key: str, entry: object, where: Where) -> Credentials | None:
    """None for an entry without credentials: Docker leaves `{}` behind where a helper keeps them."""
    if not isinstance(entry, dict):
        raise SpecError(f"the docker config's entry {key!r} is not an object", where=where, remedy=_MAKE)
    username, password = _text(entry, "username"), _text(entry, "password")
    if auth := _text(entry, "auth"):
        try:
            decoded = base64.b64decode(auth, validate=True).decode()
        except ValueError:  # what is no base64, no ASCII, or no UTF-8
            raise SpecError(
                f"`auth` of {key!r} in the docker config is not base64", where=where, remedy=_MAKE
            ) from None
        # The password may hold ":"; some tools pad with NUL.
        user, colon, rest = decoded.rstrip("\x00").partition(":")
        if not colon:
            raise SpecError(f"`auth` of {key!r} in the docker config is not user:password", where=where, remedy=_MAKE)
        username, password = user, rest
    found = Credentials(
        username=username,
        password=password,
        identity_token=_text(entry, "identitytoken"),
        registry_token=_text(entry, "registrytoken"),
    )
    return found if found.secrets else None


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _glob(pattern: str, host: str) -> bool:
    """`*.example.com` stands for one label, as in Kubernetes."""
    wanted, labels = pattern.split("."), host.split(".")
    return len(wanted) == len(labels) and all(map(fnmatch.fnmatchcase, labels, wanted))
