"""Who we are towards one Git server, as a frozen value: credentials, host keys, CA, proxy, time limit.

Secret keys are Flux's: `username`, `password`, `bearerToken`, `identity`, `identity.pub`, `known_hosts`, `githubAppID`,
`githubAppInstallationID`, `githubAppPrivateKey`, `githubAppBaseURL`, `ca.crt`/`caFile`; proxies: `address`, `username`,
`password`.
Nothing secret is ever in `repr`; `identity` names who asks (which secrets), it is no hash of what is in them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from image_updater.api.model import GitRepository, ObjectKey, Secret
from image_updater.errors import SecretNotFound, SpecError, Where
from image_updater.git import urls

DEFAULT_TIMEOUT = timedelta(seconds=60)
SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_KEY_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")

Secrets = Callable[[ObjectKey], Secret | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubApp:
    """Whose installation token to mint (forge/ does); the token comes back through `GitAccess.with_token`."""

    app_id: str
    installation_id: str
    private_key: bytes = field(repr=False)
    base_url: str = "https://api.github.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAccess:
    """Everything a connection needs beside the URL. `identity` is stable and safe to log."""

    identity: str = "anonymous"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    header: str | None = field(default=None, repr=False)
    """A whole HTTP header, as CI systems leave it in a checkout's `http.<url>.extraheader`."""
    ssh_key: bytes | None = field(default=None, repr=False)
    ssh_passphrase: str | None = field(default=None, repr=False)
    ssh_agent: bool = False
    ssh_key_files: tuple[str, ...] = ()
    known_hosts: bytes | None = field(default=None, repr=False)
    known_hosts_source: str = "known_hosts"
    ca: bytes | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    """A proxy's URL, `auto` for the environment's HTTPS_PROXY and NO_PROXY, None for none."""
    timeout: timedelta = DEFAULT_TIMEOUT
    app: GitHubApp | None = None

    def with_token(self, token: str) -> GitAccess:
        """The same identity with a GitHub App's installation token (GitHub's documented user name for it)."""
        return replace(self, username="x-access-token", password=token)


def access_for(repository: GitRepository | None, secrets: Secrets, environment: Mapping[str, str]) -> GitAccess:
    """Read a GitRepository's secrets; without any: the SSH agent, `~/.ssh`, GIT_USERNAME and GIT_PASSWORD. Raises
    SpecError.
    """
    if repository is None:
        return _ambient(environment, DEFAULT_TIMEOUT)
    where = _where(repository, "spec.secretRef")
    access = _ambient(environment, repository.timeout)
    parts: list[str] = []
    if repository.secret_ref is not None:
        secret = _secret(repository, repository.secret_ref, secrets, "spec.secretRef")
        access = _from_secret(repository.url, secret, access, where)
        parts.append(f"secret:{secret.meta.key}")
    else:
        parts.append(access.identity)
    if repository.cert_secret_ref is not None:
        secret = _secret(repository, repository.cert_secret_ref, secrets, "spec.certSecretRef")
        ca = secret.data.get("ca.crt") or secret.data.get("caFile")
        if not ca:
            raise SpecError(
                f"Secret {secret.meta.key} has no ca.crt",
                where=_where(repository, "spec.certSecretRef"),
                remedy="put the PEM certificates of your CA under ca.crt",
            )
        access = replace(access, ca=_pem(ca, secret, repository))
        parts.append(f"ca:{secret.meta.key}")
    if repository.proxy_secret_ref is not None:
        secret = _secret(repository, repository.proxy_secret_ref, secrets, "spec.proxySecretRef")
        access = replace(access, proxy=_proxy(secret, _where(repository, "spec.proxySecretRef")))
        parts.append(f"proxy:{secret.meta.key}")
    identity = (
        parts[0] if len(parts) == 1 else f"{parts[0]}+{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"
    )
    return replace(access, identity=identity)


