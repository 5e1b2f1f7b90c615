"""Real registries for the tests: Debian's `docker-registry` and distribution's v3 `registry`, on free loopback ports.

A binary that is not there fails the test that wants it: a suite that skips proves nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import pathlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.parts import tools

USER = "puller"
PASSWORD = "pull:secret"
# bcrypt of PASSWORD, cost 5: what `htpasswd -B` writes.
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuOvBi9wq6ZHVRbD7GDrG0ExcmRI7o29S\n"
BINARIES = {"debian": "docker-registry", "v3": "registry"}


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A private CA for one test session."""

    def __init__(self, name: str = "image-updater tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def certificate(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, client: bool = False) -> Pair:
        """A certificate for names and addresses; `client` = for logging in instead of serving."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [_alternative(name) for name in names]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), private)

    def server_context(self, folder: pathlib.Path, *names: str, clients: bool = False) -> ssl.SSLContext:
        """For a server of this process; `clients` = a client certificate of this CA is required."""
        pair = self.issue(*(names or ("127.0.0.1", "localhost")))
        file = folder / "server.pem"
        file.write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.certificate.decode())
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class RealRegistry:
    """A registry that runs: `host` as it stands in an image name, `root` its storage."""

    host: str
    scheme: str
    root: pathlib.Path

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def tag_many(self, repository: str, tags: list[str], digest: str) -> None:
        """Write the tags' links into the storage: thousands a second, visible at once."""
        folder = self.root / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        for tag in tags:
            for place in (folder / tag / "current", folder / tag / "index/sha256" / digest.removeprefix("sha256:")):
                place.mkdir(parents=True, exist_ok=True)
                (place / "link").write_text(digest)


@contextlib.contextmanager
def running(
    kind: str,
    folder: pathlib.Path,
    *,
    login: bool = False,
    tls: Authority | None = None,
    client_certificates: bool = False,
) -> Iterator[RealRegistry]:
    """Start `debian` or `v3` in `folder`; `login` = htpasswd with USER and PASSWORD. Stopped at the end."""
    port = tools.free_port()
    host = f"127.0.0.1:{port}"
    root = folder / "storage"
    root.mkdir(parents=True, exist_ok=True)
    http: dict[str, object] = {"addr": host, "secret": "tests"}
    if tls is not None:
        pair = tls.issue("127.0.0.1", "localhost")
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        (folder / "ca.crt").write_bytes(tls.certificate)
        http["tls"] = {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}
        if client_certificates:
            http["tls"] |= {"clientcas": [str(folder / "ca.crt")]}  # type: ignore[operator]
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}},
        "http": http,
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    file = folder / "config.yml"
    # YAML 1.2 contains JSON.
    file.write_text(json.dumps(config))
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "OTEL_TRACES_EXPORTER": "none"}
    command = [BINARIES[kind], "serve", str(file)]
    with tools.running(command, log=folder / "log", ready=port, environment=environment):
        yield RealRegistry(host, "https" if tls else "http", root)


def request(
    method: str,
    url: str,
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One plain request, for pushing; no client of ours is involved."""
    asked = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
