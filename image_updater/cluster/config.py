"""How an API server is reached and as whom.

A pod's own account is two files and two variables. The operator's kubeconfig may do all that one can, its exec plugins
are run by the Kubernetes package. One out of a Secret was written by whoever may write Secrets: kubeconfig.py takes
inline data only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from image_updater.cluster.credentials import Credentials, ExecPlugin, Fixed, Login, TokenFile
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from image_updater.cluster.merging import Node

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """One server and one account. Nothing secret is in its repr, nor in `identity`."""

    server: str
    """`https://host:port`, maybe with a path, without a slash at the end."""
    account: str = "anonymous"
    """Who it is, in words: for messages."""
    credentials: Credentials = field(default_factory=Fixed, repr=False)
    ca: bytes | None = field(default=None, repr=False)
    """PEM; then nothing else is trusted. None: the system's roots."""
    verify: bool = True
    server_name: str | None = None
    """The name in the server's certificate, where it is not the URL's."""
    namespace: str = "default"
    """Of the context: where a person's commands look."""
    proxy: str | None = field(default=None, repr=False)
    """May hold a password."""
    fingerprint: str = field(default="", repr=False)
    """Of the credentials: configurations that differ in them must not share what they read."""

    @property
    def identity(self) -> str:
        """A key for caches: equal ones see the same objects."""
        rest = (self.account, self.ca, self.verify, self.server_name, self.proxy, self.fingerprint)
        return f"{self.server} {hashlib.sha256(repr(rest).encode()).hexdigest()[:16]}"

    @classmethod
    def load(
        cls,
        *,
        kubeconfig: Path | None,
        environment: Mapping[str, str],
        context: str | None = None,
        service_account: Path = SERVICE_ACCOUNT,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = _now,
    ) -> ClusterConfig:
        """`kubeconfig` if given, else the pod's own account, else $KUBECONFIG or ~/.kube/config. Raises SpecError."""
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environment and (service_account / "token").exists():
            return _in_cluster(environment, service_account, monotonic)
        if kubeconfig is not None:
            paths = str(kubeconfig)
            if not kubeconfig.is_file():
                raise SpecError("there is no such file", where=Where(file=paths, field="--kubeconfig"))
        else:
            paths = environment.get("KUBECONFIG") or str(Path(environment.get("HOME", "~")) / ".kube" / "config")
        return _of_files(paths, context, monotonic, clock)

    @classmethod
    def from_secret(cls, data: bytes, *, where: Where, allow_insecure: bool = False) -> ClusterConfig:
        """A kubeconfig out of a Secret. Raises SpecError naming the field that is refused."""
        from image_updater.cluster.kubeconfig import read

        return read(data, where=where, allow_insecure=allow_insecure)


