"""Who asks a registry, and how: the `Access` of a policy, from its Secrets, its provider and the environment.

With a `secretRef`, only that Secret counts. Without one, the policy's pull secrets are asked (a service account's, or a
workload's own): the entry that fits the repository best wins, as in the kubelet, and one that is missing or broken is
noted and passed over. Then comes the user's own docker config (`$DOCKER_CONFIG/config.json`, `~/.docker/config.json`,
`$REGISTRY_AUTH_FILE`, podman's `auth.json`), with its credential helpers; the controller hands in an environment that
names none. A `provider` is asked where no entry of a Secret serves the registry.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

from cryptography import x509

from image_updater.api.model import ImagePolicy, ObjectKey, Provider, Secret
from image_updater.errors import ImageUpdaterError, SecretNotFound, SpecError, Where
from image_updater.images import ImageName, parse_name
from image_updater.registry.dockerconfig import Credentials, DockerConfig, Rank, load, split_host
from image_updater.registry.http import Wire

_CONFIG_KEYS = (".dockerconfigjson", ".dockercfg", "config.json")
_PULL_KEYS = _CONFIG_KEYS[:2]
"""A pull secret has no other form: a workload may name any Secret, and a login without a host could be sent to any."""
_MAX_CONFIG = 1 << 20
_METADATA = frozenset({"metadata.google.internal", "fd00:ec2::23", "fd00:ec2::254"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Proxy URLs by scheme, and the hosts that are reached without (`NO_PROXY`: names, `.suffixes`, addresses,
    CIDR, `*`).
    """

    http: str | None = field(default=None, repr=False)
    https: str | None = field(default=None, repr=False)
    direct: tuple[str, ...] = ()
    loopback: bool = False
    """Also for this machine's own addresses: a proxy named for this very policy is meant, one of the environment
    is not.
    """

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Proxies:
        def read(name: str) -> str | None:
            return environment.get(name) or environment.get(name.upper()) or None

        every = read("all_proxy")
        none = read("no_proxy") or ""
        return cls(
            http=_proxy_url(read("http_proxy") or every),
            https=_proxy_url(read("https_proxy") or every),
            direct=tuple(part.strip().lower() for part in none.split(",") if part.strip()),
        )

    def __bool__(self) -> bool:
        return bool(self.http or self.https)

    def for_url(self, url: str) -> str | None:
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        return None if proxy is None or self._is_direct(parts.hostname or "", parts.port) else proxy

    def _is_direct(self, host: str, port: int | None) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if not self.loopback and (host == "localhost" or (address is not None and address.is_loopback)):
            return True
        if host in _METADATA or (address is not None and address.is_link_local):
            return True
        for entry in self.direct:
            name, colon, number = entry.rpartition(":")
            if not colon or not number.isdigit() or _is_network(entry):
                name, number = entry, ""
            name = name.removeprefix("[").removesuffix("]")
            if number and number != str(port):
                continue
            if name == "*" or host == name.lstrip(".") or host.endswith("." + name.removeprefix("*").lstrip(".")):
                return True
            if address is not None and _contains(name, address):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who asks and how. `identity` is a stable hash of where the credentials come from and whose they are, and of what
    is trusted.

    It is no hash of a password: a rotated one keeps what was seen, another user name or Secret does not.
    """

    identity: str
    config: DockerConfig = field(default_factory=DockerConfig, repr=False, compare=False)
    provider: Provider = Provider.GENERIC
    insecure: bool = False
    timeout: float = 30.0
    ca: bytes | None = field(default=None, repr=False, compare=False)
    certificate: bytes | None = field(default=None, repr=False, compare=False)
    key: bytes | None = field(default=None, repr=False, compare=False)
    proxies: Proxies = field(default_factory=Proxies, compare=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For credential helpers and cloud logins only."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Why some login is not used: told where the registry says no."""

    def wire(self, url: str) -> Wire:
        proxy = self.proxies.for_url(url) if self.proxies else None
        return Wire(ca=self.ca, certificate=self.certificate, key=self.key, proxy=proxy)


def anonymous(*, insecure: bool = False, timeout: float = 30.0, ca: bytes | None = None) -> Access:
    """Nobody: for public images and tests."""
    return Access(identity=_identity("anonymous", insecure, ca), insecure=insecure, timeout=timeout, ca=ca)


