"""Real Git servers for the integration tests: nginx + git http-backend (plain and TLS), sshd, and proxies that
misbehave.

Everything lives in a folder of the caller and listens on a free loopback port. It works as root and as a user, without
systemd.
A missing binary is a failure that names the Debian package, never a skip.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import getpass
import hashlib
import ipaddress
import os
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PACKAGES = {
    "nginx": "nginx-light",
    "fcgiwrap": "fcgiwrap",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "git": "git",
}
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


def binary(name: str) -> str:
    """Path of a program; AssertionError naming the Debian package when it is missing."""
    found = shutil.which(name, path=_SEARCH)
    assert found, f"{name} is missing: install the Debian package {PACKAGES.get(name, name)}"
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, *, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: {log.read_text(errors='replace') if log.exists() else ''}"
        with socket.socket() as s:
            s.settimeout(0.5)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}: {log.read_text(errors='replace') if log.exists() else ''}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that was started in a session of its own, with the children that it forked (fcgiwrap's outlive it
    otherwise).
    """
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(0) != process.pid:
            os.killpg(process.pid, signal.SIGKILL)


def git(
    *args: str | Path, cwd: Path | None = None, stdin: bytes | None = None, env: dict[str, str] | None = None
) -> str:
    """Run the real git with a neutral configuration; its output, stripped."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Person",
        "GIT_AUTHOR_EMAIL": "person@example.com",
        "GIT_COMMITTER_NAME": "Person",
        "GIT_COMMITTER_EMAIL": "person@example.com",
        **(env or {}),
    }
    done = subprocess.run(
        [binary("git"), *map(str, args)], cwd=cwd, input=stdin, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, (
        f"git {args}: {done.stderr.decode(errors='replace')}{done.stdout.decode(errors='replace')}"
    )
    return done.stdout.decode(errors="replace").strip()


def bare(path: Path, *, files: dict[str, str] | None = None, branch: str = "main", hook: str | None = None) -> Path:
    """A bare repository that accepts pushes over HTTP, with one commit of `files` (none: empty) and an optional
    pre-receive hook.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    git("init", "-q", "--bare", "-b", branch, path)
    git("config", "http.receivepack", "true", cwd=path)
    # A detached `git gc` would outlive the test.
    git("config", "gc.auto", "0", cwd=path)
    if files is not None:
        commit(path, files, branch=branch, message="Start")
    if hook is not None:
        set_hook(path, hook)
    return path


def set_hook(path: Path, text: str, name: str = "pre-receive") -> None:
    hook = path / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(text)
    hook.chmod(0o755)


def commit(path: Path, files: Mapping[str, str | None], *, branch: str = "main", message: str = "Change") -> str:
    """A person's commit straight into a bare repository, through a throw-away index. Returns its id."""
    index = {"GIT_INDEX_FILE": str(path / f"index.{os.getpid()}.{threading.get_ident()}")}
    heads = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}", cwd=path)
    if heads:
        git("read-tree", heads, cwd=path, env=index)
    for name, text in files.items():
        if text is None:
            # `--force-remove` wants a work tree.
            git("update-index", "--index-info", cwd=path, stdin=f"0 {'0' * 40}\t{name}\n".encode(), env=index)
            continue
        blob = git("hash-object", "-w", "--stdin", cwd=path, stdin=text.encode())
        git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", cwd=path, env=index)
    tree = git("write-tree", cwd=path, env=index)
    made = git("commit-tree", tree, *(["-p", heads] if heads else []), "-m", message, cwd=path)
    git("update-ref", f"refs/heads/{branch}", made, *([heads] if heads else []), cwd=path)
    Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    return made


# ------------------------------------------------------------------------------------------------- certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority of a test."""

    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str, *, authority: bool = False, days: int = 30) -> Authority:
        return _certificate(host, issuer=self, authority=authority, days=days)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def authority(name: str = "Test CA") -> Authority:
    return _certificate(name, issuer=None, authority=True)


def _certificate(name: str, *, issuer: Authority | None, authority: bool, days: int = 30) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    if not authority:
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return Authority(name=name, certificate=builder.sign(signer, hashes.SHA256()), key=key)


