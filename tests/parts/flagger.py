"""Real Flagger beside the control plane, and what it measures with: a loopback stub of Prometheus and of webhooks.

Flagger's analysis has a floor of 10 s between two looks, whatever a Canary asks for: from an image to Succeeded take
some 80 s (three iterations), to Failed some 50 s. Run cases side by side; `canary` makes one of the shortest there is.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.parts import tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane, Object

DEFINITIONS = tools.CACHE / "flagger" / "crd.yaml"
"""Flagger's own, of the version that runs (.ci/tools.sh)."""


@dataclass
class Measures:
    """What the stub answers, by the target's name, and what it was asked. `url` is Prometheus' and the webhooks'."""

    url: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    """Success rate in percent; 100 where nothing is said."""
    hooks: dict[str, int] = field(default_factory=dict)
    """Status of the webhook `/NAME`; 200 where nothing is said."""
    silent: set[str] = field(default_factory=set)
    """Targets for which Prometheus has no values."""
    calls: deque[tuple[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))
    """(path, body) of the webhooks that were called."""

    def hook(self, name: str) -> str:
        return f"{self.url}/hooks/{name}"

    def called(self, name: str) -> int:
        return sum(path == f"/hooks/{name}" for path, _ in list(self.calls))


class _Handler(BaseHTTPRequestHandler):
    measures: Measures

    def log_message(self, *args: object) -> None:
        return

    def _send(self, code: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/api/v1/status/flags":
            self._send(200, {"status": "success", "data": {}})
        elif place.path == "/api/v1/query":
            query = parse_qs(place.query).get("query", [""])[0]
            self._send(200, {"status": "success", "data": {"resultType": "vector", "result": self._values(query)}})
        else:
            self._send(404, {})

    def _values(self, query: str) -> list[object]:
        if "vector(1)" in query:  # whether it is there at all
            value: float = 1
        else:
            names = [name for name in self.measures.silent if f'"{name}' in query]
            if names:
                return []
            value = next((rate for name, rate in self.measures.rates.items() if f'"{name}' in query), 100)
        return [{"metric": {}, "value": [time.time(), str(value)]}]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.measures.calls.append((self.path, body))
        self._send(self.measures.hooks.get(self.path.removeprefix("/hooks/"), 200), {})


@contextmanager
def measures() -> Iterator[Measures]:
    """The stub, on a free loopback port."""
    made = Measures()
    handler = type("Handler", (_Handler,), {"measures": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


class Flagger:
    """The controller as a process, with the rights of an administrator, on one plane."""

    def __init__(self, plane: ControlPlane, folder: Path, measured: Measures) -> None:
        self._plane = plane
        self._folder = folder
        self.measures = measured
        self._part: tools.Part | None = None

    def start(self) -> None:
        """Returns when it answers."""
        port = tools.free_port()
        self._part = tools.start(
            [
                "flagger",
                f"-kubeconfig={self._plane.kubeconfig}",
                "-mesh-provider=kubernetes",
                f"-metrics-server={self.measures.url}",
                "-control-loop-interval=1s",
                f"-port={port}",
                "-log-level=info",
            ],
            log=self._folder / "flagger.log",
            ready=port,
            environment=self._plane.layout.environment,
        )

    def stop(self) -> None:
        if self._part is not None:
            self._part.stop()

    def kill(self) -> None:
        """As a crash would."""
        assert self._part is not None
        self._part.kill()

    def output(self) -> str:
        return self._part.output() if self._part is not None else ""


@contextmanager
def flagger(plane: ControlPlane, folder: Path) -> Iterator[Flagger]:
    """Flagger with its definitions, until the end of the block. One a plane."""
    if not DEFINITIONS.is_file():
        raise tools.PartMissingError(f"{DEFINITIONS}: not there; `make tools` installs it")
    folder.mkdir(parents=True, exist_ok=True)
    plane.apply(DEFINITIONS.read_text())
    with measures() as measured:
        made = Flagger(plane, folder, measured)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def canary(name: str, namespace: str, *, iterations: int = 2, gate: str | None = None, **spec: Any) -> Object:
    """Blue/green over the Deployment of that name: the shortest analysis. `gate`: the webhook of each look."""
    hooks = [{"name": "gate", "type": "rollout", "url": gate, "timeout": "5s"}] if gate else []
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "provider": "kubernetes",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "progressDeadlineSeconds": 20,
            "service": {"port": 80, "targetPort": 8080},
            "analysis": {
                "interval": "10s",
                "threshold": 1,
                "iterations": iterations,
                "metrics": [{"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}}],
                "webhooks": hooks,
            },
            **spec,
        },
    }