def access_for(
    policy: ImagePolicy, secrets: Callable[[ObjectKey], Secret | None], environment: Mapping[str, str]
) -> Access:
    """The access of a policy. Raises SpecError for a Secret that is missing, or does not hold what it should."""
    image = parse_name(policy.image)
    find = functools.partial(_secret, policy, secrets)
    who, config, notes = _login(policy, image, find, secrets, environment)
    tls = find("spec.certSecretRef", policy.cert_secret_ref) if policy.cert_secret_ref else None
    ca, certificate, key = _certificates(tls, _where(policy, "spec.certSecretRef")) if tls else (None, None, None)
    if policy.proxy_secret_ref:
        proxies = _proxy_secret(find("spec.proxySecretRef", policy.proxy_secret_ref), policy)
    else:
        proxies = Proxies.from_environment(environment)
    return Access(
        identity=_identity(who, policy.insecure, ca, certificate),
        config=config,
        provider=policy.provider,
        insecure=policy.insecure,
        timeout=policy.timeout.total_seconds(),
        ca=ca,
        certificate=certificate,
        key=key,
        proxies=proxies,
        environment=environment,
        notes=notes,
    )


def _login(
    policy: ImagePolicy,
    image: ImageName,
    find: Callable[[str, str], Secret],
    secrets: Callable[[ObjectKey], Secret | None],
    environment: Mapping[str, str],
) -> tuple[object, DockerConfig, tuple[str, ...]]:
    """What stands for the asker in the identity, the logins themselves, and what is to be said of them."""
    cloud = _cloud_identity(policy.provider, environment)
    if policy.secret_ref is None:
        pulled, notes = _pull_login(policy, image, secrets)
        if pulled is not None:
            return [*pulled[0], cloud], pulled[1], notes
        config = DockerConfig() if policy.provider is not Provider.GENERIC else local_config(environment)
        entry = config.find(image.registry, image.repository)
        helper = config.helper(image.registry)
        who = ["docker", entry[0], entry[1].username] if entry else ["helper", *helper] if helper else "anonymous"
        return cloud or who, config, notes
    secret = find("spec.secretRef", policy.secret_ref)
    where = _where(policy, "spec.secretRef")
    name = f"Secret {secret.meta.key}"
    config = _secret_config(secret, image, where, name)
    entry = config.find(image.registry, image.repository)
    if entry is None and cloud is None:
        held = ", ".join(sorted(config.auths)) or "none"
        raise SpecError(
            f"{name} has no login for {image.canonical}; it has: {held}",
            where=where,
            remedy="add one, or drop secretRef",
        )
    return ["secret", str(secret.meta.key), entry[1].username if entry else "", cloud], config, ()


def _pull_login(
    policy: ImagePolicy, image: ImageName, secrets: Callable[[ObjectKey], Secret | None]
) -> tuple[tuple[list[str], DockerConfig] | None, tuple[str, ...]]:
    """The pull secret whose entry fits the repository best (the first of equals), and what is wrong with others."""
    notes = [policy.pull_note] if policy.pull_note else []
    best: tuple[Rank, list[str], DockerConfig] | None = None
    for key in policy.pull_secrets:
        try:
            config = _pull_config(key, secrets(key))
        except ImageUpdaterError as error:
            notes.append(f"pull secret {key} is not used: {error.message}")
            continue
        entry = config.best(image.registry, image.repository)
        if entry is not None and (best is None or entry[0] > best[0]):
            best = (entry[0], ["secret", str(key), entry[2].username], config)
    return ((best[1], best[2]) if best is not None else None), tuple(notes)


def _pull_config(key: ObjectKey, secret: Secret | None) -> DockerConfig:
    if secret is None:
        raise SecretNotFound(f"there is no Secret {key}")
    for name in _PULL_KEYS:
        if name in secret.data:
            return load(secret.data[name], where=Where(object=f"Secret {key}"))
    raise SpecError("it has no .dockerconfigjson")


def _secret_config(secret: Secret, image: ImageName, where: Where, name: str) -> DockerConfig:
    for key in _CONFIG_KEYS:
        if key in secret.data:
            return load(secret.data[key], where=where)
    if "username" in secret.data and "password" in secret.data:
        # A basic-auth Secret is for the policy's own registry.
        login = Credentials(username=_text(secret, "username"), password=_text(secret, "password"))
        return DockerConfig(auths={image.registry: login})
    raise SpecError(
        f"{name} holds no registry login",
        where=where,
        remedy="it needs .dockerconfigjson (kubectl create secret docker-registry), or username and password",
    )


def _cloud_identity(provider: Provider, environment: Mapping[str, str]) -> object:
    names = {
        Provider.GENERIC: (),
        Provider.AWS: ("AWS_ROLE_ARN", "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        Provider.AZURE: ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"),
        Provider.GCP: ("GOOGLE_APPLICATION_CREDENTIALS",),
    }[provider]
    if provider is Provider.GENERIC:
        return None
    return [provider.value, *(environment.get(name, "") for name in names)]


def local_config(environment: Mapping[str, str]) -> DockerConfig:
    """The user's own docker (or podman) login file, read again when it changed; empty if there is none. Raises
    SpecError.
    """
    for path in _config_paths(environment):
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        return _read_config(path, stat.st_mtime_ns, stat.st_size)
    return DockerConfig()


