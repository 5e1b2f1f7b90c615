"""How each component is started: keys, users, flags."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.parts import tools
from tests.parts.controlplane.api import write_kubeconfig
from tests.parts.controlplane.observed import POLICY
from tests.parts.registries import Authority

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
USERS = {
    "admin": '"system:masters"',
    "kwok": '"system:masters"',
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
}
"""Static tokens, `TOKEN-OF-name`, and their groups."""


def token(user: str) -> str:
    return f"{user.removeprefix('system:')}-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a plane's files and ports are."""

    folder: Path
    api: int
    etcd: int
    peer: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.api}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.etcd}"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.log"

    def log(self, component: str) -> Path:
        return self.folder / f"{component}.log"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user.removeprefix('system:')}.kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)}


def prepare(folder: Path) -> Layout:
    """Free ports, certificates, tokens and kubeconfigs in `folder`."""
    layout = Layout(folder=folder, api=tools.free_port(), etcd=tools.free_port(), peer=tools.free_port())
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority("control plane of the tests")
    serving = authority.issue("127.0.0.1", "localhost", "kubernetes.default.svc")
    layout.ca.write_bytes(authority.certificate)
    (folder / "tls.crt").write_bytes(serving.certificate)
    (folder / "tls.key").write_bytes(serving.key)
    signing = ec.generate_private_key(ec.SECP256R1())
    (folder / "accounts.key").write_bytes(
        signing.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    (folder / "tokens.csv").write_text("".join(f"{token(user)},{user},{user},{USERS[user]}\n" for user in USERS))
    (folder / "audit-policy.json").write_text(json.dumps(POLICY))
    for user in USERS:
        write_kubeconfig(layout.kubeconfig(user), url=layout.url, ca=layout.ca, token=token(user))
    return layout


def etcd(layout: Layout) -> tools.Part:
    log = layout.log("etcd")
    log.unlink(missing_ok=True)
    return tools.start(
        ["controlplane", "etcd", layout.folder / "etcd", layout.etcd_url, f"http://127.0.0.1:{layout.peer}"],
        log=log,
        # Its own word, not its port: that may be another plane's.
        ready=lambda: b"ready\n" in log.read_bytes(),
        environment=layout.environment,
    )


def apiserver(layout: Layout, extra: Sequence[str] = ()) -> tools.Part:
    """Returns when it listens, which is before it is ready."""
    folder = layout.folder
    return tools.start(
        [
            "controlplane",
            "kube-apiserver",
            f"--etcd-servers={layout.etcd_url}",
            f"--secure-port={layout.api}",
            "--bind-address=127.0.0.1",
            # Without it the address of the default route is asked for, and there may be none.
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={folder / 'tls.crt'}",
            f"--tls-private-key-file={folder / 'tls.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--profiling=false",
            f"--audit-policy-file={folder / 'audit-policy.json'}",
            f"--audit-log-path={layout.audit}",
            "--audit-log-maxsize=4096",  # MB: never rotated, offsets into it stay true
            "--shutdown-send-retry-after=true",  # open watches hold the end up for 2 s, not for a minute
            *extra,
        ],
        log=layout.log("kube-apiserver"),
        ready=layout.api,
        environment=layout.environment,
    )


def controller_manager(layout: Layout) -> tools.Part:
    return tools.start(
        [
            "controlplane",
            "kube-controller-manager",
            f"--kubeconfig={layout.kubeconfig('system:kube-controller-manager')}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={layout.folder / 'accounts.key'}",
            f"--root-ca-file={layout.ca}",
            "--node-monitor-grace-period=100h",  # kwok sends no heartbeats
            *_CLIENT,
        ],
        log=layout.log("kube-controller-manager"),
        environment=layout.environment,
    )


def scheduler(layout: Layout) -> tools.Part:
    return tools.start(
        ["controlplane", "kube-scheduler", f"--kubeconfig={layout.kubeconfig('system:kube-scheduler')}", *_CLIENT],
        log=layout.log("kube-scheduler"),
        environment=layout.environment,
    )


def kwok(layout: Layout) -> tools.Part:
    return tools.start(
        [
            *_WITH_PARENT,
            tools.binary("kwok"),
            f"--kubeconfig={layout.kubeconfig('kwok')}",
            f"--config={HERE / 'kwok.yaml'}",
            "--server-address=127.0.0.1:0",
        ],
        log=layout.log("kwok"),
        environment=layout.environment,
    )


_WITH_PARENT = (
    "/bin/sh",
    "-c",
    'me=$PPID; "$@" & while kill -0 $! && kill -0 $me; do sleep 1; done 2>/dev/null; kill -9 $! 2>/dev/null',
    "kwok",
)
"""Ends kwok after a killed test run; the others see to that themselves."""

_CLIENT = (
    "--leader-elect=false",
    "--secure-port=0",
    "--kube-api-qps=500",
    "--kube-api-burst=1000",
    "--profiling=false",
)

CONTROLLERS = {"kube-controller-manager": controller_manager, "kube-scheduler": scheduler, "kwok": kwok}
"""Whoever is a client of the API server."""
