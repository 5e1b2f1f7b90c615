"""Spellings of a repository's address: one key for all of them, and no credentials in anything that is printed.

The key is only compared, never connected to: `github.com/org/repo` for `git@github.com:org/repo`,
`ssh://git@github.com:22/org/repo.git`
and `https://user@GitHub.com/org/repo.git/` alike. A port that is not the scheme's own stays in the key. Paths keep
their case: some
servers tell `Org` from `org`, and merging two repositories by mistake would be worse than writing to one from two
queues.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from image_updater.errors import SpecError, Where

DEFAULT_PORTS = {"ssh": 22, "git+ssh": 22, "ssh+git": 22, "https": 443, "http": 80, "git": 9418}
_SCP = re.compile(r"^(?:(?P<user>[^@/:\[\]]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):(?P<path>(?!/?/).*|/(?!/).*)$")
_SECRET = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed URL. `local` addresses have only a path; `host` is lower case, `port` None for the scheme's own."""

    scheme: str
    path: str
    host: str = ""
    port: int | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Address({self.scheme}, {self.host}, {self.port}, {self.path})"

    @property
    def local(self) -> bool:
        return self.scheme == "file"

    @property
    def ssh(self) -> bool:
        return self.scheme == "ssh"

    @property
    def effective_port(self) -> int:
        return self.port if self.port is not None else DEFAULT_PORTS[self.scheme]

    @property
    def bare(self) -> str:
        """The URL to connect to, without password; the user name stays for SSH, where it names the account."""
        if self.local:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{quote(self.user, safe='')}@" if self.user and self.ssh else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{user}{host}{port}{self.path}"


def parse(url: str, *, where: Where | None = None) -> Address:
    """Read `scheme://…`, scp-style `user@host:path`, `file://` and plain paths. Raises SpecError."""
    text = url.strip()
    if not text or any(ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in text):
        raise SpecError(
            "the repository's URL is empty, or holds what is no text",
            where=where,
            remedy="write https://host/org/repo",
        )
    if "://" in text:
        return _parse_url(text, where)
    scp = _SCP.match(text)
    if scp and not text.startswith((".", "/", "~")) and not os.path.exists(text):
        path = scp["path"]
        return Address(
            scheme="ssh", host=scp["host"].strip("[]").lower(), user=scp["user"],
            path=path if path[:1] in "/~" else f"/{path}"
        )  # fmt: skip
    return Address(scheme="file", path=os.path.abspath(os.path.expanduser(text)))


def _parse_url(text: str, where: Where | None) -> Address:
    remedy = "use https://, http://, ssh:// or a path"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # Neither the text nor urllib's words: a password with `/`, `?` or `#` in it stands in both.
        raise SpecError(
            f"the repository's URL ({text.partition('://')[0]}://…) has no valid host or port",
            where=where,
            remedy="write https://host/org/repo; a user name or password in it must be percent-encoded",
        ) from None
    scheme = parts.scheme.lower()
    if scheme == "file":
        return Address(scheme="file", path=os.path.abspath(unquote(parts.path)))
    if scheme in {"git+ssh", "ssh+git"}:
        scheme = "ssh"
    if scheme not in {"https", "http", "ssh", "git"}:
        raise SpecError(f"{redact(text)!r} has an unknown scheme", where=where, remedy=remedy)
    if not parts.hostname or parts.path in {"", "/"}:
        raise SpecError(f"{redact(text)!r} names no repository on a host", where=where, remedy=remedy)
    if port == DEFAULT_PORTS[scheme]:
        port = None
    query = f"?{parts.query}" if parts.query else ""
    return Address(
        scheme=scheme,
        host=parts.hostname.lower(),
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        path=parts.path + query,
    )


def normalise(url: str) -> str:
    """One key for every spelling of one repository. Raises SpecError for what is no URL."""
    address = parse(url)
    if address.local:
        path = os.path.realpath(address.path)
        # A work tree's path and that of its own Git folder are one repository.
        path = path.removesuffix("/.git")
        return f"file://{path}"
    path = unquote(address.path).strip("/")
    path = path.removeprefix("~/")
    path = re.sub(r"/{2,}", "/", path)
    path = path.removesuffix(".git")
    # A trailing dot is the same host in DNS; GitHub and GitLab serve SSH on 443 under their own names.
    host = {
        "ssh.github.com": "github.com",
        "altssh.gitlab.com": "gitlab.com",
        "altssh.bitbucket.org": "bitbucket.org",
    }.get(address.host.rstrip("."), address.host.rstrip("."))
    port = None if host != address.host.rstrip(".") and address.port == 443 else address.port
    return f"{f'[{host}]' if ':' in host else host}{f':{port}' if port is not None else ''}/{path}"


def redact(text: str) -> str:
    """Remove `user:password@` from every URL in a text."""
    return _SECRET.sub(lambda m: m["scheme"], text)
