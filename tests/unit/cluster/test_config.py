"""Whose configuration may do what: the operator's own everything, one out of a Secret nothing but name a server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from image_updater.cluster import Cluster, ClusterConfig, tls
from image_updater.cluster.credentials import ExecPlugin, Fixed, Login, TokenFile, read_status
from image_updater.errors import AccessDenied, SpecError, Where

if TYPE_CHECKING:
    from tests.unit.cluster.conftest import FakeTime

WHERE = Where(object="Kustomization apps/web", field="spec.kubeConfig.secretRef")


def pair() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


CERTIFICATE, KEY = pair()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def kubeconfig(*, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """A valid one with a token, changed; a value None leaves the field out."""
    of_cluster: dict[str, Any] = {
        "server": "https://10.0.0.1:6443/",
        "certificate-authority-data": encoded(CERTIFICATE),
    }
    of_cluster |= cluster or {}
    of_user: dict[str, Any] = {"token": "hunter2", **(user or {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "contexts": [{"name": "there", "context": {"cluster": "prod", "user": "ci"}}],
        "clusters": [{"name": "prod", "cluster": _given(of_cluster)}],
        "users": [{"name": "ci", "user": _given(of_user)}],
    }


def from_secret(config: Any, **options: Any) -> ClusterConfig:
    return ClusterConfig.from_secret(yaml.safe_dump(config).encode(), where=WHERE, **options)


# ---------------------------------------------------------------------------------------------------- from a Secret


async def test_inline_data_is_all_that_a_secret_needs() -> None:
    config = from_secret(kubeconfig(cluster={"tls-server-name": "kubernetes", "proxy-url": "http://proxy:3128"}))
    assert config.server == "https://10.0.0.1:6443"
    assert config.ca == CERTIFICATE
    assert (config.server_name, config.proxy, config.verify) == ("kubernetes", "http://proxy:3128", True)
    assert (await config.credentials.login()).authorization == "Bearer hunter2"


async def test_a_client_certificate_is_inline_too() -> None:
    user = {"token": None, "client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(KEY)}
    login = await from_secret(kubeconfig(user=user)).credentials.login()
    assert (login.certificate, login.key, login.authorization) == (CERTIFICATE, KEY, None)


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", "touch /tmp/owned"]}


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("users[ci].user", "exec", EXEC),
        ("users[ci].user", "auth-provider", {"name": "gcp"}),
        ("users[ci].user", "tokenFile", "/var/run/secrets/kubernetes.io/serviceaccount/token"),
        ("users[ci].user", "client-certificate", "/etc/passwd"),
        ("users[ci].user", "client-key", "/etc/passwd"),
        ("users[ci].user", "username", "admin"),
        ("users[ci].user", "password", "hunter2"),
        ("users[ci].user", "as", "system:admin"),
        ("users[ci].user", "as-groups", ["system:masters"]),
        ("users[ci].user", "as-uid", "1"),
        ("users[ci].user", "as-user-extra", {}),
        ("users[ci].user", "token", 7),
        ("users[ci].user", "token", "hunter2\r\nHost: elsewhere"),
        ("users[ci].user", "token", None),
        ("users[ci].user", "client-key-data", "%%%"),
        ("users[ci].user", "client-certificate-data", "QQ=="),
        ("clusters[prod].cluster", "certificate-authority", "/etc/passwd"),
        ("clusters[prod].cluster", "certificate-authority-data", "hunter2!"),
        ("clusters[prod].cluster", "insecure-skip-tls-verify", True),
        ("clusters[prod].cluster", "insecure-skip-tls-verify", "yes"),
        ("clusters[prod].cluster", "server", "http://10.0.0.1"),
        ("clusters[prod].cluster", "server", "https://user:hunter2@10.0.0.1"),
        ("clusters[prod].cluster", "server", "file:///etc/passwd"),
        ("clusters[prod].cluster", "server", "https://"),
        ("clusters[prod].cluster", "server", "https://[::1"),
        ("clusters[prod].cluster", "server", 7),
        ("clusters[prod].cluster", "server", None),
        ("clusters[prod].cluster", "proxy-url", "socks5://proxy:1080"),
        ("clusters[prod].cluster", "proxy-url", "hunter2"),
        ("clusters[prod].cluster", "tls-server-name", ["a"]),
    ],
)
def test_what_a_secret_must_not_say_is_refused_by_its_name(part: str, name: str, value: Any) -> None:
    change = {name: value}
    config = kubeconfig(user=change) if part.startswith("users") else kubeconfig(cluster=change)
    with pytest.raises(SpecError) as caught:
        from_secret(config)
    assert caught.value.where.object == "Kustomization apps/web"
    assert caught.value.where.field is not None
    field = part if (name, value) == ("token", None) else f"{part}.{name}"
    if name == "client-certificate-data":
        field = f"{part}.client-key-data"
    assert caught.value.where.field == f"spec.kubeConfig.secretRef: {field}"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hunter2",
        b"[1]",
        b"\xff\xfe",
        b"{",
        b"a: !!python/object/apply:os.system ['touch /tmp/owned']",
        b"[" * 5_000,
        b"x" * 2_000_000,
    ],
)
def test_what_is_no_kubeconfig_is_refused_without_being_quoted(data: bytes) -> None:
    with pytest.raises(SpecError) as caught:
        ClusterConfig.from_secret(data, where=WHERE)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"current-context": None}, "current-context: is missing"),
        ({"current-context": "other"}, "contexts[other]: names nothing that is there"),
        ({"contexts": None}, "contexts[there]: names nothing that is there"),
        ({"clusters": [{"name": "prod"}]}, "clusters[prod]: is empty"),
        ({"clusters": "prod"}, "clusters[prod]: names nothing that is there"),
        ({"users": [{"name": "ci", "user": {}}] * 2}, "users[ci]: is there twice"),
        ({"contexts": [{"name": "there", "context": {"user": "ci"}}]}, "contexts[].context.cluster: is missing"),
        ({"contexts": [{"name": "there", "context": {"cluster": "prod"}}]}, "has neither a token nor a client"),
    ],
)
def test_a_part_that_is_missing_is_named(change: dict[str, Any], shown: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_secret(kubeconfig() | change)
    assert shown in str(caught.value)


def test_only_the_current_context_matters() -> None:
    config = kubeconfig()
    config["users"].append({"name": "other", "user": {"exec": EXEC}})
    assert from_secret(config).account.startswith("user 'ci'")


def test_an_operator_may_allow_servers_that_are_not_verified() -> None:
    config = from_secret(kubeconfig(cluster={"insecure-skip-tls-verify": True}), allow_insecure=True)
    assert not config.verify
    assert tls.context(config, Login()).verify_mode is ssl.CERT_NONE


def test_configurations_share_what_they_read_only_when_all_is_equal() -> None:
    one = from_secret(kubeconfig())
    assert one.identity == from_secret(kubeconfig()).identity
    others = [
        from_secret(kubeconfig(user={"token": "other"})),
        from_secret(kubeconfig(cluster={"certificate-authority-data": None})),
        from_secret(kubeconfig(cluster={"server": "https://10.0.0.2:6443"})),
        from_secret(kubeconfig(cluster={"proxy-url": "http://proxy"})),
    ]
    assert len({one.identity, *(each.identity for each in others)}) == 5


def test_nothing_secret_is_shown() -> None:
    user = {"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(KEY)}
    config = from_secret(kubeconfig(user=user, cluster={"proxy-url": "http://u:hunter2@proxy"}))
    shown = f"{config} {config!r} {config.identity} {config.credentials!r}"
    assert "hunter2" not in shown
    assert "PRIVATE KEY" not in shown


# ---------------------------------------------------------------------------------------------------- the operator's


def write(path: Path, config: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


async def test_a_kubeconfig_may_name_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CERTIFICATE)
    (tmp_path / "tls.crt").write_bytes(CERTIFICATE)
    (tmp_path / "tls.key").write_bytes(KEY)
    config = kubeconfig(
        cluster={"certificate-authority-data": None, "certificate-authority": "ca.pem"},
        user={"token": None, "client-certificate": "tls.crt", "client-key": "tls.key"},
    )
    loaded = ClusterConfig.load(kubeconfig=write(tmp_path / "config", config), environment={})
    assert loaded.ca == CERTIFICATE
    assert await loaded.credentials.login() == Login(certificate=CERTIFICATE, key=KEY)


@pytest.mark.parametrize("by", ["KUBECONFIG", "HOME"])
async def test_kubeconfig_or_home_say_where_it_is(tmp_path: Path, by: str) -> None:
    path = write(tmp_path / ".kube" / "config", kubeconfig())
    environment = {"HOME": str(tmp_path)} if by == "HOME" else {"KUBECONFIG": str(path), "HOME": "/nowhere"}
    assert ClusterConfig.load(kubeconfig=None, environment=environment).server == "https://10.0.0.1:6443"


async def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    one, two = kubeconfig(), kubeconfig(user={"token": "other"})
    del one["users"]
    paths = os.pathsep.join(str(write(tmp_path / name, each)) for name, each in (("one", one), ("two", two)))
    loaded = ClusterConfig.load(kubeconfig=None, environment={"KUBECONFIG": paths})
    assert (await loaded.credentials.login()).authorization == "Bearer other"


async def test_paths_of_merged_files_count_from_their_own_file(tmp_path: Path) -> None:
    one, two = kubeconfig(user={"token": None, "tokenFile": "token"}), kubeconfig()
    one["users"], two["users"] = [], one["users"]
    two["current-context"] = "other"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "token").write_text("hunter2")
    files = [write(tmp_path / name / "config", each) for name, each in (("a", one), ("b", two))]
    paths = os.pathsep.join(("", str(tmp_path / "none"), *map(str, files)))
    loaded = ClusterConfig.load(kubeconfig=None, environment={"KUBECONFIG": paths})
    assert (await loaded.credentials.login()).authorization == "Bearer hunter2"


def test_another_context_may_be_chosen(tmp_path: Path) -> None:
    config = kubeconfig()
    config["clusters"].append({"name": "b", "cluster": {"server": "https://b"}})
    config["contexts"].append({"name": "b", "context": {"cluster": "b", "user": "ci"}})
    path = write(tmp_path / "config", config)
    assert ClusterConfig.load(kubeconfig=path, environment={}, context="b").server == "https://b"


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (None, "is not a kubeconfig"),
        ("hunter2", "is not a kubeconfig"),
        ({}, "expected key current-context"),
        (kubeconfig() | {"users": [{"name": "ci", "token": "hunter2"}]}, "expected key user"),
        (kubeconfig() | {"users": [{"token": "hunter2"}]}, "is not a kubeconfig"),
        (kubeconfig() | {"users": "hunter2"}, "is not a kubeconfig"),
        (kubeconfig() | {"users": [{"name": "ci", "user": "hunter2"}]}, "is not a kubeconfig"),
        (kubeconfig() | {"users": kubeconfig()["users"] * 2}, "expected only one object with name ci"),
        (kubeconfig() | {"current-context": "x"}, "expected object with name x"),
        (kubeconfig(cluster={"server": None}), "expected key server"),
        (kubeconfig(cluster={"server": "10.0.0.1"}), "is not the URL of an API server"),
        (kubeconfig(cluster={"certificate-authority-data": "%"}), "is not base64"),
        (kubeconfig(user={"auth-provider": {"name": "oidc"}}), "users[].user.auth-provider: is not supported"),
        (kubeconfig(user={"as": "x"}), "users[].user.as: is not supported"),
        (kubeconfig(user={"client-certificate": "no", "client-key": "no"}), "cannot be read: No such file"),
    ],
)
def test_a_kubeconfig_that_is_wrong_says_where(tmp_path: Path, config: Any, shown: str) -> None:
    path = write(tmp_path / "config", config)
    with pytest.raises(SpecError) as caught:
        ClusterConfig.load(kubeconfig=path, environment={})
    assert shown in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_kubeconfig_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no such file"):
        ClusterConfig.load(kubeconfig=tmp_path / "none", environment={})
    with pytest.raises(SpecError, match="there is no kubeconfig"):
        ClusterConfig.load(kubeconfig=None, environment={"HOME": str(tmp_path)})


def pod(folder: Path, token: str = "hunter2") -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(CERTIFICATE)
    return {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "HOME": "/nowhere"}


async def test_in_a_pod_its_own_account_is_used_and_its_token_read_again(tmp_path: Path, time: FakeTime) -> None:
    environment = pod(tmp_path)
    config = ClusterConfig.load(
        kubeconfig=None, environment=environment, service_account=tmp_path, monotonic=time.monotonic
    )
    assert (config.server, config.ca) == ("https://[fd00::1]:443", CERTIFICATE)
    assert (await config.credentials.login()).authorization == "Bearer hunter2"
    (tmp_path / "token").write_text("rotated\n")
    assert (await config.credentials.login()).authorization == "Bearer hunter2"
    time.passed += 60
    assert (await config.credentials.login()).authorization == "Bearer rotated"
    (tmp_path / "token").write_text("again")
    assert (await config.credentials.login(renew=True)).authorization == "Bearer again"


@pytest.mark.parametrize("where", ["pod", "kubeconfig"])
def test_the_kubernetes_package_is_not_even_imported(tmp_path: Path, where: str) -> None:
    """It costs 20 MB and a third of a second."""
    environment = pod(tmp_path)
    given = str(write(tmp_path / "config", kubeconfig())) if where == "kubeconfig" else None
    unused = ("kubernetes", "httpx", "kopf", *(() if given else ("yaml",)))
    script = f"""