def _ambient(environment: Mapping[str, str], timeout: timedelta) -> GitAccess:
    home = environment.get("HOME")
    ssh = Path(home) / ".ssh" if home else None
    known = ssh / "known_hosts" if ssh else None
    texts = [text for file in (known, SYSTEM_KNOWN_HOSTS) if file and (text := _readable(file)) is not None]
    username, password = environment.get("GIT_USERNAME"), environment.get("GIT_PASSWORD")
    proxied = any(environment.get(k) for k in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"))
    return GitAccess(
        identity=f"environment:{username}" if password else "environment",
        username=username if password else None,
        password=password or None,
        ssh_agent=bool(environment.get("SSH_AUTH_SOCK")),
        ssh_key_files=tuple(str(ssh / n) for n in _KEY_FILES if os.access(ssh / n, os.R_OK)) if ssh else (),
        known_hosts=b"\n".join(texts) if texts else None,
        known_hosts_source=str(known) if known else "~/.ssh/known_hosts",
        proxy="auto" if proxied else None,
        timeout=timeout,
    )


def _readable(file: Path) -> bytes | None:
    """None for a file that is absent or not ours to read (root's HOME under another user): as if it were not there."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def _from_secret(url: str, secret: Secret, ambient: GitAccess, where: Where) -> GitAccess:
    data = secret.data
    # What the environment offers to people is not offered beside a Secret: one credential identity, and no surprise.
    access = GitAccess(timeout=ambient.timeout, proxy=ambient.proxy)
    name = f"Secret {secret.meta.key}"
    ca = data.get("ca.crt") or data.get("caFile")
    if ca:
        access = replace(access, ca=_pem(ca, secret, None, where))
    if urls.parse(url, where=where).ssh:
        if not data.get("identity"):
            raise SpecError(f"{name} has no identity", where=where, remedy="put the private SSH key under identity")
        if not data.get("known_hosts"):
            raise SpecError(f"{name} has no known_hosts", where=where, remedy="add the output of ssh-keyscan, checked")
        return replace(
            access,
            ssh_key=data["identity"],
            ssh_passphrase=_text(data, "password", name, where),
            known_hosts=data["known_hosts"],
            known_hosts_source=f"known_hosts of {name}",
        )
    if "githubAppID" in data:
        missing = [k for k in ("githubAppInstallationID", "githubAppPrivateKey") if not data.get(k)]
        if missing:
            raise SpecError(
                f"{name} lacks {' and '.join(missing)}", where=where, remedy="a GitHub App needs all three keys"
            )
        app = GitHubApp(
            app_id=_text(data, "githubAppID", name, where) or "",
            installation_id=_text(data, "githubAppInstallationID", name, where) or "",
            private_key=data["githubAppPrivateKey"],
            base_url=(_text(data, "githubAppBaseURL", name, where) or "https://api.github.com").rstrip("/"),
        )
        return replace(access, app=app)
    bearer = _text(data, "bearerToken", name, where)
    username, password = _text(data, "username", name, where), _text(data, "password", name, where)
    if bearer and (username or password):
        raise SpecError(f"{name} has bearerToken and username/password", where=where, remedy="keep one of them")
    if bearer:
        return replace(access, bearer=bearer)
    if username or password:
        if not password:
            raise SpecError(f"{name} has no password", where=where, remedy="put the password or token under password")
        return replace(access, username=username or "git", password=password)
    if not ca:
        raise SpecError(
            f"{name} has no credentials for {urls.redact(url)}",
            where=where,
            remedy="expected username and password, bearerToken, githubAppID…, or ca.crt",
        )
    return access


def _text(data: Mapping[str, bytes], key: str, name: str, where: Where) -> str | None:
    raw = data.get(key)
    if raw is None:
        return None
    try:
        text = raw.decode().strip("\r\n")
    except UnicodeDecodeError as exc:
        raise SpecError(
            f"{key} of {name} is not UTF-8", where=where, remedy="encode it once, as base64 of UTF-8"
        ) from exc
    if any(ord(c) < 32 for c in text):
        raise SpecError(
            f"{key} of {name} holds control characters", where=where, remedy="remove line breaks from the value"
        )
    return text or None


def _pem(raw: bytes, secret: Secret, repository: GitRepository | None, where: Where | None = None) -> bytes:
    if b"-----BEGIN CERTIFICATE-----" not in raw:
        place = where or (_where(repository, "spec.certSecretRef") if repository else None)
        raise SpecError(
            f"ca.crt of Secret {secret.meta.key} holds no PEM certificate",
            where=place,
            remedy="expected -----BEGIN CERTIFICATE-----",
        )
    return raw


def _proxy(secret: Secret, where: Where) -> str:
    name = f"Secret {secret.meta.key}"
    address = _text(secret.data, "address", name, where)
    if not address:
        raise SpecError(f"{name} has no address", where=where, remedy="write http://gateway.example.org:3128")
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SpecError(
            f"the proxy of {name} is not an http:// or https:// address",
            where=where,
            remedy="SOCKS is not available for Git",
        )
    username, password = _text(secret.data, "username", name, where), _text(secret.data, "password", name, where)
    if username:
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{quote(username, safe='')}:{quote(password or '', safe='')}@{host}{parts.path}"
    return address


def _secret(repository: GitRepository, name: str, secrets: Secrets, path: str) -> Secret:
    key = ObjectKey(repository.meta.key.namespace, name)
    secret = secrets(key)
    if secret is None:
        raise SecretNotFound(
            f"there is no Secret {key}", where=_where(repository, path), remedy="create it, or remove the reference"
        )
    return secret


def _where(repository: GitRepository, path: str) -> Where:
    source = repository.meta.source
    return source.where(path) if source.where else Where(file=source.file, line=source.line, field=path)
