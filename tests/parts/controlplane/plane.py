"""A running control plane, and what tests do to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.parts import tools
from tests.parts.controlplane import components
from tests.parts.controlplane.api import Api, ApiError, Object, write_kubeconfig
from tests.parts.controlplane.observed import Audit, Requests, read_audit, read_requests
from tests.parts.controlplane.throttling import throttled
from tests.parts.controlplane.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.parts.controlplane.components import Layout

T = TypeVar("T")

_ATTEMPTS = 5
"""Of starting on free ports: somebody else may take one in between."""


class ControlPlane(Api):
    """etcd, API server, controller-manager, scheduler and kwok. As an `Api`, it is the administrator's."""

    def __init__(self, layout: Layout, extra: Sequence[str] = ()) -> None:
        super().__init__(layout.url, layout.ca, components.token("admin"), user_agent="tests-admin")
        self.layout = layout
        self.folder: Path = layout.folder
        self.ca: Path = layout.ca
        self.kubeconfig: Path = layout.kubeconfig("admin")
        self.parts: dict[str, tools.Part] = {}
        """By name: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok."""
        self._extra = extra
        self._lent: list[Api] = []

    # ------------------------------------------------------------------------------------------- waiting, namespaces

    def until(self, condition: Callable[[], T | None], timeout: float = 30.0, what: str = "") -> T:
        """The first truthy answer of `condition`, asked every 20 ms; the failure carries `what` and the last answer.

        ApiError and other AssertionErrors in `condition` mean "not yet".
        """
        return until(condition, timeout, what)

    def namespace(self, prefix: str = "t") -> str:
        """A fresh namespace in which pods can be made."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.until(lambda: self.get("ServiceAccount", "default", name), what=f"the default service account of {name}")
        return name

    def fate(self, namespace: str, selector: str, fate: str | None) -> None:
        """Break running pods (`crash`, `missing`, `hang`), or mend them (None)."""
        for pod in self.list("Pod", namespace, selector):
            change = {"metadata": {"annotations": {"kwok.test/fail": fate}}}
            with contextlib.suppress(ApiError):  # a pod may be gone meanwhile
                self.patch("Pod", pod["metadata"]["name"], namespace, change)

    # ------------------------------------------------------------------------------------------- users

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None) -> str:
        """The real kubectl's output. With `check`, a failure raises AssertionError with its stderr."""
        done = subprocess.run(
            [tools.binary("kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *args],
            input=stdin,
            text=True,
            capture_output=True,
            env=self.layout.environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(args)}: {done.stderr}{done.stdout}"
        return done.stdout

    def kubeconfig_of(self, namespace: str, service_account: str) -> Path:
        """A fresh kubeconfig with a token of a service account, and the CA inline."""
        path = self.folder / "kubeconfigs" / f"{namespace}.{service_account}.{secrets.token_hex(4)}"
        token = self.token_of(namespace, service_account)
        return write_kubeconfig(path, url=self.url, ca=self.ca, token=token, namespace=namespace, inline=True)

    def api_of(self, namespace: str, service_account: str) -> Api:
        """The API as a service account sees it. Closed with the plane, if not before."""
        token = self.token_of(namespace, service_account)
        lent = Api(self.url, self.ca, token, user_agent=f"tests-{service_account}")
        self._lent.append(lent)
        return lent

    # ------------------------------------------------------------------------------------------- faults

    def stop_apiserver(self) -> None:
        """In order: running requests are answered, watches are ended after 2 s."""
        self.parts["kube-apiserver"].stop(20)

    def kill_apiserver(self) -> None:
        """As a crash would."""
        self.parts["kube-apiserver"].kill()

    def start_apiserver(self) -> None:
        """On the same port; returns when it is ready. The controllers are started anew, if there were some: they
        would come back by themselves, but only after a back-off of up to half a minute.
        """
        part = self.parts["kube-apiserver"] = components.apiserver(self.layout, self._extra)
        try:
            until(lambda: self._ready(part), 30, "/readyz of the API server")
        except AssertionError as exc:
            raise tools.PartFailedError(f"{exc}\n{part.output()[-4000:]}") from None
        for name in [name for name in components.CONTROLLERS if name in self.parts]:
            self.parts[name].kill()
            self.parts[name] = components.CONTROLLERS[name](self.layout)

    def _ready(self, part: tools.Part) -> bool:
        if not part.running:
            raise tools.PartFailedError(f"kube-apiserver ended:\n{part.output()[-4000:]}")
        try:
            return bool(self.request("GET", "/readyz", timeout=5) == "ok")
        except (ApiError, OSError, http.client.HTTPException):
            return False

    def pause_etcd(self) -> None:
        """SIGSTOP: requests that need the store hang until their time is over, cached reads and watches go on."""
        pid = self.parts["etcd"].pid
        os.killpg(pid, signal.SIGSTOP)
        # The signal reaches its threads one by one: what it had begun may end meanwhile.
        until(lambda: _stopped(pid), 5, "etcd stands still")

    def resume_etcd(self) -> None:
        os.killpg(self.parts["etcd"].pid, signal.SIGCONT)

    def pause_apiserver(self) -> None:
        """SIGSTOP: connections are accepted by the kernel and never answered."""
        os.killpg(self.parts["kube-apiserver"].pid, signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        os.killpg(self.parts["kube-apiserver"].pid, signal.SIGCONT)

    def mend(self) -> None:
        """Undo every fault above; costs nothing when there is none."""
        self.resume_etcd()
        if self.parts["kube-apiserver"].running:
            self.resume_apiserver()
        else:
            self.start_apiserver()

    def expire_watches(self) -> int:
        """Make every resourceVersion so far answer 410 Gone; returns the first one that does not.

        The API server is restarted on a compacted store, so its watch cache knows nothing older. Watches break, and
        who comes back with an old version is refused; so are continue tokens.
        """
        self.kill_apiserver()
        # One revision more than anybody has seen: no bookmark can be as new.
        revision = int(self._etcd("kv/put", key="expired", value="1")["header"]["revision"])
        self._etcd("kv/compaction", revision=str(revision), physical=True)
        self.start_apiserver()
        return revision

    def _etcd(self, call: str, **arguments: str | bool) -> Object:
        """etcd's JSON gateway; `key` and `value` are text."""
        body = {
            name: base64.b64encode(str(value).encode()).decode() if name in ("key", "value") else value
            for name, value in arguments.items()
        }
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.layout.etcd, timeout=10)) as connection:
            connection.request("POST", f"/v3/{call}", json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status == 200, f"etcd {call}: {answer.status} {text.decode(errors='replace')}"
        parsed: Object = json.loads(text)
        return parsed

    def throttled(self, namespace: str, service_account: str) -> contextlib.AbstractContextManager[None]:
        """Inside, every request of the service account answers 429 with Retry-After; others are served.

        Watches that run already go on. One request in 15 s may wait up to 15 s for its 429.
        """
        account = self.api_of(namespace, service_account)
        return throttled(self, account, namespace, service_account)

    # ------------------------------------------------------------------------------------------- what was asked

    def requests(self) -> Requests:
        """How many requests the API server has answered since it started, by (verb, resource, code)."""
        return read_requests(self.request("GET", "/metrics", accept="text/plain"))

    def mark(self) -> int:
        """Now, for `audit`."""
        before = self.layout.audit.stat().st_size
        return before + len(self._audited(before))

    def audit(self, since: int = 0) -> Sequence[Audit]:
        """The requests that ended (watches: began) since a `mark`, without those of the plane's own components."""
        return [each for each in read_audit(self._audited(since).decode()) if not each.uri.startswith(_MARK)]

    def _audited(self, since: int) -> bytes:
        """The log's complete lines from an offset on, with all that was answered until now."""
        # An answer may be out before its line is written: one more request, and its line is waited for.
        mark = f"{_MARK}{secrets.token_hex(8)}"
        self.request("GET", mark)

        def settled() -> bytes | None:
            with self.layout.audit.open("rb") as log:
                log.seek(since)
                text = log.read()
            lines = text[: text.rfind(b"\n") + 1]
            return lines if mark.encode() in lines else None

        return until(settled, 10, "the audit log's own line")

    # ------------------------------------------------------------------------------------------- start and stop

    def start(self, nodes: int = 1) -> None:
        """Everything, until the nodes are ready and `default` has its service account."""
        self.parts["etcd"] = components.etcd(self.layout)
        self.start_apiserver()
        self.parts |= {name: begin(self.layout) for name, begin in components.CONTROLLERS.items()}
        for number in range(nodes):
            labels = {"kubernetes.io/hostname": f"node-{number}", "kubernetes.io/os": "linux"}
            self.request("POST", "/api/v1/nodes", {"metadata": {"name": f"node-{number}", "labels": labels}})
        try:
            until(self._usable, 30, "nodes and the default service account")
        except AssertionError as exc:
            tails = [f"--- {name}\n{part.output()[-1500:]}" for name, part in self.parts.items()]
            raise tools.PartFailedError("\n".join((str(exc), *tails))) from None

    def _usable(self) -> bool:
        for name, part in self.parts.items():
            if not part.running:
                raise tools.PartFailedError(f"{name} ended:\n{part.output()[-4000:]}")
        nodes = self.request("GET", "/api/v1/nodes")["items"]
        return all(map(_is_ready, nodes)) and self.get("ServiceAccount", "default", "default") is not None

    def end(self) -> None:
        """Kill everything: nothing is kept."""
        for client in (self, *self._lent):
            client.close()
        for part in reversed(self.parts.values()):
            part.kill()


def _stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped (state T of proc(5))."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _is_ready(node: Object) -> bool:
    conditions = {each["type"]: each["status"] for each in node.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


_MARK = "/version?mark="


@contextmanager
def control_plane(folder: Path, *, nodes: int = 1, apiserver: Sequence[str] = ()) -> Iterator[ControlPlane]:
    """A plane in `folder`, on loopback ports of its own; `apiserver` are further flags of the API server."""
    for attempt in range(_ATTEMPTS):
        plane = ControlPlane(components.prepare(folder / f"plane-{attempt}"), apiserver)
        try:
            try:
                plane.start(nodes)
            except tools.PartFailedError as exc:
                if attempt + 1 < _ATTEMPTS and "address already in use" in str(exc):
                    continue
                raise
            yield plane
            return
        finally:
            plane.end()