import asyncio, pathlib, sys
from image_updater.cluster import Cluster, ClusterConfig, Lease, Recorder, Watcher

async def main():
    given = {given!r}
    config = ClusterConfig.load(
        kubeconfig=pathlib.Path(given) if given else None,
        environment={environment!r},
        service_account=pathlib.Path({str(tmp_path)!r}),
    )
    await (await Cluster.connect(config)).close()

asyncio.run(main())
assert not [name for name in sys.modules if name.split(".")[0] in {unused!r}]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


async def test_a_kubeconfig_that_is_given_outranks_the_pod(tmp_path: Path) -> None:
    environment = pod(tmp_path / "account")
    path = write(tmp_path / "config", kubeconfig())
    config = ClusterConfig.load(kubeconfig=path, environment=environment, service_account=tmp_path / "account")
    assert config.server == "https://10.0.0.1:6443"


@pytest.mark.parametrize("missing", ["ca.crt", "KUBERNETES_SERVICE_PORT"])
def test_half_an_account_of_a_pod_is_said(tmp_path: Path, missing: str) -> None:
    environment = pod(tmp_path)
    environment.pop(missing, None)
    (tmp_path / missing).unlink(missing_ok=True)
    with pytest.raises(SpecError, match=missing):
        ClusterConfig.load(kubeconfig=None, environment=environment, service_account=tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"two words", b"\xff\xfe", b"a\x00b"])