def _config_paths(environment: Mapping[str, str]) -> list[str]:
    paths: list[str] = []
    if folder := environment.get("DOCKER_CONFIG"):
        paths.append(f"{folder}/config.json")
    elif home := environment.get("HOME"):
        paths.append(f"{home}/.docker/config.json")
    if file := environment.get("REGISTRY_AUTH_FILE"):
        paths.insert(0, file)
    if run := environment.get("XDG_RUNTIME_DIR"):
        paths.append(f"{run}/containers/auth.json")
    return paths


@functools.lru_cache(maxsize=8)
def _read_config(path: str, mtime: int, size: int) -> DockerConfig:
    """`mtime` and `size` are the cache's key: a changed file is read again."""
    where = Where(file=path)
    if size > _MAX_CONFIG:
        raise SpecError("the docker config is larger than 1 MiB", where=where, remedy="remove logins from it")
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        message = f"the docker config cannot be read: {error.strerror}"
        raise SpecError(message, where=where, remedy="make it readable, or name another in DOCKER_CONFIG") from None
    return load(data, where=where, helpers=True)


def _certificates(secret: Secret, where: Where) -> tuple[bytes | None, bytes | None, bytes | None]:
    """`ca.crt`, `tls.crt` and `tls.key` (or Flux's older `caFile`, `certFile`, `keyFile`); each optional, the pair
    together.
    """
    ca, certificate, key = (
        secret.data.get(new) or secret.data.get(old) or None
        for new, old in (("ca.crt", "caFile"), ("tls.crt", "certFile"), ("tls.key", "keyFile"))
    )
    name = f"Secret {secret.meta.key}"
    if ca is None and certificate is None:
        raise SpecError(f"{name} has neither ca.crt nor tls.crt", where=where, remedy="put the PEM certificates there")
    if (certificate is None) != (key is None):
        raise SpecError(f"{name} must have tls.crt and tls.key together", where=where, remedy="add the other one")
    for label, data in (("ca.crt", ca), ("tls.crt", certificate)):
        if data is not None:
            try:
                x509.load_pem_x509_certificates(data)
            except ValueError:
                raise SpecError(
                    f"{label} of {name} holds no PEM certificate", where=where, remedy="-----BEGIN CERTIFICATE----- …"
                ) from None
    return ca, certificate, key


def _proxy_secret(secret: Secret, policy: ImagePolicy) -> Proxies:
    where = _where(policy, "spec.proxySecretRef")
    address = _text(secret, "address")
    try:
        parts = urlsplit(address)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known:
        message = f"`address` of Secret {secret.meta.key} is not an http:// or https:// address"
        raise SpecError(message, where=where, remedy="write http://gateway.example.org:3128")
    if username := _text(secret, "username"):
        password = _text(secret, "password")
        netloc = f"{quote(username, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
        address = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    return Proxies(http=address, https=address, loopback=True)


def _proxy_url(text: str | None) -> str | None:
    """`proxy:3128` means http; SOCKS is not spoken here."""
    if not text:
        return None
    url = text if "://" in text else f"http://{text}"
    try:
        known = urlsplit(url).scheme in {"http", "https"} and urlsplit(url).port != 0
    except ValueError:
        known = False
    if not known:
        raise SpecError(
            "only http and https proxies are supported", remedy="correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
        )
    return url


def _secret(policy: ImagePolicy, secrets: Callable[[ObjectKey], Secret | None], field_: str, name: str) -> Secret:
    key = ObjectKey(policy.key.namespace, name)
    secret = secrets(key)
    if secret is None:
        raise SecretNotFound(
            f"there is no Secret {key}", where=_where(policy, field_), remedy="create it, or correct the name"
        )
    return secret


def _where(policy: ImagePolicy, field_: str) -> Where:
    source = policy.meta.source
    return source.where(field_) if source.where else Where(file=source.file, line=source.line, field=field_)


def _text(secret: Secret, key: str) -> str:
    try:
        return secret.data.get(key, b"").decode().strip()
    except UnicodeDecodeError:
        raise SpecError(f"`{key}` of Secret {secret.meta.key} is not UTF-8", remedy="encode it as UTF-8") from None


def _identity(who: object, insecure: bool, *trust: bytes | None) -> str:
    prints = [hashlib.sha256(data).hexdigest() if data else None for data in trust]
    while prints and prints[-1] is None:
        prints.pop()
    return hashlib.sha256(json.dumps([who, insecure, prints]).encode()).hexdigest()[:32]


def _is_network(text: str) -> bool:
    """Is it an address by itself? The last part of an IPv6 one is no port."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _contains(text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False


def registry_host(image: ImageName) -> str:
    """The host (and port) that serves an image's registry API."""
    return "registry-1.docker.io" if split_host(image.registry)[0] == "docker.io" else image.registry.lower()
