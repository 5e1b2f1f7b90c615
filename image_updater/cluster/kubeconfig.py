"""A kubeconfig out of a Secret: inline data only.

Who may write a Secret in some namespace must not make this process run a program (`exec`, `auth-provider`), read a file
of its own (`tokenFile`, `certificate-authority`, `client-certificate`, `client-key`), or talk to a server that nobody
proved (`insecure-skip-tls-verify`, plain http), unless the operator allowed the last one. A proxy only sees TLS, so one
may be named. Nothing of the file is quoted in errors: it holds credentials.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from image_updater.cluster.config import ClusterConfig, check_server, decode
from image_updater.cluster.credentials import Fixed, Login
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1_048_576
"""The server's own limit for a Secret."""

_NOT_IN_A_SECRET = {
    "exec": "a program is never run for a Secret: put a token there (kubectl create token)",
    "auth-provider": "a program is never run for a Secret: put a token there (kubectl create token)",
    "tokenFile": "files of the controller are never read for a Secret: use token",
    "client-certificate": "files of the controller are never read for a Secret: use client-certificate-data",
    "client-key": "files of the controller are never read for a Secret: use client-key-data",
    "username": "servers know no passwords any more: use token",
    "password": "servers know no passwords any more: use token",
    "as": "use spec.serviceAccountName",
    "as-uid": "use spec.serviceAccountName",
    "as-groups": "use spec.serviceAccountName",
    "as-user-extra": "use spec.serviceAccountName",
}


def read(data: bytes, *, where: Where, allow_insecure: bool = False) -> ClusterConfig:
    """The current context's server and user. Raises SpecError naming the field, under `where`."""
    config = _parse(data, where)
    context = _named(config, "contexts", _text(config, "current-context", "", where), "context", where)
    cluster_name = _text(context, "cluster", "contexts[].context.", where)
    cluster = _named(config, "clusters", cluster_name, "cluster", where)
    user: Mapping[str, Any] = {}
    if context.get("user"):
        user = _named(config, "users", _text(context, "user", "contexts[].context.", where), "user", where)
    of_cluster, of_user = f"clusters[{cluster_name}].cluster.", f"users[{context.get('user')}].user."
    for name, remedy in _NOT_IN_A_SECRET.items():
        if name in user:
            raise SpecError("is refused in a Secret", where=_at(where, of_user + name), remedy=remedy)
    if "certificate-authority" in cluster:
        raise SpecError(
            "is refused in a Secret",
            where=_at(where, f"{of_cluster}certificate-authority"),
            remedy="files of the controller are never read for a Secret: use certificate-authority-data",
        )
    server = _text(cluster, "server", of_cluster, where).rstrip("/")
    check_server(server, where=_at(where, f"{of_cluster}server"))
    insecure = cluster.get("insecure-skip-tls-verify", False)
    if not isinstance(insecure, bool):
        raise SpecError("is neither true nor false", where=_at(where, f"{of_cluster}insecure-skip-tls-verify"))
    if (insecure or server.startswith("http:")) and not allow_insecure:
        name = "insecure-skip-tls-verify" if insecure else "server"
        raise SpecError(
            "the server would not be verified, and whoever answers would get the token",
            where=_at(where, of_cluster + name),
            remedy="use https:// and certificate-authority-data",
        )
    proxy = _proxy(cluster, of_cluster, where)
    token = _text(user, "token", of_user, where) if user.get("token") is not None else None
    certificate = _data(user, "client-certificate-data", of_user, where)
    key = _data(user, "client-key-data", of_user, where)
    if (certificate is None) != (key is None):
        missing = "client-key-data" if key is None else "client-certificate-data"
        raise SpecError("is missing", where=_at(where, of_user + missing))
    if token is None and certificate is None:
        raise SpecError("has neither a token nor a client certificate", where=_at(where, of_user.rstrip(".")))
    if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
        raise SpecError("is not a token", where=_at(where, f"{of_user}token"))
    login = Login(authorization=f"Bearer {token}" if token else None, certificate=certificate, key=key)
    secret = hashlib.sha256(repr((token, certificate, key)).encode()).hexdigest()
    return ClusterConfig(
        server=server,
        account=f"user {context.get('user')!r}",
        credentials=Fixed(login),
        ca=_data(cluster, "certificate-authority-data", of_cluster, where),
        verify=not insecure,
        server_name=_text(cluster, "tls-server-name", of_cluster, where) if cluster.get("tls-server-name") else None,
        proxy=proxy,
        fingerprint=secret,
    )


def _parse(data: bytes, where: Where) -> Mapping[str, Any]:
    if len(data) > MAX_BYTES:
        raise SpecError(f"is larger than {MAX_BYTES:,} bytes", where=where)
    try:
        config = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise SpecError("is not a kubeconfig", where=where, remedy="put the whole YAML of one there")
    return config


def _at(where: Where, path: str) -> Where:
    field = f"{where.field}: {path}" if where.field else path
    return Where(file=where.file, line=where.line, object=where.object, field=field)


def _text(node: Mapping[str, Any], name: str, path: str, where: Where) -> str:
    value = node.get(name)
    if not isinstance(value, str) or not value:
        what = "is missing" if value in (None, "") else "is not text"
        raise SpecError(what, where=_at(where, path + name))
    return value


def _data(node: Mapping[str, Any], name: str, path: str, where: Where) -> bytes | None:
    value = node.get(name)
    return decode(value, where=_at(where, path + name)) if value not in (None, "") else None


def _named(config: Mapping[str, Any], section: str, name: str, key: str, where: Where) -> Mapping[str, Any]:
    entries = config.get(section)
    found = [each.get(key) for each in (entries if isinstance(entries, list) else ()) if _is_named(each, name)]
    if len(found) != 1 or not isinstance(found[0], dict):
        what = "names nothing that is there" if not found else "is there twice" if len(found) > 1 else "is empty"
        raise SpecError(what, where=_at(where, f"{section}[{name}]"))
    return found[0]


def _is_named(entry: object, name: str) -> bool:
    return isinstance(entry, dict) and entry.get("name") == name


def _proxy(cluster: Mapping[str, Any], path: str, where: Where) -> str | None:
    if not cluster.get("proxy-url"):
        return None
    proxy = _text(cluster, "proxy-url", path, where)
    try:
        valid = urlsplit(proxy).scheme in ("http", "https") and bool(urlsplit(proxy).hostname)
    except ValueError:
        valid = False
    if not valid:
        raise SpecError(
            "is not a proxy that is supported", where=_at(where, f"{path}proxy-url"), remedy="use http:// or https://"
        )
    return proxy