async def test_a_token_file_without_a_token_is_said(tmp_path: Path, content: bytes | None, time: FakeTime) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AccessDenied, match="token"):
        await TokenFile(path, monotonic=time.monotonic).login()


async def test_a_token_file_is_read_while_every_thread_is_busy(tmp_path: Path, time: FakeTime) -> None:
    """A Lease is renewed with it: nothing else of the process may keep that waiting."""
    (tmp_path / "token").write_text("abc")
    asyncio.get_running_loop().set_default_executor(threads := ThreadPoolExecutor(1))
    end = threading.Event()
    threads.submit(end.wait, 10)
    try:
        login = TokenFile(tmp_path / "token", monotonic=time.monotonic).login()
        assert await asyncio.wait_for(login, 5) == Login.bearer("abc")
    finally:
        end.set()


# ---------------------------------------------------------------------------------------------------- exec plugins

PLUGIN = """
import json, os, pathlib, sys
assert json.loads(os.environ["KUBERNETES_EXEC_INFO"])["kind"] == "ExecCredential"
count = pathlib.Path(sys.argv[1])
count.write_text(count.read_text() + "x" if count.exists() else "x")
status = json.loads(os.environ["STATUS"])
if status == "fail":
    sys.exit("not logged in")
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def plugin(tmp_path: Path, status: Any, time: FakeTime) -> tuple[ExecPlugin, Path]:
    spec = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", PLUGIN, str(tmp_path / "count")],
        "env": [{"name": "STATUS", "value": json.dumps(status)}],
    }
    path = write(tmp_path / "config", kubeconfig(user={"token": None, "exec": spec}))
    config = ClusterConfig.load(kubeconfig=path, environment={}, clock=time.now)
    assert isinstance(config.credentials, ExecPlugin)
    return config.credentials, tmp_path / "count"


async def test_an_exec_plugin_of_the_operator_is_run_until_its_token_ends(tmp_path: Path, time: FakeTime) -> None:
    status = {"token": "hunter2", "expirationTimestamp": "2026-01-01T01:00:00Z"}
    credentials, count = plugin(tmp_path, status, time)
    for _ in range(3):
        assert (await credentials.login()).authorization == "Bearer hunter2"
    assert count.read_text() == "x"
    time.passed = 59 * 60
    await credentials.login()
    assert count.read_text() == "xx"
    time.passed = 0
    await credentials.login(renew=True)
    assert count.read_text() == "xxx"
    assert "hunter2" not in repr(credentials)


async def test_an_exec_plugin_may_give_a_certificate(tmp_path: Path, time: FakeTime) -> None:
    status = {"clientCertificateData": CERTIFICATE.decode(), "clientKeyData": KEY.decode()}
    credentials, _ = plugin(tmp_path, status, time)
    assert await credentials.login() == Login(certificate=CERTIFICATE, key=KEY)


async def test_an_exec_plugin_that_fails_says_why(tmp_path: Path, time: FakeTime) -> None:
    credentials, _ = plugin(tmp_path, "fail", time)
    with pytest.raises(AccessDenied, match="not logged in"):
        await credentials.login()


@pytest.mark.parametrize(
    "status", [None, {}, {"token": ""}, {"clientKeyData": "x"}, {"token": "hunter2", "expirationTimestamp": "soon"}]
)
def test_half_a_credential_is_none(status: Any) -> None:
    with pytest.raises(AccessDenied) as caught:
        read_status(status, "plugin")
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- TLS


def test_a_key_is_on_disk_only_while_openssl_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, path: str, **options: Any) -> None:
        modes.append(stat.S_IMODE(Path(path).stat().st_mode))
        load(self, path, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    tls.context(from_secret(kubeconfig()), Login(certificate=CERTIFICATE, key=KEY))
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_with_a_ca_nothing_else_is_trusted() -> None:
    context = tls.context(from_secret(kubeconfig()), Login())
    assert len(context.get_ca_certs()) + context.cert_store_stats()["x509"] <= 2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("ca", "login"),
    [
        (b"nonsense", Login()),
        (b"\xff", Login()),
        (CERTIFICATE, Login(certificate=CERTIFICATE, key=pair()[1])),
        (CERTIFICATE, Login(certificate=b"no", key=b"no")),
    ],
)
async def test_bad_certificates_are_said_when_connecting(ca: bytes, login: Login) -> None:
    config = ClusterConfig(server="https://127.0.0.1:9", ca=ca, credentials=Fixed(login))
    with pytest.raises(SpecError, match=r"PEM"):
        await Cluster.connect(config)