def _in_cluster(environment: Mapping[str, str], folder: Path, monotonic: Callable[[], float]) -> ClusterConfig:
    """As kubernetes.io/docs/tasks/run-application/access-api-from-pod says; the library for it costs 20 MB."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    where = Where(file=str(folder))
    remedy = "set automountServiceAccountToken: true, or give --kubeconfig"
    if not host or not port:
        raise SpecError("KUBERNETES_SERVICE_PORT is not set", where=where, remedy=remedy)
    try:
        ca = (folder / "ca.crt").read_bytes()
    except OSError as exc:
        raise SpecError(f"ca.crt cannot be read: {exc.strerror}", where=where, remedy=remedy) from None
    try:
        namespace = (folder / "namespace").read_text().strip()
    except (OSError, UnicodeDecodeError):
        namespace = ""  # a hand-made mount; only commands of people look there
    return ClusterConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        account="the pod's service account",
        credentials=TokenFile(folder / "token", monotonic=monotonic),
        ca=ca,
        namespace=namespace or "default",
        fingerprint=str(folder),
    )


def _of_files(
    paths: str, context: str | None, monotonic: Callable[[], float], clock: Callable[[], datetime]
) -> ClusterConfig:
    import yaml

    from image_updater.cluster import merging

    where = Where(file=paths)
    try:
        merged = merging.read(paths)
        if merged is None:
            raise SpecError("there is no kubeconfig", where=where, remedy="give --kubeconfig FILE, or set KUBECONFIG")
        name = context or merged.current
        if name is None:
            raise merging.Incomplete("expected key current-context")
        chosen = merged.named("contexts", name, "context")
        cluster = merged.named("clusters", chosen["cluster"], "cluster")
        named = chosen.get("user")
        user = merged.named("users", named, "user") if named else None
        found = _assemble(cluster, user, str(named or "anonymous"), monotonic, clock, where)
        return replace(found, namespace=str(chosen.get("namespace") or found.namespace))
    except merging.Incomplete as exc:
        raise SpecError(
            f"is not a kubeconfig: {exc}", where=where, remedy="kubectl config view shows what is there"
        ) from None
    except OSError as exc:
        raise SpecError(f"cannot be read: {exc.strerror}", where=where) from None
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        # The cause would quote the file, and it holds credentials.
        raise SpecError("is not a kubeconfig", where=where) from None


def _assemble(
    cluster: Node,
    user: Node | None,
    named: str,
    monotonic: Callable[[], float],
    clock: Callable[[], datetime],
    where: Where,
) -> ClusterConfig:
    server = str(cluster["server"]).rstrip("/")
    check_server(server, where=where)
    return ClusterConfig(
        server=server,
        account=f"user {named!r} of the kubeconfig",
        credentials=_credentials(user, monotonic, clock, where) if user is not None else Fixed(),
        ca=_file_or_data(cluster, "certificate-authority", where),
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        fingerprint=f"{where.file} {named}",
    )


def _credentials(
    user: Node, monotonic: Callable[[], float], clock: Callable[[], datetime], where: Where
) -> Credentials:
    for name in ("auth-provider", *(name for name in user.value if name == "as" or name.startswith("as-"))):
        if user.get(name):
            raise SpecError(
                "is not supported", where=Where(file=where.file, field=f"users[].user.{name}"), remedy="use exec"
            )
    certificate, key = (_file_or_data(user, name, where) for name in ("client-certificate", "client-key"))
    if certificate and key:
        return Fixed(Login(certificate=certificate, key=key, authorization=_inline(user)))
    if user.get("token"):
        return Fixed(Login.bearer(str(user["token"])))
    if user.get("tokenFile"):
        return TokenFile(user.base / str(user["tokenFile"]), monotonic=monotonic)
    if user.get("exec"):
        return ExecPlugin(user.node("exec").value, clock=clock)
    return Fixed(Login(authorization=_inline(user)))


def _inline(user: Node) -> str | None:
    """A header for a token or a password that stands in the file itself."""
    if user.get("token"):
        return f"Bearer {user['token']}"
    if user.get("username") and user.get("password"):
        return "Basic " + base64.b64encode(f"{user['username']}:{user['password']}".encode()).decode()
    return None


def _file_or_data(node: Node, name: str, where: Where) -> bytes | None:
    """`<name>-data`, else the file that `<name>` names."""
    if node.get(f"{name}-data"):
        return decode(node[f"{name}-data"], where=Where(file=where.file, field=f"{name}-data"))
    if not node.get(name):
        return None
    path = node.base / str(node[name])
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SpecError(f"{path} cannot be read: {exc.strerror}", where=Where(file=where.file, field=name)) from None


def decode(data: object, *, where: Where) -> bytes:
    """base64, as everywhere in a kubeconfig."""
    try:
        return base64.b64decode(str(data).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise SpecError("is not base64", where=where) from None


def check_server(server: str, *, where: Where) -> None:
    """Raises SpecError for what is no URL of an API server."""
    field_where = Where(file=where.file, object=where.object, field=where.field or "clusters[].cluster.server")
    try:
        parts = urlsplit(server)
        valid = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username is not None or parts.query or parts.fragment:
        raise SpecError(
            "is not the URL of an API server", where=field_where, remedy="write https://host:port, without a login"
        )