# ------------------------------------------------------------------------------------------------- HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """nginx + git http-backend. `root` holds the bare repositories; `ca` is set with TLS."""

    root: Path
    port: int
    host: str
    scheme: str
    ca: bytes | None = None
    access_log: Path

    def url(self, repository: str) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/{repository}"

    def requests(self) -> list[str]:
        """The access log's lines. nginx writes a line after the answer is out, so a marker is sent and waited for."""
        mark = f"/mark-{secrets.token_hex(8)}"
        context = ssl._create_unverified_context() if self.scheme == "https" else None
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            ).open(f"{self.scheme}://{self.host}:{self.port}{mark}", timeout=10).close()
        end = time.monotonic() + 10
        while mark not in (text := self.access_log.read_text()):
            assert time.monotonic() < end, "nginx logs nothing"
        return [line for line in text.splitlines() if "/mark-" not in line]


@contextlib.contextmanager
def http_server(
    folder: Path,
    *,
    tls: bool = False,
    user: str | None = None,
    password: str | None = None,
    bearer: str | None = None,
    host: str = "127.0.0.1",
    intermediate: bool = False,
) -> Iterator[HttpServer]:
    """Start nginx and fcgiwrap in `folder`. `user`/`password`: basic auth; `bearer`: that header or 401;
    `intermediate`: a chain of three.
    """
    root = folder / "srv"
    run = folder / "nginx"
    for d in (root, run):
        d.mkdir(parents=True, exist_ok=True)
    port = free_port()
    ca: bytes | None = None
    lines = [f"listen 127.0.0.1:{port}{' ssl' if tls else ''};"]
    if tls:
        own = authority("Own Root")
        ca = own.pem
        issuer = own.issue("Own Intermediate", authority=True) if intermediate else own
        leaf = issuer.issue(host)
        (run / "cert.pem").write_bytes(leaf.pem + (issuer.pem if intermediate else b""))
        (run / "key.pem").write_bytes(leaf.key_pem)
        lines += [f"ssl_certificate {run}/cert.pem;", f"ssl_certificate_key {run}/key.pem;"]
    if user is not None:
        digest = base64.b64encode(hashlib.sha1((password or "").encode()).digest()).decode()
        (run / "htpasswd").write_text(f"{user}:{{SHA}}{digest}\n")
        lines += ['auth_basic "git";', f"auth_basic_user_file {run}/htpasswd;"]
    guard = f'if ($http_authorization != "Bearer {bearer}") {{ return 401; }}' if bearer else ""
    backend = Path(git("--exec-path")) / "git-http-backend"
    assert backend.exists(), "git-http-backend is missing: install the Debian package git"
    conf = run / "nginx.conf"
    conf.write_text(f"""
{"user root root;" if os.geteuid() == 0 else ""}
daemon off; master_process on; worker_processes 1; pid {run}/nginx.pid; error_log {run}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log {run}/access.log; client_max_body_size 0;
  client_body_temp_path {run}/body; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f; uwsgi_temp_path {run}/u;
  scgi_temp_path {run}/s;
  server {{
    {" ".join(lines)}
    location / {{
      {guard}
      fastcgi_pass unix:{run}/fcgi.sock;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param GIT_PROJECT_ROOT {root};
      fastcgi_param PATH_INFO $uri; fastcgi_param REMOTE_USER $remote_user; fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_request_buffering off; fastcgi_buffering off; fastcgi_read_timeout 60s;
    }}
  }}
}}
""")
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    with (run / "out.log").open("wb") as log:
        cgi = subprocess.Popen(
            [binary("fcgiwrap"), "-c", "4", "-s", f"unix:{run}/fcgi.sock"], env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        web = subprocess.Popen(
            [binary("nginx"), "-c", str(conf), "-p", str(run), "-e", str(run / "error.log")], stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for_port(port, web, run / "error.log")
            end = time.monotonic() + 10
            while not (run / "fcgi.sock").exists():
                assert cgi.poll() is None, "fcgiwrap ended"
                assert time.monotonic() < end, "fcgiwrap made no socket"
                time.sleep(0.02)
            yield HttpServer(
                root=root, port=port, host=host, scheme="https" if tls else "http", ca=ca, access_log=run / "access.log"
            )
        finally:
            stop(web)
            stop(cgi)


# ------------------------------------------------------------------------------------------------- SSH


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """sshd that lets one key in. `known_hosts` has its right lines, `host_keys` the public keys by type."""

    root: Path
    port: int
    user: str
    identity: bytes
    host_keys: dict[str, str]

    def url(self, repository: str) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.root}/{repository}"

    def known_hosts(self, *kinds: str) -> bytes:
        chosen = kinds or tuple(self.host_keys)
        return "".join(f"[127.0.0.1]:{self.port} {self.host_keys[k]}\n" for k in chosen).encode()


def keypair(path: Path, kind: str = "ed25519", passphrase: str = "") -> tuple[bytes, str]:
    """ssh-keygen's private key and the public line `type base64`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [binary("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)], check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return path.read_bytes(), " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


@contextlib.contextmanager
def ssh_server(
    folder: Path, *, host_key_kinds: Sequence[str] = ("ed25519", "rsa"), kind: str = "ed25519", passphrase: str = ""
) -> Iterator[SshServer]:
    """Start sshd in `folder` for the user that runs the test; `kind` and `passphrase` are those of the client's key."""
    run = folder / "sshd"
    root = folder / "srv"
    for d in (run, root):
        d.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host_keys = {k: keypair(run / f"host_{k}", k)[1] for k in host_key_kinds}
    identity, public = keypair(run / "client", kind, passphrase)
    (run / "authorized_keys").write_text(public + "\n")
    port = free_port()
    conf = run / "sshd_config"
    conf.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nPidFile {run}/pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"AuthorizedKeysFile {run}/authorized_keys\nMaxStartups 100\n"
        + "".join(f"HostKey {run}/host_{k}\n" for k in host_key_kinds)
    )
    with (run / "log").open("wb") as log:
        server = subprocess.Popen(
            [binary("sshd"), "-D", "-e", "-f", str(conf)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for_port(port, server, run / "log")
            yield SshServer(root=root, port=port, user=getpass.getuser(), identity=identity, host_keys=host_keys)
        finally:
            stop(server)


# ------------------------------------------------------------------------------------------------- proxies


@dataclass(slots=True)
class TcpProxy:
    """Forwards TCP to `target`; cuts every connection after `cut_up` bytes sent (or `cut_down` bytes answered), `cuts`
    times at most.
    """

    target: int
    cut_up: int | None = None
    cut_down: int | None = None
    cuts: int = 1 << 30
    stall: bool = False
    port: int = 0
    connections: int = 0
    _listener: socket.socket = field(default_factory=socket.socket)
    _stopped: bool = False
    _clients: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.stall:
                while not self._stopped and client.recv(65536):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                self.pump(client, server)

    def pump(self, client: socket.socket, server: socket.socket) -> None:
        up = down = 0
        while not self._stopped:
            ready, _, _ = select.select([client, server], [], [], 0.5)
            for end in ready:
                data = end.recv(16384)
                if not data:
                    return
                if end is client:
                    up += len(data)
                    if self.cut_up is not None and up > self.cut_up and self.cuts > 0:
                        self.cuts -= 1
                        return
                    server.sendall(data)
                else:
                    down += len(data)
                    if self.cut_down is not None and down > self.cut_down and self.cuts > 0:
                        self.cuts -= 1
                        return
                    client.sendall(data)


@dataclass(slots=True)
class ConnectProxy(TcpProxy):
    """An HTTP proxy that knows CONNECT only; with `user` it wants basic proxy auth. `seen` lists the targets."""

    target: int = 0
    user: str | None = None
    password: str | None = None
    seen: list[str] = field(default_factory=list)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            lines = head.split(b"\r\n")
            method, target, _ = lines[0].decode().split(" ")
            if self.user is not None:
                wanted = base64.b64encode(f"{self.user}:{self.password}".encode())
                if not any(x.lower().startswith(b"proxy-authorization:") and x.endswith(wanted) for x in lines):
                    client.sendall(
                        b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="p"\r\n'
                        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    return
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            self.seen.append(target)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.pump(client, server)
